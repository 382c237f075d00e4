"""An old copy of the state, or a second one, is noticed before it sends what others have undone."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from segsync.destination import Destination, DocumentImport
from segsync.emulator import Cut, http_error
from segsync.errors import StateStale
from segsync.plan import Plan
from segsync.state import Identity
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import Backing, Passing
from tests.support.world import World, assert_sound

ALLOWED: dict[str, Any] = {"allowed": ("vip",)}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with in_one_thread(), LeanWorld(tmp_path) as made:
        yield made


def test_an_old_copy_is_noticed_although_its_plan_changes_nothing(
    world: World, tmp_path: Path
) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    backup = shutil.copy2(world.state, tmp_path / "backup.db")
    world.accounts("vip", "a", "b", "c")
    world.apply()
    world.accounts("vip", "a", "b")
    shutil.copy2(backup, world.state)
    assert not world.plan().changes_something
    with pytest.raises(StateStale):
        world.apply()


def test_an_old_backup_of_the_state_is_noticed_and_refused(world: World, tmp_path: Path) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    backup = tmp_path / "backup.db"
    shutil.copy2(world.state, backup)
    world.accounts("vip", "a", "b", "c")
    world.apply()
    newest = tmp_path / "newest.db"
    shutil.copy2(world.state, newest)
    shutil.copy2(backup, world.state)
    before = world.state.read_bytes()
    with pytest.raises(StateStale):
        world.apply()
    assert world.state.read_bytes() == before
    shutil.copy2(newest, world.state)
    backup.unlink()
    newest.unlink()
    assert world.apply().run is None
    assert_sound(world)


def test_of_two_machines_with_one_state_only_the_first_may_apply(
    world: World, tmp_path: Path
) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    copy = tmp_path / "copy.db"
    shutil.copy2(world.state, copy)
    world.accounts("vip", "a", "c")
    world.apply(allowed=("vip",))
    shutil.move(copy, world.state)
    world.accounts("vip", "d")
    with pytest.raises(StateStale):
        world.apply(allowed=("vip",))


def test_a_copy_that_was_used_while_somebody_thought_about_the_plan_is_noticed(
    world: World,
) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    world.accounts("vip", "a", "b", "c")

    def confirm(_: Plan) -> bool:
        world.clock.sleep(61)
        world.emulator.add_import(f"segsync-{world.lineage}-{2:08d}")
        return True

    uploads = len(world.uploads)
    with pytest.raises(StateStale, match="has seen run 2"):
        world.apply(confirm=confirm)
    assert len(world.uploads) == uploads
    assert world.plan().open_run is None


class Unaware(Passing):
    """A destination of an apply that began before another's import was there."""

    def find_imports(self, *_prefixes: str) -> list[DocumentImport]:
        return []


@pytest.mark.parametrize(
    "way",
    ["at the same time", "at the same time, with an answer lost", "after a run without an import"],
)
def test_two_copies_of_a_state_that_were_both_used_are_noticed_at_the_same_serial(
    world: World, tmp_path: Path, way: str
) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    shutil.copy2(world.state, tmp_path / "copy.db")
    world.accounts("vip", "a", "b", "here")
    if way == "after a run without an import":
        world.emulator.faults.add("create_import", http_error(403))
    world.apply()
    shutil.move(world.state, tmp_path / "first.db")
    shutil.move(tmp_path / "copy.db", world.state)
    world.accounts("vip", "a", "b", "there")
    if way != "after a run without an import":
        world.wrap = Unaware
    if way == "at the same time, with an answer lost":
        world.emulator.faults.add("create_import", http_error(503))
    world.apply()
    world.wrap = lambda destination: destination
    if way != "at the same time":
        shutil.move(tmp_path / "first.db", world.state)
    world.accounts("vip", "a", "b")
    with pytest.raises(StateStale, match="one of two copies") as caught:
        world.apply()
    assert caught.value.hint


def test_an_import_whose_creation_seemed_lost_is_no_other_copy(world: World) -> None:
    world.define("vip", rows=["a"])
    world.emulator.faults.add("create_import", Cut("after_apply"))
    world.emulator.behave(lists_until_seen=1)
    world.apply()
    world.emulator.behave(lists_until_seen=0)
    world.accounts("vip", "a", "b")
    world.settle()
    assert_sound(world)


@pytest.mark.parametrize("moment", ["before create_import", "after create_import", "after upload"])
def test_a_backup_made_during_an_apply_takes_nothing_of_it_as_unsent(
    world: World, tmp_path: Path, moment: str
) -> None:
    """Its run is the last one that the platform has seen, so the copy is not refused as stale."""
    put_back_what_was_copied(world, tmp_path, moment)
    world.accounts("vip", "a")
    world.settle(**ALLOWED)
    assert_sound(world)


def put_back_what_was_copied(world: World, folder: Path, moment: str) -> None:
    """At this moment of an apply of several parts."""
    world.destination["max_upload_bytes"] = 250
    world.define("vip", rows=["a", "b", "c", "d"])
    backup = folder / "backup.db"
    world.wrap = lambda destination: Backing(destination, world.state, moment, backup)
    world.apply(**ALLOWED)
    assert len(world.uploads) > 1
    world.wrap = lambda destination: destination
    shutil.move(backup, world.state)


def test_an_old_backup_is_noticed_though_nothing_has_to_be_sent(world: World) -> None:
    world.define("vip", rows=["a"])
    world.define("reader", rows=["a"])
    world.apply()
    shutil.copy2(world.state, world.folder / "backup.db")
    world.accounts("vip", "b")
    world.apply(allowed=("vip",))
    shutil.move(world.folder / "backup.db", world.state)
    world.accounts("vip", "a")
    world.drop("reader", "keep")
    with pytest.raises(StateStale):
        world.apply()


def apply_until(world: World, serial: int) -> None:
    """One run after the other, each with somebody new."""
    for number in range(len(world.tables["vip"].rows) + 1, serial + 1):
        world.fill("vip", [(f"u{n}",) for n in range(number)])
        world.apply()


@pytest.mark.parametrize(
    ("serial", "hundreds"),
    [(0, "0"), (49, "0"), (50, "0 1"), (99, "0 1"), (100, "1"), (149, "1"), (150, "1 2")],
)
def test_fifty_later_runs_are_among_those_whose_imports_are_listed(
    serial: int, hundreds: str
) -> None:
    found = Identity("lineage", serial, "1509", "https://api.example", 0).recent_references
    assert found == tuple(f"segsync-lineage-{hundred:>06}" for hundred in hundreds.split())


class Listing(Passing):
    """A destination that notes each list of imports that was asked for, and what was found."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.asked: list[str] = []
        self.found: list[int] = []

    def find_imports(self, *prefixes: str) -> list[DocumentImport]:
        imports = self._inner.find_imports(*prefixes)
        self.asked += [prefix[-6:] for prefix in prefixes]
        self.found += [int(one.name[-8:]) for one in imports]
        return imports


def listing(world: World) -> Listing:
    """What one apply that has nothing to send asks for."""
    made: list[Listing] = []

    def wrap(destination: Destination) -> Any:
        made.append(Listing(destination))
        return made[0]

    world.wrap = wrap
    assert world.apply().run is None
    world.wrap = lambda destination: destination
    return made[0]


def test_an_old_copy_is_noticed_however_many_runs_came_later() -> None:
    """And though many of them had no import. Imports of long ago are not listed at every apply."""
    with in_one_thread() as folder, LeanWorld(folder / "world") as world:
        world.define("vip")
        apply_until(world, 60)
        assert listing(world).asked == ["000000", "000001"]
        backup = shutil.copy2(world.state, world.folder / "backup.db")
        apply_until(world, 112)
        assert listing(world).asked == ["000001"]
        assert sorted(listing(world).found) == list(range(100, 113))
        shutil.move(backup, world.state)
        world.fill("vip", [("u0",)])
        uploads = len(world.uploads)
        for first, last in ((61, 61), (61, 99), (61, 109)):
            with pytest.raises(StateStale, match="at serial 60, and the platform has seen run 1"):
                world.apply(allowed=("vip",))
            forget_imports(world, range(first, last + 1))
        with pytest.raises(StateStale, match="has seen run 112"):
            world.apply(allowed=("vip",))
        assert len(world.uploads) == uploads


def test_an_old_copy_is_noticed_though_the_imports_of_its_time_were_deleted() -> None:
    """As whoever deletes all but those of the last hundred runs does."""
    with in_one_thread() as folder, LeanWorld(folder / "world") as world:
        world.define("vip")
        apply_until(world, 3)
        backup = shutil.copy2(world.state, world.folder / "backup.db")
        apply_until(world, 205)
        forget_imports(world, range(1, 105))
        assert listing(world).asked == ["000002"]
        shutil.move(backup, world.state)
        world.fill("vip", [("u0",)])
        with pytest.raises(StateStale, match="has seen run 205"):
            world.apply(allowed=("vip",))


def forget_imports(world: World, serials: range) -> None:
    imports = world.emulator.world.executions.imports
    for made in list(imports.values()):
        if int(made.name[-8:]) in serials:
            del imports[made.id]


@pytest.mark.parametrize("way", ["assumed to have finished", "taken as ended"])
def test_nothing_is_taken_as_unsent_by_a_backup_that_could_not_ask(
    world: World, tmp_path: Path, way: str
) -> None:
    put_back_what_was_copied(world, tmp_path, "after upload")
    world.accounts("vip", "a")
    if way == "taken as ended":
        world.advance(hours=25)
        world.emulator.faults.add("list_executions", http_error(404), times=2)
    world.apply(assume_finished=way != "taken as ended", **ALLOWED)
    world.settle(**ALLOWED)
    assert_sound(world)
