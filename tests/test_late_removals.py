"""A removal that was refused once is accepted later: whom it may have taken along is said again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from segsync.emulator import ExecutionScript
from segsync.report import Exit, Report
from segsync.state import Identity, PartRecord, PartStatus, create, open_state
from segsync.state.database import Database
from segsync.state.late_removals import doubt_newcomers, note_newcomers
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import Blind, apply_until_killed
from tests.support.world import Row, World, assert_sound


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """The accounts u1, u2 and u3 came while h0's removal was refused, which is accepted now."""
    with in_one_thread(), LeanWorld(tmp_path) as made:
        columns = ("email_hash", "user_account_id", "total")
        rows = [("h0", None, 1), (None, "old", 1)]
        made.define("vip", *columns, rows=rows, guard={"max_removed": "100%"})
        made.apply()
        made.emulator.reject([made.emulator.email("h0")], operations=("DELETE",))
        made.fill("vip", accounts())
        assert made.apply().exit is Exit.REJECTED
        made.emulator.accept_all()
        made.emulator.refused.clear()
        yield made


def accounts(**totals: int) -> list[Row]:
    """The members and their data bags: 1 where nothing is said. `old` was there before."""
    everybody = {"old": 1, "u1": 1, "u2": 1, "u3": 1} | totals
    return [(None, name, total) for name, total in everybody.items()]


def in_doubt(report: Report) -> Mapping[str, int]:
    assert report.run is not None
    return {"members": report.run.outcome.doubted, "executions": len(report.run.parts)}


def assert_settled(world: World) -> None:
    world.settle()
    assert_sound(world)


def test_who_is_not_said_after_a_late_removal_is_in_doubt(world: World) -> None:
    report = world.apply()
    assert report.exit is Exit.UNKNOWN
    assert in_doubt(report) == {"members": 3, "executions": 1}
    assert_settled(world)


def test_who_is_confirmed_after_a_late_removal_is_beyond_doubt(world: World) -> None:
    world.fill("vip", accounts(u1=2, new=1))
    world.destination["max_upload_bytes"] = 200
    report = world.apply()
    assert in_doubt(report) == {"members": 2, "executions": 3}
    assert_settled(world)


def test_who_could_not_be_said_after_a_late_removal_is_in_doubt(world: World) -> None:
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    world.fill("vip", accounts(u1=2, new=1))
    report = world.apply()
    assert in_doubt(report) == {"members": 3, "executions": 2}
    assert_settled(world)


def test_a_rejected_removal_whose_row_comes_back_invalid_is_not_forgotten(world: World) -> None:
    """The member is spared, and so may be removed late all the same."""
    world.tables["vip"].keys["invalid_rows"] = "skip"
    world.emulator.reject([world.emulator.email("h0")], operations=("DELETE",))
    world.fill("vip", [("h0", "both", 1), *accounts()])
    spared = world.apply()
    assert spared.plan is not None
    assert (spared.plan.totals.spared, spared.plan.totals.settled) == (1, 0)
    world.emulator.accept_all()
    world.emulator.refused.clear()
    world.fill("vip", accounts())
    assert in_doubt(world.apply()) == {"members": 3, "executions": 1}
    assert_settled(world)


def test_a_removal_that_is_wanted_no_more_brings_nobody_into_doubt(world: World) -> None:
    world.fill("vip", [("h0", None, 1), *accounts()])
    report = world.apply()
    assert report.exit is Exit.DONE
    assert in_doubt(report) == {"members": 0, "executions": 1}
    assert_settled(world)


def test_who_was_refused_and_is_no_member_stays_refused_when_a_removal_acts_late(
    world: World,
) -> None:
    emulator = world.emulator
    refused = [emulator.email("h0")]
    emulator.reject(refused, operations=("DELETE",))
    emulator.reject([emulator.account("new")], operations=("UPDATE",))
    world.fill("vip", accounts(new=1))
    assert world.apply().exit is Exit.REJECTED
    world.advance(minutes=30)
    assert world.apply().exit is Exit.REJECTED
    world.advance(minutes=31)
    emulator.accept_all()
    report = world.apply()
    assert in_doubt(report) == {"members": 3, "executions": 1}
    with closing(open_state(world.state, read_only=True)) as state:
        assert [reject.identifier for reject in state.rejects(9)] == ["new"]
    emulator.refused.clear()
    world.advance(minutes=30)
    assert_settled(world)


def test_a_removal_after_another_kind_of_refusal_brings_nobody_into_doubt(world: World) -> None:
    """What was refused was an update of h1; h0's removal is refused all the time."""
    emulator = world.emulator
    world.fill("vip", [("h1", None, 1), *accounts()])
    emulator.reject([emulator.email("h0")], operations=("DELETE",))
    world.apply()
    world.fill("vip", [("h1", None, 2), *accounts()])
    emulator.reject([emulator.email("h1")], operations=("UPDATE",))
    world.advance(days=8)
    assert world.apply().exit is Exit.REJECTED
    world.fill("vip", accounts())
    world.advance(days=8)
    report = world.apply()
    assert report.exit is Exit.REJECTED
    assert in_doubt(report) == {"members": 0, "executions": 1}


def test_who_is_added_by_a_plan_that_was_saved_before_a_late_removal_is_said_again(
    tmp_path: Path,
) -> None:
    """The plan does not know that h0 is in doubt; h0 and u1 are one person."""
    with in_one_thread(), LeanWorld(tmp_path / "world") as world:
        emulator = world.emulator
        h0, u1 = emulator.email("h0"), emulator.account("u1")
        emulator.declare_person([h0, u1])
        columns = ("email_hash", "user_account_id")
        rows: list[Row] = [("h0", None), ("h1", None)]
        world.define("vip", *columns, rows=rows, guard={"max_removed": "100%"})
        world.apply()
        world.fill("vip", [("h1", None)])
        emulator.faults.add("upload", ExecutionScript(starts_after_polls=10**6))
        assert apply_until_killed(world, "after upload")
        emulator.behave(lists_until_seen=10**6)
        emulator.on_upload(lambda _: emulator.behave(lists_until_seen=0))
        world.apply()
        late = [emulator.executions[1].id]
        world.wrap = lambda destination: Blind(destination, late)
        world.advance(hours=25)
        world.fill("vip", [("h1", None), (None, "u1")])
        world.save(tmp_path / "plan")
        emulator.run_all()
        late.clear()
        world.apply_saved(tmp_path / "plan")
        assert emulator.is_member("vip", u1)
        world.settle()
        assert emulator.is_member("vip", u1)


VERY_MANY = 5_000
"""Ten times what SQLite puts together in one compound SELECT, five times its depth of terms."""


def test_any_number_of_segments_and_parts_may_be_in_doubt(tmp_path: Path) -> None:
    identity = Identity("lineage", 0, "1509", "https://api.mediarithmics.com", 0)
    create(tmp_path / "state.db", identity)
    fates = (PartStatus.CONFIRMED, PartStatus.UNKNOWN)
    parts = [
        PartRecord(number, 2, number, number, 1, "", fates[number % 2])
        for number in range(1, VERY_MANY)
    ]
    with closing(Database(tmp_path / "state.db", read_only=False)) as database:
        with database.transaction():
            for statement in (
                "INSERT INTO segments (id, field, value, name)"
                " VALUES (7, 'segment_id', '7', 'vip')",
                "INSERT INTO keyspaces VALUES (1, 7, 'user_account_id', NULL)",
                'INSERT INTO members SELECT 1, value, 1, 0 FROM json_each(\'["a","b","c"]\')',
                "INSERT INTO changes SELECT key + 1, 1, value, 'add', 1, 0, 0"
                ' FROM json_each(\'["a","b","c"]\')',
            ):
                database.execute(statement)
            note_newcomers(database, range(VERY_MANY))
            doubted = doubt_newcomers(database, range(VERY_MANY), parts)
        pending = database.rows("SELECT identifier FROM pending ORDER BY 1")
    assert doubted == {7: 2}
    assert pending == [("a",), ("c",)], "b was said in the second part, which was confirmed"
