"""Every other database: the DBAPI cursor of the driver that SQLAlchemy connects with.

SQLAlchemy's own rows take three times as long as the cursor's, so it only connects.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segsync.errors import SourceError
from segsync.model import ParamValue, Segment
from segsync.source import postgresql, sqlite
from segsync.source.dialects import (
    CONNECT_ARGS,
    EXTRAS,
    PACKAGES,
    dialect,
    in_folder,
    with_driver,
)
from segsync.source.lane import BATCH_ROWS, Control, Execution
from segsync.source.query import parse, refuse_unbound
from segsync.source.shapes import Shape, shape

if TYPE_CHECKING:
    import pyarrow as pa
    from sqlalchemy import Engine

MARGIN = "\0"
"""Stands on both sides of a parameter's name until the query around it is complete."""


class DbapiLane:
    """One connection, so one query at a time."""

    slots = 1

    def __init__(self, url: str, folder: Path | None) -> None:
        self._engine = _engine(url, folder)
        self._dialect = dialect(self._engine.dialect.name)
        self._connection = self._engine.raw_connection()
        self._id = None
        for statement in self._dialect.session:
            self._execute(statement)
        if self._dialect.connection_id:
            (self._id,) = self._execute(self._dialect.connection_id)[0]
        if self._engine.dialect.name == "sqlite":
            self._driver.set_authorizer(_only_reading)

    @contextmanager
    def execute(self, segment: Segment, control: Control) -> Iterator[Execution]:
        """Run the query of `segment`."""
        query = parse(segment, self._dialect.lexis)
        if self._dialect.lexis.marks:
            refuse_unbound(segment, query)
        text = query.render(lambda name: f"{MARGIN}{name}{MARGIN}")

        # Closing a cursor may read the rest of its rows, so it stays interruptible.
        with self._unharmed(), control.armed(self._interrupt), ExitStack() as stack:

            def run(sql: str, *, stream: bool = False) -> Any:
                cursor = self._streaming_cursor() if stream else self._driver.cursor()
                stack.callback(_close, cursor)
                values = bind(sql, segment.params or {}, self._engine.dialect.paramstyle)
                cursor.execute(*values)
                return cursor

            form = shape(self._dialect, segment, run, text, plain=query.plain)
            yield Execution(form.columns, _batches(form))

    def close(self) -> None:
        """Give the connection back."""
        if self._engine.dialect.name == "sqlite":
            self._driver.set_authorizer(None)
        self._connection.close()

    @property
    def _driver(self) -> Any:
        return self._connection.driver_connection

    def _execute(self, sql: str) -> list[Any]:
        with closing(self._driver.cursor()) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall()) if cursor.description else []

    def _streaming_cursor(self) -> Any:
        """A cursor that does not fetch the whole result on `execute`.

        SQLAlchemy has such cursors too, but fetches a first row from them that we would miss.
        """
        driver = self._engine.dialect.driver
        if driver in ("psycopg", "psycopg2"):
            return self._driver.cursor(name="segsync")
        if driver in ("pymysql", "mysqldb"):
            module = {"pymysql": "pymysql.cursors", "mysqldb": "MySQLdb.cursors"}[driver]
            return self._driver.cursor(import_module(module).SSCursor)
        return self._driver.cursor()

    @contextmanager
    def _unharmed(self) -> Iterator[None]:
        """Keep the failure of one query from failing the next one."""
        if self._dialect.after_failure == "savepoint":
            self._execute(postgresql.SAVEPOINT)
        try:
            yield
        except BaseException:
            if self._dialect.after_failure == "rollback":
                with suppress(Exception):
                    self._driver.rollback()
            raise
        finally:
            # What failed is told by the error at hand, whatever comes of the attempt to go on.
            if self._dialect.after_failure == "savepoint":
                with suppress(Exception):
                    for statement in postgresql.BACK_TO_SAVEPOINT:
                        self._execute(statement)

    def _interrupt(self) -> None:
        if self._dialect.interrupt:
            other = self._engine.raw_connection()
            with closing(other), closing(other.cursor()) as cursor:
                cursor.execute(self._dialect.interrupt.format(self._id))
            return
        for name in ("cancel_safe", "cancel", "interrupt"):
            interrupt = getattr(self._driver, name, None)
            if interrupt:
                interrupt()
                return


def bind(
    sql: str, params: Mapping[str, ParamValue], style: str
) -> tuple[str] | tuple[str, dict[str, ParamValue] | tuple[ParamValue, ...]]:
    """What to call `execute` with: `sql` with its parameters in the driver's `style`, the values.

    Without parameters there are no values either: the driver then takes a `%` for what it is.
    """
    pieces = sql.split(MARGIN)
    names = pieces[1::2]
    if not names:
        return (sql,)
    distinct = list(dict.fromkeys(names))
    placeholder = {
        "qmark": "?",
        "format": "%s",
        "pyformat": "%({name})s",
        "named": ":{name}",
        "numeric": ":{number}",
        "numeric_dollar": "${number}",
    }[style]
    if style in ("format", "pyformat"):
        pieces[::2] = [piece.replace("%", "%%") for piece in pieces[::2]]
    pieces[1::2] = [
        placeholder.format(name=name, number=distinct.index(name) + 1) for name in names
    ]
    if style in ("pyformat", "named"):
        return "".join(pieces), {name: params[name] for name in distinct}
    repeated = names if style in ("qmark", "format") else distinct
    return "".join(pieces), tuple(params[name] for name in repeated)


def _close(cursor: Any) -> None:
    """Close a cursor of which all that is wanted has been read."""
    try:
        cursor.close()
    except Exception:
        # PyMySQL goes on to read from a lost connection when it collects its garbage, in vain and
        # with a traceback on the terminal.
        unbuffered: Any = getattr(cursor, "_result", None)
        if hasattr(unbuffered, "unbuffered_active"):
            unbuffered.unbuffered_active = False
            cursor.connection = None


def _batches(form: Shape) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    schema = pa.schema([(column.name, column.type) for column in form.columns])
    fetch = form.cursor.fetchmany
    if form.rows_to_skip:
        fetch(form.rows_to_skip)
    while rows := fetch(BATCH_ROWS):
        values = zip(*rows, strict=True)
        arrays = [convert(column) for convert, column in zip(form.converters, values, strict=True)]
        yield pa.RecordBatch.from_arrays(arrays, schema=schema)


def _engine(url: str, folder: Path | None) -> Engine:
    try:
        import sqlalchemy
    except ModuleNotFoundError:
        raise _missing("sqlalchemy") from None

    options: dict[str, Any] = {
        "poolclass": sqlalchemy.NullPool,
        "hide_parameters": True,
        # The end of a connection ends its transaction; a lost one would be told as a traceback.
        "pool_reset_on_return": None,
    }
    try:
        place = sqlalchemy.make_url(with_driver(url))
        name = place.get_dialect().driver
        if place.get_backend_name() == "sqlite":
            uri = sqlite.read_only_uri(url, folder)
            return sqlalchemy.create_engine("sqlite://", creator=lambda: _sqlite(uri), **options)
        if place.get_backend_name() == "duckdb":
            place = place.set(database=in_folder(place.database, folder))
        arguments = CONNECT_ARGS.get(name, {})
        arguments = {key: arguments[key] for key in arguments.keys() - place.query.keys()}
        return sqlalchemy.create_engine(place, connect_args=arguments, **options)
    except sqlalchemy.exc.NoSuchModuleError as error:
        # Its only information is its text: Can't load plugin: sqlalchemy.dialects:snowflake
        name = str(error).rpartition(":")[2].partition(".")[0]
        raise (_missing if name in {**EXTRAS, **PACKAGES} else _unknown)(name) from None
    except ModuleNotFoundError as error:
        raise _missing(error.name or "") from None


DIALECTS = ("postgresql", "mysql", "mariadb", "sqlite", "oracle", "mssql", *PACKAGES, *EXTRAS)


def _missing(module: str) -> SourceError:
    extra = EXTRAS.get(module)
    package = f"segsync[{extra}]" if extra else PACKAGES.get(module, module)
    return SourceError(
        f"the driver for this database is not installed: there is no module for `{module}`",
        hint=f'Install it: pip install "{package}"',
    )


def _unknown(dialect: str) -> SourceError:
    """Nobody is told to install a package that happens to be called like a slip of the pen."""
    near = difflib.get_close_matches(dialect, DIALECTS, n=1)
    return SourceError(
        f"SQLAlchemy knows no database `{dialect}`",
        hint=f"did you mean {near[0]}?"
        if near
        else "if the name is right, install its dialect for SQLAlchemy (see its documentation)",
    )


def _sqlite(uri: str) -> Any:
    import sqlite3

    return sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False)


def _only_reading(action: int, *_: str | None) -> int:
    import sqlite3

    allowed = {
        sqlite3.SQLITE_SELECT,
        sqlite3.SQLITE_READ,
        sqlite3.SQLITE_FUNCTION,
        sqlite3.SQLITE_RECURSIVE,
    }
    return sqlite3.SQLITE_OK if action in allowed else sqlite3.SQLITE_DENY
