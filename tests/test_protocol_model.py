"""The protocol itself, as a model small enough to tell every schedule (reliability, section 2.1).

Two identifiers and three applies, of which the last is free of faults. Each law of the protocol is
a switch, and turning it off must be noticed: otherwise the model shows nothing.
"""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from tests.protocol.cases import MUTANTS, SETTINGS, Mutant, told
from tests.protocol.records import Laws
from tests.support.size import FULL, size

ONE_PERSON = "one person with two identifiers"
"""Told whole at each submission, the others of two applies only."""
SCHEDULES = {
    "two people": 2_772,
    ONE_PERSON: 383_960,
    "members that expire": 5_544,
    "a part for each member": 4_716,
    "copies of the state": 12_420,
    "copies, a part for each member": 28_836,
    "copies, one person": 6_560,
    "one person who expires": 2_720,
}


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.timeout(size(300, 20_000))
def test_the_protocol_converges_under_every_schedule(name: str) -> None:
    applies = 3 if FULL or name == ONE_PERSON else 2
    count = told(replace(SETTINGS[name], applies=applies), stop_at_first=True)
    assert count.diverged == 0, count.example
    assert FULL or count.schedules == SCHEDULES[name]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: " and ".join(mutant.broken))
def test_each_law_is_needed(mutant: Mutant) -> None:
    assert told(mutant.setting, *mutant.broken, stop_at_first=True).diverged


def test_every_law_is_broken_once() -> None:
    assert {law.name for law in fields(Laws)} == {
        law for mutant in MUTANTS for law in mutant.broken
    }
    assert all(len(mutant.broken) == 1 or mutant.why for mutant in MUTANTS)
