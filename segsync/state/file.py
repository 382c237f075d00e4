"""The state as a file: created privately, and looked at before SQLite opens it."""

from __future__ import annotations

import glob
import os
import secrets
import stat
from pathlib import Path

from segsync.errors import StateError
from segsync.state.database import Database, damaged
from segsync.state.records import Identity
from segsync.state.schema import APPLICATION_ID, MIGRATIONS, SCHEMA_VERSION
from segsync.state.seal import write_seals

PAGE_SIZE = 16_384
"""Bytes. A fold touches pages all over the members' tree: fewer and larger ones cost less."""
LOOKS = 3
PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700
DRAFT = ".new-"
HEADER = b"SQLite format 3\x00"
HEADER_LENGTH = 100
ROLLBACK_JOURNAL = b"\x01\x01"


def is_there(path: Path) -> bool:
    """Whether there is a state. Raises StateError where that cannot be seen."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise StateError(
            f"the state {path} cannot be looked at: {error.strerror}",
            hint="its folder must belong to the user who runs segsync",
        ) from None
    return True


def check_file(path: Path) -> None:
    """Raise StateError unless `path` is a private, whole-looking SQLite file of ours."""
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise StateError(f"the state {path} is not a regular file", hint="correct `state:`")
    if status.st_nlink > 1:
        raise StateError(
            f"the state {path} has a second name (a hard link)",
            hint="one state must have one name, or two applies could run at once: copy it instead",
        )
    if status.st_mode & 0o077:
        raise StateError(
            f"the state {path} can be read by others (mode {status.st_mode & 0o777:04o})",
            hint=f"it holds personal data: chmod 600 {path}",
        )
    if Path(f"{path}-wal").exists():
        # SQLite would carry it into the state without asking whose it is.
        raise StateError(
            f"a write-ahead log lies beside the state: {path}-wal",
            hint="segsync never makes one, so another program has had the file open: restore the "
            "state from a backup, without that log",
        )
    header = _read_header(path)
    if not header:
        raise damaged(path, "the file is empty")
    if len(header) < HEADER_LENGTH or not header.startswith(HEADER):
        raise damaged(path, "it is not a SQLite file")
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        raise damaged(path, "it is a SQLite file, but not a state of segsync")
    if int.from_bytes(header[16:18], "big") != PAGE_SIZE:
        raise damaged(path, "its header gives pages of another size")
    if header[18:20] != ROLLBACK_JOURNAL:
        raise damaged(path, "its header says that it is not kept with a rollback journal")
    _check_length(path)


def _check_length(path: Path) -> None:
    """A commit that was cut short is mended by its journal; without one the length must fit.

    One that ends between two looks makes them disagree: then another one decides.
    """
    for _ in range(LOOKS):
        length = path.stat().st_size
        expected = int.from_bytes(_read_header(path)[28:32], "big") * PAGE_SIZE
        if length == expected or Path(f"{path}-journal").exists():
            return
    raise damaged(path, f"it has {length:,} bytes, and should have {expected:,}")


def _read_header(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(HEADER_LENGTH)
    except OSError as error:
        raise StateError(
            f"the state {path} cannot be read: {error.strerror}",
            hint="it must belong to the user who runs segsync",
        ) from None


def create(path: Path, identity: Identity) -> None:
    """Make a new state that appears whole or not at all. Raises StateError if one is there.

    The caller holds the lock: nobody else makes one at the same time.
    """
    if os.path.lexists(path):
        raise StateError(f"the state {path} is there already", hint="move it away first")
    try:
        path.parent.mkdir(mode=PRIVATE_FOLDER, parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}{DRAFT}{secrets.token_hex(4)}")
        os.close(os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, PRIVATE_FILE))
        try:
            _initialise(draft, identity)
            _sync(draft)
            draft.rename(path)
        finally:
            draft.unlink(missing_ok=True)
        _sync(path.parent)
        _sync(path.parent.parent)
    except OSError as error:
        raise StateError(
            f"the state {path} cannot be created: {error.strerror}",
            hint="its folder must exist and be writable, on a disk with some space left",
        ) from None


def drafts_of(path: Path) -> list[Path]:
    """What a `create` that was killed has left."""
    return list(path.parent.glob(f"{glob.escape(path.name)}{DRAFT}*"))


def _initialise(draft: Path, identity: Identity) -> None:
    database = Database(draft, read_only=False)
    try:
        database.execute(f"PRAGMA page_size = {PAGE_SIZE}")
        database.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        migrate(database)
        database.execute(
            "INSERT INTO identity (one, lineage, serial, datamart_id, api_origin, digest_probe) "
            "VALUES (1, ?, ?, ?, ?, ?)",
            (
                identity.lineage,
                identity.serial,
                identity.datamart_id,
                identity.api_origin,
                identity.digest_probe,
            ),
        )
        write_seals(database, backlog=True)
    finally:
        database.close()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def schema_version(database: Database) -> int:
    """The number of migrations that this file has seen."""
    return int(database.rows("PRAGMA user_version")[0][0])


def check_version(database: Database, *, read_only: bool) -> None:
    """Raise StateError if a newer segsync wrote this file, or an older one and it is read only."""
    version = schema_version(database)
    if version < SCHEMA_VERSION and read_only:
        raise StateError(
            f"the state {database.path} was written by an older segsync",
            hint="run `segsync apply` once: it brings the state up to date",
        )
    if version > SCHEMA_VERSION:
        raise StateError(
            f"the state {database.path} was written by a newer segsync",
            hint="install that version: this one does not know what the file means",
        )


def migrate(database: Database) -> None:
    """Bring the tables to the present version, one transaction for each step."""
    check_version(database, read_only=False)
    for version in range(schema_version(database), SCHEMA_VERSION):
        with database.transaction():
            for statement in MIGRATIONS[version]:
                database.execute(statement)
            database.execute(f"PRAGMA user_version = {version + 1}")
