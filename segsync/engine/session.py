"""The DuckDB connection: its limits, its private temporary folder, and its errors translated."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from segsync.errors import SegsyncError, UsageError
from segsync.scratch import scratch_folder

if TYPE_CHECKING:
    import duckdb
    import pyarrow

BATCH_ROWS = 50_000
BYTES_OF_A_THREAD = 200_000_000
"""Each thread has rows of its own at hand, some 2,000 in ten copies, with a data bag each."""
BYTES_OF_A_ROW = 200
"""What a row costs in the hash table of a join, with some columns beside it."""
WANT_OF_ROOM = "raise --memory-limit, or free space in the folder for temporary files"
UNITS = {"": 0, "K": 1, "M": 2, "G": 3, "T": 4}
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([KMGT]?)(I?)B?\s*", re.IGNORECASE)


def size_of(text: str) -> int:
    """Bytes of a text such as 500MB or 1.5GiB. Raises UsageError."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise UsageError(f"the memory limit {text!r} is not a size", hint="write it like 500MB")
    base = 1024 if found[3] else 1000
    return int(float(found[1]) * base ** UNITS[found[2].upper()])


class EngineError(SegsyncError):
    """The engine could not do its work: memory, disk, or a stream that failed."""

    @property
    def is_for_want_of_room(self) -> bool:
        """Whether memory or disk did not suffice."""
        return self.hint == WANT_OF_ROOM


class Session:
    """One in-memory DuckDB that spills to a private folder above `memory_limit` (such as 1GB).

    `beside` are bytes of that limit which somebody else holds.
    """

    def __init__(self, memory_limit: str, beside: int = 0) -> None:
        import duckdb

        size = size_of(memory_limit)
        own = max(size - beside, size // 2)

        self._rows_in_memory = own // BYTES_OF_A_ROW
        self._scratch = ExitStack()
        folder = self._scratch.enter_context(scratch_folder())
        self._error = duckdb.Error
        self._lock = Lock()
        self._cursors: WeakSet[Cursor] = WeakSet()
        try:
            self._connection = duckdb.connect(
                ":memory:",
                config={
                    "memory_limit": f"{own}B",
                    "temp_directory": str(folder),
                    "preserve_insertion_order": True,
                    "arrow_large_buffer_size": True,
                    # A join holds its right side in memory, as it is written: DuckDB does not know
                    # how long a stream is, and would hold that.
                    "disabled_optimizers": "build_side_probe_side",
                    "autoinstall_known_extensions": False,
                    "autoload_known_extensions": False,
                },
            )
        except duckdb.Error as error:
            self._scratch.close()
            raise UsageError(
                f"the memory limit {memory_limit!r} is not usable: {error}", hint="try 1GB"
            ) from None

        with self.cursor() as cursor:
            most = max(1, own // BYTES_OF_A_THREAD)
            if cursor.threads() > most:
                cursor.execute(f"SET threads = {most}")

    def close(self) -> None:
        """Give back memory and disk."""
        self._connection.close()
        self._scratch.close()

    def interrupt(self) -> None:
        """Stop the running statements, from any thread."""
        with self._lock:
            cursors = list(self._cursors)
        for cursor in cursors:
            cursor.interrupt()

    def cursor(self) -> Cursor:
        """A connection of its own to the same tables, for one thread."""
        cursor = Cursor(self._connection.cursor(), self._error, self._rows_in_memory)
        with self._lock:
            self._cursors.add(cursor)
        return cursor


class Cursor:
    """Runs statements for one thread. Foreign errors become EngineError.

    About so many `rows_in_memory` can be one side of a join without being spilled.
    """

    def __init__(
        self, connection: duckdb.DuckDBPyConnection, error: type[Exception], rows_in_memory: int
    ) -> None:
        self._connection = connection
        self._error = error
        self.rows_in_memory = rows_in_memory

    def __enter__(self) -> Cursor:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def interrupt(self) -> None:
        """Stop the running statement, from any thread."""
        with contextlib.suppress(self._error):
            self._connection.interrupt()

    def execute(self, sql: str) -> None:
        """Run one statement."""
        with self._translated():
            self._connection.execute(sql)

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Run one statement and return its few rows."""
        with self._translated():
            return self._connection.execute(sql).fetchall()

    def row(self, sql: str) -> tuple[Any, ...]:
        """The one row of a query."""
        return self.rows(sql)[0]

    def threads(self) -> int:
        """How many the engine works with."""
        return int(self.row("SELECT current_setting('threads')")[0])

    @contextmanager
    def alone(self) -> Iterator[None]:
        """With one thread, which takes less memory, as nothing else is at work."""
        threads = self.threads()
        self.execute("SET threads = 1")
        try:
            yield
        finally:
            self.execute(f"SET threads = {threads}")

    @contextmanager
    def reading(self, name: str, stream: pyarrow.RecordBatchReader) -> Iterator[None]:
        """Make an Arrow stream readable under a name, once."""
        with self._translated():
            self._connection.register(name, stream)
        try:
            yield
        finally:
            self._connection.unregister(name)

    @contextmanager
    def stream(self, sql: str) -> Iterator[pyarrow.RecordBatchReader]:
        """The rows of a query as Arrow batches."""
        with self._translated():
            yield self._connection.sql(sql).to_arrow_reader(BATCH_ROWS)

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._error as error:
            text = str(error)
            hint = None
            if "memory" in text.lower() or text.startswith("IO Error"):
                hint = WANT_OF_ROOM
            raise EngineError(f"the comparison failed: {text.splitlines()[0]}", hint=hint) from None


def quoted(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def column(name: str) -> str:
    """A name as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
