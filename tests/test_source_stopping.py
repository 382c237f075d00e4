"""A read that is stopped: by its reader, by Ctrl-C, by the network; in every lane."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from segsync.errors import SourceError
from segsync.source import Source
from tests.support.sources import (
    MANY,
    PLACE,
    Database,
    assert_broken_half_way,
    database,
    endless,
    numbers,
    read,
    run_python,
    segment,
    wait_until,
    within,
)


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
            source.cancel()
            within(1, lambda: reading.result(timeout=10))
        with pytest.raises(SourceError, match="cancelled"):
            source.read(segment("SELECT 1 AS user_account_id"))
        within(1, source.close)
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
        within(1, source.close)
    wait_until(lambda: not running(stoppable))


def running(base: Database) -> bool:
    """Whether the server works on a query of ours; of a library, whether a reading thread does."""
    if base.dialect not in ("postgresql", "mariadb"):
        return any(thread.name == "read people" for thread in threading.enumerate())
    query = {
        "postgresql": "SELECT count(*) FROM pg_stat_activity WHERE state = 'active'"
        " AND pid <> pg_backend_pid() AND (query LIKE '%numbers%' OR query LIKE 'FETCH%')",
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


@pytest.fixture(params=["postgresql-adbc", "postgresql-psycopg", "mariadb-pymysql"])
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """The lanes that read from a server."""
    return database(request, tmp_path, request.param)


def test_a_connection_that_drops_half_way_is_an_error(served: Database) -> None:
    assert_broken_half_way(served, 10**7, lambda: kill_other_connections(served))


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
    within(1, source.close)
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
