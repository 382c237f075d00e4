"""Reading a source, by every lane: whole or not at all, streamed, in one snapshot."""

from __future__ import annotations

import struct
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import duckdb
import psutil
import pyarrow as pa
import pytest

from segsync.errors import SourceError
from segsync.source import INVALID
from segsync.source.values import check_batch
from tests.support.processes import started
from tests.support.size import FULL
from tests.support.sources import (
    LANES,
    MANY,
    PLACE,
    Database,
    content,
    database,
    drain,
    endless,
    numbers,
    opened,
    read,
    segment,
    write_elsewhere,
)

pytestmark = pytest.mark.many_rows

FAILING = {
    "sqlite": "CASE WHEN i = {0} THEN json('not JSON') ELSE i END",
    "postgresql": "CASE WHEN i = {0} THEN 1 / (i - {0}) ELSE i END",
    "mariadb": "CASE WHEN i = {0} THEN (SELECT 1 UNION SELECT 2) ELSE i END",
    "duckdb": "CASE WHEN i = {0} THEN error('boom') ELSE i END",
}


@pytest.mark.parametrize(
    "query",
    [
        "WITH a AS (SELECT 1 AS x), b AS (SELECT x FROM a) SELECT x AS user_account_id FROM b",
        "SELECT 1 AS user_account_id -- the end",
        "SELECT 1 AS user_account_id; ; /* the end ; */ -- really",
        "(SELECT 1 AS user_account_id)",
        "SELECT 1 AS user_account_id UNION ALL SELECT 2 ORDER BY 1 LIMIT 1",
        "SELECT 1 AS USER_ACCOUNT_ID WHERE '%;--' <> '/*'",
    ],
)
def test_every_form_of_a_query_is_read(any_database: Database, query: str) -> None:
    with any_database.open() as source:
        assert read(source, query) == [{"user_account_id": "1"}]


def test_a_result_without_rows_still_has_its_columns(any_database: Database) -> None:
    with any_database.open() as source:
        query = "SELECT 'x' AS user_account_id, 1 AS Total WHERE 1 = 0"
        with source.read(segment(query, "Total")) as result:
            assert [column.name for column in result.columns] == [
                "user_account_id",
                "total",
                "__invalid",
            ]
            assert drain(result) == 0


@pytest.mark.parametrize("row", [1, MANY // 2, MANY])
def test_a_query_that_fails_at_any_row_fails_as_a_whole(any_database: Database, row: int) -> None:
    failing = FAILING[any_database.dialect].format(row)
    with any_database.open() as source:
        with pytest.raises(SourceError, match="the query failed in source `warehouse`") as caught:
            read(source, numbers(any_database, MANY, failing))
        assert caught.value.place == PLACE
        assert "\n" not in str(caught.value)
        # The failure of one segment is not the failure of the next.
        assert read(source, "SELECT 1 AS user_account_id") == [{"user_account_id": "1"}]


def test_what_the_database_says_is_told(any_database: Database) -> None:
    with any_database.open() as source:
        with pytest.raises(SourceError, match="no_such_table") as caught:
            read(source, "SELECT x AS user_account_id FROM no_such_table")
        assert "segsync" not in caught.value.message


def test_every_row_arrives_once(any_database: Database) -> None:
    with any_database.open() as source, source.read(segment(numbers(any_database, MANY))) as result:
        reader = result.batches()
        with duckdb.connect() as connection:
            connection.register("result", reader)
            found = connection.execute(
                "SELECT count(*), count(DISTINCT user_account_id), sum(user_account_id::BIGINT),"
                " count(__invalid) FROM result"
            ).fetchone()
    assert found == (MANY, MANY, MANY * (MANY + 1) // 2, 0)


def test_columns_are_checked_before_anything_runs(any_database: Database) -> None:
    with any_database.open() as source:
        query = endless(any_database).replace("user_account_id", "user_acount_id")
        if any_database.dialect in ("mariadb", "duckdb"):
            query = "SELECT 1 AS user_acount_id"
        with pytest.raises(SourceError, match="did you mean `user_account_id`"):
            read(source, query)


def test_columns_of_one_name_are_refused(any_database: Database) -> None:
    with any_database.open() as source, pytest.raises(SourceError, match=r"user_account_id"):
        read(source, "SELECT 1 AS user_account_id, 2 AS user_account_id")


@pytest.mark.parametrize("order", ["one by one", "all open at once"])
@pytest.mark.parametrize("lane", [lane for lane in LANES if lane != "duckdb"])
def test_all_reads_of_a_source_see_one_snapshot(
    request: pytest.FixtureRequest, tmp_path: Path, lane: str, order: str
) -> None:
    """A DuckDB file that is open for reading cannot be opened for writing at all."""
    any_database = database(request, tmp_path, lane)
    if any_database.dialect == "sqlite":
        any_database.write("PRAGMA journal_mode = WAL")
    query = "SELECT id AS user_account_id FROM t"
    with opened(any_database, "CREATE TABLE t (id integer)", "INSERT INTO t VALUES (1)") as source:
        write_elsewhere(any_database, "INSERT INTO t VALUES (2)")
        if order == "one by one" or source.slots == 1:
            counts = [len(read(source, query)) for _ in range(3)]
        else:
            results = [source.read(segment(query)) for _ in range(3)]
            write_elsewhere(any_database, "INSERT INTO t VALUES (3)")
            counts = [drain(result) for result in results]
        assert counts == [1, 1, 1]
    assert len(content(any_database)) >= 2


def test_many_threads_may_read_at_once(any_database: Database) -> None:
    with any_database.open(parallelism=3) as source, ThreadPoolExecutor(8) as pool:
        counts = range(1, 40)
        queries = [numbers(any_database, count) for count in counts]
        found = list(pool.map(lambda query: len(read(source, query)), queries))
    assert found == list(counts)


def test_a_result_is_never_whole_in_memory(any_database: Database) -> None:
    rows, size = 240_000, 500
    text = {"sqlite": f"printf('%0{size}d', i)", "mariadb": f"lpad(i, {size}, '0')"}.get(
        any_database.dialect, f"lpad(i::text, {size}, '0')"
    )
    process = psutil.Process()
    with any_database.open() as source:
        drain(source.read(segment(numbers(any_database, 40_000, text))))
        before = process.memory_info().rss
        with source.read(segment(numbers(any_database, rows, text))) as result:
            highest = count = 0
            for batch in result.batches():
                count += batch.num_rows
                highest = max(highest, process.memory_info().rss)
    assert count == rows
    assert highest - before < rows * size * 0.6


@pytest.mark.skipif(not FULL, reason="takes five gigabytes of memory")
@pytest.mark.parametrize("first", [1, 35_000], ids=["at once", "later"])
@pytest.mark.parametrize("length", [80_000, 160_000], ids=["2 GiB", "4 GiB"])
def test_more_text_than_can_be_counted_is_refused(
    request: pytest.FixtureRequest, tmp_path: Path, length: int, first: int
) -> None:
    base = database(request, tmp_path, "sqlite-adbc")
    text = f"CASE WHEN i < {first} THEN i ELSE printf('%0{length}d', i) END"
    query = segment(numbers(base, 70_000, text))
    with base.open() as source, pytest.raises(SourceError, match="more than 2 GiB") as caught:
        drain(source.read(query))
    assert caught.value.place


@pytest.mark.parametrize("lane", [lane for lane in LANES if lane.startswith("postgresql")])
@pytest.mark.parametrize("number", ["'NaN'::numeric(10, 0)", "'NaN'::numeric", "1.5::numeric"])
def test_an_identifier_that_is_no_whole_number_makes_its_row_invalid(
    request: pytest.FixtureRequest, tmp_path: Path, lane: str, number: str
) -> None:
    with database(request, tmp_path, lane).open() as source:
        (row,) = read(source, f"SELECT {number} AS user_account_id, 'x' AS email_hash")
    assert row["user_account_id"] is None
    assert row[INVALID].startswith("`user_account_id` is no whole number: CAST it AS text")


@pytest.mark.parametrize("offsets", [(0, 3, 1, 3), (0, 2_000_000_000, 2, 3)])
def test_texts_whose_lengths_are_wrong_are_refused(offsets: tuple[int, ...]) -> None:
    """As those of a driver are that counts in 31 bits what has more bytes."""
    counts = pa.py_buffer(struct.pack("<4i", *offsets))
    texts = pa.Array.from_buffers(pa.string(), 3, [None, counts, pa.py_buffer(b"abc")])
    with pytest.raises(SourceError, match="more than 2 GiB"):
        check_batch(pa.record_batch([texts], names=["user_account_id"]))


def test_a_source_waits_for_a_writer_that_is_committing(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = database(request, tmp_path, "sqlite-adbc")
    base.write("CREATE TABLE t (id integer)")
    with started(
        [
            sys.executable,
            "-c",
            "import sqlite3, sys\n"
            "c = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
            "c.execute('BEGIN EXCLUSIVE'); c.execute('INSERT INTO t VALUES (1)')\n"
            "print('locked', flush=True); sys.stdin.read(); c.execute('COMMIT')",
            base.url.removeprefix("sqlite:///"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "locked\n"
        threading.Timer(0.5, writer.communicate).start()
        with base.open() as source:
            query = "SELECT id AS user_account_id FROM t"
            assert read(source, query) == [{"user_account_id": "1"}]


def test_without_an_exported_snapshot_one_connection_reads(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = database(request, tmp_path, "postgresql-adbc")
    base.write(
        "DROP ROLE IF EXISTS plain",
        "CREATE ROLE plain LOGIN PASSWORD 'plain-word'",
        "REVOKE EXECUTE ON FUNCTION pg_export_snapshot() FROM PUBLIC",
    )
    plain = replace(base, url=base.url.replace("tester:pg-secret-word", "plain:plain-word"))
    with plain.open() as source:
        assert source.slots == 1
        assert read(source, "SELECT 1 AS user_account_id") == [{"user_account_id": "1"}]
    base.write("GRANT EXECUTE ON FUNCTION pg_export_snapshot() TO PUBLIC")
