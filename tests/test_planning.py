"""What a plan is made of: whose it is, which segments it carries out, and where they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from segsync.emulator import ExecutionScript
from segsync.engine import Layout, Target
from segsync.errors import StateForeign, UsageError
from segsync.model import DAY_MS, Address
from segsync.plan import SegmentStatus
from segsync.planning import Planner, PlanOptions, layout_of, open_engine, targets
from segsync.state import StateSegment, open_state
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import apply_until_killed
from tests.support.world import START_MS, World, assert_sound

OK, REMOVED, ORPHANED = SegmentStatus.OK, SegmentStatus.REMOVED, SegmentStatus.ORPHANED


@pytest.fixture
def world() -> Iterator[World]:
    with in_one_thread() as folder, LeanWorld(folder / "world") as made:
        yield made


def named(name: str) -> Address:
    return Address("segment_technical_name", name)


def test_a_plan_says_for_what_it_was_made(world: World) -> None:
    world.define("vip", rows=["a"])
    first, spec = world.plan(), world.spec
    assert (first.serial, first.last_submitted_ms) == (0, 0)
    assert (first.open_run, first.watched, first.partial) == (None, (), False)
    assert first.created_at_ms == START_MS
    assert (first.datamart_id, first.api_origin) == ("1509", world.url)
    assert first.spec_sha256 == spec.sha256
    world.apply()
    world.clock.sleep(60)
    world.accounts("vip", "a", "b")
    assert apply_until_killed(world, "after upload")
    submitted_ms = START_MS + 60_000
    plan = world.plan()
    assert plan.serial == 1
    assert plan.lineage == world.lineage
    assert plan.open_run == f"segsync-{world.lineage}-00000002"
    assert submitted_ms <= plan.last_submitted_ms < submitted_ms + 10_000
    world.settle()
    plan = world.plan()
    assert (plan.serial, plan.open_run) == (2, None)
    assert plan.watched == (f"segsync-{world.lineage}-00000002",)


def test_only_what_changes_is_carried_out_and_removed_segments_leave_the_state(
    world: World,
) -> None:
    for name in ("kept", "ended", "orphan", "same", "lapsed"):
        world.define(name, rows=["a", "b"])
    world.define("lapsed", rows=["a"], expiration="2d", guard={"allow_empty": True})
    world.apply()
    world.drop("kept", "keep")
    world.drop("ended", "delete")
    world.drop("orphan")
    world.accounts("lapsed")
    world.define("new", rows=["a"], reassert="60d", segment_id="88")
    world.define("broken", rows=[""])
    world.define("full", rows=["a"], guard={"max_members": 0})
    world.clock.sleep(4 * 86_400)
    with world.planned() as planned:
        plan = planned.plan
        assert [(item.name, item.number, item.status) for item in plan.segments] == [
            ("same", 4, OK),
            ("lapsed", 5, OK),
            ("new", 6, OK),
            ("broken", 7, SegmentStatus.ERROR),
            ("full", 8, SegmentStatus.BLOCKED),
            ("kept", 1, REMOVED),
            ("ended", 2, REMOVED),
            ("orphan", 3, ORPHANED),
        ]
        assert plan.segments[-1].counts.snapshot == 2
        assert planned.dropped == {1: "keep", 2: "delete"}
        assert planned.segments == (
            StateSegment(4, named("same"), "same", 0, 0, None),
            StateSegment(5, named("lapsed"), "lapsed", 0, 0, None),
            StateSegment(6, Address("segment_id", "88"), "new", 0, 0, None),
        )
        assert planned.reasserted == (6,)
        assert targets(plan, world.spec) == (
            Target(5, named("lapsed"), 2 * 24 * 60),
            Target(6, Address("segment_id", "88"), 0),
            Target(2, named("ended"), 0),
        )
        assert (plan.totals.forget, plan.totals.add, plan.totals.remove) == (1, 1, 2)
        assert [part.lines for part in plan.parts] == [2, 1]


def test_commands_are_written_as_the_spec_says(world: World) -> None:
    world.define("vip", rows=["a"])
    world.destination |= {"format": "csv", "max_upload_bytes": 12_345}
    assert layout_of(world.spec, 7) == Layout("csv", 7, 12_345)


def test_targets_are_planned_and_excluded_ones_are_not(world: World) -> None:
    for name in ("one", "two", "three"):
        world.define(name, rows=["a"])

    def planned(**options: Any) -> tuple[list[str], bool]:
        plan = world.plan(**options)
        return [segment.name for segment in plan.segments], plan.partial

    assert planned() == (["one", "two", "three"], False)
    assert planned(targets=("two",)) == (["two"], True)
    assert planned(excluded=("two",)) == (["one", "three"], True)
    assert planned(targets=("one", "two"), excluded=("two",)) == (["one"], True)
    with pytest.raises(UsageError, match="there is no segment 'four' in the spec"):
        world.plan(allowed=("four",))


def test_a_segment_that_is_called_otherwise_now_says_how_it_was_called(world: World) -> None:
    world.define("old", rows=["a"], segment_id="88")
    world.define("same", rows=["a"], segment_id="99")
    world.apply()
    world.drop("old")
    world.define("mine", rows=["a"], segment_id="88")
    world.define("new", rows=["a"])
    found = {segment.name: segment.renamed_from for segment in world.plan().segments}
    assert found == {"same": None, "mine": "old", "new": None}


def test_what_keeps_the_platform_from_filling_a_segment_is_its_error(world: World) -> None:
    world.define("vip", rows=["a"])
    world.define("fans", rows=["a"])
    world.apply()
    spec = world.spec
    with (
        closing(open_state(world.state, read_only=True)) as state,
        open_engine(state, PlanOptions()) as engine,
    ):
        planner = Planner(
            spec, state, engine, PlanOptions(), world.said, START_MS,
            problem_of=lambda segment: "is paused" if segment.name == "vip" else None,
        )  # fmt: skip
        vip, fans = planner.make().plan.segments
        assert (vip.status, vip.error) == (SegmentStatus.ERROR, "is paused")
        assert (fans.status, fans.error) == (OK, None)
        world.destination["datamart_id"] = "1510"
        foreign = Planner(world.spec, state, engine, PlanOptions(), world.said, START_MS)
        with pytest.raises(StateForeign):
            foreign.make()


def test_a_lapse_is_certain_a_day_and_the_longest_run_later(world: World) -> None:
    """So late the platform may have carried out what an apply had said long before."""
    world.define("vip", rows=["a", "b"], expiration="30d")
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=30))
    world.apply()
    with closing(open_state(world.state, read_only=True)) as state:
        longest_ms, submitted_ms = state.longest_run_ms(), state.last_submitted_ms()
    assert longest_ms > 100_000
    world.accounts("vip", "b")
    certain_ms = submitted_ms + 31 * DAY_MS + longest_ms
    for moment_ms, figures in [(certain_ms - 1000, (1, 0)), (certain_ms + 1000, (0, 1))]:
        world.clock.sleep((moment_ms - world.clock.now_ms()) / 1000)
        totals = world.plan().totals
        assert (totals.remove, totals.forget) == figures
    world.settle()
    assert_sound(world)
