"""SQLite as the state uses it: how it is opened, what a transaction is, how its errors are told.

What it says of itself is its own, and shown; what segsync says of it, and the hint, is all here.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Event, Thread

import pyarrow as pa
import pytest

from segsync.errors import StateDamaged, StateError
from segsync.state import database
from segsync.state.database import Database, _state_error, damaged
from tests.support.rows import rows_in, state_of

DAMAGED = (
    "nothing was changed; restore the file from a backup (an older copy is noticed and refused if "
    "the platform has seen later runs), or move it away to start anew: the first apply then adds "
    "every member again and can remove none that it does not know"
)
BUSY = "nothing is lost; run it again when the other one has finished"
FULL = "free some space or repair the disk, then run apply again: nothing is lost"
CLOSED = "it and its folder must be writable; if an apply was killed, run apply once more"
NOT_STAGED = (
    "nothing was sent; if memory ran out, raise --memory-limit or free some space in the folder "
    "for temporary files"
)
PATIENCE = 60.0
REASONS = pa.schema([("line", pa.int64()), ("reason", pa.string())])


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with state_of(tmp_path / "state.db", {}) as state:
        return state.path


@pytest.fixture
def opened(path: Path) -> Iterator[Database]:
    with closing(Database(path, read_only=False)) as made:
        yield made


def pragmas(opened: Database) -> dict[str, object]:
    names = ("busy_timeout", "journal_mode", "synchronous", "cache_size")
    return {name: opened.rows(f"PRAGMA {name}")[0][0] for name in names}


def test_who_writes_waits_two_minutes_has_a_cache_and_commits_to_the_disk(
    opened: Database, path: Path
) -> None:
    """Who only reads waits as long, and needs nothing else."""
    assert pragmas(opened) == {
        "busy_timeout": 120_000, "journal_mode": "delete", "synchronous": 3, "cache_size": -65_536,
    }  # fmt: skip
    with closing(Database(path, read_only=True)) as reader:
        assert pragmas(reader)["busy_timeout"] == 120_000


@pytest.mark.parametrize("name", ["a?mode=memory", "100%", "%41#b", "é &\n=.db"])
def test_any_name_of_a_file_is_that_of_the_file(path: Path, name: str) -> None:
    renamed = path.rename(path.with_name(name))
    with closing(Database(renamed, read_only=True)) as reader:
        assert reader.rows("SELECT lineage FROM identity") == [("lineage",)]
    assert [item.name for item in renamed.parent.iterdir()] == [name]


def test_values_are_bound_with_their_types(opened: Database) -> None:
    values = (1, "1", None, -(2**63), "é'\0")
    asked = ", ".join("typeof(?)" for _ in values)
    told = [("integer", "text", "null", "integer", "text")]
    assert opened.rows(f"SELECT {asked}", values) == told
    assert opened.rows("SELECT ? || ?, ?", ("a", "b", 3)) == [("ab", 3)]
    with opened.stream("SELECT ? AS a, ? AS b", ("a", 2)) as rows:
        assert rows.read_all().to_pylist() == [{"a": "a", "b": 2}]


@pytest.mark.many_rows
def test_rows_come_by_the_thirty_two_thousand(opened: Database) -> None:
    """As many identifiers of 64 KiB as Arrow can count the bytes of."""
    sql = (
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 32001) "
        "SELECT i FROM n"
    )
    with opened.stream(sql) as rows:
        assert [batch.num_rows for batch in rows] == [32_000, 1]


@pytest.mark.parametrize("error", [StateError("no"), KeyboardInterrupt(), ValueError()])
def test_of_a_transaction_that_fails_nothing_stays(
    opened: Database, path: Path, error: BaseException
) -> None:
    def refused() -> None:
        with opened.transaction():
            opened.execute("INSERT INTO rejected_lines VALUES (1, 'no')")
            raise error

    with pytest.raises(type(error)) as caught:
        refused()
    assert caught.value is error
    assert rows_in(path) == {}
    with opened.transaction():
        opened.execute("INSERT INTO rejected_lines VALUES (2, 'no')")
    assert rows_in(path) == {"rejected_lines": [(2, "no")]}


def test_a_transaction_keeps_others_from_writing_from_its_beginning(
    opened: Database, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1)
    with closing(Database(path, read_only=False)) as other, opened.transaction():
        assert other.rows("SELECT count(*) FROM changes") == [(0,)]
        error = refusal(lambda: other.execute("DELETE FROM changes"))
    assert error.message == (
        f"the state {path} is kept busy by another process: IO: Failed to step query: "
        "database is locked"
    )
    assert error.hint == BUSY


def refusal(act: Callable[[], object]) -> StateError:
    with pytest.raises(StateError) as caught:
        act()
    assert caught.value.__suppress_context__, "what the driver says would be shown a second time"
    return caught.value


def test_rows_are_appended_at_once(opened: Database, path: Path) -> None:
    for line in (1, 2):
        rows = pa.table({"line": [line], "reason": ["no"]}, REASONS)
        opened.ingest("rejected_lines", rows.to_reader())
    assert rows_in(path) == {"rejected_lines": [(1, "no"), (2, "no")]}


def test_it_is_not_closed_under_a_thread_that_appends_rows(path: Path) -> None:
    """Who presses Ctrl-C again and again does not wait for the thread; the driver would crash."""
    opened, begun, go_on = Database(path, read_only=False), Event(), Event()

    def rows() -> Iterator[pa.RecordBatch]:
        begun.set()
        go_on.wait(PATIENCE)
        yield pa.record_batch([[1], ["no"]], schema=REASONS)

    reader = pa.RecordBatchReader.from_batches(REASONS, rows())
    writer = Thread(target=opened.ingest, args=("rejected_lines", reader))
    closer = Thread(target=opened.close)
    writer.start()
    assert begun.wait(PATIENCE)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive(), "it was closed while rows were appended"
    go_on.set()
    for thread in (writer, closer):
        thread.join(PATIENCE)
        assert not thread.is_alive()
    assert rows_in(path) == {"rejected_lines": [(1, "no")]}


def test_a_signal_within_a_statement_is_pythons(opened: Database, path: Path) -> None:
    """The driver would take it for its own, and try to cancel what cannot be cancelled."""
    heard: list[int] = []

    def interrupted() -> Iterator[pa.RecordBatch]:
        os.kill(os.getpid(), signal.SIGINT)
        yield pa.record_batch([[1], ["no"]], schema=REASONS)

    before = signal.signal(signal.SIGINT, lambda number, _: heard.append(number))
    try:
        opened.ingest("rejected_lines", pa.RecordBatchReader.from_batches(REASONS, interrupted()))
    finally:
        signal.signal(signal.SIGINT, before)
    assert heard == [signal.SIGINT]
    assert rows_in(path) == {"rejected_lines": [(1, "no")]}


def test_rows_that_cannot_be_had_are_told_without_a_traceback(opened: Database, path: Path) -> None:
    def none() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch([[1], ["no"]], schema=REASONS)
        raise MemoryError("no room")

    rows = pa.RecordBatchReader.from_batches(REASONS, none())
    error = refusal(lambda: opened.ingest("rejected_lines", rows))
    assert error.message == (
        f"the changes could not be written to the state {path}: IO: Failed to get next parameter "
        "batch: (12) Cannot allocate memory: Out of memory: no room"
    )
    assert error.hint == NOT_STAGED


def test_a_disk_without_room_is_told_though_sqlite_rolled_back_by_itself(
    opened: Database, path: Path
) -> None:
    def fill() -> None:
        opened.execute("PRAGMA max_page_count = 1")
        with opened.transaction():
            opened.execute("CREATE TABLE more AS SELECT zeroblob(1000000)")

    error = refusal(fill)
    assert error.message == (
        f"the state {path} could not be written: IO: Failed to step query: database or disk is full"
    )
    assert error.hint == FULL


def test_a_disk_that_fails_is_told(opened: Database, path: Path) -> None:
    """A limit of the process is to SQLite what any error of the disk is."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size, before[1]))
    try:
        error = refusal(lambda: opened.execute("CREATE TABLE more AS SELECT zeroblob(1000000)"))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert error.message == (
        f"the state {path} could not be written: IO: Failed to step query: disk I/O error"
    )
    assert error.hint == FULL


def test_who_only_reads_cannot_write(path: Path) -> None:
    with closing(Database(path, read_only=True)) as reader:
        error = refusal(lambda: reader.execute("DELETE FROM changes"))
    assert error.message == (
        f"the state {path} cannot be opened: IO: Failed to step query: "
        "attempt to write a readonly database"
    )
    assert error.hint == CLOSED


def test_a_value_that_no_column_may_have_is_damage(opened: Database, path: Path) -> None:
    opened.execute("INSERT INTO rejected_lines VALUES (1, cast(x'ff' AS text))")
    error = refusal(lambda: opened.rows("SELECT * FROM rejected_lines"))
    assert error.message == (
        f"the state {path} is damaged: it holds a value that segsync did not write"
    )
    assert isinstance(error, StateDamaged)


@pytest.mark.parametrize(
    ("said", "told", "hint"),
    [
        ("database disk image is malformed", "is damaged", DAMAGED),
        ("Malformed database schema", "is damaged", DAMAGED),
        ("file is not a database", "is damaged", DAMAGED),
        ("no such table: members", "is damaged", DAMAGED),
        ("database table is locked", "is kept busy by another process", BUSY),
        ("database or disk is full", "could not be written", FULL),
        ("disk I/O error", "could not be written", FULL),
        ("attempt to write a readonly database", "cannot be opened", CLOSED),
        ("unable to open database file", "cannot be opened", CLOSED),
        ("access permission denied", "cannot be opened", CLOSED),
        ("UNIQUE constraint failed: runs.reference", "cannot be used", None),
    ],
)
def test_what_sqlite_says_is_told_with_what_to_do(said: str, told: str, hint: str | None) -> None:
    """Its own words, of which a test can bring about only some; the query is not shown."""
    error = _state_error(Path("s.db"), f"IO: {said}\nquery: SELECT 'full' FROM locked")
    assert (error.message, error.hint) == (f"the state s.db {told}: IO: {said}", hint)
    assert isinstance(error, StateDamaged) is (hint == DAMAGED)


def test_of_a_rollback_that_came_too_late_the_cause_is_told() -> None:
    error = _state_error(Path("s.db"), "cannot rollback - no transaction is active")
    assert error.message == ("the state s.db could not be written: the disk is full, or it failed")
    assert error.hint == FULL


def test_damage_is_told_with_the_way_out() -> None:
    error = damaged(Path("s.db"), "it is empty")
    assert (error.message, error.hint) == ("the state s.db is damaged: it is empty", DAMAGED)
