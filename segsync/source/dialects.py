"""What segsync knows of the databases that it reads through SQLAlchemy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

from segsync.source import postgresql, sqlite
from segsync.source.query import LEXES, STANDARD, Lexis

CONNECT_TIMEOUT_S = 10


@dataclass(frozen=True, slots=True)
class Dialect:
    """One database's ways.

    `session` is run once, before anything else, and leaves a read-only transaction open.
    `json` and `utc` tell from the type in a column's description whether it is JSON, or a timestamp
    in UTC, where the driver's values do not tell it. `subquery` is how a query is wrapped, so that
    nothing but a query can run. `interrupt` is SQL for another connection, to be filled with what
    `connection_id` gives; without it the driver's own interruption is used. `after_failure` keeps a
    failed query from failing the next one, where the database does not do so itself.
    """

    lexis: Lexis = STANDARD
    session: tuple[str, ...] = ()
    json: Callable[[Any], bool] = lambda _type: False
    utc: Callable[[Any], bool] = lambda _type: False
    subquery: str = "SELECT * FROM ({}\n) segsync"
    connection_id: str | None = None
    interrupt: str | None = None
    after_failure: Literal["nothing", "savepoint", "rollback"] = "rollback"


MYSQL = Dialect(
    lexis=LEXES["mysql"],
    session=(
        "SET SESSION time_zone = '+00:00'",
        # The server gives up on a reader that pauses for longer than this.
        "SET SESSION net_write_timeout = 3600",
        # A limit that the server sets for careless people would end a result early, unnoticed.
        "SET SESSION sql_select_limit = 18446744073709551615",
        "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ",
        "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
    ),
    json=lambda type_: type_ == 245,
    utc=lambda type_: type_ == 7,
    connection_id="SELECT connection_id()",
    interrupt="KILL QUERY {}",
    after_failure="nothing",
)
DIALECTS = {
    "sqlite": Dialect(lexis=LEXES["sqlite"], session=sqlite.SESSION, after_failure="nothing"),
    "postgresql": Dialect(
        lexis=LEXES["postgresql"],
        session=(
            "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY",
            *postgresql.SESSION,
            # The snapshot is taken by the first query, so take it now.
            "SELECT 1",
        ),
        after_failure="savepoint",
    ),
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "duckdb": Dialect(
        lexis=LEXES["duckdb"],
        session=("SET TimeZone = 'UTC'",),
        json=lambda type_: str(type_) == "JSON",
    ),
    # T-SQL allows neither WITH nor ORDER BY in a subquery.
    "mssql": Dialect(lexis=LEXES["mssql"], subquery="{}"),
}


def dialect(name: str) -> Dialect:
    """The ways of the dialect that SQLAlchemy calls `name`."""
    return DIALECTS.get(name) or Dialect(lexis=LEXES.get(name, STANDARD))


CONNECT_ARGS: Mapping[str, Mapping[str, object]] = {
    "psycopg": {"connect_timeout": CONNECT_TIMEOUT_S},
    "psycopg2": {"connect_timeout": CONNECT_TIMEOUT_S},
    "pymysql": {"connect_timeout": CONNECT_TIMEOUT_S},
    "mysqldb": {"connect_timeout": CONNECT_TIMEOUT_S, "charset": "utf8mb4"},
    "duckdb_engine": {"read_only": True},
}
"""What a driver, by SQLAlchemy's name, is told on connecting."""

EXTRAS = {"psycopg": "postgres", "pymysql": "mysql", "duckdb": "duckdb", "duckdb_engine": "duckdb"}
"""What segsync is installed with for a module or dialect that is missing."""

PACKAGES = {
    "psycopg2": "psycopg2-binary",
    "MySQLdb": "mysqlclient",
    "snowflake": "snowflake-sqlalchemy",
    "bigquery": "sqlalchemy-bigquery",
    "redshift": "sqlalchemy-redshift",
    "databricks": "databricks-sqlalchemy",
    "trino": "trino[sqlalchemy]",
    "clickhouse": "clickhouse-sqlalchemy",
    "teradatasql": "teradatasqlalchemy",
    "hana": "sqlalchemy-hana",
}
"""Where the package to install has another name than the module or dialect that is missing."""

PREFERRED_DRIVERS = {
    "postgresql": (("psycopg", "psycopg"), ("psycopg2", "psycopg2")),
    "mysql": (("pymysql", "pymysql"), ("MySQLdb", "mysqldb")),
    "mariadb": (("pymysql", "pymysql"), ("MySQLdb", "mysqldb")),
}
"""For URLs that name no driver: (module, driver), the first that is installed is taken; where none
is, the first is missed: that of the extra."""


def with_driver(url: str) -> str:
    """`url` with a driver that is installed, where it names none."""
    scheme, separator, rest = url.partition("://")
    scheme = {"postgres": "postgresql"}.get(scheme, scheme)
    drivers = PREFERRED_DRIVERS.get(scheme, ())
    installed = [driver for module, driver in drivers if find_spec(module)]
    for driver in (*installed, *(driver for _, driver in drivers)):
        return f"{scheme}+{driver}{separator}{rest}"
    return f"{scheme}{separator}{rest}"


def in_folder(database: str | None, folder: Path | None) -> str | None:
    """The file of a database that is a file; a relative path begins at `folder`."""
    if not database or database.startswith((":", "md:")) or "://" in database:
        return database
    return str((folder or Path()).absolute() / database)
