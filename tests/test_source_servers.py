"""A server that dies, that stops answering, or that gives up on a query, while it is read."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from segsync.errors import SourceError
from segsync.plan import SegmentStatus
from segsync.report import Exit
from segsync.source import sqlite
from segsync.source.dialects import DIALECTS
from tests.support.cli import environment
from tests.support.processes import started
from tests.support.servers import Server
from tests.support.sources import (
    LANES,
    MANY,
    SCHEMES,
    Database,
    assert_broken_half_way,
    database,
    endless,
    numbers,
    read,
    segment,
    wait_until,
    within,
)
from tests.support.world import World, assert_sound

pytestmark = pytest.mark.many_rows

SERVED = ["postgresql-adbc", "postgresql-psycopg", "mariadb-pymysql"]
USUAL = {"postgresql": "postgresql-adbc", "mariadb": "mariadb-pymysql"}
LONG = 10**8
WORKERS = {
    "postgresql": "SELECT pid FROM pg_stat_activity WHERE state = 'active'"
    " AND pid <> pg_backend_pid() AND (query LIKE '%numbers%' OR query LIKE 'FETCH%')",
    "mariadb": "SELECT id FROM information_schema.processlist WHERE command = 'Query'"
    " AND id <> connection_id() AND info LIKE '%numbers%'",
}


class Mortal:
    """A server that can be killed, and the lane by which it is read."""

    def __init__(self, server: Server, lane: str) -> None:
        dialect, how = LANES[lane]
        self.machine = server.machine
        self.base = Database(dialect, server.url(SCHEMES[dialect]), how)

    def worker(self) -> int:
        """The process that works on our query, once there is one. MariaDB has one for all."""
        found: list[Any] = []

        def working() -> bool:
            with closing(self.base.connect()) as connection:
                cursor = connection.cursor()
                cursor.execute(WORKERS[self.base.dialect])
                found[:] = cursor.fetchall()
            return bool(found)

        wait_until(working)
        return found[0][0] if self.base.dialect == "postgresql" else self.machine.pid

    def start_again(self) -> None:
        """Returns when it answers."""
        self.machine.start()
        wait_until(lambda: answers(self.base))

    @contextmanager
    def stalled(self, pid: int) -> Iterator[None]:
        """While the context lasts, this process of the server does nothing."""
        process = psutil.Process(pid)
        process.suspend()
        try:
            yield
        finally:
            process.resume()


@pytest.fixture(params=SERVED)
def mortal(request: pytest.FixtureRequest) -> Iterator[Mortal]:
    server = request.getfixturevalue(f"mortal_{LANES[request.param][0]}")
    made = Mortal(server, request.param)
    yield made
    if not psutil.pid_exists(made.machine.pid):
        made.start_again()


def test_a_server_that_is_killed_half_way_is_an_error(mortal: Mortal) -> None:
    assert_broken_half_way(mortal.base, LONG, mortal.machine.kill)
    mortal.start_again()
    with mortal.base.open() as source:
        assert read(source, "SELECT 1 AS user_account_id") == [{"user_account_id": "1"}]


def test_a_process_of_the_server_that_is_killed_half_way_is_an_error(
    mortal_postgresql: Server,
) -> None:
    mortal = Mortal(mortal_postgresql, "postgresql-adbc")
    query = segment(numbers(mortal.base, LONG))
    with mortal.base.open(parallelism=1) as source, source.read(query) as result:
        reader = result.batches()
        reader.read_next_batch()
        psutil.Process(mortal.worker()).kill()
        with pytest.raises(Exception, match="the query failed"):
            for _ in reader:
                pass
        with pytest.raises(SourceError, match="the query failed"):
            result.raise_for_failure()
    # PostgreSQL starts itself again.
    wait_until(lambda: answers(mortal.base))


def answers(base: Database) -> bool:
    try:
        base.connect().close()
    except Exception:
        return False
    return True


@pytest.mark.parametrize("dialect", USUAL)
def test_who_was_read_from_a_server_that_is_killed_stays_a_member(
    request: pytest.FixtureRequest, tmp_path: Path, dialect: str
) -> None:
    mortal = Mortal(
        request.getfixturevalue(f"mortal_{dialect}"),
        USUAL[dialect],
    )
    with World(tmp_path) as world:
        world.sources["warehouse"] = mortal.base.url
        few = numbers(mortal.base, 20)
        world.define("vip", rows=[str(i) for i in range(1, 21)], source="warehouse", query=few)
        world.define("mail", "email_hash", rows=["x"])
        world.apply()
        shown = world.expected("vip")
        assert world.members("vip") == shown
        world.tables["vip"].keys["query"] = numbers(mortal.base, LONG)
        world.fill("mail", ["x", "y"])
        killer = threading.Thread(target=lambda: (mortal.worker(), mortal.machine.kill()))
        killer.start()
        report = world.apply()
        killer.join()
        assert report.exit is Exit.ERROR
        assert [segment.status for segment in report.plan.segments if segment.name == "vip"] == [
            SegmentStatus.ERROR
        ]
        assert world.members("vip") == shown
        assert len(world.members("mail")) == 2
        mortal.start_again()
        world.tables["vip"].keys["query"] = few
        world.settle()
        assert_sound(world)


@pytest.mark.parametrize("dialect", USUAL)
def test_a_plan_whose_server_is_killed_tells_it_without_a_traceback(
    request: pytest.FixtureRequest, tmp_path: Path, dialect: str
) -> None:
    mortal = Mortal(request.getfixturevalue(f"mortal_{dialect}"), USUAL[dialect])
    with planning(tmp_path, mortal.base.url, numbers(mortal.base, LONG)) as process:
        mortal.worker()
        mortal.machine.kill()
        out, err = process.communicate(timeout=30)
    assert process.returncode == 1
    assert "the query failed in source `warehouse`" in " ".join(out.split())
    assert "Traceback" not in out + err, err
    mortal.start_again()


@pytest.mark.parametrize("row", ["before the first", "in the middle"])
def test_cancel_ends_a_read_from_a_server_that_has_stopped_answering(
    mortal: Mortal, row: str
) -> None:
    query = endless(mortal.base) if row == "before the first" else numbers(mortal.base, LONG)
    with mortal.base.open() as source:
        told: list[str] = []

        def reading() -> None:
            with pytest.raises(SourceError) as caught:
                read(source, query)
            told.append(caught.value.message)

        thread = threading.Thread(target=reading)
        thread.start()
        with mortal.stalled(mortal.worker()):
            source.cancel()
            within(1, thread.join)
            assert told == ["the reading was cancelled"]
            within(1, source.close)


@contextmanager
def planning(folder: Path, url: str, query: str) -> Iterator[subprocess.Popen[str]]:
    """A plan of one segment in a process of its own."""
    (folder / "segments.yaml").write_text(
        'version: 1\ndestination: {datamart_id: "1509", api_token: "${MICS_API_TOKEN}"}\n'
        'sources: {warehouse: "${WAREHOUSE}"}\n'
        f"segments: {{fans: {{query: '{query}'}}}}\n"
    )
    with started(
        [sys.executable, "-m", "segsync", "plan"],
        cwd=folder,
        env=environment(WAREHOUSE=url),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process


def assert_ctrl_c_ends(process: subprocess.Popen[str]) -> None:
    """Within a second, and it says so."""
    process.send_signal(signal.SIGINT)
    within(1, lambda: process.wait(30))
    assert process.returncode == 1
    assert process.stderr is not None
    assert "interrupted" in process.stderr.read()


@pytest.mark.parametrize("dialect", USUAL)
def test_ctrl_c_ends_a_plan_whose_server_has_stopped_answering(
    request: pytest.FixtureRequest, tmp_path: Path, dialect: str
) -> None:
    mortal = Mortal(request.getfixturevalue(f"mortal_{dialect}"), USUAL[dialect])
    query = numbers(mortal.base, LONG)
    with planning(tmp_path, mortal.base.url, query) as process, mortal.stalled(mortal.worker()):
        assert_ctrl_c_ends(process)


@pytest.mark.parametrize("scheme", SCHEMES.values())
def test_ctrl_c_ends_a_plan_whose_server_accepts_and_says_nothing(
    tmp_path: Path, scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"{scheme}://tester@127.0.0.1:{listener.getsockname()[1]}/test"
        with planning(tmp_path, url, "SELECT 1") as process, listener.accept()[0]:
            assert_ctrl_c_ends(process)


def test_ctrl_c_ends_a_plan_whose_database_is_locked(tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("CREATE TABLE t (id integer)")
        writer.execute("BEGIN EXCLUSIVE")
        with planning(tmp_path, f"sqlite:///{path}", "SELECT 1") as process:
            reader = psutil.Process(process.pid)
            wait_until(lambda: str(path) in {file.path for file in reader.open_files()})
            assert_ctrl_c_ends(process)


LOCKS = {
    "sqlite": ("BEGIN EXCLUSIVE", "database is locked"),
    "postgresql": ("LOCK TABLE t IN ACCESS EXCLUSIVE MODE", "lock timeout"),
    "mariadb": ("LOCK TABLES t WRITE", "Lock wait timeout"),
}
LOCK_TIMEOUT = {
    "postgresql": ("ALTER DATABASE test SET lock_timeout = '{}'", "100ms", "0"),
    "mariadb": ("SET GLOBAL lock_wait_timeout = {}", "1", "86400"),
}
HOLDER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute(sys.argv[2])
print("locked", flush=True)
sys.stdin.read()
"""


@contextmanager
def locked(base: Database, lock: str) -> Iterator[None]:
    """Somebody holds this lock. SQLite's in a process of its own: two copies of it in one process
    do not see each other's locks."""
    if base.dialect != "sqlite":
        with closing(base.connect()) as connection:
            connection.cursor().execute(lock)
            yield
        return
    command = [sys.executable, "-c", HOLDER, base.url.removeprefix("sqlite:///"), lock]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with started(command, **pipes, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "locked\n"
        yield


@pytest.mark.parametrize("lane", [lane for lane in LANES if lane != "duckdb"])
def test_a_lock_that_is_not_given_back_in_time_is_an_error(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lane: str
) -> None:
    impatient = ("PRAGMA busy_timeout = 100", *sqlite.SESSION[1:])
    monkeypatch.setattr(sqlite, "SESSION", impatient)
    monkeypatch.setitem(DIALECTS, "sqlite", replace(DIALECTS["sqlite"], session=impatient))
    base = database(request, tmp_path, lane)
    base.write("CREATE TABLE t (id integer)", "INSERT INTO t VALUES (1)")
    lock, words = LOCKS[base.dialect]
    query = "SELECT id AS user_account_id FROM t"
    failing = pytest.raises(SourceError, match=words)
    with limited(base, LOCK_TIMEOUT), locked(base, lock), failing, base.open() as source:
        read(source, query)
    with base.open() as source:
        assert read(source, query) == [{"user_account_id": "1"}]


@contextmanager
def limited(base: Database, limits: dict[str, tuple[str, str, str]]) -> Iterator[None]:
    """The database's own limit is low while the context lasts."""
    if base.dialect not in limits:
        yield
        return
    statement, low, usual = limits[base.dialect]
    base.write(statement.format(low))
    try:
        yield
    finally:
        base.write(statement.format(usual))


STATEMENT_TIMEOUT = {
    "postgresql": ("ALTER DATABASE test SET statement_timeout = '{}'", "500ms", "0"),
    "mariadb": ("SET GLOBAL max_statement_time = {}", "0.5", "0"),
}


SLOW = {
    "postgresql": "CASE WHEN i = {0} THEN length(pg_sleep(30)::text) ELSE i END",
    "mariadb": "CASE WHEN i = {0} THEN sleep(30) ELSE i END",
}


@pytest.mark.parametrize("lane", SERVED)
@pytest.mark.parametrize("row", [1, MANY // 2])
def test_a_query_that_the_server_gives_up_on_is_an_error(
    request: pytest.FixtureRequest, tmp_path: Path, lane: str, row: int
) -> None:
    base = database(request, tmp_path, lane)
    query = numbers(base, MANY, SLOW[base.dialect].format(row))
    with limited(base, STATEMENT_TIMEOUT), base.open() as source:
        with pytest.raises(SourceError, match=r"statement timeout|max_statement_time"):
            read(source, query)
        assert read(source, "SELECT 1 AS user_account_id") == [{"user_account_id": "1"}]


TOO_LARGE = {
    "sqlite": ("SELECT zeroblob(2000000000) AS user_account_id", "too big"),
    "postgresql": ("SELECT repeat('x', 1100000000) AS user_account_id", "length too large"),
    "mariadb": (
        "SELECT count(DISTINCT repeat(seq, 1000)) AS user_account_id FROM seq_1_to_5000",
        "max-session-mem-used",
    ),
    "duckdb": (
        "SELECT len(list(range)) AS user_account_id FROM range(10000000)",
        "Out of Memory Error",
    ),
}
MEMORY = {"mariadb": ("SET GLOBAL max_session_mem_used = {}", "1000000", "9223372036854775807")}


def test_a_source_without_memory_for_a_query_is_an_error(any_database: Database) -> None:
    query, words = TOO_LARGE[any_database.dialect]
    limits = "?memory_limit=20MB&temp_directory=" if any_database.dialect == "duckdb" else ""
    limited_base = replace(any_database, url=any_database.url + limits)
    failing = pytest.raises(SourceError, match=words)
    with limited(any_database, MEMORY), failing, limited_base.open() as source:
        read(source, query)
    with any_database.open() as source:
        assert read(source, "SELECT 1 AS user_account_id") == [{"user_account_id": "1"}]


def test_a_limit_that_the_server_sets_does_not_cut_a_result(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    served = database(request, tmp_path, "mariadb-pymysql")
    served.write("SET GLOBAL sql_select_limit = 2")
    try:
        with served.open() as source:
            assert len(read(source, "SELECT seq AS user_account_id FROM seq_1_to_5")) == 5
    finally:
        served.write("SET GLOBAL sql_select_limit = DEFAULT")
