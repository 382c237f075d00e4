"""The order of an apply: who is asked what, and what is written though nothing is sent."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segsync.destination import Destination, DocumentImport
from segsync.emulator import ExecutionScript, http_error
from segsync.engine import Engine, Keyspaces
from segsync.errors import StateStale
from segsync.exits import Exit
from segsync.plan import Plan
from segsync.state import open_state
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import Passing, apply_until_killed
from tests.support.world import World, assert_sound


@pytest.fixture
def world() -> Iterator[World]:
    with in_one_thread() as folder, LeanWorld(folder / "world") as made:
        made.define("vip", rows=["a", "b"])
        yield made


class Asked(Passing):
    """A destination that notes for which imports it is asked, each time."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.times: list[tuple[str, ...]] = []

    def find_imports(self, *prefixes: str) -> list[DocumentImport]:
        self.times.append(prefixes)
        return self._inner.find_imports(*prefixes)


def asked(world: World) -> list[tuple[str, ...]]:
    """What one apply asks for, after the lineage."""
    made: list[Asked] = []

    def wrap(inner: Destination) -> Any:
        made.append(Asked(inner))
        return made[0]

    world.wrap = wrap
    world.apply()
    world.wrap = lambda destination: destination
    start = f"segsync-{world.lineage}-"
    return [tuple(one.removeprefix(start) for one in prefixes) for prefixes in made[0].times]


def test_whoever_thinks_for_more_than_a_minute_is_asked_for_once_more(world: World) -> None:
    """Another copy of the state may have been used meanwhile, if something is sent."""
    made: list[Asked] = []

    def wrap(inner: Destination) -> Any:
        made.append(Asked(inner))
        return made[-1]

    def thinking(seconds: float, agreed: bool) -> Callable[[Plan], bool]:
        def confirm(_: Plan) -> bool:
            world.clock.sleep(seconds)
            return agreed

        return confirm

    world.clock.sleep(1000)
    world.wrap = wrap
    for seconds, agreed, is_changed, times in [
        (61, False, True, 1),
        (0, True, True, 1),
        (61, True, False, 1),
        (60, True, True, 1),
        (61, True, True, 2),
    ]:
        if is_changed:
            world.fill("vip", [*world.tables["vip"].rows, (f"u{len(made)}",)])
        report = world.apply(confirm=thinking(seconds, agreed))
        assert len(made[-1].times) == times
        assert (report.run is not None) == (agreed and is_changed)


# -------------------------------------------------------------------- copies of the state


def test_an_old_copy_is_refused_before_anybody_is_asked(world: World) -> None:
    world.apply()
    world.emulator.add_import(f"segsync-{world.lineage}-00000002")
    asked: list[Plan] = []

    def confirm(plan: Plan) -> bool:
        asked.append(plan)
        return True

    world.accounts("vip", "a")
    with pytest.raises(StateStale, match="is at serial 1, and the platform has seen run 2"):
        world.apply(confirm=confirm)
    assert asked == []


def test_imports_of_long_ago_are_listed_only_where_the_newest_known_is_gone(world: World) -> None:
    world.apply()
    world.accounts("vip", "a", "b", "c")
    world.apply()
    assert asked(world) == [("000000",)]
    world.emulator.faults.add("create_import", http_error(403))
    world.accounts("vip", "a", "b", "c", "d")
    assert world.apply().exit is Exit.ERROR
    world.accounts("vip", "a", "b", "c")
    assert asked(world) == [("000000",)]
    imports = world.emulator.world.executions.imports
    first, second = sorted(imports)
    del imports[first]
    assert asked(world) == [("000000",)]
    del imports[second]
    assert asked(world) == [("000000",), ("",)]


class Unaware(Passing):
    """A destination of an apply that began before another's import was there."""

    def find_imports(self, *_prefixes: str) -> list[DocumentImport]:
        return []


def test_two_copies_that_were_both_used_are_told_with_the_import_of_the_other(
    world: World, tmp_path: Path
) -> None:
    world.apply()
    shutil.copy2(world.state, tmp_path / "copy.db")
    world.accounts("vip", "a", "b", "here")
    world.apply()
    [_, here] = sorted(world.emulator.world.executions.imports)
    shutil.move(tmp_path / "copy.db", world.state)
    world.accounts("vip", "a", "b", "there")
    world.wrap = Unaware
    world.apply()
    world.wrap = lambda destination: destination
    with pytest.raises(StateStale) as caught:
        world.apply()
    assert caught.value.message == (
        f"the state {world.state} is one of two copies that were both used: run 2 of its lineage "
        f"was made by the other one (document import {here})"
    )


def test_an_import_of_the_same_name_in_which_nothing_is_matters_to_nobody(world: World) -> None:
    world.apply()
    world.emulator.add_import(f"segsync-{world.lineage}-00000001")
    world.emulator.add_import(f"segsync-{world.lineage}-notes")
    world.accounts("vip", "a", "b", "c")
    assert world.apply().exit is Exit.DONE
    assert_sound(world)


# -------------------------------------------------------------------- what is written and told


def names(world: World) -> list[str]:
    with closing(open_state(world.state, read_only=True)) as state:
        return [segment.name for segment in state.segments()]


def test_new_names_are_written_down_unless_the_user_says_no(world: World) -> None:
    world.define("old", rows=["a"], segment_id="88")
    world.define("gone", rows=["a"])
    world.apply()
    world.drop("old")
    world.drop("gone")
    world.define("new", rows=["a"], segment_id="88")
    world.apply(confirm=lambda _: False)
    assert names(world) == ["vip", "old", "gone"]
    report = world.apply()
    assert report.run is None
    assert names(world) == ["vip", "new", "gone"]
    before = world.state.read_bytes()
    world.apply()
    assert world.state.read_bytes() == before


def test_a_report_counts_what_is_in_doubt_but_not_where_the_spec_looks_no_more(
    world: World,
) -> None:
    world.define("orphan", rows=["x", "y", "z"])
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    report = world.apply()
    assert report.run is not None
    assert (report.agreed, report.pending, report.rejects) == (True, 5, 0)
    world.drop("orphan")
    report = world.apply(confirm=lambda _: False)
    assert (report.agreed, report.pending, report.run) == (False, 2, None)
    world.emulator.reject([world.emulator.account("b")])
    report = world.apply()
    assert (report.pending, report.rejects, report.recovered) == (1, 1, None)
    world.emulator.accept_all()
    world.accounts("vip", "a", "b", "c")
    assert apply_until_killed(world, "after upload")
    report = world.apply()
    assert report.recovered is not None
    assert report.recovered.outcome.unknown == 0
    assert report.pending == 0
    world.accounts("vip", "a", "b", "c", "d")
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    assert apply_until_killed(world, "after upload")
    report = world.apply(confirm=lambda _: False)
    assert report.pending == 4, "what is in doubt of the recovered run may be an orphan's"


# -------------------------------------------------------------------- digests of another engine


def with_other_digests(world: World) -> None:
    """As if another version of the engine had made them."""
    with closing(open_state(world.state, read_only=False)) as state:
        state.replace_digests({segment.number: 7 for segment in state.segments()}, 1)


def digests(world: World) -> tuple[int, list[int]]:
    with closing(open_state(world.state, read_only=True)) as state:
        return state.identity.digest_probe, [segment.digest for segment in state.segments()]


@pytest.mark.parametrize("saved", [False, True])
def test_digests_are_made_anew_before_anything_is_sent(
    world: World, tmp_path: Path, saved: bool
) -> None:
    """Of those that nothing is sent to as well, and of those that do not say their compartment."""
    places = [("a", "1"), ("b", "2")]
    world.define("places", "user_account_id", "compartment_id", rows=places)
    world.apply()
    good = digests(world)
    with_other_digests(world)
    assert digests(world) != good
    if saved:
        world.accounts("vip", "a", "b")
        world.save(tmp_path / "plan")
        world.apply_saved(tmp_path / "plan")
    else:
        world.apply()
    assert digests(world) == good
    with Engine(Keyspaces([])) as engine:
        assert good[0] == engine.digest_probe()
    assert_sound(world)
