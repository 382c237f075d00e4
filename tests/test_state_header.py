"""A state is looked at before SQLite opens it, and made so that it passes: each look by itself."""

from __future__ import annotations

import os
import secrets
import stat
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from segsync.errors import StateDamaged, StateError
from segsync.state import Identity, create, is_there
from segsync.state.database import Database
from segsync.state.file import check_file, check_version, drafts_of, migrate, schema_version
from segsync.state.schema import SCHEMA_VERSION
from tests.support.rows import state_of

IDENTITY = Identity("lineage", 3, "1509", "https://api.mediarithmics.com", -7)
NOT_SQLITE = "it is not a SQLite file"
NOT_OURS = "it is a SQLite file, but not a state of segsync"
OTHER_PAGES = "its header gives pages of another size"
OTHER_JOURNAL = "its header says that it is not kept with a rollback journal"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with state_of(tmp_path / "state.db", {}) as state:
        check_file(state.path)
        return state.path


def flip(path: Path, place: int) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x80
    path.write_bytes(content)


def refusal(path: Path) -> StateError:
    with pytest.raises(StateError) as caught:
        check_file(path)
    return caught.value


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        (range(16), NOT_SQLITE), ((16, 17), OTHER_PAGES), ((18, 19), OTHER_JOURNAL),
        (range(68, 72), NOT_OURS), ((20, 27, 33, 67, 72, 99, 100), None),
    ],
    ids=["magic", "pages", "journal", "application", "elsewhere"],
)  # fmt: skip
def test_each_byte_of_the_header_that_says_what_the_file_is_must_be_right(
    path: Path, places: range | tuple[int, ...], reason: str | None
) -> None:
    """What stands elsewhere in the header is left to SQLite, and to the seals."""
    for place in places:
        flip(path, place)
        if reason is None:
            check_file(path)
        else:
            assert refusal(path).message == f"the state {path} is damaged: {reason}"
        flip(path, place)
    check_file(path)


def test_the_file_must_be_as_long_as_its_header_says_unless_a_journal_is_left(path: Path) -> None:
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:100]):
        path.write_bytes(content)
        error = refusal(path)
        assert isinstance(error, StateDamaged)
        assert error.message == (
            f"the state {path} is damaged: it has {len(content):,} bytes, "
            f"and should have {len(whole):,}"
        )
        journal = path.with_name("state.db-journal")
        journal.touch()
        check_file(path)
        journal.unlink()
    for place in range(28, 32):
        path.write_bytes(whole)
        flip(path, place)
        assert f"it has {len(whole):,} bytes, and should have " in refusal(path).message


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"S", NOT_SQLITE), (bytes(4096), NOT_SQLITE)],
)
def test_a_file_without_a_header_is_told_so(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    assert refusal(path).message == f"the state {path} is damaged: {reason}"


def test_a_header_that_is_cut_off_is_none(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:99])
    assert refusal(path).message == f"the state {path} is damaged: {NOT_SQLITE}"


@pytest.mark.parametrize("bit", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_whatever_others_may_do_with_the_file_is_too_much(path: Path, bit: int) -> None:
    path.chmod(0o600 | bit)
    error = refusal(path)
    assert error.message == f"the state {path} can be read by others (mode {0o600 | bit:04o})"
    assert error.hint == f"it holds personal data: chmod 600 {path}"
    for mode in (0o400, 0o500, 0o700):
        path.chmod(mode)
        check_file(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (a_folder, "the state {} is not a regular file", "correct `state:`"),
        (
            lambda path: path.with_name("second.db").hardlink_to(path),
            "the state {} has a second name (a hard link)",
            "one state must have one name, or two applies could run at once: copy it instead",
        ),
        (
            lambda path: path.with_name("state.db-wal").touch(),
            "a write-ahead log lies beside the state: {}-wal",
            "segsync never makes one, so another program has had the file open: restore the "
            "state from a backup, without that log",
        ),
    ],
    ids=["folder", "hard link", "write-ahead log"],
)
def test_what_is_no_file_of_ours_alone_is_told_with_what_to_do(
    path: Path, change: Callable[[Path], None], message: str, hint: str
) -> None:
    change(path)
    error = refusal(path)
    assert (error.message, error.hint) == (message.format(path), hint)


def test_whether_there_is_a_state_is_known_or_told(path: Path) -> None:
    assert is_there(path) is True
    assert is_there(path.with_name("none.db")) is False
    assert is_there(path / "below" / "a.file") is False
    loop = path.with_name("loop.db")
    loop.symlink_to(loop)
    with pytest.raises(StateError) as caught:
        is_there(loop)
    assert caught.value.message == (
        f"the state {loop} cannot be looked at: Too many levels of symbolic links"
    )
    assert caught.value.hint == "its folder must belong to the user who runs segsync"


# -------------------------------------------------------------------- making one


def test_a_new_state_is_whole_private_and_on_the_disk_with_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """First what it holds, then the folder that names it, then the folder that names that one."""
    synced: list[int] = []
    sync = os.fsync

    def seen(descriptor: int) -> None:
        synced.append(os.fstat(descriptor).st_ino)
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", seen)
    path = tmp_path / "of" / "ours" / "state.db"
    mask = os.umask(0)
    try:
        create(path, IDENTITY)
    finally:
        os.umask(mask)
    assert synced == [place.stat().st_ino for place in (path, path.parent, path.parent.parent)]
    still_open = [item.resolve() for item in Path("/proc/self/fd").iterdir()]
    assert not [item for item in still_open if tmp_path in item.parents]
    assert not [warning for warning in recwarn if "not explicitly close" in str(warning.message)]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert list(path.parent.iterdir()) == [path]
    check_file(path)
    with closing(Database(path, read_only=True)) as opened:
        assert schema_version(opened) == SCHEMA_VERSION
        columns = "one, lineage, serial, datamart_id, api_origin, digest_probe"
        [row] = opened.rows(f"SELECT {columns} FROM identity")
    assert row == (1, "lineage", 3, "1509", "https://api.mediarithmics.com", -7)


@pytest.mark.parametrize("as_link", [False, True])
def test_a_state_is_made_where_nothing_is(tmp_path: Path, as_link: bool) -> None:
    path = tmp_path / "state.db"
    path.symlink_to("nowhere") if as_link else path.write_text("mine")
    with pytest.raises(StateError) as caught:
        create(path, IDENTITY)
    assert caught.value.message == f"the state {path} is there already"
    assert caught.value.hint == "move it away first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_state_that_cannot_be_made_is_told_and_leaves_nothing(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(StateError) as caught:
        create(file / "state.db", IDENTITY)
    assert caught.value.message == f"the state {file / 'state.db'} cannot be created: File exists"
    assert caught.value.hint == (
        "its folder must exist and be writable, on a disk with some space left"
    )
    nobodys = replace(IDENTITY, lineage=None)  # type: ignore[arg-type]
    with pytest.raises(StateError, match=r"NOT NULL constraint failed: identity.lineage"):
        create(tmp_path / "state.db", nobodys)
    assert list(tmp_path.iterdir()) == [file]


def test_a_draft_is_never_written_through_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(secrets, "token_hex", lambda _: "0a")
    (tmp_path / "other").touch()
    (tmp_path / "state.db.new-0a").symlink_to(tmp_path / "other")
    with pytest.raises(StateError, match="cannot be created: File exists"):
        create(tmp_path / "state.db", IDENTITY)
    assert (tmp_path / "other").read_bytes() == b""
    assert not (tmp_path / "state.db").exists()


def test_drafts_are_those_of_this_state(tmp_path: Path) -> None:
    path = tmp_path / "st[a]te*.db"
    mine = {tmp_path / f"{path.name}.new-{end}" for end in ("0a", "1b")}
    others = {path, tmp_path / "state1.db.new-2c", tmp_path / f"{path.name}.lock"}
    for place in mine | others:
        place.touch()
    assert set(drafts_of(path)) == mine


# -------------------------------------------------------------------- its version


@pytest.mark.parametrize("read_only", [False, True])
def test_a_state_of_a_newer_segsync_is_refused(path: Path, read_only: bool) -> None:
    with closing(Database(path, read_only=False)) as opened:
        check_version(opened, read_only=read_only)
        opened.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
        with pytest.raises(StateError) as caught:
            check_version(opened, read_only=read_only)
        with pytest.raises(StateError, match="a newer segsync"):
            migrate(opened)
    assert caught.value.message == f"the state {path} was written by a newer segsync"
    assert caught.value.hint == "install that version: this one does not know what the file means"


def test_a_state_of_an_older_segsync_needs_an_apply(path: Path) -> None:
    with closing(Database(path, read_only=False)) as opened:
        opened.execute(f"PRAGMA user_version = {SCHEMA_VERSION - 1}")
        check_version(opened, read_only=False)
        with pytest.raises(StateError) as caught:
            check_version(opened, read_only=True)
    assert caught.value.message == f"the state {path} was written by an older segsync"
    assert caught.value.hint == "run `segsync apply` once: it brings the state up to date"
