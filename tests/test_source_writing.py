"""Whatever a query says, a source is only read; in every lane."""

from __future__ import annotations

from pathlib import Path

import pytest

from segsync.errors import SourceError
from tests.support.sources import (
    PLACE,
    Database,
    content,
    opened,
    read,
)

WRITES = [
    "DELETE FROM t",
    "DELETE FROM t RETURNING id AS user_account_id",
    "WITH d AS (DELETE FROM t RETURNING id) SELECT id AS user_account_id FROM d",
    "WITH x AS (SELECT 1) DELETE FROM t",
    "WITH x AS (SELECT 1) INSERT INTO t SELECT 2",
    "SELECT id AS user_account_id INTO copied FROM t",
    "SELECT id AS user_account_id FROM t INTO OUTFILE '/tmp/segsync-outfile'",
    "SELECT id AS user_account_id FROM t; DELETE FROM t",
    "SELECT id AS user_account_id FROM t) AS x; DELETE FROM t; SELECT * FROM (SELECT 1",
    "SELECT 1 AS user_account_id /* */ ; DROP TABLE t -- ",
    "CREATE TABLE copied AS SELECT 1 AS user_account_id",
    "/* SELECT */ DROP TABLE t",
    "EXPLAIN ANALYZE DELETE FROM t",
    "ATTACH '{directory}/new.db' AS new",
    "VACUUM INTO '{directory}/new.db'",
    "COPY (SELECT 1) TO '{directory}/new.csv'",
    "PRAGMA query_only = OFF",
    "SET TRANSACTION READ WRITE",
    "SELECT nextval('counter') AS user_account_id",
    "SELECT load_extension('x') AS user_account_id",
    "SELECT * FROM pragma_query_only(0)",
    "SELECT writefile('{directory}/new.db', 'x') AS user_account_id",
    "SELECT delete_all() AS user_account_id",
    "CALL delete_all()",
    "REPLACE INTO t VALUES (2)",
    "TRUNCATE TABLE t",
    "LOCK TABLES t WRITE",
]


def test_nothing_can_be_written(any_database: Database, tmp_path: Path) -> None:
    with opened(any_database, *setup(any_database)) as source:
        before = fingerprint(any_database, tmp_path)
        for write in WRITES:
            with pytest.raises(SourceError) as caught:
                read(source, write.replace("{directory}", str(tmp_path)))
            assert caught.value.place == PLACE
        assert read(source, "SELECT id AS user_account_id FROM t") == [{"user_account_id": "1"}]
        assert fingerprint(any_database, tmp_path) == before
    assert content(any_database) == [(1,)]


def setup(base: Database) -> list[str]:
    """A table with one row, and what may act on it behind a SELECT."""
    statements = ["CREATE TABLE t (id integer)", "INSERT INTO t VALUES (1)"]
    if base.dialect in ("postgresql", "mariadb"):
        statements.append("CREATE SEQUENCE counter")
    if base.dialect == "postgresql":
        statements.append(
            "CREATE FUNCTION delete_all() RETURNS bigint LANGUAGE plpgsql AS"
            " 'BEGIN DELETE FROM t; RETURN 1; END'"
        )
    if base.dialect == "mariadb":
        statements.append(
            "CREATE FUNCTION delete_all() RETURNS integer BEGIN DELETE FROM t; RETURN 1; END"
        )
    return statements


def fingerprint(base: Database, directory: Path) -> dict[str, bytes]:
    """Every file beside a database that is a file."""
    if base.dialect not in ("sqlite", "duckdb"):
        return {}
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}
