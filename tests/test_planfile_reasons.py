"""Why a saved plan is not taken, word for word, and what is left where one cannot be saved."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from segsync import planfile
from segsync.emulator import Cut
from segsync.engine import Engine, Keyspaces
from segsync.errors import PlanFileError
from segsync.exits import Exit
from segsync.model import DAY_MS, MINUTE_MS
from segsync.plan import Plan
from segsync.state import open_state
from tests.support.crash import apply_until_killed
from tests.support.world import START_MS, World, assert_sound


def prepared(folder: Path) -> World:
    """A plan that adds somebody, in `plan` beside the world, for a state at serial 1."""
    made = World(folder / "world")
    columns = ("user_account_id", "expiration_ts")
    made.define("vip", *columns, rows=[("a", 0)])
    made.apply()
    made.fill("vip", [("a", 0), ("b", START_MS + 9 * DAY_MS)])
    made.save(folder / "plan")
    return made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with prepared(tmp_path) as made:
        yield made


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One in which nothing is done: each test has a copy of its plan."""
    with prepared(tmp_path_factory.mktemp("reasons")) as made:
        yield made


@pytest.fixture
def path(still: World, tmp_path: Path) -> Path:
    copied = tmp_path / "plan"
    shutil.copy2(still.folder.with_name("plan"), copied)
    return copied


HINT = "nothing was sent; make a new one with `segsync plan --out`"


def reason(world: World, path: Path) -> str:
    """Why the plan at this path is not taken; nothing is sent or written."""
    uploads, before = len(world.uploads), world.state.read_bytes()
    with pytest.raises(PlanFileError) as caught:
        world.apply_saved(path)
    assert len(world.uploads) == uploads
    assert world.state.read_bytes() == before
    assert caught.value.hint == HINT
    start = f"the plan {path} cannot be applied: "
    assert caught.value.message.startswith(start)
    return caught.value.message.removeprefix(start)


def entries(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def written(path: Path, content: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)


def test_each_entry_of_the_archive_must_be_there_and_be_what_was_written(
    still: World, path: Path
) -> None:
    good = entries(path)
    edited = good["plan.json"].replace(b'"serial": 1', b'"serial": 7')
    assert edited != good["plan.json"]
    cases = [
        (good | {"plan.json": edited}, "it was edited"),
        (good | {"commands.parquet": b""}, "it was edited"),
        (good | {"seal": b""}, "it was edited"),
        (good | {"seal": b"0" * 1024}, "it was edited"),
        (good | {"seal": b"0" * 1025}, "it is too large"),
        (good | {"plan.json": b"{"}, "it is edited, or no plan of segsync"),
        (good | {"plan.json": b"{}"}, "it is edited, or no plan of segsync"),
        (good | {"plan.json": b"[]"}, "it is edited, or no plan of segsync"),
        (good | {"plan.json": b"[" * 10**6}, "it is edited, or no plan of segsync"),
        (good | {"more": b""}, "it is not a plan of segsync"),
        ({"plan.json": good["plan.json"]}, "it is not a plan of segsync"),
    ]
    for content, said in cases:
        written(path, content)
        assert reason(still, path) == said


@pytest.mark.parametrize("content", [b"", b"{}", b"PK\x03\x04"])
def test_what_is_no_archive_is_no_plan(still: World, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert reason(still, path) == "it is cut, edited, or no plan of segsync"


def test_what_is_no_file_is_not_read(still: World, tmp_path: Path) -> None:
    """A named pipe would be waited for without end."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path in (pipe, tmp_path, Path("/dev/zero")):
        assert reason(still, path) == "it is not a file"


@pytest.mark.parametrize("name", ["nowhere", "link"])
def test_a_plan_that_is_not_there_is_told_so(still: World, path: Path, name: str) -> None:
    planfile.check_there(path)
    path.with_name("link").symlink_to(path.with_name("nothing"))
    missing = path.with_name(name)
    for look in (still.apply_saved, planfile.check_there):
        with pytest.raises(PlanFileError) as caught:
            look(missing)
        assert caught.value.message == f"there is no plan file {missing}"
        assert caught.value.hint == "make one with `segsync plan --out`"


def test_a_plan_that_cannot_be_read_is_told_with_the_reason(still: World, tmp_path: Path) -> None:
    path = tmp_path / ("x" * 300)
    with pytest.raises(PlanFileError) as caught:
        still.apply_saved(path)
    assert caught.value.message == f"the plan {path} cannot be read: File name too long"


def test_a_plan_for_another_serial_says_both(world: World, tmp_path: Path) -> None:
    world.apply()
    assert reason(world, tmp_path / "plan") == (
        "it is stale: it was made at serial 1, and the state is at 2; it was applied already, or "
        "another apply came between"
    )


def test_a_plan_whose_state_is_gone_says_which(still: World, path: Path, tmp_path: Path) -> None:
    assert planfile.lineage_of(path, still.state) == still.lineage
    gone = tmp_path / "gone.db"
    with pytest.raises(PlanFileError) as caught:
        planfile.lineage_of(path, gone)
    assert caught.value.message == (
        f"the plan {path} cannot be applied: it was made for a state at serial 1, and {gone} is "
        "not there"
    )


def test_a_plan_that_a_recovery_has_outdated_names_the_run(world: World, tmp_path: Path) -> None:
    assert apply_until_killed(world, "after upload")
    path = tmp_path / "plan"
    with pytest.raises(PlanFileError) as caught:
        world.apply_saved(path)
    assert caught.value.message == (
        f"the plan {path} cannot be applied: run segsync-{world.lineage}-00000002, which an "
        "earlier apply had left open, was ended just now, and the plan was made before"
    )


def test_a_plan_whose_segment_takes_no_members_any_more_says_which(
    still: World, path: Path
) -> None:
    still.emulator.change_segment("vip", paused=True)
    with pytest.raises(PlanFileError) as caught:
        still.apply_saved(path)
    still.emulator.change_segment("vip", paused=False)
    start = f"the plan {path} cannot be applied: vip: the segment with segment_technical_name=vip "
    assert caught.value.message.startswith(start)


def test_a_plan_with_an_expiry_of_a_member_is_good_for_a_day(still: World, path: Path) -> None:
    made_ms = still.clock.now_ms()
    assert loaded(still, path, made_ms + DAY_MS)
    assert loaded(still, path, made_ms - 5 * MINUTE_MS)
    for now_ms, said in [
        (
            made_ms + DAY_MS + 1,
            "it is more than a day old, and has members with an expiry of their own",
        ),
        (made_ms - 5 * MINUTE_MS - 1, "it was made for a later time than now"),
    ]:
        with pytest.raises(PlanFileError, match=said):
            loaded(still, path, now_ms)


def loaded(world: World, path: Path, now_ms: int) -> Plan:
    with (
        closing(open_state(world.state, read_only=True)) as state,
        Engine(Keyspaces([])) as engine,
    ):
        return planfile.load(path, world.spec, state, engine, now_ms).plan


def test_a_plan_as_large_as_can_be_read_is_saved(
    still: World, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = len(entries(path)["plan.json"])
    monkeypatch.setattr(planfile, "LARGEST_PLAN", size)
    still.save(path)
    monkeypatch.setattr(planfile, "LARGEST_PLAN", size - 1)
    with pytest.raises(PlanFileError) as caught:
        still.save(path)
    assert caught.value.message == (
        f"the plan cannot be saved to {path}: what it shows has {size:,} bytes, and {size - 1:,} "
        "are read at most"
    )
    assert caught.value.hint == "show fewer examples, with a lower --samples"
    assert [item.name for item in path.parent.iterdir() if item.is_file()] == ["plan"]
    assert reason(still, path) == "it is too large"


def test_a_plan_that_finds_no_folder_says_what_is_wrong(still: World, tmp_path: Path) -> None:
    path = tmp_path / "nowhere" / "plan"
    with pytest.raises(PlanFileError) as caught:
        still.save(path)
    assert caught.value.message == f"the plan cannot be saved to {path}: No such file or directory"
    assert (
        caught.value.hint == "name a file in a folder that exists, is writable and has space left"
    )


def test_a_plan_comes_back_with_the_segments_that_are_said_once_more(
    world: World, tmp_path: Path
) -> None:
    """And with the runs of which an upload may still be executed."""
    world.emulator.faults.add("upload", Cut("before_apply"))
    world.apply()
    world.define("vip", rows=["a", "b"], reassert="90d")
    world.define("mail", "email_hash", rows=["h"], compartment_id="7")
    world.define("broken", rows=[], query="SELECT nothing")
    path, spec = tmp_path / "plan", world.spec
    with world.planned() as planned:
        planfile.save(planned, path)
        with (
            closing(open_state(world.state, read_only=True)) as state,
            Engine(Keyspaces([])) as engine,
        ):
            read = planfile.load(path, spec, state, engine, world.clock.now_ms())
            assert read.plan == planned.plan
            assert read.plan.watched == (f"segsync-{world.lineage}-00000002",)
            assert read.segments == planned.segments
            assert [segment.name for segment in read.segments] == ["vip", "mail"]
            assert read.reasserted == planned.reasserted == (1,)
            places = dict(planned.engine.keyspaces.all())
            assert dict(engine.keyspaces.all()) == places
            assert engine.ranges() == planned.engine.ranges()
    assert world.apply_saved(path).exit is Exit.ERROR
    world.drop("broken")
    assert_sound(world)
