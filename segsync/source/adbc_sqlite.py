"""SQLite through ADBC: one connection in one read transaction."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from segsync.errors import SourceError
from segsync.model import Segment
from segsync.source import sqlite
from segsync.source.columns import has_data_bag
from segsync.source.lane import BATCH_ROWS, NARROW_BATCH_ROWS, Column, Control, Execution
from segsync.source.query import SQLITE, Query, parse, refuse_unbound
from segsync.source.values import too_much_text, unreadable

if TYPE_CHECKING:
    import pyarrow as pa


class SqliteLane:
    """One connection; its statements take turns, so all of them see one snapshot.

    The driver cannot interrupt a statement: one that is stopped is left to its thread.
    """

    def __init__(self, uri: str, slots: int) -> None:
        import adbc_driver_sqlite.dbapi as adbc

        self.slots = slots
        self._connection = adbc.connect(uri, autocommit=True)
        with self._connection.cursor() as cursor:
            for statement in sqlite.SESSION:
                cursor.execute(statement)
                cursor.fetchall()

    @contextmanager
    def execute(self, segment: Segment, _control: Control) -> Iterator[Execution]:
        """Run the query of `segment`."""
        query = parse(segment, SQLITE)
        refuse_unbound(segment, query)
        names = list(dict.fromkeys(query.names))
        sql = query.render(lambda name: f"?{names.index(name) + 1}")
        values = _bound(segment, query)
        with self._connection.cursor() as cursor:
            cursor.execute(sqlite.probe(sql), values)
            found = [entry[0] for entry in cursor.description or ()]
            projection = sqlite.project(segment, sql, found, plain=query.plain)
            rows = BATCH_ROWS if has_data_bag(found) else NARROW_BATCH_ROWS
            cursor.adbc_statement.set_options(**{"adbc.sqlite.query.batch_rows": str(rows)})
            cursor.execute(projection.sql, values)
            batches = _batches(cursor.fetch_record_batch(), projection.columns)
            yield Execution(projection.columns, batches)

    def close(self) -> None:
        """Give the connection back."""
        self._connection.close()


def _bound(segment: Segment, query: Query) -> pa.RecordBatch | None:
    import pyarrow as pa

    params = {name: (segment.params or {})[name] for name in query.names}
    if not params:
        return None
    try:
        return pa.record_batch([pa.array([value]) for value in params.values()], names=list(params))
    except (OverflowError, pa.ArrowInvalid, UnicodeError):
        raise SourceError(
            "a value under `params:` does not fit into any type of the database",
            place=segment.query_place,
        ) from None


def _batches(reader: pa.RecordBatchReader, columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    schema = pa.schema([(column.name, column.type) for column in columns])
    to_drop = 1
    while True:
        with _translated():
            batch = next(reader, None)
            if batch is None:
                return
            named = pa.RecordBatch.from_arrays(batch.slice(to_drop).columns, schema=schema)
        yield named
        to_drop = 0


@contextmanager
def _translated() -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except pa.ArrowInvalid as error:
        raise unreadable(error) from None
    except OSError as error:
        if str(error):
            raise
        # Behind its first batch the driver has no words for texts of more than 2 GiB.
        raise too_much_text() from None
