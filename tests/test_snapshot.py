"""The snapshot on its way into the join: read ahead, and let go where nobody takes it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from random import Random
from threading import Event, Timer

import pyarrow as pa
import pytest

from segsync.engine import Engine, Keyspaces, snapshot
from segsync.engine.session import EngineError, Session
from segsync.engine.snapshot import Key, Room, Snapshot
from segsync.state import StateMoved

BATCH = 100
MEMBERS = [f"m{number:05}" for number in range(1_000)]
PATIENCE_S = 30


def as_a_state_gives_them(names: list[str]) -> Iterator[pa.RecordBatch]:
    """In batches one behind the other, in each of which they are in no order; some are empty."""
    for start in range(0, len(names), BATCH):
        some = names[start : start + BATCH]
        Random(start).shuffle(some)
        for few in ([], some):
            numbers = [7] * len(few), [0] * len(few)
            yield pa.record_batch([few, *numbers], schema=Made.SCHEMA)


class Members:
    """A state's members, in batches; it counts how often it was opened, and what is open."""

    def __init__(self) -> None:
        self.opened: list[Key | None] = []
        self.let_go = Event()

    @contextmanager
    def __call__(self, behind: Key | None) -> Iterator[pa.RecordBatchReader]:
        self.opened.append(behind)
        names = [name for name in MEMBERS if not behind or name > behind[1]]
        try:
            yield pa.RecordBatchReader.from_batches(Made.SCHEMA, as_a_state_gives_them(names))
        finally:
            self.let_go.set()


class Made:
    """A hundred batches of a thousand members, each made when it is asked for, and what is held."""

    SCHEMA = pa.schema(
        [("identifier", pa.string()), ("fingerprint", pa.int64()), ("expires_at", pa.int64())]
    )

    def __init__(self) -> None:
        self.held: list[int] = []

    @contextmanager
    def __call__(self, behind: Key | None) -> Iterator[pa.RecordBatchReader]:
        first = int(behind[1][1:4]) + 1 if behind else 0
        yield pa.RecordBatchReader.from_batches(self.SCHEMA, self._batches(first))

    def _batches(self, first: int) -> Iterator[pa.RecordBatch]:
        for number in range(first, 100):
            names = [f"m{number:03}{n:03}" for n in range(1_000)]
            yield pa.record_batch([names, [7] * 1_000, [0] * 1_000], schema=self.SCHEMA)
            self.held.append(pa.total_allocated_bytes())


def snapshot_of(engine: Engine, members: Members | Made, room: Room) -> Snapshot:
    return Snapshot(engine._session.cursor, members, 3, 1, room)


def taken(snapshot: Snapshot, until: str | None = None) -> list[str]:
    """Those of one batch after the other, each brought into order."""
    with snapshot.stream(until) as reader:
        batches = [batch.column("identifier").to_pylist() for batch in reader]
    return [name for batch in batches for name in sorted(batch)]


def test_every_member_comes_once_and_in_order() -> None:
    members = Members()
    with Engine(Keyspaces([])) as engine, closing(snapshot_of(engine, members, Room())) as read:
        assert taken(read) == MEMBERS
        assert (read.facts.members, read.facts.live) == (len(MEMBERS), len(MEMBERS))
    assert members.opened == [None]


@pytest.mark.parametrize(
    "until", ["a", MEMBERS[0], MEMBERS[BATCH - 1], MEMBERS[BATCH], f"{MEMBERS[149]}x", "z"]
)
def test_the_members_up_to_one_are_followed_by_all_others(until: str) -> None:
    """Wherever in a batch that one is."""
    with Engine(Keyspaces([])) as engine, closing(snapshot_of(engine, Members(), Room())) as read:
        first = taken(read, until)
        assert first == [name for name in MEMBERS if name <= until]
        assert first + taken(read) == MEMBERS


def test_where_there_is_room_all_is_read_with_nobody_taking_it() -> None:
    members = Members()
    with Engine(Keyspaces([])) as engine, closing(snapshot_of(engine, members, Room())) as read:
        assert members.let_go.wait(PATIENCE_S)
        assert taken(read) == MEMBERS
    assert members.opened == [None]


@pytest.mark.parametrize("batches", [0.5, 1.5])
def test_a_full_room_lets_the_state_go_and_goes_on_behind_the_last_member(batches: float) -> None:
    with Members()(None) as reader:
        size = max(batch.nbytes for batch in reader)
    members, room = Members(), Room(int(size * batches))
    with Engine(Keyspaces([])) as engine:
        with closing(snapshot_of(engine, Members(), Room())) as whole:
            expected = whole.drain()
        with closing(snapshot_of(engine, members, room)) as read:
            assert members.let_go.wait(PATIENCE_S), "the state stayed open with nobody reading"
            assert taken(read) == MEMBERS
            assert read.facts == expected
    assert members.opened[0] is None
    assert members.opened[1] == (3, MEMBERS[BATCH - 1])


def test_no_more_is_held_than_the_room_and_what_is_looked_at_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(snapshot, "LOOKED_AT_TOGETHER", 8_000)
    made, before = Made(), pa.total_allocated_bytes()
    with Engine(Keyspaces([])) as engine, closing(snapshot_of(engine, made, Room(1))) as read:
        assert read.drain().members == 100_000
    one = made.held[0] - before
    assert max(made.held) - before < 2 * 8 * one


def test_a_second_stream_reads_all_again() -> None:
    members = Members()
    with Engine(Keyspaces([])) as engine, closing(snapshot_of(engine, members, Room())) as read:
        assert taken(read) == taken(read) == MEMBERS


def test_closing_does_not_wait_for_a_reader() -> None:
    members = Members()
    with Engine(Keyspaces([])) as engine:
        snapshot_of(engine, members, Room(1)).close()
    assert members.let_go.is_set()


def test_interrupting_the_engine_stops_a_running_statement() -> None:
    with Engine(Keyspaces([])) as engine, engine._session.cursor() as cursor:
        stop = Timer(1, engine.interrupt)
        stop.start()
        with pytest.raises(EngineError) as caught:
            cursor.rows(
                "SELECT count(*) FROM range(10000000) a, range(10000000) b WHERE a.range <> 7"
            )
        stop.join()
        assert caught.value.hint is None


def test_what_ended_the_reading_is_told_and_not_that_the_join_has_failed() -> None:
    class Moving(Made):
        def _batches(self, first: int) -> Iterator[pa.RecordBatch]:
            yield next(super()._batches(first))
            raise StateMoved("another apply finished in the meantime")

    with (
        Engine(Keyspaces([])) as engine,
        closing(snapshot_of(engine, Moving(), Room())) as read,
        engine._session.cursor() as cursor,
        pytest.raises(StateMoved),
        read.stream() as stream,
        cursor.reading("members", stream),
    ):
        cursor.rows("SELECT count(*) FROM members")


def test_threads_are_as_few_as_the_memory_limit_has_room_for() -> None:
    threads = []
    for limit in ("50MB", "399MB", "400MB", "100GB"):
        with closing(Session(limit)) as session, session.cursor() as cursor:
            threads.append(cursor.threads())
            with cursor.alone():
                assert cursor.threads() == 1
            assert cursor.threads() == threads[-1]
    cores = len(os.sched_getaffinity(0))
    assert threads == [1, 1, min(2, cores), cores]
