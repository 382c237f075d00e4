"""What ends a plan before anything is sent: damage, want of memory, impatience, another apply."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from segsync.emulator import ExecutionScript
from segsync.engine import EngineError
from segsync.errors import StateDamaged
from segsync.state import Journal, Run, RunStatus, StateMoved, open_state
from segsync.state.file import PAGE_SIZE
from tests.support.world import Said, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        made.define("vip", rows=["a", "b"])
        yield made


def damaged(world: World) -> None:
    """A page with members of the segment `many` only is not what was written."""
    world.define("many", rows=[f"many{n:05}" for n in range(2_000)])
    world.apply()
    content = bytearray(world.state.read_bytes())
    pages = range(0, len(content), PAGE_SIZE)
    leaf_of_members = 0x0A
    [page] = [
        at
        for at in pages
        if content[at] == leaf_of_members and content.find(b"many01000", at, at + PAGE_SIZE) > 0
    ]
    content[page] ^= 0xFF
    world.state.write_bytes(content)


def test_digests_of_damaged_members_are_not_made_anew(world: World) -> None:
    damaged(world)
    with closing(open_state(world.state, read_only=False)) as state:
        state.replace_digests({segment.number: 7 for segment in state.segments()}, 1)
    before = world.state.read_bytes()
    with pytest.raises(StateDamaged):
        world.apply(targets=("vip",))
    assert world.state.read_bytes() == before


def test_what_an_apply_leaves_out_must_be_whole_and_what_it_reads_too(world: World) -> None:
    damaged(world)
    world.accounts("vip", "a", "c")
    uploads = len(world.uploads)
    with pytest.raises(StateDamaged):
        world.apply(targets=("vip",))
    assert world.plan(targets=("vip",)).totals.add == 1
    with pytest.raises(StateDamaged, match="is damaged: database disk image is malformed"):
        world.plan()
    assert len(world.uploads) == uploads


def test_what_does_not_fit_into_memory_is_told_with_its_segment(world: World) -> None:
    world.define("large", rows=["x" * 20_000_000])
    with pytest.raises(EngineError, match=r"^segment large: the comparison failed: ") as caught:
        world.plan(memory_limit="16MB")
    assert "--memory-limit" in str(caught.value.hint)


class Impatient(Said):
    """Whoever wants nothing any more when the first query has begun."""

    def reading(self, segment: str) -> None:
        if segment == "vip":
            raise KeyboardInterrupt


ENDLESS = (
    "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    "SELECT 'x' AS user_account_id FROM n WHERE i < 0"
)


def test_queries_that_are_under_way_are_ended_with_the_plan(world: World) -> None:
    world.define("endless", rows=[], query=ENDLESS)
    world.said = Impatient()
    with pytest.raises(KeyboardInterrupt):
        world.plan(parallelism=2)


# -------------------------------------------------------------------- another apply


class Moving(Said):
    """While a query is read, another apply begins, so many times."""

    def __init__(self, state: Path, times: int) -> None:
        super().__init__()
        self._state = state
        self._times = times
        self.readings: list[str] = []

    def reading(self, segment: str) -> None:
        self.readings.append(segment)
        if len(self.readings) <= self._times:
            with closing(open_state(self._state, read_only=False)) as state:
                serial = 1 + state.last_runs(1)[0].serial
                run = Run(serial, state.identity.reference(serial), RunStatus.DONE, 0, "", 0, "")
                state.begin_run(Journal(run, (), ()))


@pytest.mark.parametrize("times", [4, 5])
def test_a_plan_starts_anew_four_times_where_applies_begin_while_it_reads(
    world: World, times: int
) -> None:
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    world.apply()
    world.said = moving = Moving(world.state, times)
    if times == 5:
        with pytest.raises(StateMoved, match="another apply"):
            world.plan()
    else:
        assert world.plan().totals.retry == 2
    assert moving.readings == ["vip"] * 5
