"""The state that a spec names: as it is, made where there is none, and never that of others."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from segsync.errors import StateForeign
from segsync.own_state import reading_state, writing_state
from segsync.state import Identity, create
from tests.support.crash import apply_until_killed
from tests.support.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        made.define("vip", rows=["a", "b"])
        yield made


def identity(world: World, lineage: str) -> Identity:
    return Identity(lineage, 0, "1509", world.url, 0)


def test_a_state_is_made_for_the_datamart_and_api_of_its_spec(world: World) -> None:
    spec = world.spec
    with reading_state(spec) as state:
        assert state.identity == identity(world, state.identity.lineage)
        assert state.read_only
    assert not world.state.exists()
    with writing_state(spec) as state:
        lineage = state.identity.lineage
        assert state.identity == identity(world, lineage)
        assert not state.read_only
        assert len(bytes.fromhex(lineage)) == 12
    for again in (writing_state(spec, "0" * 24), reading_state(spec)):
        with again as state:
            assert state.identity == identity(world, lineage)
    with reading_state(spec) as state:
        assert state.read_only


def test_a_plan_may_say_of_which_lineage_a_new_state_is(world: World) -> None:
    with writing_state(world.spec, "0" * 24) as state:
        assert state.identity == identity(world, "0" * 24)


@pytest.mark.parametrize(("datamart", "api"), [("1510", None), ("1509", "https://b.example")])
def test_a_state_of_others_in_which_nothing_ran_is_replaced(
    world: World, datamart: str, api: str | None
) -> None:
    world.state.parent.mkdir(mode=0o700)
    create(world.state, Identity("1" * 24, 0, datamart, api or world.url, 0))
    with reading_state(world.spec) as state:
        assert state.identity.lineage != "1" * 24
        assert_nothing_deleted_is_open(world)
    with writing_state(world.spec, "0" * 24) as state:
        assert state.identity == identity(world, "0" * 24)
        assert not state.read_only
        assert_nothing_deleted_is_open(world)


def assert_nothing_deleted_is_open(world: World) -> None:
    """A process may have few files open, and a lock on one that is gone locks nobody out."""
    opened = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            opened.append(str(link.readlink()))
    assert not [name for name in opened if name == f"{world.state} (deleted)"]


@pytest.mark.parametrize("is_open", [False, True])
def test_a_state_of_others_is_left_alone_from_the_first_run_on(world: World, is_open: bool) -> None:
    if is_open:
        assert apply_until_killed(world, "before create_import")
    else:
        world.apply()
    before = world.state.read_bytes()
    requests = len(world.emulator.request_log)
    world.destination["datamart_id"] = "1510"
    with pytest.raises(StateForeign), writing_state(world.spec):
        raise AssertionError("it was handed out")
    with reading_state(world.spec) as state:
        assert state.identity.datamart_id == "1509"
    for look in (world.plan, world.apply):
        with pytest.raises(StateForeign):
            look()
    assert world.state.read_bytes() == before
    assert len(world.emulator.request_log) == requests
