"""A state file that holds rows of a test's own, and the rows that it holds afterwards."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from segsync.state import Identity, State, create, open_state
from segsync.state.database import Database
from segsync.state.seal import write_seals

Row = tuple[Any, ...]
Tables = Mapping[str, Iterable[Row]]
"""The rows of tables, with all their columns."""
TABLES = (
    "segments", "keyspaces", "members", "recent", "pending", "watched", "newcomers", "rejects",
    "runs", "parts", "changes", "rejected_lines",
)  # fmt: skip


@cache
def _new() -> bytes:
    """A state in which nothing has happened yet: to make each anew takes longer than most tests."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        create(path, Identity("lineage", 0, "1509", "https://api.mediarithmics.com", 0))
        return path.read_bytes()


@contextmanager
def state_of(path: Path, tables: Tables, *, serial: int = 0) -> Iterator[State]:
    """A new state with these rows, open for an apply."""
    path.touch(0o600)
    path.write_bytes(_new())
    with closing(Database(path, read_only=False)) as database:
        database.execute("PRAGMA synchronous = OFF")
        with database.transaction():
            database.execute("UPDATE identity SET serial = ?", (serial,))
            put(database, tables)
            write_seals(database, backlog=True)
    with closing(open_state(path, read_only=False)) as state:
        yield state


def put(database: Database, tables: Tables) -> None:
    """Add these rows."""
    for table, rows in tables.items():
        for row in rows:
            marks = ", ".join("?" * len(row))
            database.execute(f"INSERT INTO {table} VALUES ({marks})", row)


def rows_in(path: Path) -> dict[str, list[Row]]:
    """What each table holds that is not empty, in the order of its key; the seals are checked."""
    open_state(path, read_only=True).close()
    with closing(sqlite3.connect(path)) as database:
        found = {table: database.execute(f"SELECT * FROM {table}").fetchall() for table in TABLES}
    return {table: sorted(rows, key=lambda row: row[:3]) for table, rows in found.items() if rows}


def confirmed_in(path: Path) -> list[Row]:
    """The confirmed members, of whichever layer, in the order of their keys."""
    with closing(sqlite3.connect(path)) as database:
        return database.execute("SELECT * FROM confirmed ORDER BY keyspace, identifier").fetchall()


def run_row(serial: int, status: str, **other: Any) -> Row:
    """A run, with its counts in the order of the table."""
    columns = {
        "submitted_at": 0, "closed_at": None, "import_id": None, "spec_sha256": "", "commands": 0,
        "changes_seal": "", "confirmed": 0, "rejected": 0, "unknown": 0, "unsent": 0,
    }  # fmt: skip
    assert other.keys() <= columns.keys()
    return (serial, f"run {serial}", status, *(columns | other).values())


def part_row(run: int, number: int, first: int, last: int, status: str, **other: Any) -> Row:
    """A part of a run."""
    columns = {"execution_id": None, "total_success": None, "total_failure": None,
               "executions": 0, "is_watched": 0}  # fmt: skip
    assert other.keys() <= columns.keys()
    return (run, number, 1, first, last, 9, "", status, *(columns | other).values())
