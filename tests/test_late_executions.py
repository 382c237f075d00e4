"""An upload that was given up is executed after all, when newer runs have spoken."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segsync.cli.planning import plan_exit
from segsync.destination import Destination, Execution
from segsync.emulator import Answer, Cut, ExecutionScript
from segsync.errors import NotSent
from segsync.report import Exit
from segsync.sending import StillRunning
from segsync.state import open_state
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support import crash
from tests.support.crash import Backing, Blind, Killed, apply_until_killed
from tests.support.world import World, assert_sound

NEVER_BY_ITSELF = 10**6
"""Polls that an execution waits before it starts."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with in_one_thread(), LeanWorld(tmp_path) as made:
        yield made


def give_up_an_upload(world: World, starts_after_polls: int = NEVER_BY_ITSELF) -> None:
    """The state has u1 and u2; an apply that adds u3 is killed and given up."""
    world.define("vip", rows=["u1", "u2"])
    world.apply()
    world.accounts("vip", "u1", "u2", "u3")
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=starts_after_polls))
    assert apply_until_killed(world, "after upload", allowed=("vip",))
    world.emulator.behave(lists_until_seen=NEVER_BY_ITSELF)
    world.emulator.on_upload(lambda _: world.emulator.behave(lists_until_seen=0))
    world.accounts("vip", "u1", "u2")
    report = world.apply(allowed=("vip",))
    assert report.exit is Exit.DONE
    assert report.recovered is not None
    assert report.recovered.outcome.unknown == 1


class Dying(Blind):
    """A process that dies when it has noted its second upload."""

    _uploads = 0

    def upload(self, document_import: str, payload: Path) -> Execution:
        self._uploads += 1
        return self._inner.upload(document_import, payload)

    def list_executions(self, document_import: str) -> list[Execution]:
        if self._uploads == 2:
            raise Killed
        return super().list_executions(document_import)


def names(world: World) -> set[str]:
    return {identifier.value for identifier in world.members("vip")}


def watched(world: World) -> int:
    with closing(open_state(world.state, read_only=True)) as state:
        return len(state.watched_runs())


def test_what_a_late_execution_undid_is_said_once_more(world: World) -> None:
    give_up_an_upload(world)
    assert names(world) == {"u1", "u2"}
    world.emulator.run_all()
    assert names(world) == {"u1", "u2", "u3"}
    report = world.apply(allowed=("vip",))
    assert report.plan is not None
    assert report.plan.totals.retry == 1
    assert any("executed late" in sentence for sentence in world.said.sentences)
    assert names(world) == {"u1", "u2"}
    assert_sound(world, in_flight=2)
    assert world.apply().run is None


def test_a_plan_without_changes_asks_for_an_apply_while_an_upload_may_act_late(
    world: World,
) -> None:
    """A job of CI applies only where `--detailed-exitcode` says so."""
    give_up_an_upload(world)
    world.emulator.run_all()
    plan = world.plan(allowed=("vip",))
    assert not plan.changes_something
    assert plan_exit(plan, detailed=True) is Exit.CHANGES
    assert plan_exit(plan, detailed=False) is Exit.DONE
    world.advance(days=1)
    world.apply(allowed=("vip",))
    assert names(world) == {"u1", "u2"}
    assert plan_exit(world.plan(allowed=("vip",)), detailed=True) is Exit.DONE


def test_an_execution_that_shows_up_while_it_runs_is_waited_for(world: World) -> None:
    give_up_an_upload(world, starts_after_polls=40)
    late = world.emulator.executions[1]
    assert late.status == "PENDING"
    seen: list[str] = []
    world.emulator.on_upload(lambda _: seen.append(late.status))
    world.accounts("vip", "u1")
    world.apply(allowed=("vip",))
    assert seen == ["SUCCEEDED"]
    assert_sound(world, in_flight=2)


def test_a_saved_plan_waits_for_it_as_well(world: World, tmp_path: Path) -> None:
    give_up_an_upload(world, starts_after_polls=40)
    late = world.emulator.executions[1]
    seen: list[str] = []
    world.emulator.on_upload(lambda _: seen.append(late.status))
    world.accounts("vip", "u1")
    world.save(tmp_path / "plan", allowed=("vip",))
    world.apply_saved(tmp_path / "plan")
    assert seen == ["SUCCEEDED"]
    world.settle(allowed=("vip",))
    assert_sound(world, in_flight=2)


def test_a_saved_plan_that_leaves_behind_what_acted_late_asks_for_another_apply(
    world: World, tmp_path: Path
) -> None:
    give_up_an_upload(world)
    world.accounts("vip", "u1", "u2", "u4")
    world.save(tmp_path / "plan", allowed=("vip",))
    world.emulator.run_all()
    report = world.apply_saved(tmp_path / "plan")
    assert names(world) == {"u1", "u2", "u3", "u4"}
    assert (report.exit, report.pending) == (Exit.UNKNOWN, 1)
    assert world.apply(allowed=("vip",)).exit is Exit.DONE
    assert_sound(world, in_flight=2)


@pytest.mark.parametrize(
    ("limit", "upload"), [(10**8, 1), (250, 1), (250, 2)], ids=["one part", "first", "second"]
)
def test_what_an_old_copy_thinks_unsent_may_act_late(
    world: World, tmp_path: Path, limit: int, upload: int
) -> None:
    """The copy was made before an upload that is not shown yet when the copy is put back."""
    world.destination["max_upload_bytes"] = limit
    world.define("vip", rows=["u1", "u2"])
    world.apply()
    world.accounts("vip", "u1", "u2", "u3", "u4", "u5")
    copy_and_kill(world, tmp_path / "copy.db", upload)
    hidden = {world.emulator.executions[-1].id}
    world.wrap = lambda destination: Blind(destination, hidden)
    world.accounts("vip", "u1", "u2")
    assert world.apply().exit is Exit.DONE
    world.wrap = lambda destination: destination
    world.emulator.run_all()
    assert len(names(world)) > 2
    world.settle(allowed=("vip",))
    assert_sound(world, in_flight=2)


def copy_and_kill(world: World, copy: Path, upload: int = 1) -> None:
    """Put back what was copied before an upload that acts late, after which the process died."""
    made: list[crash.Dying] = []

    def wrap(destination: Destination) -> Destination:
        copying = Backing(destination, world.state, "after create_import", copy)
        made.append(crash.Dying(copying, world.state.parent, "after upload", upload))
        return made[0]

    late = ExecutionScript(starts_after_polls=NEVER_BY_ITSELF)
    world.emulator.faults.add("upload", late, call=upload)
    world.wrap = wrap
    with pytest.raises(Killed):
        world.apply()
    world.wrap = lambda destination: destination
    made[0].restore()
    shutil.move(copy, world.state)


@pytest.mark.parametrize("way", ["a day later", "assume finished"])
def test_the_watch_ends_when_nothing_can_come_any_more(world: World, way: str) -> None:
    give_up_an_upload(world)
    assert watched(world) == len(world.plan().watched) == 1
    world.emulator.behave(lists_until_seen=NEVER_BY_ITSELF)
    if way == "a day later":
        world.advance(hours=23)
        world.apply()
        assert watched(world) == 1
        world.advance(hours=1)
        world.apply()
    else:
        world.apply(assume_finished=True)
    assert watched(world) == 0
    assert not any("executed late" in sentence for sentence in world.said.sentences)


def test_a_removed_segment_is_kept_in_the_state_while_it_is_watched(world: World) -> None:
    world.define("other", rows=["x"])
    give_up_an_upload(world)
    late = [world.emulator.executions[1].id]
    world.wrap = lambda destination: Blind(destination, late)
    world.drop("vip", "delete")
    world.apply()
    assert names(world) == set()
    world.emulator.run_all()
    assert names(world) == {"u3"}
    assert not world.plan().changes_something
    late.clear()
    world.apply()
    assert names(world) == set()
    world.advance(days=2)
    world.apply()
    with closing(open_state(world.state, read_only=True)) as state:
        assert [segment.name for segment in state.segments()] == ["other"]


def test_a_segment_that_is_to_be_forgotten_is_not_while_it_is_watched(world: World) -> None:
    """It may come back before the upload is executed, which would then go unnoticed."""
    world.define("other", rows=["x"])
    give_up_an_upload(world)
    late = [world.emulator.executions[1].id]
    world.wrap = lambda destination: Blind(destination, late)
    table = world.tables["vip"]
    world.drop("vip", "keep")
    world.apply()
    assert watched(world) == 1
    world.removed.clear()
    world.tables["vip"] = table
    world.accounts("vip", "u1", "u2")
    world.apply()
    world.emulator.run_all()
    assert names(world) == {"u1", "u2", "u3"}
    late.clear()
    world.apply()
    assert names(world) == {"u1", "u2"}


def test_an_upload_that_was_sent_again_and_runs_twice_is_noticed(world: World) -> None:
    """The first attempt seemed lost; it runs when the members have changed again."""
    first_attempt = ["5002"]
    world.define("vip", rows=["u1", "u2"])
    world.apply()
    world.accounts("vip", "u1", "u2", "u3")
    world.wrap = lambda destination: Blind(destination, first_attempt)
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=NEVER_BY_ITSELF))
    world.emulator.faults.add("upload", Cut("after_apply"))
    assert world.apply(allowed=("vip",)).exit is Exit.DONE
    assert watched(world) == 1
    world.accounts("vip", "u1", "u2")
    world.apply(allowed=("vip",))
    world.emulator.run_all()
    assert names(world) == {"u1", "u2", "u3"}
    first_attempt.clear()
    world.apply(allowed=("vip",))
    assert names(world) == {"u1", "u2"}
    assert_sound(world, in_flight=2)


def test_an_upload_that_was_sent_twice_is_watched_though_the_apply_died_later(world: World) -> None:
    """The second attempt was answered; the first, which seemed lost, comes much later."""
    world.define("vip", rows=["u1", "u2"])
    world.apply()
    world.accounts("vip", "u1", "u2", "u3")
    hidden = ["5002"]
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=NEVER_BY_ITSELF))
    world.emulator.faults.add("upload", Cut("after_apply"))
    world.wrap = lambda destination: Dying(destination, hidden)
    with pytest.raises(Killed):
        world.apply(allowed=("vip",))
    world.wrap = lambda destination: Blind(destination, hidden)
    world.apply(allowed=("vip",))
    assert watched(world) == 1
    world.accounts("vip", "u1", "u2")
    world.apply(allowed=("vip",))
    hidden.clear()
    world.emulator.run_all()
    assert names(world) == {"u1", "u2", "u3"}
    world.apply(allowed=("vip",))
    assert names(world) == {"u1", "u2"}
    assert_sound(world, in_flight=2)


def test_an_execution_that_never_ends_is_not_waited_for_again_when_it_is_old(world: World) -> None:
    world.define("vip", rows=["a"])
    world.emulator.faults.add("upload", ExecutionScript(shown=("RUNNING",), then="last"))
    assert apply_until_killed(world, "after upload")
    world.advance(days=3)
    before = world.clock.monotonic()
    report = world.apply()
    assert report.recovered is not None
    assert report.recovered.outcome.unknown == 1
    assert world.clock.monotonic() - before < 600


def test_who_came_after_a_removal_that_is_said_again_is_in_doubt_until_said_after_it(
    world: World,
) -> None:
    """An apply removes h0 and dies; u1 is the same person. The removal acts late, is said again,
    and what says u1 again after it is refused.
    """
    emulator = world.emulator
    emulator.declare_person([emulator.email("h0"), emulator.account("u1")])
    world.define("vip", "email_hash", "user_account_id", rows=[("h0", None), (None, "u0")])
    world.apply()
    world.fill("vip", [(None, "u0")])
    emulator.faults.add("upload", ExecutionScript(starts_after_polls=NEVER_BY_ITSELF))
    assert apply_until_killed(world, "after upload", allowed=("vip",))
    emulator.behave(lists_until_seen=NEVER_BY_ITSELF)
    emulator.on_upload(lambda _: emulator.behave(lists_until_seen=0))
    world.fill("vip", [(None, "u0"), (None, "u1")])
    world.apply(allowed=("vip",))
    emulator.run_all()
    assert emulator.account("u1") not in world.members("vip")
    emulator.faults.add("upload", Answer(400), call=2)
    assert world.apply(allowed=("vip",)).exit is Exit.UNKNOWN
    world.apply(allowed=("vip",))
    assert emulator.account("u1") in world.members("vip")
    assert_sound(world, converged=False, in_flight=2)
    assert not world.plan().changes_something


class OutOfReach:
    """A destination that no request reaches."""

    def __init__(self, _inner: Destination) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        def unreached(*_: object) -> None:
            raise NotSent(f"no connection for {name}")

        return unreached


def leave_a_run_open(world: World) -> None:
    world.define("vip", rows=["a"])
    assert apply_until_killed(world, "before list_executions")


@pytest.mark.parametrize("earlier", [give_up_an_upload, leave_a_run_open])
def test_an_apply_that_cannot_ask_what_became_of_an_earlier_run_ends_at_once(
    world: World, earlier: Callable[[World], None]
) -> None:
    earlier(world)
    world.wrap = OutOfReach
    before = world.clock.monotonic()
    with pytest.raises(StillRunning, match="cannot be asked") as caught:
        world.apply()
    assert caught.value.hint
    assert world.clock.monotonic() - before < 1


def test_an_execution_that_is_at_work_after_a_day_is_watched_until_it_has_ended(
    world: World,
) -> None:
    give_up_an_upload(world)
    world.advance(hours=25)
    world.apply()
    assert any("has not ended" in sentence for sentence in world.said.sentences)
    assert watched(world) == 1
    world.emulator.run_all()
    assert names(world) == {"u1", "u2", "u3"}
    world.apply(allowed=("vip",))
    assert watched(world) == 0
    assert_sound(world, in_flight=2)


def test_an_execution_that_is_taken_as_ended_is_watched_as_well(world: World) -> None:
    """Its upload was answered, so that nothing of it was ever in doubt but its end."""
    world.define("vip", rows=["u1", "u2"])
    world.apply()
    world.accounts("vip", "u1", "u2", "u3")
    script = ExecutionScript(starts_after_polls=NEVER_BY_ITSELF)
    world.emulator.faults.add("upload", script)
    with pytest.raises(StillRunning):
        world.apply()
    world.accounts("vip", "u1", "u2")
    report = world.apply(allowed=("vip",))
    assert report.recovered is not None
    assert report.recovered.outcome.unknown == 1
    world.emulator.run_all()
    assert names(world) == {"u1", "u2", "u3"}
    world.apply(allowed=("vip",))
    assert_sound(world, in_flight=2)
    world.advance(days=1)
    world.apply()
    assert watched(world) == 0


@pytest.mark.parametrize("way", ["the run ends", "the process dies"])
def test_the_last_upload_of_a_run_that_takes_long_is_watched_for_as_long_as_any_other(
    world: World, way: str
) -> None:
    """The run is nearly as old as an execution may become when its last part is uploaded."""
    emulator = world.emulator
    world.destination |= {"execution_max_age": "1h", "max_upload_bytes": 250}
    world.define("vip", rows=["u1", "u2", "u3", "u4"])
    emulator.faults.add("upload", ExecutionScript(starts_after_polls=345))
    late = ExecutionScript(starts_after_polls=NEVER_BY_ITSELF)
    emulator.faults.add("upload", late, call=2)
    hidden = ["5002"]
    if way == "the run ends":
        emulator.faults.add("upload", Cut("after_apply"), call=2)
        world.wrap = lambda destination: Blind(destination, hidden)
        assert world.apply().exit is Exit.DONE
    else:
        assert apply_until_killed(world, "after upload", nth=2)
    world.wrap = lambda destination: Blind(destination, hidden)
    world.advance(minutes=10)
    world.accounts("vip", "u1")
    world.apply(allowed=("vip",))
    assert names(world) == {"u1"}
    emulator.run_all()
    assert len(names(world)) > 1
    hidden.clear()
    world.apply(allowed=("vip",))
    assert_sound(world, in_flight=2)
    world.advance(hours=1)
    world.apply()
    assert watched(world) == 0
