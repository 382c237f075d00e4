"""SQLite through its ADBC driver: the one library, and one copy of SQLite, on the state file."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from segsync.errors import StateDamaged, StateError

if TYPE_CHECKING:
    import pyarrow

Value = str | int | None
BATCH_ROWS = 32_000
"""Arrow counts the bytes of a batch's text column in 31 bits: so many identifiers of 64 KiB fit."""
CACHE_KIB = 65_536
"""A fold touches pages all over the members' tree: a cache that holds them is written out once."""
STRANGE_VALUE = "it holds a value that segsync did not write"
BUSY_TIMEOUT_MS = 120_000
"""Committing millions of members takes seconds, and a reader or writer waits for the other."""


class Database:
    """One connection to one file; every statement commits by itself outside `transaction`."""

    def __init__(self, path: Path, *, read_only: bool) -> None:
        import adbc_driver_sqlite.dbapi as sqlite

        _leave_signals_to_python()
        self._errors = sqlite.Error
        self._writing = threading.Lock()
        self.path = path
        mode = "ro" if read_only else "rw"
        with self._translated():
            self._connection = sqlite.connect(
                f"file:{quote(str(path))}?mode={mode}", autocommit=True
            )
        self.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if not read_only:
            self.execute("PRAGMA journal_mode = DELETE")
            self.execute("PRAGMA synchronous = EXTRA")
            self.execute(f"PRAGMA cache_size = -{CACHE_KIB}")

    def close(self) -> None:
        """Close the connection; an open transaction is rolled back.

        Waits for a thread that still appends rows: who was interrupted twice has not done so, and
        the driver does not survive it.
        """
        with self._writing:
            self._connection.close()

    def execute(self, sql: str, values: Sequence[Value] = ()) -> None:
        """Run one statement."""
        self.rows(sql, values)

    def rows(self, sql: str, values: Sequence[Value] = ()) -> list[tuple[Any, ...]]:
        """Run one statement and return its few rows."""
        with self._translated(), self._connection.cursor() as cursor:
            cursor.execute(sql, _bound(values))
            return [tuple(row) for row in cursor.fetchall()]

    @contextmanager
    def stream(self, sql: str, values: Sequence[Value] = ()) -> Iterator[pyarrow.RecordBatchReader]:
        """The rows of a query as Arrow batches, while the context is open."""
        with self._translated():
            options = {"adbc.sqlite.query.batch_rows": BATCH_ROWS}
            cursor = self._connection.cursor(adbc_stmt_kwargs=options)
        try:
            with self._translated():
                cursor.execute(sql, _bound(values))
                reader = cursor.fetch_record_batch()
            yield reader
        finally:
            cursor.close()

    def batches(self, rows: pyarrow.RecordBatchReader) -> Iterator[pyarrow.RecordBatch]:
        """Those of a stream; what fails as they are read is told as an error of the state."""
        import pyarrow

        try:
            yield from rows
        except (OSError, pyarrow.ArrowInvalid) as error:
            raise _state_error(self.path, str(error)) from None

    def ingest(self, table: str, rows: pyarrow.RecordBatchReader) -> None:
        """Append Arrow batches to a table. Commits on its own, also inside a transaction."""
        with self._writing, self._translated(), self._connection.cursor() as cursor:
            cursor.adbc_ingest(table, rows, mode="append")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All statements inside, or none of them."""
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            self._roll_back()
            raise

    def _roll_back(self) -> None:
        try:
            self.execute("ROLLBACK")
        except StateError:
            return  # SQLite rolled back by itself, as it does on a full disk

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except self._errors as error:
            raise _state_error(self.path, str(error)) from None
        except (ValueError, OverflowError):
            raise damaged(self.path, STRANGE_VALUE) from None


def named(*columns: str) -> str:
    """Columns for a SELECT, named once more: SQLite finds one in any case of its letters, and gives
    it as it is written in the file, of which a bit may have flipped.
    """
    return ", ".join(f"{column} AS {column}" for column in columns)


def _bound(values: Sequence[Value]) -> pyarrow.RecordBatch | None:
    """The values with their types: to infer these takes longer than most statements."""
    if not values:
        return None
    import pyarrow

    kinds = (pyarrow.int64() if isinstance(value, int) else pyarrow.string() for value in values)
    arrays = [pyarrow.array([value], kind) for value, kind in zip(values, kinds, strict=True)]
    return pyarrow.record_batch(arrays, names=[str(number) for number in range(len(arrays))])


def _leave_signals_to_python() -> None:
    """Keep ADBC from handling SIGINT itself while a statement runs in the main thread.

    Its thread calls an object that may have been freed since (SIGSEGV), and a signal is lost that
    comes between two statements, or told as an error of the state: SQLite's driver cannot cancel.
    """
    from adbc_driver_manager import dbapi

    vars(dbapi)["_blocking_call"] = _call  # there is no option for it


def _call(
    function: Callable[..., Any],
    arguments: Sequence[Any],
    named: Mapping[str, Any],
    _cancel: Callable[[], None],
) -> Any:
    return function(*arguments, **named)


def _state_error(path: Path, text: str) -> StateError:
    reason = text.split("\nquery:")[0].split(". Detail: Python exception:")[0].strip()
    if "no transaction is active" in reason:
        # SQLite has rolled back by itself, and what the driver says of its own rollback hides why.
        reason = "the disk is full, or it failed"
    lowered = reason.lower()
    if "malformed" in lowered or "not a database" in lowered or "no such" in lowered:
        return damaged(path, reason)
    if "mismatch" in lowered:
        return damaged(path, STRANGE_VALUE)
    if "next parameter batch" in lowered:
        return StateError(
            f"the changes could not be written to the state {path}: {reason}",
            hint="nothing was sent; if memory ran out, raise --memory-limit or free some space in "
            "the folder for temporary files",
        )
    if "locked" in lowered:
        return StateError(
            f"the state {path} is kept busy by another process: {reason}",
            hint="nothing is lost; run it again when the other one has finished",
        )
    if "full" in lowered or "disk i/o" in lowered:
        return StateError(
            f"the state {path} could not be written: {reason}",
            hint="free some space or repair the disk, then run apply again: nothing is lost",
        )
    if "readonly" in lowered or "unable to open" in lowered or "permission" in lowered:
        return StateError(
            f"the state {path} cannot be opened: {reason}",
            hint="it and its folder must be writable; if an apply was killed, run apply once more",
        )
    return StateError(f"the state {path} cannot be used: {reason}")


def damaged(path: Path, reason: str) -> StateDamaged:
    """The error of a state whose content is not what was written."""
    return StateDamaged(
        f"the state {path} is damaged: {reason}",
        hint="nothing was changed; restore the file from a backup (an older copy is noticed and "
        "refused if the platform has seen later runs), or move it away to start anew: the first "
        "apply then adds every member again and can remove none that it does not know",
    )
