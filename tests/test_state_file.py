"""The state file: private from its first byte, checked at every opening, never mended by guess."""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segsync.cli.files import copy_state
from segsync.emulator import ExecutionScript
from segsync.emulator.world import Upload
from segsync.errors import SegsyncError, StateDamaged, StateError, StateForeign
from segsync.plan import Plan
from segsync.report import Exit
from segsync.state import Identity, create, database, is_there, open_state
from segsync.state.file import PAGE_SIZE
from tests.support.crash import apply_until_killed
from tests.support.layering import layered
from tests.support.size import size
from tests.support.world import World, assert_sound

NOBODY = 65534
IDENTITY = Identity("lineage", 0, "1509", "https://api.mediarithmics.com", 0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


def well_filled(world: World) -> None:
    """Members of all kinds in both layers, some gone, some pending, some rejected."""
    world.define("vip", "user_account_id", "total", rows=[(f"u{n}", n) for n in range(60)])
    world.define("mail", "email_hash", rows=[f"h{n}" for n in range(30)], expiration="30d")
    places = [(f"x{n}", str(n % 3)) for n in range(10)]
    world.define("places", "user_account_id", "compartment_id", rows=places[1:], expiration="30d")
    world.emulator.reject([world.emulator.account("u7")])
    with layered(0):
        world.apply()
    world.emulator.accept_all()
    world.fill("places", places[:9])  # x0 comes, x9 goes
    world.apply(targets=("places",))
    world.define("late", "email_hash", rows=[f"h{n}" for n in range(40, 50)])
    world.emulator.behave(error_file="missing")
    world.emulator.reject([world.emulator.email("h40")])
    world.apply(targets=("late",))
    world.fill("late", [f"h{n}" for n in range(43, 50)])
    world.fill("vip", [(f"u{n}", n) for n in range(1, 60)])


def figures(plan: Plan) -> Any:
    """What a plan does, and why."""
    segments = [(s.name, s.status, s.counts, s.samples) for s in plan.segments]
    return segments, plan.serial, plan.lineage, plan.open_run, plan.parts


def look(world: World, *, apply: bool) -> Any:
    """The figures of the plan that is made with the state, by a plan or for an apply."""
    if not apply:
        return figures(world.plan(samples=9))
    plan = world.apply(confirm=lambda _: False, samples=9).plan
    assert plan is not None
    return figures(plan)


def refusal(world: World, *, apply: bool, kind: type[SegsyncError] = StateError) -> SegsyncError:
    """The state is refused with a hint, and nothing is changed or left behind."""
    before = contents(world.state.parent)
    with pytest.raises(kind) as caught:
        look(world, apply=apply)
    assert caught.value.hint
    if isinstance(caught.value, StateDamaged):
        assert str(caught.value).startswith(f"the state {world.state} is damaged: ")
    assert contents(world.state.parent) == before
    return caught.value


def contents(folder: Path) -> dict[str, bytes | None]:
    return {
        path.name: path.read_bytes() if path.is_file() else None
        for path in folder.iterdir()
        if path.suffix != ".lock"
    }


def is_refused(world: World, *harmless: Any, apply: bool) -> bool:
    """Whether the state is refused, with a hint; else it makes one of these very plans."""
    before = world.state.read_bytes()
    try:
        found = look(world, apply=apply)
    except StateError as error:
        found = error
    assert world.state.read_bytes() == before
    if isinstance(found, StateError):
        assert found.hint, found
        return True
    assert found in harmless
    return False


# -------------------------------------------------------------------- making one


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_everything_is_private_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    seen: dict[str, int] = {}
    with World(tmp_path) as made:
        folder_of_state = made.state.parent

        def remember(_: Upload) -> None:
            for path in folder_of_state.rglob("*"):
                seen[path.name] = stat.S_IMODE(path.stat().st_mode)

        made.define("vip", rows=["a"])
        assert made.spec.path.exists()
        made.emulator.on_upload(remember)
        with umask(mask):
            made.apply()
        assert stat.S_IMODE(folder_of_state.stat().st_mode) == 0o700
        [folder] = [name for name in seen if ".payload-" in name]
        assert seen.pop(folder) == 0o700
        assert {"state.db", "state.db.lock", "state.db.holder", "part-1"} <= seen.keys()
        assert set(seen.values()) == {0o600}
        assert_sound(made)


def test_the_rollback_journal_is_private(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with umask(0):
        create(path, IDENTITY)
        state = open_state(path, read_only=False)
        with state._writing():
            state._database.execute("UPDATE identity SET serial = 1")
            journal = path.with_name("state.db-journal")
            assert stat.S_IMODE(journal.stat().st_mode) == 0o600
        state.close()


def test_a_commit_is_on_the_disk_before_it_is_told(tmp_path: Path) -> None:
    """EXTRA: the removal of its journal, too."""
    create(tmp_path / "state.db", IDENTITY)
    with closing(open_state(tmp_path / "state.db", read_only=False)) as state:
        assert state._database.rows("PRAGMA synchronous") == [(3,)]
        assert state._database.rows("PRAGMA journal_mode") == [("delete",)]


def test_a_state_is_never_made_over_another(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    create(path, IDENTITY)
    before = path.read_bytes()
    with pytest.raises(StateError):
        create(path, IDENTITY)
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["state.db"]


def test_a_folder_that_is_made_for_a_state_is_private(tmp_path: Path) -> None:
    path = tmp_path / "of" / "ours" / "state.db"
    create(path, IDENTITY)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_a_state_that_cannot_be_made_is_told_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError) as caught:
        create(tmp_path / "file" / "state.db", IDENTITY)
    assert str(tmp_path) in caught.value.message
    assert caught.value.hint


# -------------------------------------------------------------------- what is no state


def as_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


def as_another_database(path: Path) -> None:
    path.unlink()
    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE identity (lineage TEXT)")
    database.close()
    path.chmod(0o600)


def with_pragma(pragma: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        database = sqlite3.connect(path)
        database.execute(f"PRAGMA {pragma}").fetchall()
        database.close()

    return change


def with_statement(sql: str) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        with sqlite3.connect(path) as database:
            database.execute(sql)
        database.close()

    return change


def with_text(text: bytes) -> Callable[[Path], Any]:
    return lambda path: path.write_bytes(text)


def without_content(path: Path) -> None:
    path.write_bytes(b"")


def with_a_second_name(path: Path) -> None:
    path.with_name("second.db").hardlink_to(path)


WRONG: dict[str, Callable[[Path], Any]] = {
    "empty": without_content,
    "one byte": with_text(b"S"),
    "text": with_text(b"name,email\n" * 2000),
    "zeros": with_text(bytes(65536)),
    "another program's database": as_another_database,
    "a folder": as_directory,
    "readable by the group": lambda path: path.chmod(0o640),
    "readable by others": lambda path: path.chmod(0o604),
    "runnable by others": lambda path: path.chmod(0o601),
    "a hard link": with_a_second_name,
    "write-ahead logging": with_pragma("journal_mode = wal"),
    "a newer schema": with_pragma("user_version = 1000"),
    "no identity": with_statement("DELETE FROM identity"),
    "bytes for a lineage": with_statement("UPDATE identity SET lineage = x'ff'"),
    "no text for a lineage": with_statement("UPDATE identity SET lineage = cast(x'ff' AS text)"),
    "no members": with_statement("DELETE FROM members"),
    "no table of members": with_statement("DROP TABLE members"),
    "a member less": with_statement("DELETE FROM members WHERE identifier = 'u1'"),
    "no recent members": with_statement("DELETE FROM recent"),
    "no table of recent members": with_statement("DROP TABLE recent"),
    "a recent member less": with_statement("DELETE FROM recent WHERE identifier = 'x0'"),
    "nobody gone": with_statement("DELETE FROM recent WHERE NOT is_member"),
    "everybody recent gone": with_statement("UPDATE recent SET is_member = 0"),
    "nobody recent gone": with_statement("UPDATE recent SET is_member = 1"),
    "another recent expiry": with_statement("UPDATE recent SET expires_at = 1 WHERE is_member"),
    "a text for a recent number": with_statement("UPDATE recent SET expires_at = 'x'"),
    "a recent text for a number": with_statement("UPDATE recent SET fingerprint = 'x'"),
    "bytes for a recent text": with_statement("UPDATE recent SET identifier = x'ff' || identifier"),
    "another expiry": with_statement("UPDATE members SET expires_at = 1 WHERE keyspace = 2"),
    "nothing pending": with_statement("DELETE FROM pending"),
    "another pending member": with_statement("UPDATE pending SET identifier = 'h1'"
                                             " WHERE identifier = 'h40'"),
    "no rejects": with_statement("DELETE FROM rejects"),
    "another serial": with_statement("UPDATE identity SET serial = 1"),
    "another lineage": with_statement("UPDATE identity SET lineage = '0123456789abcdef01234567'"),
    "another name": with_statement("UPDATE segments SET value = 'vap' WHERE value = 'vip'"),
    "another compartment": with_statement("UPDATE keyspaces SET compartment_id = '9'"
                                          " WHERE compartment_id = '1'"),
    "a text for a number": with_statement("UPDATE members SET expires_at = 'x' WHERE keyspace = 2"),
    "bytes for a text": with_statement("UPDATE members SET identifier = x'ff' || identifier"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_is_not_what_was_written_is_refused(world: World, what: str) -> None:
    well_filled(world)
    WRONG[what](world.state)
    refusal(world, apply=False)
    refusal(world, apply=True)


def test_a_text_for_a_number_is_refused_wherever_it_stands(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver that has seen numbers before says something else of it than one that has not."""
    monkeypatch.setattr(database, "BATCH_ROWS", 1)
    world.define("vip", rows=["a", "b"])
    with layered(0):
        world.apply()
    with_statement("UPDATE members SET expires_at = 'x' WHERE identifier = "
                   "(SELECT max(identifier) FROM members)")(world.state)  # fmt: skip
    refusal(world, apply=False, kind=StateDamaged)


@pytest.mark.parametrize("apply", [False, True], ids=["plan", "apply"])
def test_a_state_of_another_datamart_or_api_is_refused(
    world: World, tmp_path: Path, apply: bool
) -> None:
    world.define("vip", rows=["a"])
    world.apply()
    with World(tmp_path / "other") as other:
        other.define("vip", rows=["a"])
        other.state.parent.mkdir(mode=0o700)
        shutil.copy2(world.state, other.state)
        refusal(other, apply=apply, kind=StateForeign)
    world.destination["datamart_id"] = "1510"
    refusal(world, apply=apply, kind=StateForeign)


BUSY = """
import sqlite3, sys
sqlite3.connect(sys.argv[1], isolation_level=None).execute("BEGIN EXCLUSIVE")
print("busy", flush=True)
sys.stdin.read()
"""


def test_a_state_that_another_program_keeps_busy_is_told_so(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1)
    world.define("vip", rows=["a"])
    world.apply()
    command = [sys.executable, "-c", BUSY, world.state]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout
        assert other.stdout.readline()
        error = refusal(world, apply=False)
        other.communicate()
    assert "is kept busy by another process" in str(error)


def test_a_state_that_finds_no_room_is_told_so(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    create(path, IDENTITY)
    with closing(database.Database(path, read_only=False)) as opened:
        opened.execute("PRAGMA max_page_count = 1")
        with pytest.raises(StateError, match="could not be written") as caught:
            opened.execute("CREATE TABLE more AS SELECT zeroblob(1000000)")
    assert caught.value.hint


def test_a_state_of_another_datamart_in_which_nothing_ever_ran_is_in_nobodys_way(
    world: World,
) -> None:
    """A first apply left it that could not begin, as the spec was wrong."""
    world.define("vip", rows=["a"])
    world.state.parent.mkdir(mode=0o700)
    create(world.state, replace(IDENTITY, datamart_id="1510"))
    left = world.state.read_bytes()
    assert world.plan().lineage != IDENTITY.lineage
    assert world.state.read_bytes() == left
    assert world.apply().exit is Exit.DONE
    with closing(open_state(world.state, read_only=True)) as state:
        assert state.identity.datamart_id == "1509"
        assert state.identity.lineage != IDENTITY.lineage
    assert_sound(world)


@pytest.mark.parametrize("apply", [False, True], ids=["plan", "apply"])
def test_a_state_whose_first_run_is_still_open_is_no_left_over(world: World, apply: bool) -> None:
    world.define("vip", rows=["a"])
    assert apply_until_killed(world, "before create_import")
    world.destination["datamart_id"] = "1510"
    with pytest.raises(StateForeign):
        look(world, apply=apply)


def test_two_specs_on_one_state_leave_each_others_members_alone(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    world.drop("vip")
    world.define("reader", rows=["c"])
    assert world.apply().exit is Exit.DONE
    assert len(world.members("vip")) == 2
    assert len(world.members("reader")) == 1


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_state_behind_a_symbolic_link_is_the_one_that_it_points_to(
    world: World, kind: str
) -> None:
    world.define("vip", rows=["a"])
    world.apply()
    elsewhere = world.folder / "elsewhere"
    if kind == "folder":
        world.state.parent.rename(elsewhere)
        world.state.parent.symlink_to(elsewhere)
    else:
        elsewhere.mkdir(mode=0o700)
        world.state.rename(elsewhere / "state.db")
        world.state.symlink_to(elsewhere / "state.db")
    world.accounts("vip", "a", "b")
    assert world.apply().exit is Exit.DONE
    assert world.state.parent.is_symlink() or world.state.is_symlink()
    assert not world.plan().changes_something


def as_nobody(action: Callable[[], object]) -> str:
    """The name and text of the error that `action` raises when a user without rights does it."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        if os.getuid() == 0:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
        try:
            action()
            text = "nothing"
        except SegsyncError as error:
            text = f"{type(error).__name__}: {error} ({error.hint})"
        except BaseException as error:
            text = f"foreign {error!r}"
        os.write(writer, text.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """A folder that a user without rights can reach."""
    folder = Path(f"/tmp/segsync-test-{os.getpid()}")
    folder.mkdir(mode=0o755)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@pytest.mark.parametrize(
    "what", ["unreadable", "read-only", "read-only folder", "not mine", "hidden"]
)
def test_a_state_without_the_rights_to_it_is_told_with_a_hint(
    public_folder: Path, what: str
) -> None:
    path = public_folder / "state.db"
    create(path, IDENTITY)
    if what != "not mine":
        os.chown(path, NOBODY, NOBODY)
        os.chown(public_folder, NOBODY, NOBODY)
    if what == "unreadable":
        path.chmod(0o000)
    if what == "read-only":
        path.chmod(0o400)
    if what == "read-only folder":
        public_folder.chmod(0o500)
    if what == "hidden":
        public_folder.chmod(0o000)
    before = path.read_bytes()

    def write() -> None:
        assert is_there(path)
        state = open_state(path, read_only=False)
        state.replace_digests({}, 1)

    text = as_nobody(write)
    assert text.startswith("StateError: "), text
    assert str(path) in text
    assert "(None)" not in text
    assert path.read_bytes() == before


def test_who_may_only_read_a_state_can_plan_with_it(public_folder: Path) -> None:
    path = public_folder / "state.db"
    create(path, IDENTITY)
    os.chown(path, NOBODY, NOBODY)
    path.chmod(0o400)

    def read() -> None:
        with closing(open_state(path, read_only=True)) as state:
            state.check_whole()
            with state.members(1) as members:
                assert list(members) == []
        raise StateError("read to the end")

    assert as_nobody(read).startswith("StateError: read to the end")


def test_what_a_killed_apply_has_left_is_taken_away(world: World) -> None:
    world.define("vip", rows=["a"])
    world.apply()
    folder = world.state.parent
    (folder / "state.db.payload-x").mkdir()
    (folder / "state.db.payload-x" / "part-1").write_text("{}")
    (folder / "state.db.new-x").write_text("a state that was never finished")
    (folder / "state.db.payload-of-others").write_text("no folder: not ours")
    world.accounts("vip", "a", "b")
    assert world.apply().exit is Exit.DONE
    left = {path.name for path in folder.iterdir()}
    assert left == {"state.db", "state.db.lock", "state.db.payload-of-others"}


# -------------------------------------------------------------------- damage


@pytest.mark.parametrize("shard", range(4))
def test_a_flipped_bit_is_noticed_or_harmless(world: World, shard: int) -> None:
    well_filled(world)
    pristine = look(world, apply=False)
    good = world.state.read_bytes()
    used = [position for position, byte in enumerate(good) if byte]
    chance = random.Random(shard)
    refused = 0
    for number in range(size(50, 1250)):
        at = chance.choice(used) if number % 2 else chance.randrange(len(good))
        bad = bytearray(good)
        bad[at] ^= 1 << chance.randrange(8)
        world.state.write_bytes(bad)
        refused += is_refused(world, pristine, apply=number % 5 == 0)
    assert refused > 4


def test_a_flipped_bit_in_an_index_is_noticed_or_harmless(world: World) -> None:
    """An index that has lost an entry makes a row invisible to some queries, and not to others."""
    well_filled(world)
    pristine = look(world, apply=False)
    good = world.state.read_bytes()
    with closing(sqlite3.connect(world.state)) as database:
        sql = "SELECT rootpage FROM sqlite_master WHERE type = 'index'"
        pages = [(row[0] - 1) * PAGE_SIZE for row in database.execute(sql)]
    used = [at for page in pages for at in range(page, page + PAGE_SIZE) if good[at]]
    refused = 0
    for at in random.Random(1).sample(used, 100):
        world.state.write_bytes(good[:at] + bytes([good[at] ^ 2]) + good[at + 1 :])
        refused += is_refused(world, pristine, apply=False)
    assert refused > 50


@pytest.mark.parametrize("moment", ["before upload", "after upload"])
def test_changes_of_an_open_run_that_are_not_those_that_were_written_are_not_recovered(
    world: World, moment: str
) -> None:
    """They would be confirmed, or kept in doubt, under a name that was never sent."""
    world.define("vip", "user_account_id", "total", rows=[(f"person-{n:04}", n) for n in range(40)])
    assert apply_until_killed(world, moment)
    good = world.state.read_bytes()
    places = [at for n in range(40) for at in every_place(good, f"person-{n:04}".encode())]
    assert len(places) == 40
    for at in places[::7]:
        bad = good[: at + 9] + b"_" + good[at + 10 :]
        world.state.write_bytes(bad)
        with pytest.raises(StateDamaged, match="the changes of the open run") as caught:
            world.apply()
        assert caught.value.hint
        assert world.state.read_bytes() == bad
    world.state.write_bytes(good)
    world.settle()
    assert_sound(world)


def every_place(content: bytes, text: bytes) -> Iterator[int]:
    at = content.find(text)
    while at >= 0:
        yield at
        at = content.find(text, at + 1)


LEAF_OF_MEMBERS = 0x0A
"""The first byte of a page of a tree without row numbers: see SQLite's file format."""


def has_middle(content: bytearray, page: int) -> bool:
    return content.find(b"many04500", page, page + PAGE_SIZE) > 0


def damage_a_page_of_members(world: World) -> None:
    content = bytearray(world.state.read_bytes())
    pages = range(0, len(content), PAGE_SIZE)
    page = next(at for at in pages if content[at] == LEAF_OF_MEMBERS and has_middle(content, at))
    content[page] ^= 0xFF
    world.state.write_bytes(content)


def test_damage_stops_an_apply_that_reads_no_segment_at_all(world: World) -> None:
    world.define("few", rows=["a", "b"])
    world.define("many", rows=[f"many{n:05}" for n in range(9_000)])
    world.apply()
    world.tables["few"].keys["query"] = "SELECT nothing FROM nowhere"
    damage_a_page_of_members(world)
    with pytest.raises(StateDamaged):
        world.apply(targets=("few",))


@pytest.mark.parametrize("left_out", ["by target", "by a failing query", "orphaned"])
def test_damage_in_a_segment_that_is_not_read_stops_an_apply(world: World, left_out: str) -> None:
    """Pages beside it would be written to, and what is read of the others does not show it."""
    world.define("few", rows=["a", "b"])
    world.define("many", rows=[f"many{n:05}" for n in range(9_000)])
    world.apply()
    if left_out == "by a failing query":
        world.tables["many"].keys["query"] = "SELECT nothing FROM nowhere"
    if left_out == "orphaned":
        world.drop("many")
    damage_a_page_of_members(world)
    targets = ("few",) if left_out == "by target" else ()
    world.accounts("few", "a", "c")
    uploads = len(world.uploads)
    with pytest.raises(StateDamaged):
        world.apply(targets=targets)
    assert len(world.uploads) == uploads
    assert world.plan(targets=("few",)).totals.add == 1


@pytest.mark.parametrize("members", ["delete", "keep"])
def test_damage_in_a_segment_that_is_removed_stops_an_apply(world: World, members: str) -> None:
    """Even where nothing is to be done with its members."""
    world.define("few", rows=["a", "b"])
    world.define("old", rows=["a", "b"])
    with layered(0):
        world.apply()
    world.drop("old", members)
    with_statement("UPDATE members SET expires_at = 1 WHERE keyspace = 2")(world.state)
    uploads = len(world.uploads)
    with pytest.raises(StateDamaged):
        world.apply()
    assert len(world.uploads) == uploads


def test_a_column_whose_name_has_another_case_is_the_same_column(world: World) -> None:
    """One flipped bit makes a capital letter of a small one, and SQLite knows no difference."""
    well_filled(world)
    pristine = look(world, apply=False)
    good = world.state.read_bytes()
    names = (
        *(b"keyspace", b"identifier", b"fingerprint", b"expires_at", b"operation", b"line"),
        b"is_member",
    )
    for name in names:
        assert good.count(b" %s " % name) > 0
        world.state.write_bytes(good.replace(b" %s " % name, b" %s " % name.capitalize()))
        assert look(world, apply=False) == pristine, name
        assert look(world, apply=True) == pristine, name


def test_a_state_that_was_cut_off_anywhere_is_refused(world: World) -> None:
    well_filled(world)
    good = world.state.read_bytes()
    for number in range(50):
        world.state.write_bytes(good[: len(good) * number // 50])
        refusal(world, apply=number % 2 == 0, kind=StateDamaged)


def test_pages_of_two_versions_are_never_taken_for_one(world: World) -> None:
    """What a lost rollback journal leaves: some pages of a commit are written, some are not."""
    well_filled(world)
    old, old_plan = world.state.read_bytes(), look(world, apply=False)
    world.emulator.accept_all()
    world.apply()
    new, new_plan = world.state.read_bytes(), look(world, apply=False)
    changed = [at for at in range(0, len(old), PAGE_SIZE) if page(old, at) != page(new, at)]
    assert len(changed) > 5
    chance = random.Random(1)
    refused = 0
    for _ in range(30):
        mixed = bytearray(old)
        for at in changed:
            if chance.random() < 0.5:
                mixed[at : at + PAGE_SIZE] = page(new, at)
        world.state.write_bytes(mixed)
        refused += is_refused(world, old_plan, new_plan, apply=False)
        refused += is_refused(world, old_plan, new_plan, apply=True)
    assert refused > 50


def page(content: bytes, at: int) -> bytes:
    return content[at : at + PAGE_SIZE]


def hot_journal(world: World) -> tuple[bytes, bytes, bytes]:
    """A commit that was cut short: the state before it, the state now, and the journal."""
    before = world.state.read_bytes()
    path = world.folder / "copy.db"
    shutil.copy2(world.state, path)
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA cache_size = 1")
    database.execute("PRAGMA cache_spill = 1")
    database.execute("BEGIN IMMEDIATE")
    database.execute("UPDATE members SET expires_at = expires_at + 1")
    database.execute("CREATE TABLE junk (text)")
    database.executemany("INSERT INTO junk VALUES (?)", [("x" * 900,)] * 400)
    now, journal = path.read_bytes(), path.with_name("copy.db-journal").read_bytes()
    database.rollback()
    database.close()
    path.unlink()
    assert now != before
    assert any(journal)
    return before, now, journal


def test_a_commit_that_was_cut_short_is_rolled_back_by_the_next_apply(world: World) -> None:
    well_filled(world)
    pristine = look(world, apply=False)
    before, now, journal = hot_journal(world)
    world.state.write_bytes(now)
    beside = world.state.with_name("state.db-journal")
    beside.write_bytes(journal)
    error = refusal(world, apply=False)
    assert "apply" in (error.hint or "")
    assert look(world, apply=True) == pristine
    assert world.state.read_bytes() == before
    assert not beside.exists()


def test_a_backup_of_a_commit_that_was_cut_short_is_of_the_state_before_it(world: World) -> None:
    """A job of CI keeps that one file, whatever happened to the apply."""
    well_filled(world)
    before, now, journal = hot_journal(world)
    world.state.write_bytes(now)
    world.state.with_name("state.db-journal").write_bytes(journal)
    copy_state(world.state, world.folder / "kept.db")
    assert (world.folder / "kept.db").read_bytes() == before


def test_without_its_journal_a_commit_that_was_cut_short_is_refused(world: World) -> None:
    well_filled(world)
    _, now, _ = hot_journal(world)
    world.state.write_bytes(now)
    for apply in (False, True):
        refusal(world, apply=apply, kind=StateDamaged)


def test_the_journal_of_another_state_never_makes_a_plan(world: World, tmp_path: Path) -> None:
    well_filled(world)
    pristine = look(world, apply=False)
    with World(tmp_path / "other") as other:
        other.define("vip", rows=[f"x{n}" for n in range(500)])
        with layered(0):
            other.apply()
        _, _, journal = hot_journal(other)
    world.state.with_name("state.db-journal").write_bytes(journal)
    refusal(world, apply=False)
    with pytest.raises(StateError) as caught:
        assert look(world, apply=True) == pristine
    assert caught.value.hint


def test_a_write_ahead_log_beside_the_state_is_not_believed(world: World) -> None:
    well_filled(world)
    copy = world.folder / "copy.db"
    shutil.copy2(world.state, copy)
    database = sqlite3.connect(copy)
    database.execute("PRAGMA journal_mode = wal")
    database.execute("DELETE FROM members")
    database.commit()
    log = copy.with_name("copy.db-wal").read_bytes()
    database.close()
    copy.unlink()
    for content in (log, b"garbage" * 1000, b""):
        world.state.with_name("state.db-wal").write_bytes(content)
        for apply in (False, True):
            refusal(world, apply=apply)


def test_an_open_run_whose_records_were_damaged_is_refused(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    assert apply_until_killed(world, "after upload")
    for sql in (
        "UPDATE runs SET import_id = '1'",
        "UPDATE parts SET status = 'waiting'",
        "UPDATE runs SET status = 'done'",
    ):
        before = world.state.read_bytes()
        with_statement(sql)(world.state)
        for apply in (False, True):
            with pytest.raises(StateDamaged):
                look(world, apply=apply)
        world.state.write_bytes(before)
    world.settle()
    assert_sound(world)


@pytest.mark.parametrize("names", [("aa", "c"), ("a", "bc")], ids=["another text", "other lengths"])
def test_a_text_that_was_changed_among_what_is_pending_is_noticed(
    tmp_path: Path, names: tuple[str, str]
) -> None:
    with World(tmp_path) as world:
        world.define("vip", rows=["ab", "c"])
        world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
        world.apply()
        with closing(sqlite3.connect(world.state)) as database, database:
            for before, after in zip(("ab", "c"), (f"{names[0]}*", f"{names[1]}*"), strict=True):
                database.execute(
                    "UPDATE pending SET identifier = ? WHERE identifier = ?", (after, before)
                )
            database.execute("UPDATE pending SET identifier = rtrim(identifier, '*')")
        with pytest.raises(StateDamaged, match="records"):
            open_state(world.state, read_only=True)
