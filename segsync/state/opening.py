"""A state is opened: its file, version, small tables and their seals are looked at first."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from segsync.scratch import scratch_folder
from segsync.state import file
from segsync.state.database import Database, damaged
from segsync.state.reading import read_identity
from segsync.state.records import Identity
from segsync.state.seal import check_seals
from segsync.state.store import State

SMALL_TABLES = (
    "identity",
    "segments",
    "keyspaces",
    "runs",
    "parts",
    "pending",
    "watched",
    "newcomers",
    "rejects",
)


def open_state(path: Path, *, read_only: bool, is_copied: bool = False) -> State:
    """Open and check a state file. Raises StateError; FileNotFoundError if there is none.

    One that is only copied may be of an older version, whose members cannot be read.
    """
    path = path.resolve()
    file.check_file(path)
    database = Database(path, read_only=read_only)
    try:
        return State(database, _prepare(database, read_only, is_copied), read_only=read_only)
    except BaseException:
        database.close()
        raise


def _prepare(database: Database, read_only: bool, is_copied: bool) -> Identity:
    file.check_version(database, read_only=read_only and not is_copied)
    if not read_only:
        file.migrate(database)
    for table in SMALL_TABLES:
        found = database.rows(f"PRAGMA integrity_check('{table}')")[0][0]
        if found != "ok":
            raise damaged(database.path, str(found))
    database.execute("BEGIN")
    check_seals(database)
    identity = read_identity(database)
    database.execute("COMMIT")
    return identity


@contextmanager
def empty_state(identity: Identity) -> Iterator[State]:
    """A state without members, for a plan before the first apply; it leaves nothing behind."""
    with scratch_folder() as folder:
        path = folder / "state.db"
        file.create(path, identity)
        state = open_state(path, read_only=True)
        try:
            yield state
        finally:
            state.close()
