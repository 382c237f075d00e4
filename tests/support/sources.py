"""Databases as sources: filled by their own drivers, read through every lane."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import duckdb
import pytest

from segsync.errors import SourceError
from segsync.model import Address, ParamValue, Segment
from segsync.secret import Secret
from segsync.source import INVALID, QueryResult, Source, open_source
from tests.support.servers import Server

PLACE = "segments.yaml:7:5"
Dialect = Literal["sqlite", "postgresql", "mariadb", "duckdb"]
Lane = Literal["auto", "dbapi"]


LANES: dict[str, tuple[Dialect, Lane]] = {
    "sqlite-adbc": ("sqlite", "auto"),
    "sqlite-sqlite3": ("sqlite", "dbapi"),
    "postgresql-adbc": ("postgresql", "auto"),
    "postgresql-psycopg": ("postgresql", "dbapi"),
    "mariadb-pymysql": ("mariadb", "auto"),
    "duckdb": ("duckdb", "auto"),
}
"""Every way of reading, and the database that it reads."""
SCHEMES = {"postgresql": "postgresql", "mariadb": "mariadb+pymysql"}


def segment(query: str, *bag: str, params: Mapping[str, ParamValue] | None = None) -> Segment:
    """A segment with this query, and `bag` under `data_bag:`."""
    return Segment(
        name="people",
        address=Address("segment_technical_name", "people"),
        source="warehouse",
        query=query,
        place="segments.yaml:5:3",
        query_place=PLACE,
        params=params,
        data_bag=bag,
    )


@dataclass(frozen=True)
class Database:
    """A database and the lane by which it is read."""

    dialect: Dialect
    url: str
    lane: Lane

    def open(self, parallelism: int = 4) -> Source:
        """The database as a source."""
        return open_source("warehouse", Secret(self.url), lane=self.lane, parallelism=parallelism)

    def write(self, *statements: str) -> None:
        """Run statements as somebody who may write, and commit them."""
        with contextlib.closing(self.connect()) as connection:
            cursor = connection.cursor()
            for statement in statements:
                cursor.execute(statement)
            connection.commit()

    def connect(self) -> Any:
        """A connection of the database's own driver."""
        parts = urlsplit(self.url)
        match self.dialect:
            case "sqlite":
                import sqlite3

                return sqlite3.connect(parts.path.removeprefix("/"))
            case "duckdb":
                return duckdb.connect(parts.path.removeprefix("/"))
            case "postgresql":
                import psycopg

                return psycopg.connect(self.url)
            case "mariadb":
                import pymysql

                return pymysql.connect(
                    host=parts.hostname,
                    port=parts.port or 0,
                    user=parts.username,
                    password=parts.password or "",
                    database=parts.path.removeprefix("/"),
                )


def rows(result: QueryResult) -> list[dict[str, Any]]:
    """All rows as the engine sees them: data bag values as JSON, no INVALID where a row is fine."""
    bag = {name.lower() for name in result.segment.data_bag}
    select = ", ".join(
        f"{column.json_sql if column.name in bag else quoted(column.name)} AS {quoted(column.name)}"
        for column in result.columns
    )
    reader = result.batches()
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'Asia/Tokyo'")
        connection.register("result", reader)
        cursor = connection.execute(f"SELECT {select} FROM result")
        names = [entry[0] for entry in cursor.description or ()]
        found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in found:
        for name in bag & row.keys():
            assert row[name] is None or json.loads(row[name]) is not NotImplemented
        if row[INVALID] is None:
            del row[INVALID]
    return found


def quoted(name: str) -> str:
    """A quoted SQL name."""
    return '"' + name.replace('"', '""') + '"'


def read(source: Source, query: str, *bag: str, **options: Any) -> list[dict[str, Any]]:
    """The rows of `query`."""
    with source.read(segment(query, *bag, **options)) as result:
        try:
            return rows(result)
        except duckdb.Error:
            result.raise_for_failure()
            raise


def drain(result: QueryResult) -> int:
    """Read everything, keep nothing; the number of rows."""
    return sum(batch.num_rows for batch in result.batches())


@contextlib.contextmanager
def opened(database: Database, *statements: str) -> Iterator[Source]:
    """The database as a source, after `statements`."""
    database.write(*statements)
    with database.open() as source:
        yield source


def database(request: pytest.FixtureRequest, directory: Path, name: str) -> Database:
    """An empty database for the lane `name`."""
    dialect, lane = LANES[name]
    if dialect in ("sqlite", "duckdb"):
        path = directory / f"a database.{dialect}"
        made = Database(dialect, f"{dialect}:///{path}", lane)
        made.connect().close()
        return made
    server: Server = request.getfixturevalue(dialect)
    made = Database(dialect, server.url(SCHEMES[dialect]), lane)
    if dialect == "postgresql":
        made.write("DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    else:
        made.write("DROP DATABASE test", "CREATE DATABASE test")
    return made


@pytest.fixture(params=LANES)
def any_database(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """An empty database, once for each lane."""
    return database(request, tmp_path, request.param)


MANY = 100_000
NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {0})"
    " SELECT i FROM n",
    "postgresql": "SELECT generate_series(1::bigint, {0}) AS i",
    "mariadb": "SELECT seq AS i FROM seq_1_to_{0}",
    "duckdb": "SELECT range AS i FROM range(1, 1 + {0})",
}


def numbers(base: Database, count: int, expression: str = "i", suffix: str = "") -> str:
    """A query of `count` rows."""
    rows = NUMBERS[base.dialect].format(count)
    return f"SELECT {expression} AS user_account_id FROM ({rows}) AS numbers {suffix}"


def assert_broken_half_way(base: Database, rows: int, break_: Callable[[], object]) -> None:
    """A read of so many rows, of which something breaks the connection, fails as a whole."""
    wide = {"postgresql": "repeat('x', 100) || i", "mariadb": "concat(repeat('x', 100), i)"}
    with base.open(parallelism=1) as source:
        with source.read(segment(numbers(base, rows, wide[base.dialect]))) as result:
            reader = result.batches()
            reader.read_next_batch()
            break_()
            with pytest.raises(Exception, match="the query failed"):
                for _ in reader:
                    pass
            with pytest.raises(SourceError, match="the query failed"):
                result.raise_for_failure()
        with pytest.raises(SourceError):
            read(source, "SELECT 1 AS user_account_id")


def endless(base: Database) -> str:
    """A query that works for hours, and gives no row: what no optimizer knows beforehand."""
    return numbers(base, 10**11, suffix="WHERE (i % 7) * (i % 7) = 3")


def within(seconds: float, action: Callable[[], object]) -> None:
    """`action` ends in that time."""
    started = time.monotonic()
    action()
    assert time.monotonic() - started < seconds


def content(base: Database) -> list[tuple[object, ...]]:
    """The rows of the table, as its owner sees them."""
    connection = base.connect()
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM t")
        return [tuple(row) for row in cursor.fetchall()]
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll, for ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def write_elsewhere(base: Database, statement: str) -> None:
    """Commit in another process: two copies of SQLite in one process break each other's locks."""
    program = f"""
        from tests.support.sources import Database
        Database({base.dialect!r}, {base.url!r}, "auto").write({statement!r})
    """
    run_python(program)


def run_python(program: str, timeout: float = 30) -> str:
    """Run a program in a Python of its own; its output."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=Path(__file__).parent.parent.parent,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout
