"""Seeded schedules of everything that may happen: see tests/simulation."""

from __future__ import annotations

from itertools import count
from pathlib import Path
from random import Random

import pytest

from tests.mutation.modules import HERE
from tests.simulation import oracle
from tests.simulation.place import Place, Row
from tests.simulation.planted import plants
from tests.simulation.playing import command, play_all, told
from tests.simulation.speed import in_one_thread
from tests.simulation.story import steps_of
from tests.simulation.trouble import Trouble
from tests.support.size import size

SEEDS = Path(__file__).with_name("seeds.txt")
SHARDS = 8
SCHEDULES = size(2_000, 100_000)


def assert_all_end_well(seeds: range | list[int]) -> None:
    for ending in play_all(seeds):
        assert not ending.failure, f"{told(ending)}\n{command(ending.seed)}"


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.timeout(size(600, 40_000))
def test_whatever_happens_one_apply_sets_it_right(shard: int) -> None:
    assert_all_end_well(range(shard, SCHEDULES, SHARDS))


@pytest.mark.timeout(600)
def test_seeds_that_have_failed_once_end_well() -> None:
    lines = SEEDS.read_text().splitlines()
    assert_all_end_well([int(line.split()[0]) for line in lines if line[:1].isdigit()])


def test_a_seed_is_one_schedule() -> None:
    [first], [again] = play_all([4]), play_all([4])
    assert first == again
    [other] = play_all([5])
    assert other.told != first.told


def test_a_process_may_die_before_each_statement_of_a_transaction() -> None:
    """What was not committed is gone, and one apply sets it right."""
    died: list[str] = []
    with in_one_thread() as folder, Place(folder / "world", Random(1)) as place:
        for number in count(1):
            place.cast(
                "s0", "accounts, total", {"u1": Row(total=number), f"u{2 + number % 2}": Row()}
            )
            trouble = Trouble(place.emulator, place.state, dies_in=number)
            if place.attempt(trouble, None):
                break
            died.append(trouble.died)
            place.settle(**place.options)
            oracle.assert_members(place)
    assert any("INSERT INTO runs" in one for one in died)
    assert sum("COMMIT" in one for one in died) > 5


def test_a_story_may_be_shortened_by_leaving_out_steps() -> None:
    assert len(steps_of(4)) > 1
    [ending] = play_all([4], (0,))
    assert not ending.failure
    assert not any(line.startswith("1. ") for line in ending.told)


def test_each_planted_fault_has_one_place_and_is_told() -> None:
    readme = SEEDS.with_name("README.md").read_text()
    for plant in plants():
        assert (HERE / plant.file).read_text().count(plant.was) == 1, plant.name
        assert f"| {plant.name} |" in readme
