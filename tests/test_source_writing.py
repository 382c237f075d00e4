"""Whatever a query says, a source is only read; in every lane."""

from __future__ import annotations

from contextlib import closing, suppress
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
    "dElEtE\n\tfRoM\r\nt",
    "-- SELECT 1\nDELETE FROM t",
    "/* SELECT /* 1 */ INSERT INTO t VALUES (2)",
    "\ufeffDELETE FROM t",
    "\u00a0UPDATE t SET id = 2",
    "\uff24\uff25\uff2c\uff25\uff34\uff25 FROM t",
    "SELECT ';' AS user_account_id; UPDATE t SET id = 2",
    "SELECT $$;$$ AS user_account_id; DELETE FROM t",
    "SELECT 1 AS user_account_id -- \n; DELETE FROM t",
    "WITH u AS (UPDATE t SET id = 2 RETURNING id) SELECT id AS user_account_id FROM u",
    "INSERT INTO t SELECT 2 RETURNING id AS user_account_id",
    "UPDATE t SET id = 2 RETURNING id AS user_account_id",
    "MERGE INTO t USING (SELECT 2 AS n) AS s ON t.id = s.n WHEN NOT MATCHED THEN INSERT VALUES (2)",
    "ALTER TABLE t ADD COLUMN more integer",
    "CREATE TEMPORARY TABLE copied AS SELECT 1 AS user_account_id",
    "CREATE INDEX by_id ON t (id)",
    "DROP TABLE IF EXISTS t",
    "BEGIN; DELETE FROM t; COMMIT",
    "COMMIT",
    "DO $$ BEGIN DELETE FROM t; END $$",
    "PREPARE p AS DELETE FROM t",
    "EXECUTE IMMEDIATE 'DELETE FROM t'",
    "GRANT ALL ON t TO PUBLIC",
    "SELECT setval('counter', 9) AS user_account_id",
    "SELECT pg_advisory_xact_lock(1), dblink_exec('x', 'DELETE FROM t') AS user_account_id",
    "PRAGMA writable_schema = ON",
    "DETACH main",
    "REINDEX",
]
HARMLESS = [
    "SELECT '\\'; DELETE FROM t; -- ' AS user_account_id",
    "SELECT 1 AS user_account_id /*! ; DELETE FROM t */",
    "SELECT lo_create(0) AS user_account_id",
    "SELECT lo_unlink(4711) AS user_account_id",
    "SELECT set_config('default_transaction_read_only', 'off', false) AS user_account_id",
    "SELECT set_config('transaction_read_only', 'off', true) AS user_account_id",
    "SELECT id AS user_account_id FROM t FOR UPDATE",
    "SELECT id AS user_account_id FROM t LOCK IN SHARE MODE",
    "SELECT get_lock('x', 0) AS user_account_id",
    "SELECT @a := 1 AS user_account_id",
    "SELECT random() AS user_account_id",
]
"""To one database a text or a comment, to another a statement; or undone when the source is closed:
refused or not, nothing of it is left."""


def test_nothing_can_be_written(any_database: Database, tmp_path: Path) -> None:
    any_database.write(*setup(any_database))
    made = catalogue(any_database)
    with opened(any_database) as source:
        before = fingerprint(any_database, tmp_path)
        for write in WRITES:
            with pytest.raises(SourceError) as caught:
                read(source, write.replace("{directory}", str(tmp_path)))
            assert caught.value.place == PLACE
        for query in HARMLESS:
            with suppress(SourceError):
                read(source, query)
            with pytest.raises(SourceError):
                read(source, "SELECT delete_all() AS user_account_id")
        assert read(source, "SELECT id AS user_account_id FROM t") == [{"user_account_id": "1"}]
        assert fingerprint(any_database, tmp_path) == before
    assert content(any_database) == [(1,)]
    assert catalogue(any_database) == made


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


CATALOGUES = {
    "sqlite": "SELECT sql FROM sqlite_schema ORDER BY 1",
    "duckdb": "SELECT sql FROM duckdb_tables() ORDER BY 1",
    "postgresql": "SELECT oid::bigint, relname FROM pg_class WHERE relkind IN ('r', 'i', 'S', 'v')"
    " UNION ALL SELECT oid::bigint, 'large object' FROM pg_largeobject_metadata"
    " UNION ALL SELECT last_value, 'counter' FROM counter ORDER BY 1, 2",
    "mariadb": "SELECT table_name, column_name FROM information_schema.columns"
    " WHERE table_schema = 'test' UNION ALL SELECT next_not_cached_value, 'counter' FROM counter"
    " ORDER BY 1, 2",
}


def catalogue(base: Database) -> list[tuple[object, ...]]:
    """What there is beside rows: tables, indexes, sequences and where they stand, large objects."""
    with closing(base.connect()) as connection:
        cursor = connection.cursor()
        cursor.execute(CATALOGUES[base.dialect])
        return [tuple(row) for row in cursor.fetchall()]
