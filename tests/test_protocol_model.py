"""The protocol itself, as a model small enough to try every schedule (reliability, section 2.1).

Two identifiers, each absent or a member with one of two data bags; three applies, of which the last
is free of faults; an execution that is late may end before the next apply or after it. Each law of
the protocol is a switch, and turning it off must be noticed: otherwise the model shows nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import pytest

IDENTIFIERS = ("a", "b")
ABSENT = 0
WORLDS = tuple(product((ABSENT, 1, 2), repeat=len(IDENTIFIERS)))
FAULTS = (
    "none",
    "crash before send",
    "request lost",
    "answer lost",
    "late",
    "late, answer lost",
    "one rejected",
    "crash before commit",
)
SCHEDULES = len(WORLDS) ** 3 * len(FAULTS) ** 2 * 2

World = tuple[int, ...]
Changes = dict[int, int]


@dataclass(frozen=True)
class Protocol:
    """What the laws say; each is broken by one of the mutants."""

    journal: bool = True
    says_pending_again: bool = True
    waits_for_the_last_execution: bool = True
    platform_keeps_order: bool = False
    commits_before_sending: bool = False
    keeps_rejects: bool = True
    rejects_are_named: bool = True
    compares_data_bags: bool = True


@dataclass
class Run:
    """The platform's members, the snapshot, what is pending, and executions under way."""

    protocol: Protocol
    members: list[int]
    snapshot: list[int]
    pending: Changes
    under_way: list[Changes]

    def apply(self, desired: World, fault: str) -> None:
        if self.protocol.waits_for_the_last_execution:
            self.finish()
        changes = self.difference(desired)
        if not changes:
            return
        if self.protocol.journal:
            self.pending = dict(changes)
        if self.protocol.commits_before_sending:
            self.snapshot = list(desired)
        if fault in ("crash before send", "request lost"):
            return
        self.send(changes, fault)
        if fault not in ("answer lost", "late, answer lost", "crash before commit"):
            self.commit(changes, fault)

    def difference(self, desired: World) -> Changes:
        pending = self.pending if self.protocol.says_pending_again else {}
        return {
            n: desired[n]
            for n in range(len(IDENTIFIERS))
            if n in pending or not self.same(self.snapshot[n], desired[n])
        }

    def same(self, one: int, other: int) -> bool:
        if self.protocol.compares_data_bags:
            return one == other
        return (one == ABSENT) == (other == ABSENT)

    def send(self, changes: Changes, fault: str) -> None:
        if fault.startswith("late"):
            self.under_way.append(changes)
            return
        if self.protocol.platform_keeps_order:
            self.finish()
        self.take_effect(without_first(changes) if fault == "one rejected" else changes)

    def commit(self, changes: Changes, fault: str) -> None:
        if fault == "late" and self.protocol.waits_for_the_last_execution:
            self.finish()
        confirmed = changes
        if fault == "one rejected":
            if not self.protocol.rejects_are_named:
                return
            if self.protocol.keeps_rejects:
                confirmed = without_first(changes)
        for n, value in confirmed.items():
            self.snapshot[n] = value
            self.pending.pop(n, None)
        if not self.protocol.keeps_rejects or not self.protocol.journal:
            self.pending = {}

    def take_effect(self, changes: Changes) -> None:
        for n, value in changes.items():
            self.members[n] = value

    def finish(self) -> None:
        for changes in self.under_way:
            self.take_effect(changes)
        self.under_way = []


def without_first(changes: Changes) -> Changes:
    return {n: value for n, value in changes.items() if n != min(changes)}


def converges(protocol: Protocol, worlds: tuple[World, ...], faults: tuple[str, ...],
              ends_between: bool) -> bool:  # fmt: skip
    run = Run(protocol, [ABSENT] * 2, [ABSENT] * 2, {}, [])
    for desired, fault in zip(worlds, (*faults, "none"), strict=True):
        if ends_between:
            run.finish()
        run.apply(desired, fault)
    run.finish()
    return run.members == run.snapshot == list(worlds[-1])


def diverging(protocol: Protocol) -> int:
    """How many of all schedules end with members that are not those of the last query."""
    return sum(
        not converges(protocol, worlds, faults, ends_between)
        for worlds in product(WORLDS, repeat=3)
        for faults in product(FAULTS, repeat=2)
        for ends_between in (False, True)
    )


def test_every_schedule_is_tried() -> None:
    assert SCHEDULES == 93_312


LAWFUL = {
    "all laws": Protocol(),
    "failures without a name: everything stays pending": Protocol(rejects_are_named=False),
    "no waiting on a platform that keeps order": Protocol(
        waits_for_the_last_execution=False, platform_keeps_order=True
    ),
}


@pytest.mark.parametrize("name", LAWFUL)
def test_the_protocol_converges_under_every_schedule(name: str) -> None:
    assert diverging(LAWFUL[name]) == 0


NO_JOURNAL = replace(Protocol(), journal=False, says_pending_again=False)
MUTANTS = {
    "no waiting, no order": (replace(Protocol(), waits_for_the_last_execution=False), 15_520),
    "no journal": (NO_JOURNAL, 21_360),
    "pending is not said again": (replace(Protocol(), says_pending_again=False), 21_360),
    "the snapshot is written before sending": (
        replace(NO_JOURNAL, commits_before_sending=True),
        15_528,
    ),
    "a reject counts as done": (replace(Protocol(), keeps_rejects=False), 4_096),
    "data bags are not compared": (replace(Protocol(), compares_data_bags=False), 16_560),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_each_law_is_needed(name: str) -> None:
    protocol, expected = MUTANTS[name]
    assert diverging(protocol) == expected
