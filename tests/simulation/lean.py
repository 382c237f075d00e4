"""Lean stand-ins for what other tests hold: the driver under the state, and the source.

The state's SQL, transactions and file are the product's own; only the driver between is Python's,
whose statements cost a tenth (tests/test_kills.py and test_state_*.py hold the real one). The
source is the rows of the world themselves (tests/test_source_*.py hold the real ones).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pyarrow as pa

from segsync.model import Segment
from segsync.secret import Secret
from segsync.source import Source
from segsync.source.lane import Column, Control, Execution
from segsync.source.messages import Translator
from segsync.state.database import Database, Value

if TYPE_CHECKING:
    from tests.support.world import Table

STATEMENTS = 512
BATCH_ROWS = 2
NUMBERS = ("total", "expiration_ts")
shops: dict[Path, Mapping[str, Table]] = {}
"""The tables of each world, by its folder."""
deaths: dict[Path, Callable[[str], None]] = {}
"""Who may die before a statement of a transaction on a state, by its file."""


class LeanDatabase(Database):
    """The state's file through Python's driver.

    A process dies in this one, between two statements at most, and only what was committed is in
    the file: so nothing need be synced, and no transaction be rolled back from a journal on disk.
    """

    def __init__(self, path: Path, *, read_only: bool) -> None:
        self._errors = sqlite3.Error
        self._writing = Lock()
        self.path = path
        mode = "ro" if read_only else "rw"
        with self._translated():
            self._connection = sqlite3.connect(
                f"file:{quote(str(path))}?mode={mode}",
                uri=True,
                isolation_level=None,
                cached_statements=STATEMENTS,
            )
        if not read_only:
            self.execute("PRAGMA synchronous = OFF")
            self.execute("PRAGMA cache_spill = OFF")
            # What a killed process has left is rolled back, and taken away, as the real one does.
            is_left = Path(f"{path}-journal").exists()
            self.execute(f"PRAGMA journal_mode = {'DELETE' if is_left else 'MEMORY'}")

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        if self._connection.in_transaction and self.path in deaths and not sql.startswith("SELECT"):
            deaths[self.path](sql)
        with self._translated():
            return self._connection.execute(sql, tuple(values)).fetchall()

    @contextmanager
    def stream(self, sql: str, values: Sequence[Value] = ()) -> Iterator[pa.RecordBatchReader]:
        with self._translated():
            cursor = self._connection.execute(sql, tuple(values))
            rows = cursor.fetchall()
        names = [entry[0] for entry in cursor.description]
        columns = zip(*rows, strict=True) if rows else [()] * len(names)
        batch = pa.record_batch([_array(column) for column in columns], names=names)
        yield pa.RecordBatchReader.from_batches(batch.schema, _cut(batch))

    def ingest(self, table: str, rows: pa.RecordBatchReader) -> None:
        names = rows.schema.names
        sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
        for batch in rows:
            values = zip(*(column.to_pylist() for column in batch.columns), strict=True)
            with self._translated():
                self._connection.executemany(sql, values)


def _array(values: Sequence[Any]) -> pa.Array:
    """As the real driver: a number's column unless there is a text."""
    is_text = any(isinstance(value, str) for value in values)
    return pa.array(values, pa.string() if is_text else pa.int64())


def _cut(batch: pa.RecordBatch) -> list[pa.RecordBatch]:
    """As a driver gives many rows: a few at a time."""
    starts = range(0, max(batch.num_rows, 1), BATCH_ROWS)
    return [batch.slice(start, BATCH_ROWS) for start in starts]


class ShopLane:
    """The tables of a world, as a database would give them."""

    slots = 1

    def __init__(self, tables: Mapping[str, Table]) -> None:
        self._tables = tables

    @contextmanager
    def execute(self, segment: Segment, _control: Control) -> Iterator[Execution]:
        table = self._tables[segment.name]
        columns = tuple(
            Column.of(name, "int64" if name in NUMBERS else "string") for name in table.columns
        )
        values = zip(*table.rows, strict=True) if table.rows else [()] * len(columns)
        arrays = [pa.array(each, column.type) for each, column in zip(values, columns, strict=True)]
        batch = pa.record_batch(arrays, names=list(table.columns))
        yield Execution(columns, iter(_cut(batch)))

    def close(self) -> None:
        pass


def open_shop(name: str, _url: Secret, *, folder: Path, **_options: Any) -> Source:
    """What opens a source while a story is told."""
    return Source(name, ShopLane(shops[folder]), Translator(name, ()))
