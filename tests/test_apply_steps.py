"""What an apply asks, writes and leaves, one step after the other: the order of things."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from segsync.destination import Destination, DocumentImport, Execution
from segsync.emulator import ExecutionScript
from segsync.engine import Engine, EngineError, Keyspaces
from segsync.errors import StateDamaged, StateForeign, StateStale
from segsync.exits import Exit
from segsync.own_state import reading_state, writing_state
from segsync.plan import Plan
from segsync.state import Identity, create, open_state
from segsync.state.file import PAGE_SIZE
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import Passing, apply_until_killed
from tests.support.world import Said, World, assert_sound


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        made.define("vip", rows=["a", "b"])
        yield made


@pytest.fixture
def lean() -> Iterator[World]:
    """A quick one, for what does not look at files, threads and queries."""
    with in_one_thread() as folder, LeanWorld(folder / "world") as made:
        made.define("vip", rows=["a", "b"])
        yield made


class Asked(Passing):
    """A destination that notes how often it is asked for imports."""

    def __init__(self, inner: Destination) -> None:
        super().__init__(inner)
        self.times = 0

    def find_imports(self, *prefixes: str) -> list[DocumentImport]:
        self.times += 1
        return self._inner.find_imports(*prefixes)


def test_whoever_thinks_for_more_than_a_minute_is_asked_for_once_more(lean: World) -> None:
    """Another copy of the state may have been used meanwhile, if something is sent."""
    made: list[Asked] = []

    def wrap(inner: Destination) -> Any:
        made.append(Asked(inner))
        return made[-1]

    def thinking(seconds: float, agreed: bool) -> Callable[[Plan], bool]:
        def confirm(_: Plan) -> bool:
            lean.clock.sleep(seconds)
            return agreed

        return confirm

    lean.clock.sleep(1000)
    lean.wrap = wrap
    for seconds, agreed, is_changed, times in [
        (61, False, True, 1),
        (0, True, True, 1),
        (61, True, False, 1),
        (60, True, True, 1),
        (61, True, True, 2),
    ]:
        if is_changed:
            lean.fill("vip", [*lean.tables["vip"].rows, (f"u{len(made)}",)])
        report = lean.apply(confirm=thinking(seconds, agreed))
        assert made[-1].times == times
        assert (report.run is not None) == (agreed and is_changed)


def test_an_apply_tells_how_long_its_run_has_taken(lean: World) -> None:
    lean.clock.sleep(1000)
    lean.emulator.faults.add("upload", ExecutionScript(starts_after_polls=3))
    report = lean.apply()
    assert report.run is not None
    assert report.run.seconds == pytest.approx(lean.clock.monotonic() - 1000)
    assert 0 < report.run.seconds < 100


class Tidying(Passing):
    """A destination during whose upload somebody takes the payload away."""

    def upload(self, document_import: str, payload: Path) -> Execution:
        execution = self._inner.upload(document_import, payload)
        shutil.rmtree(payload.parent)
        return execution


def test_a_payload_that_somebody_has_taken_away_when_it_was_sent_is_not_missed(
    lean: World,
) -> None:
    lean.wrap = Tidying
    assert lean.apply().exit is Exit.DONE
    assert_sound(lean)


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
    lean: World, tmp_path: Path, saved: bool
) -> None:
    """Of those that nothing is sent to as well, and of those that do not say their compartment."""
    places = [("a", "1"), ("b", "2")]
    lean.define("places", "user_account_id", "compartment_id", rows=places)
    lean.apply()
    good = digests(lean)
    with_other_digests(lean)
    assert digests(lean) != good
    if saved:
        lean.accounts("vip", "a", "b")
        lean.save(tmp_path / "plan")
        lean.apply_saved(tmp_path / "plan")
    else:
        lean.apply()
    assert digests(lean) == good
    with Engine(Keyspaces([])) as engine:
        assert good[0] == engine.digest_probe()
    assert_sound(lean)


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
    with_other_digests(world)
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
    with pytest.raises(StateDamaged, match="its members cannot be read"):
        world.plan()
    assert len(world.uploads) == uploads


def test_what_does_not_fit_into_memory_is_told_with_its_segment(world: World) -> None:
    world.define("large", rows=["x" * 20_000_000])
    with pytest.raises(EngineError, match=r"^segment large: the comparison failed: ") as caught:
        world.plan(memory_limit="16MB")
    assert "--memory-limit" in str(caught.value.hint)


# -------------------------------------------------------------------- whoever ends a plan


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


# -------------------------------------------------------------------- the state of a spec


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


def test_an_old_copy_is_refused_before_anybody_is_asked(lean: World) -> None:
    lean.apply()
    lean.emulator.add_import(f"segsync-{lean.lineage}-00000002")
    asked: list[Plan] = []

    def confirm(plan: Plan) -> bool:
        asked.append(plan)
        return True

    lean.accounts("vip", "a")
    with pytest.raises(StateStale, match="is at serial 1, and the platform has seen run 2"):
        lean.apply(confirm=confirm)
    assert asked == []
