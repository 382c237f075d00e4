"""How long an apply waits for the platform, how often it tries again, and what it tells meanwhile.

What becomes of the members then is held by test_recovery.py.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from segsync.destination import Destination, Execution
from segsync.emulator import Cut, ExecutionScript
from segsync.errors import NotSent, OutcomeUnknown, Refused
from segsync.exits import Exit
from segsync.sending import StillRunning, Timing, age_minutes, hold_later_steps
from segsync.state import PartRecord, PartStatus, Run, RunStatus
from tests.support.crash import Passing, apply_until_killed
from tests.support.world import Said, World, assert_sound


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        made.define("vip", rows=["a", "b"])
        yield made


class Timed(Passing):
    """A destination that notes when it is asked to upload, and for executions before and after.

    `upload_fails` and `list_fails` may raise what a request does; before the first upload no list
    fails.
    """

    def __init__(self, inner: Destination, clock: Any) -> None:
        super().__init__(inner)
        self._clock = clock
        self.uploads: list[float] = []
        self.lists: list[list[float]] = [[]]
        self.upload_fails: Callable[[], None] = lambda: None
        self.list_fails: Callable[[], None] = lambda: None

    def upload(self, document_import: str, payload: Path) -> Execution:
        self.uploads.append(self._clock.monotonic())
        self.lists.append([])
        self.upload_fails()
        return self._inner.upload(document_import, payload)

    def list_executions(self, document_import: str) -> list[Execution]:
        self.lists[-1].append(self._clock.monotonic())
        if self.uploads:
            self.list_fails()
        return self._inner.list_executions(document_import)


def timed(world: World) -> list[Timed]:
    """The destinations of the applies that follow."""
    made: list[Timed] = []

    def wrap(inner: Destination) -> Timed:
        made.append(Timed(inner, world.clock))
        return made[-1]

    world.wrap = wrap
    return made


def with_failure(
    wrap: Callable[[Destination], Any],
    upload: Callable[[], None] | None = None,
    listing: Callable[[], None] | None = None,
) -> Callable[[Destination], Any]:
    def wrapped(inner: Destination) -> Any:
        made = wrap(inner)
        made.upload_fails = upload or made.upload_fails
        made.list_fails = listing or made.list_fails
        return made

    return wrapped


def failing(error: Exception, times: int = 10**6) -> Callable[[], None]:
    left = iter(range(times))

    def fail() -> None:
        if next(left, None) is not None:
            raise error

    return fail


def pauses(moments: list[float]) -> list[float]:
    return [round(later - earlier, 3) for earlier, later in pairwise(moments)]


class Waiting(Said):
    """Remembers what is drawn of the parts and executions."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[tuple[int, int, int]] = []
        self.executions: list[tuple[str, str, float | None]] = []

    def uploading(self, part: int, parts: int, size: int) -> None:
        self.parts.append((part, parts, size))

    def waiting(self, execution: str, status: str, share: float | None) -> None:
        self.executions.append((execution, status, share))


def test_an_upload_that_does_not_leave_is_tried_three_times(world: World) -> None:
    made = timed(world)
    world.wrap = with_failure(world.wrap, upload=failing(NotSent("no connection")))
    report = world.apply()
    assert report.run is not None
    assert report.run.outcome.unsent == 2
    assert report.run.problems == ("no connection",)
    assert pauses(made[0].uploads) == [1, 2]
    assert world.said.sentences[-2:] == [
        "no connection; trying again in 1 s",
        "no connection; trying again in 2 s",
    ]


def test_an_upload_in_doubt_that_does_not_show_is_sent_three_times(world: World) -> None:
    made = timed(world)
    world.wrap = with_failure(world.wrap, upload=failing(OutcomeUnknown("cut off")))
    with pytest.raises(StillRunning, match="whether it arrived is unknown: cut off"):
        world.apply()
    assert len(made[0].uploads) == 3
    world.wrap = lambda destination: destination
    world.settle()


POLLS = [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10, 10]


def test_an_execution_is_asked_for_less_and_less_often(world: World) -> None:
    made = timed(world)
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=12))
    assert world.apply().exit is Exit.DONE
    assert pauses(made[0].lists[1])[:8] == POLLS


def test_nobody_is_asked_before_the_upload_nor_after_the_execution_has_ended(world: World) -> None:
    made = timed(world)
    report = world.apply()
    assert report.exit is Exit.DONE
    assert report.run is not None
    assert not report.run.parts[0].is_watched
    assert [len(moments) for moments in made[0].lists] == [0, 2]


def test_an_upload_in_doubt_is_looked_for_before_it_is_sent_again(world: World) -> None:
    made = timed(world)
    world.wrap = with_failure(world.wrap, upload=failing(OutcomeUnknown("cut off"), 1))
    assert world.apply().exit is Exit.DONE
    [waited] = pauses(made[0].uploads)
    assert waited == round(sum(POLLS), 3) == 32.6
    assert "cut off; looking whether it arrived" in world.said.sentences
    assert_sound(world)


def test_who_cannot_be_asked_is_asked_less_and_less_often_for_a_quarter_of_an_hour(
    world: World,
) -> None:
    made = timed(world)
    world.wrap = with_failure(world.wrap, listing=failing(NotSent("no connection")))
    with pytest.raises(StillRunning, match="cannot be read: no connection") as caught:
        world.apply()
    assert caught.value.hint
    lists = made[0].lists[1]
    assert pauses(lists)[:8] == POLLS
    assert 900 <= lists[-1] - lists[0] < 910


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_a_status_that_may_pass_is_waited_out(world: World, status: int) -> None:
    timed(world)
    world.wrap = with_failure(world.wrap, listing=failing(Refused("unwell", status=status), 3))
    assert world.apply().exit is Exit.DONE


@pytest.mark.parametrize("status", [400, 404, 428, 499])
def test_a_status_that_will_not_pass_ends_the_wait_at_once(world: World, status: int) -> None:
    made = timed(world)
    world.wrap = with_failure(world.wrap, listing=failing(Refused("no", status=status)))
    with pytest.raises(StillRunning, match="cannot be read: no"):
        world.apply()
    assert len(made[0].lists[1]) == 1


@pytest.mark.parametrize("polls", [0, 8])
def test_an_execution_without_counts_is_asked_again_for_half_a_minute(
    world: World, polls: int
) -> None:
    made = timed(world)
    unreadable = {"total_success": "many", "total_failure": "many"}
    world.emulator.faults.add(
        "upload", ExecutionScript(patch={"result": unreadable}, starts_after_polls=polls)
    )
    report = world.apply()
    assert report.exit is Exit.UNKNOWN
    lists = made[0].lists[1]
    ended = lists[polls]
    assert 30 <= lists[-1] - ended < 40


def test_an_execution_that_does_not_end_is_waited_for_as_long_as_the_spec_says(
    world: World,
) -> None:
    made = timed(world)
    world.destination["execution_max_age"] = "1h"
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=10**6))
    with pytest.raises(StillRunning, match="has not finished within 60 minutes") as caught:
        world.apply()
    assert caught.value.hint
    assert world.emulator.executions[0].id in str(caught.value)
    lists = made[0].lists[1]
    assert 3600 <= lists[-1] - lists[0] < 3610


def cut_off(world: World) -> None:
    world.wrap = with_failure(world.wrap, upload=failing(OutcomeUnknown("cut off"), 1))


def out_of_reach(world: World) -> None:
    world.wrap = with_failure(world.wrap, listing=failing(NotSent("no connection")))


def never_listed(world: World) -> None:
    world.emulator.behave(lists_until_seen=10**6)


def without_counts(world: World) -> None:
    unreadable = {"total_success": "many", "total_failure": "many"}
    world.emulator.faults.add("upload", ExecutionScript(patch={"result": unreadable}))


def never_ending(world: World) -> None:
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=10**6))


@pytest.mark.parametrize(
    ("happens", "seconds"),
    [
        (cut_off, 30),
        (out_of_reach, 900),
        (never_listed, 30),
        (without_counts, 30),
        (never_ending, 3600),
    ],
)
def test_nobody_waits_once_more_when_the_time_is_up_to_the_second(
    world: World, happens: Callable[[World], None], seconds: int
) -> None:
    world.timing = Timing(first_poll=10)
    world.destination["execution_max_age"] = "1h"
    made = timed(world)
    happens(world)
    with suppress(StillRunning):
        world.apply()
    lists = made[0].lists[1]
    assert lists[-1] - lists[0] == seconds


def test_the_user_is_shown_each_part_and_the_first_execution_that_runs(world: World) -> None:
    world.said = shown = Waiting()
    options = several_parts(world)
    world.emulator.faults.add("upload", ExecutionScript(duplicates=1, starts_after_polls=3))
    report = world.apply(**options)
    assert report.run is not None
    parts = report.run.parts
    assert shown.parts == [(part.number, len(parts), part.size) for part in parts]
    assert shown.executions
    waited = {execution for execution, _, _ in shown.executions}
    assert len(waited) < len(world.emulator.executions)
    assert {status for _, status, _ in shown.executions} <= {"PENDING", "RUNNING"}


def several_parts(world: World) -> dict[str, Any]:
    world.accounts("vip", *(f"u{n}" for n in range(24)))
    world.destination["max_upload_bytes"] = 900
    return {}


def test_an_upload_in_doubt_is_not_taken_for_one_of_an_earlier_part(world: World) -> None:
    options = several_parts(world)
    made = timed(world)
    uploads = itertools.count(1)

    def fail() -> None:
        if next(uploads) == 2:
            raise OutcomeUnknown("cut off")

    world.wrap = with_failure(world.wrap, upload=fail)
    report = world.apply(**options)
    assert report.exit is Exit.DONE
    assert report.run is not None
    assert len(made[0].uploads) == len(report.run.parts) + 1
    assert_sound(world)


def test_what_follows_an_upload_that_was_sent_again_is_certain_by_its_answer(world: World) -> None:
    options = several_parts(world)
    timed(world)
    world.wrap = with_failure(world.wrap, upload=failing(OutcomeUnknown("cut off"), 1))
    assert world.apply(**options).exit is Exit.DONE


def test_without_that_answer_it_may_be_the_execution_of_the_earlier_one(world: World) -> None:
    options = several_parts(world)
    timed(world)
    world.wrap = with_failure(world.wrap, upload=failing(OutcomeUnknown("cut off"), 1))
    world.emulator.faults.add("upload", Cut("after_apply"), call=2)
    report = world.apply(**options)
    assert report.run is not None
    assert report.run.problems == ("part 2: its execution may be that of an earlier part",)
    statuses = [part.status for part in report.run.parts]
    assert statuses[:3] == [PartStatus.CONFIRMED, PartStatus.UNKNOWN, PartStatus.UNSENT]
    world.settle(**options)
    assert_sound(world)


def test_a_recovery_waits_for_what_is_left_of_that_time(world: World) -> None:
    world.destination["execution_max_age"] = "1h"
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=10**6))
    assert apply_until_killed(world, "after upload")
    world.advance(minutes=50)
    before = world.clock.monotonic()
    with pytest.raises(StillRunning, match="has not finished within 60 minutes"):
        world.apply()
    assert 600 <= world.clock.monotonic() - before < 610


def test_a_recovery_tells_how_long_it_has_taken(world: World) -> None:
    assert apply_until_killed(world, "after upload")
    world.clock.sleep(100)
    world.emulator.behave(lists_until_seen=3)
    recovered = world.apply().recovered
    assert recovered is not None
    assert 0 < recovered.seconds < 60


def test_what_is_behind_removals_in_doubt_is_in_doubt_too() -> None:
    fates = [
        (1, PartStatus.CONFIRMED),
        (1, PartStatus.UNATTRIBUTED),
        (1, PartStatus.CONFIRMED),
        (2, PartStatus.CONFIRMED),
        (2, PartStatus.UNATTRIBUTED),
        (2, PartStatus.UNSENT),
    ]
    parts = [
        PartRecord(number, step, number, number, 1, "", status)
        for number, (step, status) in enumerate(fates, start=1)
    ]
    held = [part.status for part in hold_later_steps(parts)]
    doubtful = [PartStatus.UNKNOWN, PartStatus.UNKNOWN, PartStatus.UNSENT]
    assert held == [*(status for _, status in fates[:3]), *doubtful]


def test_an_execution_of_minutes_ago_is_waited_for_though_its_run_is_older_than_the_limit(
    world: World,
) -> None:
    """Each part takes half an hour at the platform, and the process dies after the third upload."""
    world.destination["execution_max_age"] = "1h"
    world.destination["max_upload_bytes"] = 250
    world.define("vip", rows=[f"u{n}" for n in range(6)])
    script = ExecutionScript(starts_after_polls=170)
    for call in (1, 2, 3):
        world.emulator.faults.add("upload", script, call=call)
    assert apply_until_killed(world, "after upload", nth=3)
    world.advance(minutes=15)
    report = world.apply()
    assert report.recovered is not None
    assert not report.recovered.problems
    assert report.recovered.outcome.confirmed == 4
    assert world.emulator.max_in_flight == 1
    world.settle()
    assert_sound(world)


def test_a_clock_that_was_set_back_makes_no_run_younger_than_now() -> None:
    run = Run(1, "r", RunStatus.OPEN, 600_000, "", 0, "")
    ages = [age_minutes(run, now_ms) for now_ms in (0, 600_000, 659_999, 660_000, 725_000)]
    assert ages == [0, 0, 0, 1, 2]


def test_an_upload_that_runs_twice_is_certain_where_it_was_the_only_one(world: World) -> None:
    world.emulator.faults.add("upload", ExecutionScript(duplicates=1))
    assert apply_until_killed(world, "after upload")
    recovered = world.apply().recovered
    assert recovered is not None
    assert [part.status for part in recovered.parts] == [PartStatus.CONFIRMED]


class Miscounting(Passing):
    """A destination whose first execution claims to have seen no command."""

    def list_executions(self, document_import: str) -> list[Execution]:
        found = self._inner.list_executions(document_import)
        first = min((execution.id for execution in found), default=None)
        return [
            replace(execution, total_success=0) if execution.id == first else execution
            for execution in found
        ]


def test_of_two_executions_of_a_part_the_one_whose_counts_add_up_decides(world: World) -> None:
    world.emulator.faults.add("upload", ExecutionScript(duplicates=1))
    assert apply_until_killed(world, "after upload")
    world.wrap = Miscounting
    recovered = world.apply().recovered
    assert recovered is not None
    assert [part.status for part in recovered.parts] == [PartStatus.CONFIRMED]


def test_of_several_parts_one_whose_execution_was_not_noted_is_in_doubt(world: World) -> None:
    options = several_parts(world)
    assert apply_until_killed(world, "after upload", nth=2, **options)
    recovered = world.apply(**options).recovered
    assert recovered is not None
    statuses = [part.status for part in recovered.parts]
    assert statuses[:3] == [PartStatus.CONFIRMED, PartStatus.UNKNOWN, PartStatus.UNSENT]
    assert [part.executions for part in recovered.parts[:3]] == [1, 0, 0]
    assert_sound(world)
