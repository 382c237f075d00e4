"""Reading a source, by every lane: whole or not at all, streamed, stoppable, one snapshot."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import duckdb
import psutil
import pytest

from segsync.errors import SourceError
from segsync.source import Source
from tests.support.sources import PLACE, Database, database, drain, opened, read, segment

MANY = 100_000
NUMBERS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {0})"
    " SELECT i FROM n",
    "postgresql": "SELECT generate_series(1::bigint, {0}) AS i",
    "mariadb": "SELECT seq AS i FROM seq_1_to_{0}",
    "duckdb": "SELECT range AS i FROM range(1, 1 + {0})",
}
FAILING = {
    "sqlite": "CASE WHEN i = {0} THEN json('not JSON') ELSE i END",
    "postgresql": "CASE WHEN i = {0} THEN 1 / (i - {0}) ELSE i END",
    "mariadb": "CASE WHEN i = {0} THEN (SELECT 1 UNION SELECT 2) ELSE i END",
    "duckdb": "CASE WHEN i = {0} THEN error('boom') ELSE i END",
}


def numbers(base: Database, count: int, expression: str = "i", suffix: str = "") -> str:
    """A query of `count` rows."""
    rows = NUMBERS[base.dialect].format(count)
    return f"SELECT {expression} AS user_account_id FROM ({rows}) AS numbers {suffix}"


def endless(base: Database) -> str:
    """A query that works for hours before it gives its first row."""
    return numbers(base, 10**11, suffix="WHERE i % 7 = 9")


def within(seconds: float, action: Callable[[], object]) -> None:
    """`action` ends in that time."""
    started = time.monotonic()
    action()
    assert time.monotonic() - started < seconds


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


def content(base: Database) -> list[tuple[object, ...]]:
    """The rows of the table, as its owner sees them."""
    connection = base.connect()
    try:
        cursor = connection.cursor()
        cursor.execute("SELECT id FROM t")
        return [tuple(row) for row in cursor.fetchall()]
    finally:
        connection.close()


def fingerprint(base: Database, directory: Path) -> dict[str, bytes]:
    """Every file beside a database that is a file."""
    if base.dialect not in ("sqlite", "duckdb"):
        return {}
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def test_a_stopped_result_leaves_the_source_usable(any_database: Database) -> None:
    with any_database.open(parallelism=1) as source:
        for _ in range(3):
            with source.read(segment(numbers(any_database, MANY))) as result:
                assert result.batches().read_next_batch().num_rows > 0
        assert len(read(source, numbers(any_database, 10))) == 10


@pytest.fixture(
    params=["sqlite-sqlite3", "postgresql-adbc", "postgresql-psycopg", "mariadb-pymysql", "duckdb"]
)
def stoppable(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """The lanes whose driver can interrupt a query."""
    return database(request, tmp_path, request.param)


def cancelled(source: Source, query: str) -> None:
    """Read until somebody cancels; which must be told as such."""
    with pytest.raises(SourceError, match="cancelled"):
        read(source, query)


def test_cancel_ends_a_query_that_has_given_nothing_yet(stoppable: Database) -> None:
    with stoppable.open() as source:
        with ThreadPoolExecutor(1) as pool:
            reading = pool.submit(cancelled, source, endless(stoppable))
            wait_until(lambda: running(stoppable))
            within(1, lambda: (source.cancel(), reading.result(timeout=10)))
        with pytest.raises(SourceError, match="cancelled"):
            source.read(segment("SELECT 1 AS user_account_id"))
        within(4, source.close)
    wait_until(lambda: not running(stoppable))


def test_cancel_ends_a_query_in_the_middle(stoppable: Database) -> None:
    with stoppable.open() as source:
        with source.read(segment(numbers(stoppable, 10**9))) as result:
            reader = result.batches()
            reader.read_next_batch()
            source.cancel()

            def rest() -> None:
                with pytest.raises(Exception, match="cancelled"):
                    for _ in reader:
                        pass

            within(1, rest)
            with pytest.raises(SourceError, match="cancelled"):
                result.raise_for_failure()
        within(4, source.close)
    wait_until(lambda: not running(stoppable))


def running(base: Database) -> bool:
    """Whether the server works on a query of ours; of a library, whether a reading thread does."""
    if base.dialect not in ("postgresql", "mariadb"):
        return any(thread.name == "read people" for thread in threading.enumerate())
    query = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
        " AND pid <> pg_backend_pid() AND query LIKE '%numbers%'",
        "mariadb": "SELECT count(*) FROM information_schema.processlist WHERE command = 'Query'"
        " AND id <> connection_id() AND info LIKE '%numbers%'",
    }[base.dialect]
    connection = base.connect()
    try:
        cursor = connection.cursor()
        cursor.execute(query)
        return bool(cursor.fetchone()[0])
    finally:
        connection.close()


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll, for ten seconds."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


@pytest.fixture(params=["postgresql-adbc", "postgresql-psycopg", "mariadb-pymysql"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """The lanes that read from a server."""
    return database(request, tmp_path, request.param)


def test_a_connection_that_drops_half_way_is_an_error(served: Database) -> None:
    wide = {"postgresql": "repeat('x', 100) || i", "mariadb": "concat(repeat('x', 100), i)"}
    with served.open(parallelism=1) as source:
        with source.read(segment(numbers(served, 10**7, wide[served.dialect]))) as result:
            reader = result.batches()
            reader.read_next_batch()
            kill_other_connections(served)
            with pytest.raises(Exception, match="the query failed"):
                for _ in reader:
                    pass
            with pytest.raises(SourceError, match="the query failed"):
                result.raise_for_failure()
        with pytest.raises(SourceError):
            read(source, "SELECT 1 AS user_account_id")


def kill_other_connections(base: Database) -> None:
    """As an administrator or a network would."""
    connection = base.connect()
    cursor = connection.cursor()
    if base.dialect == "postgresql":
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = 'test'"
        )
    else:
        cursor.execute(
            "SELECT id FROM information_schema.processlist"
            " WHERE id <> connection_id() AND user = 'tester'"
        )
        for (number,) in cursor.fetchall():
            cursor.execute(f"KILL CONNECTION {number}")
    connection.close()


@pytest.mark.parametrize("order", ["one by one", "all open at once"])
def test_all_reads_of_a_source_see_one_snapshot(any_database: Database, order: str) -> None:
    if any_database.dialect == "duckdb":
        return  # A DuckDB file that is open for reading cannot be opened for writing at all.
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
        cwd=Path(__file__).parent.parent,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_many_threads_may_read_at_once(any_database: Database) -> None:
    with any_database.open(parallelism=3) as source, ThreadPoolExecutor(8) as pool:
        counts = range(1, 40)
        queries = [numbers(any_database, count) for count in counts]
        found = list(pool.map(lambda query: len(read(source, query)), queries))
    assert found == list(counts)


def test_a_result_is_never_whole_in_memory(any_database: Database) -> None:
    rows = 120_000
    text = {"sqlite": "printf('%01000d', i)", "mariadb": "lpad(i, 1000, '0')"}.get(
        any_database.dialect, "lpad(i::text, 1000, '0')"
    )
    process = psutil.Process()
    with any_database.open() as source:
        drain(source.read(segment(numbers(any_database, 20_000, text))))
        before = process.memory_info().rss
        with source.read(segment(numbers(any_database, rows, text))) as result:
            highest = count = 0
            for batch in result.batches():
                count += batch.num_rows
                highest = max(highest, process.memory_info().rss)
    assert count == rows
    assert highest - before < rows * 1000 * 0.6


def test_a_closed_source_reads_no_more(any_database: Database) -> None:
    source = any_database.open()
    source.close()
    source.close()
    with pytest.raises(SourceError, match="closed") as caught:
        source.read(segment("SELECT 1 AS user_account_id"))
    assert caught.value.place == PLACE


def test_closing_waits_for_no_reader(any_database: Database) -> None:
    source = any_database.open()
    result = source.read(segment(numbers(any_database, MANY)))
    within(4, source.close)
    with pytest.raises(SourceError):
        result.raise_for_failure()


INTERRUPTED = """
    import os, signal, threading, time
    from concurrent.futures import ThreadPoolExecutor
    import duckdb
    from tests.support.sources import Database, read
    from segsync.errors import SourceError

    source = Database("sqlite", {url!r}, "auto").open()
    signal.signal(signal.SIGINT, lambda *_: source.cancel())
    pool = ThreadPoolExecutor(1)
    reading = pool.submit(read, source, {query!r})
    threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    started = time.monotonic()
    try:
        reading.result()
    except SourceError as error:
        print(error.message, time.monotonic() - started < 1.3)
"""


@pytest.mark.parametrize("row", ["before the first", "in the middle"])
def test_ctrl_c_ends_even_a_query_that_its_driver_cannot_interrupt(
    request: pytest.FixtureRequest, tmp_path: Path, row: str
) -> None:
    base = database(request, tmp_path, "sqlite-adbc")
    query = endless(base) if row == "before the first" else numbers(base, 10**9)
    program = INTERRUPTED.format(url=base.url, query=query)
    assert run_python(program, timeout=15).strip() == "the reading was cancelled True"


def test_a_source_waits_for_a_writer_that_is_committing(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = database(request, tmp_path, "sqlite-adbc")
    base.write("CREATE TABLE t (id integer)")
    writer = subprocess.Popen(
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
    )
    assert writer.stdout is not None
    assert writer.stdout.readline() == "locked\n"
    threading.Timer(0.5, writer.communicate).start()
    with base.open() as source:
        assert read(source, "SELECT id AS user_account_id FROM t") == [{"user_account_id": "1"}]
