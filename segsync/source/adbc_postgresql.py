"""PostgreSQL through ADBC: several connections in one snapshot, read with binary COPY."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote, unquote, urlencode

from segsync.model import ParamValue, Segment
from segsync.source import postgresql
from segsync.source.columns import check_columns
from segsync.source.lane import Column, Control, Execution
from segsync.source.postgresql import Described, number_literal
from segsync.source.query import POSTGRESQL, Query, parse

if TYPE_CHECKING:
    import pyarrow as pa
    from adbc_driver_manager.dbapi import Connection

BATCH_BYTES = 2 * 1024 * 1024
CONNECT_TIMEOUT_S = 10


def libpq_uri(url: str) -> str:
    """libpq's URI for a SQLAlchemy URL; they differ in the driver and in what must be encoded."""
    _, _, rest = url.partition("://")
    location, _, options_text = rest.partition("?")
    credentials, at, place = location.rpartition("@")
    user, colon, password = credentials.partition(":")
    options = dict(parse_qsl(options_text, keep_blank_values=True))
    options = {
        "connect_timeout": str(CONNECT_TIMEOUT_S),
        "application_name": "segsync",
        **options,
    }
    user, password = (quote(unquote(part), safe="") for part in (user, password))
    query = urlencode(options, quote_via=quote)
    return f"postgresql://{user}{colon}{password}{at}{place}?{query}"


class PostgresqlLane:
    """Up to `slots` connections, opened as they are needed, that share one snapshot.

    The first one exports its snapshot, and keeps its transaction open until the lane is closed.
    """

    def __init__(self, uri: str, slots: int) -> None:
        self.slots = slots
        self._uri = uri
        self._lock = threading.Lock()
        self._snapshot: str | None = None
        first = self._connect()
        self._open = [first]
        self._idle = [first]
        try:
            self._snapshot = str(_only_value(first, postgresql.EXPORT_SNAPSHOT))
        except Exception:
            # A server that exports no snapshot has one only within one connection.
            self.slots = 1
            _execute(first, "ROLLBACK", postgresql.BEGIN, *postgresql.SESSION)

    @contextmanager
    def execute(self, segment: Segment, control: Control) -> Iterator[Execution]:
        """Run the query of `segment`."""
        query = parse(segment, POSTGRESQL)
        with self._connection(control) as connection, connection.cursor() as cursor:
            cursor.adbc_statement.set_options(
                **{"adbc.postgresql.batch_size_hint_bytes": str(BATCH_BYTES)}
            )
            with control.armed(cursor.adbc_cancel):
                sql = _with_literals(connection, segment, query)
                cursor.execute(postgresql.probe(sql))
                described = [_described(field) for field in cursor.fetch_record_batch().schema]
                check_columns(segment, [column.name for column in described])
                projection = postgresql.project(segment, sql, described)
                cursor.execute(projection.sql)
                # Closing the reader waits for the rest of the rows, so it stays interruptible.
                with cursor.fetch_record_batch() as reader:
                    yield Execution(projection.columns, _batches(reader, projection.columns))

    def close(self) -> None:
        """Give the connections back."""
        for connection in self._open:
            with contextlib.suppress(Exception):
                connection.close()

    @contextmanager
    def _connection(self, control: Control) -> Iterator[Connection]:
        """A connection of the pool, inside a savepoint: a failure then ends no transaction."""
        with self._lock:
            connection = self._idle.pop() if self._idle else None
        if connection is None:
            connection = self._connect()
            with self._lock:
                self._open.append(connection)
        _execute(connection, postgresql.SAVEPOINT)
        try:
            yield connection
        except BaseException:
            with contextlib.suppress(Exception):
                self._restore(connection, control)
            raise
        self._restore(connection, control)

    def _restore(self, connection: Connection, control: Control) -> None:
        _execute(connection, *postgresql.BACK_TO_SAVEPOINT)
        # An interruption may still be on its way: it must not meet another query.
        if not control.stopped:
            with self._lock:
                self._idle.append(connection)

    def _connect(self) -> Connection:
        import adbc_driver_postgresql.dbapi as adbc

        connection: Connection = adbc.connect(self._uri, autocommit=True)
        adopt = [f"SET TRANSACTION SNAPSHOT '{self._snapshot}'"] if self._snapshot else []
        try:
            _execute(connection, postgresql.BEGIN, *adopt, *postgresql.SESSION)
        except Exception:
            connection.close()
            raise
        return connection


def _execute(connection: Connection, *statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def _with_literals(connection: Connection, segment: Segment, query: Query) -> str:
    """The text of `query` with its parameters as literals.

    COPY takes no parameters, and without COPY the driver holds the whole result in memory. The
    literals of texts are written by the server, from values that the driver binds.
    """
    params = segment.params or {}
    literals = {name: _literal(connection, params[name]) for name in query.names}
    return query.render(lambda name: f" {literals[name]} ")


def _literal(connection: Connection, value: ParamValue) -> str:
    if isinstance(value, str):
        return str(_only_value(connection, "SELECT quote_literal($1)", (value,)))
    return number_literal(value)


def _only_value(connection: Connection, sql: str, values: tuple[str, ...] | None = None) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(sql, values)
        row = cursor.fetchone()
        assert row is not None
        return row[0]


def _described(field: pa.Field) -> Described:
    metadata = {key.decode(): value.decode() for key, value in (field.metadata or {}).items()}
    type_ = metadata.get("POSTGRESQL:type", "text")
    typmod = int(metadata.get("POSTGRESQL:typmod", -1))
    return Described(field.name, type_, _scale(typmod) if typmod >= 0 else None)


def _scale(typmod: int) -> int:
    # numeric.c: the scale is the low 11 bits, signed, of what stands above the header's 4.
    return (((typmod - 4) & 0x7FF) ^ 1024) - 1024


def _batches(reader: pa.RecordBatchReader, columns: tuple[Column, ...]) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    schema = pa.schema([(column.name, column.type) for column in columns])
    for batch in reader:
        yield pa.RecordBatch.from_arrays(batch.columns, schema=schema)
