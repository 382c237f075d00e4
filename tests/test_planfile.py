"""A saved plan is carried out exactly as it was shown, once, or it is refused."""

from __future__ import annotations

import hashlib
import json
import random
import shutil
import stat
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from segsync import planfile
from segsync.engine import Engine, Keyspaces
from segsync.errors import PlanFileError, StateError, StateStale
from segsync.model import DAY_MS
from segsync.own_state import writing_state
from segsync.payload import write_parts
from segsync.plan import Plan
from segsync.report import Exit
from tests.support.anything import anything
from tests.support.crash import apply_until_killed
from tests.support.size import size
from tests.support.world import START_MS, World, assert_sound


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        yield made


@pytest.fixture
def saved(tmp_path: Path, world: World) -> Path:
    """A plan with changes of all kinds, for a state at serial 1."""
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 1), ("c", 1)])
    world.define("mail", "email_hash", rows=["h1", "h2"], expiration="30d")
    world.apply()
    world.fill("vip", [("a", 1), ("b", 2), ("d", 1)])
    world.fill("mail", ["h1", "h2", "h3"])
    world.advance(days=20)
    path = tmp_path / "plan"
    world.save(path)
    return path


def refusal(world: World, path: Path) -> PlanFileError:
    """The plan is refused with a reason and a hint, and nothing is sent or changed."""
    uploads, before = len(world.uploads), world.state.read_bytes()
    with pytest.raises(PlanFileError) as caught:
        world.apply_saved(path)
    assert caught.value.message.startswith((f"the plan {path} ", f"there is no plan file {path}"))
    assert len(world.uploads) == uploads
    assert world.state.read_bytes() == before
    return caught.value


def test_what_was_shown_is_what_is_sent(world: World, saved: Path) -> None:
    with world.planned() as planned, zipfile.ZipFile(saved) as archive:
        assert archive.namelist() == ["plan.json", "commands.parquet", "seal"]
        document = json.loads(archive.read("plan.json"))
        shown = document["plan"]
        assert document["version"] == 1
        assert sum(part["size"] for part in shown["parts"]) == planned.plan.size
    report = world.apply_saved(saved)
    assert report.exit is Exit.DONE
    assert report.plan is not None
    totals = report.plan.totals
    assert (totals.add, totals.update, totals.renew, totals.remove) == (2, 1, 2, 1)
    assert_sound(world)


def test_the_commands_of_a_plan_are_sent_in_its_order(world: World, tmp_path: Path) -> None:
    """Removals that must come first do so, too."""
    world.define("vip", "email_hash", "user_account_id", rows=[("h1", None), ("h2", None)])
    world.apply()
    world.fill("vip", [(None, "u1"), (None, "u2")])
    path, folder = tmp_path / "plan", tmp_path / "parts"
    folder.mkdir()
    world.save(path, allowed=("vip",))
    with world.planned(allowed=("vip",)) as planned:
        files = write_parts(planned.engine, planned.plan.parts, folder, b"")
    world.uploads.clear()
    world.apply_saved(path)
    assert world.uploads == [file.sha256 for file in files]
    assert [file.part.step for file in files] == [1, 2]


def test_a_plan_comes_back_as_it_was_saved(world: World, tmp_path: Path) -> None:
    world.define("vip", rows=['é"\n', "", "b"], invalid_rows="skip")
    world.define("broken", rows=["a"], query="SELECT nothing")
    world.define("empty", rows=["a"], guard={"max_members": 0})
    plan = world.save(tmp_path / "plan", samples=5)
    spec = world.spec
    with writing_state(spec, plan.lineage) as state, Engine(Keyspaces([])) as engine:
        state.replace_digests({}, engine.digest_probe())
        assert (
            planfile.load(tmp_path / "plan", spec, state, engine, world.clock.now_ms()).plan == plan
        )


def test_any_plan_comes_back_from_json_as_it_was() -> None:
    chance = random.Random("plans")
    for _ in range(size(1_000, 50_000)):
        plan = anything(Plan, chance)
        text = json.dumps(asdict(plan), allow_nan=False, default=dict)
        assert planfile._plan_from(json.loads(text)) == plan


def test_the_plan_is_sent_though_the_source_has_changed_since(world: World, saved: Path) -> None:
    world.fill("vip", [("x", 1)])
    world.apply_saved(saved)
    assert {who.value for who in world.members("vip")} == {"a", "b", "d"}
    world.apply(allowed=("vip",))
    assert_sound(world)


def test_a_plan_is_private(saved: Path) -> None:
    assert stat.S_IMODE(saved.stat().st_mode) == 0o600
    assert [path.name for path in saved.parent.iterdir() if path.is_file()] == ["plan"]


def test_a_plan_is_applied_once(world: World, saved: Path) -> None:
    world.apply_saved(saved)
    assert "stale" in refusal(world, saved).message


def test_a_plan_is_stale_when_another_apply_came_between(world: World, saved: Path) -> None:
    world.apply()
    assert "stale" in refusal(world, saved).message


def test_an_open_run_is_ended_before_a_plan_is_refused(world: World, saved: Path) -> None:
    """The plan was made without knowing what became of it."""
    world.define("other", rows=["a"])
    apply_until_killed(world, "after upload", targets=("other",))
    world.drop("other")
    uploads = len(world.uploads)
    with pytest.raises(PlanFileError, match="ended just now"):
        world.apply_saved(saved)
    assert world.plan().open_run is None
    assert "stale" in refusal(world, saved).message
    assert len(world.uploads) == uploads


@pytest.mark.parametrize(
    ("late_by", "expiry", "refused"),
    [
        (0, START_MS + 10 * DAY_MS, False),
        (1, None, False),
        (1, 0, False),
        (1, START_MS + 10 * DAY_MS, True),
    ],
)
def test_a_plan_with_expiries_of_members_is_refused_after_a_day(
    world: World, tmp_path: Path, late_by: int, expiry: int | None, refused: bool
) -> None:
    """Their durations are counted from when it was made."""
    world.define("other", rows=["x"])
    world.apply()
    if expiry is None:
        world.define("vip", rows=["a"])
    else:
        world.define("vip", "user_account_id", "expiration_ts", rows=[("a", expiry)])
    path = tmp_path / "plan"
    world.save(path)
    world.advance(days=1, seconds=late_by)
    if refused:
        assert "more than a day old" in refusal(world, path).message
    else:
        assert world.apply_saved(path).exit is Exit.DONE


def test_a_changed_spec_refuses_the_plan(world: World, saved: Path) -> None:
    world.tables["vip"].keys["expiration"] = "10d"
    assert "spec has changed" in refusal(world, saved).message


def test_a_plan_of_several_parts_is_sent_in_them(world: World, tmp_path: Path) -> None:
    world.destination["max_upload_bytes"] = 900
    world.define("vip", rows=[f"u{n}" for n in range(24)])
    plan = world.save(tmp_path / "plan")
    assert len(plan.parts) > 2
    world.apply_saved(tmp_path / "plan")
    assert len(world.uploads) == len(plan.parts)
    assert_sound(world)


def test_another_format_or_datamart_refuses_the_plan(world: World, saved: Path) -> None:
    for key, value in (("format", "csv"), ("max_upload_bytes", 900)):
        world.destination = {key: value}
        assert "spec has changed" in refusal(world, saved).message
    world.destination = {}
    world.destination["datamart_id"] = "1510"
    with pytest.raises(StateError):
        world.apply_saved(saved)


def test_another_state_refuses_the_plan(world: World, saved: Path, tmp_path: Path) -> None:
    world.state.unlink()
    world.lineage = None
    world.apply()
    assert "another state" in refusal(world, saved).message
    assert tmp_path.exists()


def test_a_plan_for_a_new_state_makes_that_state_but_only_once(
    world: World, tmp_path: Path
) -> None:
    world.define("vip", rows=["a"])
    path = tmp_path / "plan"
    plan = world.save(path)
    assert not world.state.exists()
    assert world.apply_saved(path).exit is Exit.DONE
    assert world.plan().lineage == plan.lineage
    assert_sound(world)
    shutil.rmtree(world.state.parent)
    with pytest.raises(StateStale):
        world.apply_saved(path)
    assert len(world.uploads) == 1


def test_a_segment_that_was_paused_meanwhile_refuses_the_plan(world: World, saved: Path) -> None:
    world.emulator.change_segment("vip", paused=True)
    assert "vip" in refusal(world, saved).message


def edited(path: Path, change: Callable[[dict[str, Any]], object], **entries: bytes) -> None:
    """The archive written anew, with another plan in it."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    document = json.loads(content["plan.json"])
    change(document)
    content["plan.json"] = json.dumps(document).encode()
    content |= {name.replace("_", "."): value for name, value in entries.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, value in content.items():
            archive.writestr(name, value)


def sealed_anew(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """As `edited`, with the seal of what is in it."""
    edited(path, change)
    with zipfile.ZipFile(path) as archive:
        digests = [
            hashlib.sha256(archive.read(name)).hexdigest()
            for name in ("plan.json", "commands.parquet")
        ]
    edited(
        path,
        lambda _: None,
        seal=hashlib.sha256(" ".join(["1", *digests]).encode()).hexdigest().encode(),
    )


EDITS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another serial": lambda d: d["plan"].update(serial=7),
    "no plan": lambda d: d.pop("plan"),
    "no lineage": lambda d: d["plan"].pop("lineage"),
    "a list for a plan": lambda d: d.update(plan=[]),
    "no targets": lambda d: d.pop("targets"),
    "another target": lambda d: d["targets"][0]["address"].update(value="other"),
    "another duration": lambda d: d["targets"][1].update(expiration_minutes=1),
    "another version": lambda d: d.update(version=2),
    "no version": lambda d: d.pop("version"),
    "another word more": lambda d: d["plan"].update(surprise=1),
}


@pytest.mark.parametrize("what", EDITS)
def test_an_edited_plan_is_refused(world: World, saved: Path, what: str) -> None:
    edited(saved, EDITS[what])
    refusal(world, saved)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda d: d.update(version=2), "another version of segsync (format 2)"),
        (lambda d: d.update(digest_probe=1), "another version of the engine (DuckDB)"),
        (lambda d: d["plan"]["parts"][0].update(size=1), "not those that were planned"),
        (lambda d: d["plan"].update(api_origin="https://b.example"), "at https://b.example"),
        (lambda d: d["plan"].update(spec_sha256="0"), "the spec has changed"),
    ],
)
def test_a_plan_that_does_not_fit_is_refused_with_the_reason(
    world: World, saved: Path, change: Callable[[dict[str, Any]], object], reason: str
) -> None:
    sealed_anew(saved, change)
    assert reason in refusal(world, saved).message


def test_a_plan_that_was_sealed_anew_is_the_same_plan(world: World, saved: Path) -> None:
    sealed_anew(saved, lambda _: None)
    assert world.apply_saved(saved).exit is Exit.DONE


@pytest.mark.parametrize(("size", "too_large"), [(2**28, False), (2**28 + 1, True)])
def test_a_plan_of_more_than_256_mebibytes_is_not_unpacked(
    world: World, saved: Path, size: int, too_large: bool
) -> None:
    """The archive's directory says how large an entry will be."""
    content = bytearray(saved.read_bytes())
    entry = content.index(b"PK\x01\x02")
    assert content[entry + 46 :].startswith(b"plan.json")
    content[entry + 24 : entry + 28] = size.to_bytes(4, "little")
    saved.write_bytes(content)
    if too_large:
        assert "too large" in refusal(world, saved).message
    else:
        assert world.apply_saved(saved).exit is Exit.DONE


def test_a_plan_that_would_be_too_large_to_be_read_is_not_saved(
    world: World, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()
    with zipfile.ZipFile(saved) as archive:
        monkeypatch.setattr(planfile, "LARGEST_PLAN", archive.getinfo("plan.json").file_size - 1)
    with pytest.raises(PlanFileError, match=r"cannot be saved to .* bytes") as caught:
        world.save(saved)
    assert "--samples" in str(caught.value.hint)
    assert list(saved.parent.glob("plan*")) == [saved]
    assert saved.read_bytes() == before


@pytest.mark.parametrize(("ahead_ms", "refused"), [(300_000, False), (300_001, True)])
def test_a_plan_may_be_five_minutes_ahead_of_the_clock_that_applies_it(
    world: World, saved: Path, ahead_ms: int, refused: bool
) -> None:
    world.clock.wrong_by_ms = -ahead_ms
    if refused:
        assert "a later time than now" in refusal(world, saved).message
    else:
        assert world.apply_saved(saved).exit is Exit.DONE


def test_a_plan_for_a_new_state_of_another_datamart_is_told(world: World, tmp_path: Path) -> None:
    world.define("vip", rows=["a"])
    world.save(tmp_path / "plan")
    world.destination["datamart_id"] = "1510"
    with pytest.raises(PlanFileError, match="for datamart 1509 at http"):
        world.apply_saved(tmp_path / "plan")
    assert not world.uploads


def test_a_plan_that_cannot_be_saved_leaves_nothing_behind(world: World, tmp_path: Path) -> None:
    world.define("vip", rows=["a"])
    folder = tmp_path / "plan"
    folder.mkdir()
    (folder / "file").touch()
    before = sorted(tmp_path.iterdir())
    with pytest.raises(PlanFileError, match="cannot be saved"):
        world.save(folder)
    assert sorted(tmp_path.iterdir()) == before


def test_other_commands_are_refused(world: World, saved: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    world.fill("vip", [("a", 1)])
    world.save(other, allowed=("vip",))
    with zipfile.ZipFile(other) as archive:
        commands = archive.read("commands.parquet")
    edited(saved, lambda _: None, commands_parquet=commands)
    refusal(world, saved)


EMPTY_ARCHIVE = b"PK\x05\x06" + bytes(18)


@pytest.mark.parametrize(
    "content", [b"", b"PK", b"{}", EMPTY_ARCHIVE, b"x" * 100_000_000, b"\x00" * 4096]
)
def test_what_is_no_plan_is_refused(world: World, saved: Path, content: bytes) -> None:
    saved.write_bytes(content)
    refusal(world, saved)


@pytest.mark.parametrize("path", ["/dev/zero", "/dev"])
def test_what_is_no_file_is_refused_as_a_plan(world: World, saved: Path, path: str) -> None:
    assert saved.exists()
    refusal(world, Path(path))


def test_a_missing_plan_is_told(world: World, saved: Path, tmp_path: Path) -> None:
    refusal(world, tmp_path / "nowhere")
    saved.unlink()
    saved.mkdir()
    refusal(world, saved)


def test_a_plan_whose_state_is_gone_is_refused(world: World, saved: Path) -> None:
    world.state.rename(world.state.with_suffix(".gone"))
    with pytest.raises(PlanFileError, match=r"at serial 1, and .* is not there") as caught:
        world.apply_saved(saved)
    assert caught.value.hint
    assert not world.state.exists()


def test_a_damaged_plan_is_refused(world: World, saved: Path) -> None:
    good = saved.read_bytes()
    chance = random.Random(1)
    shown, spec = world.plan(), world.spec
    hints = []
    for number in range(150):
        bad = bytearray(good)
        if number < 30:
            del bad[chance.randrange(len(bad)) :]
        else:
            bad[chance.randrange(len(bad))] ^= 1 << chance.randrange(8)
        saved.write_bytes(bad)
        try:
            lineage = planfile.lineage_of(saved, world.state)
            assert lineage
            with world._applying(spec) as (state, _), Engine(Keyspaces([])) as engine:
                loaded = planfile.load(saved, spec, state, engine, world.clock.now_ms()).plan
                assert loaded.segments == shown.segments
                assert loaded.parts == shown.parts
        except PlanFileError as error:
            hints.append(error.hint)
    assert len(hints) > 100
    assert all(hints)
