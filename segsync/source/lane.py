"""What a way of reading databases (a lane) gives, and the columns that it gives it in."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from segsync.errors import SourceError
from segsync.model import Segment
from segsync.source.fragments import Form, json_sql

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_ROWS = 2_000
"""Arrow counts the bytes of a batch's text column in 31 bits: so many data bags of 1 MiB fit."""
NARROW_BATCH_ROWS = 32_000
"""So many identifiers of 64 KiB fit: larger batches of them are read faster."""
STOPPED = "the reading was stopped"
REPEAT_S = 0.2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a result: its name in lower case and its Arrow type.

    `json_sql` is a DuckDB expression over the quoted name that gives the JSON of a value, to be
    put behind `"key":`, and NULL for NULL.
    """

    name: str
    type: pa.DataType
    json_sql: str

    @classmethod
    def of(cls, name: str, type_: str, form: Form = Form.JSON_SAFE) -> Column:
        """The column `name` whose values arrive in `form`, as Arrow's type named `type_`."""
        import pyarrow as pa

        return cls(name.lower(), pa.type_for_alias(type_), json_sql(name.lower(), form))


@dataclass(frozen=True, slots=True)
class Projection:
    """A query around the user's own that gives `columns` in their canonical form."""

    columns: tuple[Column, ...]
    sql: str


@dataclass(frozen=True, slots=True)
class Execution:
    """A running query: its columns, and its rows, each batch with those columns in that order."""

    columns: tuple[Column, ...]
    batches: Iterator[pa.RecordBatch]


class Control:
    """The handle on a running query by which other threads can stop it.

    A driver's interruption is lost when it comes before the query has begun, so `stop` repeats it
    until the lane says that there is nothing left to interrupt.
    """

    def __init__(self) -> None:
        self.stopped = False
        self._disarmed = threading.Condition()
        self._abort: Callable[[], object] | None = None

    @contextmanager
    def armed(self, abort: Callable[[], object]) -> Iterator[None]:
        """While the context lasts, `stop` calls `abort`, and what that may use stays alive."""
        with self._disarmed:
            self._abort = abort
        try:
            if self.stopped:
                raise SourceError(STOPPED)
            yield
        finally:
            with self._disarmed:
                self._abort = None
                self._disarmed.notify_all()

    def stop(self) -> None:
        """Interrupt the query; returns when it has ended, or when it cannot be interrupted."""
        with self._disarmed:
            self.stopped = True
            while self._abort is not None:
                # The result has ended already; that an interruption failed changes nothing for it.
                with suppress(Exception):
                    self._abort()
                self._disarmed.wait(REPEAT_S)


class Lane(Protocol):
    """A connection, or several, to one database, kept in one snapshot where it can be.

    Its methods may raise what its driver raises; whoever calls them translates that.
    """

    @property
    def slots(self) -> int:
        """How many queries can run at once."""
        ...

    def execute(self, segment: Segment, control: Control) -> AbstractContextManager[Execution]:
        """Run the query of `segment`; the exit of the context ends it. Called in any thread."""
        ...

    def close(self) -> None:
        """Give the connections back. No query is running."""
        ...
