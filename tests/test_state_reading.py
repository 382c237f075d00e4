"""The members are read ahead of the join, all of them once; nobody is locked out for it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from segsync.engine.session import Session
from segsync.engine.snapshot import PATIENCE_S, Room, Snapshot
from segsync.state import (
    Identity,
    PartStatus,
    RunStatus,
    State,
    StateMoved,
    create,
    open_state,
)
from segsync.state.database import Database
from segsync.state.seal import write_seals

pytestmark = pytest.mark.many_rows

IDENTITY = Identity("lineage", 0, "1509", "https://api.mediarithmics.com", 0)
COUNT = 150_000
NOW_MS = 1_790_000_000_000
Member = tuple[int, str, int, int]


@pytest.fixture
def session() -> Iterator[Session]:
    with closing(Session("1GB")) as made:
        yield made


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """A state with members in two keyspaces of one segment, and some in another's."""
    path = tmp_path / "state.db"
    create(path, IDENTITY)
    with closing(open_state(path, read_only=False)) as made:
        with made._writing():
            for keyspace, segment in ((1, 1), (2, 2), (3, 1)):
                made._database.execute(
                    "INSERT INTO keyspaces VALUES (?, ?, 'user_account_id', ?)",
                    (keyspace, segment, str(keyspace)),
                )
        made._database.ingest("members", table(lower_layer()).to_reader())
        made._database.ingest("recent", table(upper_layer()).to_reader())
        yield made


def members() -> list[Member]:
    """Identifiers that sort differently as texts, as numbers, and by their bytes."""
    names = sorted({f"{n * 7919 % COUNT}é"[:-1] if n % 3 else f"É{n}" for n in range(COUNT)})
    return [
        (keyspace, name, len(name), NOW_MS + n)
        for keyspace in (1, 2, 3)
        for n, name in enumerate(names if keyspace != 2 else names[:10])
    ]


def lower_layer() -> list[Member]:
    """Every ninth is not there yet, each second as it was before, and some are gone since."""
    rows = [(*row[:3], row[3] - n % 2) for n, row in enumerate(members()) if n % 9]
    return rows + [(keyspace, f"{name}+", 1, 0) for keyspace, name, *_ in rows[::50]]


def upper_layer() -> list[tuple[int, ...]]:
    rows = [(*row, 1) for n, row in enumerate(members()) if n % 2 or not n % 9]
    return rows + [(*row, 0) for row in lower_layer() if row[1].endswith("+")]


def table(rows: list[Any]) -> pa.Table:
    columns = ("keyspace", "identifier", "fingerprint", "expires_at", "is_member")[: len(rows[0])]
    return pa.table(dict(zip(columns, zip(*rows, strict=True), strict=True)))


def read(snapshot: Snapshot) -> list[Member]:
    """Those of one batch after the other, each brought into order."""
    with snapshot.stream() as reader:
        batches = [[tuple(row.values()) for row in batch.to_pylist()] for batch in reader]
    return [row for rows in batches for row in sorted(rows)]


def open_snapshot(session: Session, state: State, room: int, only: int | None = None) -> Snapshot:
    source = partial(state.members, 1, only)
    return Snapshot(session.cursor, source, only, NOW_MS, Room(room))


@pytest.mark.parametrize("room", [1, 3_000_000, 10**9])
def test_all_members_come_once_and_in_order(session: Session, state: State, room: int) -> None:
    expected = [member for member in members() if member[0] != 2]
    with closing(open_snapshot(session, state, room)) as snapshot:
        assert read(snapshot) == expected
        assert snapshot.facts.members == len(expected)
        first = snapshot.facts
        assert read(snapshot) == expected
        assert snapshot.facts == first


def test_who_is_not_taken_lets_the_state_go_and_reads_on_later(
    session: Session, state: State, tmp_path: Path
) -> None:
    """An apply that wants to commit is not locked out by a plan whose query takes long."""
    expected = [member for member in members() if member[0] != 2]
    with closing(open_snapshot(session, state, 10**9)) as quick:
        read(quick)
    with (
        closing(open_snapshot(session, state, 1)) as snapshot,
        closing(open_state(tmp_path / "state.db", read_only=False)) as writer,
    ):
        time.sleep(0.2)
        started = time.monotonic()
        writer.replace_digests({}, 7)
        assert time.monotonic() - started < PATIENCE_S + 3
        assert read(snapshot) == expected
        assert snapshot.facts == quick.facts


def test_members_of_one_keyspace_come_without_it(session: Session, state: State) -> None:
    expected = [member for member in members() if member[0] == 3]
    with closing(open_snapshot(session, state, 1, only=3)) as snapshot:
        time.sleep(PATIENCE_S + 0.5)
        assert [(3, *member) for member in read(snapshot)] == expected


def test_a_state_that_moves_on_while_it_is_read_is_noticed(
    session: Session, state: State, tmp_path: Path
) -> None:
    with (
        closing(open_snapshot(session, state, 1)) as snapshot,
        closing(open_state(tmp_path / "state.db", read_only=False)) as writer,
    ):
        with writer._writing():
            writer._database.execute("UPDATE identity SET serial = serial + 1")
        with pytest.raises(StateMoved):
            read(snapshot)


def test_closing_early_ends_the_reading(session: Session, state: State) -> None:
    for room in (1, 10**9):
        open_snapshot(session, state, room).close()
    with closing(open_snapshot(session, state, 1)) as snapshot, snapshot.stream() as reader:
        assert reader.read_next_batch().num_rows


def test_of_those_who_were_said_only_members_are_newcomers(state: State) -> None:
    name = members()[0][1]
    with state._writing():
        for keyspace, identifier in ((1, name), (1, "nobody"), (2, "nobody")):
            state._database.execute("INSERT INTO newcomers VALUES (?, ?)", (keyspace, identifier))
    with state.doubted(1) as rows:
        assert list(rows.read_all().to_pylist()) == [
            {"keyspace": 1, "identifier": name, "is_pending": 0}
        ]


@pytest.mark.parametrize("first_part", ["waiting", "sending", "sent"])
def test_of_an_open_run_those_are_doubted_whose_command_may_have_left(
    tmp_path: Path, first_part: str
) -> None:
    """Lines of a keyspace are apart: removals first; forgotten members are in no part."""
    create(tmp_path / "state.db", IDENTITY)
    changes = [
        ("a", 1, "remove"), ("b", 2, "remove"), ("c", 1, "add"), ("d", 1, "update"),
        ("e", 2, "add"), ("f", 3, "add"), ("g", 1, "forget"),
    ]  # fmt: skip
    parts = ((1, 1, 1, first_part), (2, 2, 3, "sent"), (3, 4, 5, "sending"), (4, 6, 6, "waiting"))
    with closing(Database(tmp_path / "state.db", read_only=False)) as database:
        for keyspace, segment in ((1, 1), (2, 2), (3, 1)):
            database.execute(
                "INSERT INTO keyspaces VALUES (?, ?, 'user_account_id', ?)",
                (keyspace, segment, str(keyspace)),
            )
        for name, keyspace, change in changes:
            database.execute(
                "INSERT INTO changes VALUES (NULL, ?, ?, ?, 1, 0, 0)", (keyspace, name, change)
            )
        database.execute("INSERT INTO pending VALUES (3, 'h', 'UPDATE', 1, 0)")
        database.execute(
            "INSERT INTO runs (serial, reference, status, submitted_at, spec_sha256, commands, "
            "changes_seal) VALUES (1, 'r', 'open', 1, '', 6, '')"
        )
        for number, first, last, status in parts:
            database.execute(
                "INSERT INTO parts (run, number, step, first_line, last_line, bytes, sha256, "
                "status) VALUES (1, ?, 1, ?, ?, 1, '', ?)", (number, first, last, status),
            )  # fmt: skip
        with database.transaction():
            write_seals(database, backlog=True)
    with closing(open_state(tmp_path / "state.db", read_only=True)) as state:
        doubted = {segment: doubted_in(state, segment) for segment in (1, 2, 3)}
        counted = state.pending_counts()
    first = {"a"} if first_part != "waiting" else set()
    assert doubted == {1: {"c", "d", "h"} | first, 2: {"b", "e"}, 3: set()}
    assert counted == {1: 3 + len(first), 2: 2}


def doubted_in(state: State, segment: int) -> set[str]:
    with state.doubted(segment) as rows:
        return {name for batch in rows for name in batch.column("identifier").to_pylist()}


def test_who_stops_reading_members_leaves_no_statement_open(
    state: State, recwarn: pytest.WarningsRecorder
) -> None:
    with state.members(1) as batches:
        assert next(batches).num_rows
    assert not [warning for warning in recwarn if "not explicitly close" in str(warning.message)]


def test_the_words_that_files_have_stay_what_they_are() -> None:
    """A state that was written by an older segsync is read by a newer one."""
    assert [status.value for status in RunStatus] == [
        "open", "done", "partly rejected", "unknown", "unsent",
    ]  # fmt: skip
    assert [status.value for status in PartStatus] == [
        "waiting", "sending", "sent", "confirmed", "unattributed", "unknown", "unsent",
    ]  # fmt: skip
