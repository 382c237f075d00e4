"""A plan becomes a run: what is written of it before it is sent, and what is left behind."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from segsync.destination import Execution
from segsync.emulator import ExecutionScript
from segsync.exits import Exit
from segsync.plan import Plan
from segsync.state import PartRecord, PartStatus, RunStatus, open_state
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import Passing, apply_until_killed
from tests.support.world import START_MS, World, assert_sound


@pytest.fixture
def world() -> Iterator[World]:
    with in_one_thread() as folder, LeanWorld(folder / "world") as made:
        made.define("vip", rows=["a", "b"])
        yield made


def test_what_is_written_of_a_run_is_what_was_planned(world: World) -> None:
    """Before the first byte has left; of segments that are not filled nothing is written."""
    world.apply()
    world.define("mail", "email_hash", rows=[f"h{n}" for n in range(9)])
    world.define("full", "user_agent_id", rows=["vec:1"], guard={"max_members": 0})
    world.accounts("vip", "b", "c")
    world.destination["max_upload_bytes"] = 600
    world.clock.sleep(60)
    plans: list[Plan] = []

    def confirm(plan: Plan) -> bool:
        plans.append(plan)
        return True

    assert apply_until_killed(world, "before create_import", confirm=confirm)
    with closing(open_state(world.state, read_only=True)) as state:
        run, kinds = state.open_run(), [place.kind.value for place in state.keyspaces()]
        segments = [segment.name for segment in state.segments()]
    assert run is not None
    assert (run.serial, run.status, run.import_id) == (2, RunStatus.OPEN, None)
    assert run.reference == f"segsync-{world.lineage}-00000002"
    assert START_MS + 60_000 <= run.submitted_at_ms < START_MS + 70_000
    assert run.spec_sha256 == plans[0].spec_sha256
    assert run.commands == plans[0].totals.commands == 11
    assert len(run.parts) > 2
    assert run.parts == tuple(
        PartRecord(part.number, part.step, part.first, part.last, part.size, record.sha256)
        for part, record in zip(plans[0].parts, run.parts, strict=True)
    )
    assert {part.status for part in run.parts} == {PartStatus.WAITING}
    assert len({part.sha256 for part in run.parts}) == len(run.parts)
    assert segments == ["vip", "mail"]
    assert kinds == ["user_account_id", "email_hash"]
    world.settle(targets=("vip", "mail"))


def test_a_run_that_has_nothing_to_send_is_a_run_all_the_same(world: World) -> None:
    world.define("fans", rows=["a"])
    world.apply()
    world.drop("fans", "keep")
    report = world.apply()
    assert report.run is not None
    assert (report.run.parts, report.run.import_id, report.run.segments) == ((), None, ())
    assert report.run.reference == f"segsync-{world.lineage}-00000002"
    with closing(open_state(world.state, read_only=True)) as state:
        assert [run.status for run in state.last_runs(9)] == [RunStatus.DONE] * 2


def test_a_report_says_of_each_segment_what_became_of_its_commands(world: World) -> None:
    world.define("mail", "email_hash", rows=["h1", "h2"])
    world.emulator.reject([world.emulator.email("h2")])
    report = world.apply()
    assert report.run is not None
    assert report.run.import_id == world.emulator.imports[0].id
    found = [(one.name, one.confirmed, one.rejected) for one in report.run.segments]
    assert found == [("vip", 2, 0), ("mail", 1, 1)]
    assert report.run.problems == ()
    world.emulator.accept_all()
    world.advance(days=7)
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    report = world.apply()
    assert report.run is not None
    [problem] = report.run.problems
    assert "ended as FAILED" in problem


def test_an_apply_tells_how_long_its_run_has_taken(world: World) -> None:
    world.clock.sleep(1000)
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=3))
    report = world.apply()
    assert report.run is not None
    assert report.run.seconds == pytest.approx(world.clock.monotonic() - 1000)
    assert 0 < report.run.seconds < 100


class Tidying(Passing):
    """A destination during whose upload somebody takes the payload away."""

    def upload(self, document_import: str, payload: Path) -> Execution:
        execution = self._inner.upload(document_import, payload)
        shutil.rmtree(payload.parent)
        return execution


def test_a_payload_that_somebody_has_taken_away_when_it_was_sent_is_not_missed(
    world: World,
) -> None:
    world.wrap = Tidying
    assert world.apply().exit is Exit.DONE
    assert_sound(world)


def test_what_a_killed_apply_has_left_goes_and_what_is_of_others_stays(world: World) -> None:
    world.apply()
    folder = world.state.parent
    for name in ("state.db.payload-1", "state.db.payload-2", "other.db.payload-1"):
        (folder / name).mkdir()
        (folder / name / "part-1").touch()
    for name in ("state.db.new-1", "state.db.payload-3", "other.db.new-1"):
        (folder / name).touch()
    assert world.apply().run is None
    left = {path.name for path in folder.iterdir()}
    kept = {"state.db.payload-3", "other.db.payload-1", "other.db.new-1"}
    assert left == {"state.db", "state.db.lock"} | kept
    shutil.rmtree(folder / "other.db.payload-1")
    for name in ("state.db.payload-3", "other.db.new-1"):
        (folder / name).unlink()
