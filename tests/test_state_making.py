"""A state is made private, whole and on the disk, or not at all; its version says who reads it."""

from __future__ import annotations

import os
import secrets
import stat
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from segsync.errors import StateError
from segsync.state import Identity, create, open_state
from segsync.state.database import Database
from segsync.state.file import check_file, check_version, drafts_of, migrate, schema_version
from segsync.state.schema import SCHEMA_VERSION
from tests.support.rows import state_of

IDENTITY = Identity("lineage", 3, "1509", "https://api.mediarithmics.com", -7)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with state_of(tmp_path / "state.db", {}) as state:
        return state.path


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
    open_state(path, read_only=True).close()
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
