"""What a recovery takes of each part as learnt, and which uploads it goes on watching."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from segsync.destination import Destination, Execution
from segsync.emulator import Cut
from segsync.plan import SegmentStatus
from segsync.sending import StillRunning
from segsync.state import PartRecord, PartStatus, open_state
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import Backing, Blind, Passing, apply_until_killed
from tests.support.world import World, assert_sound

UNKNOWN, UNSENT, CONFIRMED = PartStatus.UNKNOWN, PartStatus.UNSENT, PartStatus.CONFIRMED


@pytest.fixture
def world() -> Iterator[World]:
    """A run of three parts."""
    with in_one_thread() as folder, LeanWorld(folder / "world") as made:
        made.define("vip", rows=[f"u{n}" for n in range(12)])
        made.destination["max_upload_bytes"] = 600
        yield made


class Listed(Passing):
    """A destination that notes of which imports the executions are asked for."""

    def __init__(self, inner: Destination, asked: list[str]) -> None:
        super().__init__(inner)
        self._asked = asked

    def list_executions(self, document_import: str) -> list[Execution]:
        self._asked.append(document_import)
        return self._inner.list_executions(document_import)


def fates(parts: tuple[PartRecord, ...]) -> list[tuple[PartStatus, bool, int]]:
    return [(part.status, part.is_watched, part.executions) for part in parts]


FIRST_UNSENT, UNSENT_TOO = (UNSENT, True, 0), (UNSENT, False, 0)
"""The journal may be an old copy: of the first part that it thinks unsent, one may show late."""
LEFT: dict[str, tuple[str, int, list[tuple[PartStatus, bool, int]]]] = {
    "no import": ("before create_import", 1, [UNSENT_TOO] * 3),
    "nothing sent": ("after create_import", 1, [FIRST_UNSENT, UNSENT_TOO, UNSENT_TOO]),
    "one not sent": ("before upload", 1, [(UNKNOWN, True, 0), FIRST_UNSENT, UNSENT_TOO]),
    "one sent": ("after upload", 1, [(CONFIRMED, True, 1), FIRST_UNSENT, UNSENT_TOO]),
    "one noted": ("before list_executions", 1, [(CONFIRMED, False, 1), FIRST_UNSENT, UNSENT_TOO]),
    "two sent": ("after upload", 2, [(CONFIRMED, False, 1), (UNKNOWN, True, 0), FIRST_UNSENT]),
}


@pytest.mark.parametrize("left", LEFT)
def test_a_recovery_watches_what_may_still_come_of_an_upload(world: World, left: str) -> None:
    moment, nth, expected = LEFT[left]
    assert apply_until_killed(world, moment, nth=nth)
    recovered = world.apply(confirm=lambda _: False).recovered
    assert recovered is not None
    assert fates(recovered.parts) == expected
    told = "run 1 was not finished: asking what became of it"
    assert world.said.sentences.count(told) == 1
    assert recovered.problems == ()


@pytest.mark.parametrize("moment", ["after create_import", "after upload"])
def test_of_what_an_old_copy_thinks_unsent_everything_is_in_doubt_and_watched(
    world: World, tmp_path: Path, moment: str
) -> None:
    copy = tmp_path / "copy.db"
    world.wrap = lambda destination: Backing(destination, world.state, moment, copy)
    world.apply()
    world.wrap = lambda destination: destination
    shutil.move(copy, world.state)
    recovered = world.apply(confirm=lambda _: False).recovered
    assert recovered is not None
    assert fates(recovered.parts) == [(UNKNOWN, True, 0)] * 3


@pytest.mark.parametrize("moment", ["before upload", "before list_executions"])
def test_what_is_assumed_to_have_finished_is_not_asked_for(world: World, moment: str) -> None:
    assert apply_until_killed(world, moment)
    asked: list[str] = []
    world.wrap = lambda destination: Listed(destination, asked)
    recovered = world.apply(confirm=lambda _: False, assume_finished=True).recovered
    assert recovered is not None
    assert fates(recovered.parts) == [(UNKNOWN, True, 0), *[(UNKNOWN, False, 0)] * 2]
    assert asked == []


@pytest.mark.parametrize(("minutes", "ends"), [(59, False), (60, True)])
def test_an_execution_that_is_not_found_is_given_up_when_the_run_is_old(
    world: World, minutes: int, ends: bool
) -> None:
    world.destination["execution_max_age"] = "1h"
    assert apply_until_killed(world, "before list_executions")
    world.emulator.behave(lists_until_seen=10**6)
    world.clock.sleep(60 * minutes)
    started = world.clock.monotonic()
    if not ends:
        with pytest.raises(StillRunning, match="cannot be found") as caught:
            world.apply()
        assert "--assume-finished" in str(caught.value.hint)
        assert world.plan().open_run is not None
        return
    recovered = world.apply(confirm=lambda _: False).recovered
    assert world.clock.monotonic() == started
    assert recovered is not None
    assert fates(recovered.parts) == [(UNKNOWN, True, 0)] * 3
    [problem] = recovered.problems
    assert problem.endswith("within 60 minutes; it is taken as ended, being so old")


# -------------------------------------------------------------------- uploads that were given up


def watched(world: World) -> int:
    with closing(open_state(world.state, read_only=True)) as state:
        return len(state.watched_runs())


@pytest.fixture
def sent_twice(world: World) -> World:
    """Its first upload seemed lost, and was sent again; what came of it is not shown."""
    del world.destination["max_upload_bytes"]
    world.apply()
    world.fill("vip", [*world.tables["vip"].rows, ("new",), ("newer",)])
    world.emulator.faults.add("upload", Cut("after_apply"))
    hidden = [str(int(world.emulator.executions[-1].id) + 1)]
    world.wrap = lambda destination: Blind(destination, hidden)
    world.apply()
    assert watched(world) == 1
    return world


def test_a_watch_without_news_goes_on_and_says_nothing_again(sent_twice: World) -> None:
    world = sent_twice
    for _ in range(2):
        report = world.apply()
        assert report.run is None
        assert report.pending == 0
    assert watched(world) == 1
    assert not [said for said in world.said.sentences if "executed late" in said]


def test_what_an_upload_said_that_was_given_up_is_said_once_more(sent_twice: World) -> None:
    world = sent_twice
    world.wrap = lambda destination: destination
    report = world.apply()
    assert report.plan is not None
    assert report.plan.totals.retry == report.plan.totals.commands == 2
    [told] = [said for said in world.said.sentences if "executed late" in said]
    assert told == (
        "an upload of run 2 that had been given up was executed late: its 2 members are said "
        "once more"
    )
    assert world.apply().run is None
    assert_sound(world)


def test_what_is_watched_is_not_asked_for_where_it_is_assumed_to_have_finished(
    sent_twice: World,
) -> None:
    world = sent_twice
    asked: list[str] = []
    world.wrap = lambda destination: Listed(destination, asked)
    assert world.apply(assume_finished=True).run is None
    assert watched(world) == 0
    assert asked == []
    assert not [said for said in world.said.sentences if "executed late" in said]


@pytest.mark.parametrize(("minutes", "watches"), [(24 * 60 - 1, 1), (24 * 60, 0)])
def test_a_watch_ends_so_long_after_the_run_as_an_execution_is_waited_for(
    sent_twice: World, minutes: int, watches: int
) -> None:
    """Its last upload may have left shortly before the run was closed."""
    world = sent_twice
    with closing(open_state(world.state, read_only=True)) as state:
        [run] = state.watched_runs()
    assert run.closed_at_ms
    age_ms = world.clock.now_ms() - run.closed_at_ms
    world.clock.sleep(60 * minutes - age_ms / 1000)
    world.apply()
    assert watched(world) == watches


@pytest.mark.parametrize("members", ["delete", "keep"])
def test_a_segment_that_is_watched_leaves_the_state_when_the_watch_has_ended(
    sent_twice: World, members: str
) -> None:
    world = sent_twice
    world.define("other", rows=["x"])
    world.drop("vip", members)

    def removed() -> tuple[bool, int]:
        segment = world.plan().segments[-1]
        assert segment.status is SegmentStatus.REMOVED
        return segment.waiting, segment.counts.remove

    assert removed() == ((False, 14) if members == "delete" else (True, 0))
    world.apply()
    assert removed() == (True, 0)
    world.advance(days=1)
    world.apply()
    assert [segment.name for segment in world.plan().segments] == ["other"]
