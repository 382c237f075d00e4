"""What is watched of a run is said again, or let go; what is watched of others is left alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segsync.state import Identity, PartRecord, Run, State, create, open_state
from segsync.state.seal import write_seals
from segsync.state.watching import watch

IDENTITY = Identity("lineage", 9, "1509", "https://api.mediarithmics.com", 0)
REJECT = "'UPDATE', 0, 'no', 1, 1, 1, 1"
CONTENT = (
    "INSERT INTO segments (id, field, value, name) VALUES (1, 'segment_id', '1', 'vip')",
    "INSERT INTO keyspaces VALUES (1, 1, 'user_account_id', NULL)",
    "INSERT INTO runs (serial, reference, status, submitted_at, spec_sha256, commands, "
    "changes_seal) VALUES (7, 'seven', 'done', 1, '', 0, ''), (8, 'eight', 'done', 1, '', 0, ''), "
    "(9, 'nine', 'done', 1, '', 0, '')",
    "INSERT INTO parts (run, number, step, first_line, last_line, bytes, sha256, status, "
    "executions) VALUES (7, 1, 1, 1, 2, 9, '', 'confirmed', 1), "
    "(7, 2, 1, 3, 4, 9, '', 'confirmed', 1), (9, 1, 1, 1, 2, 9, '', 'confirmed', 1)",
    "INSERT INTO watched VALUES (1, 'c', 9), (1, 's', 9), (1, 'a', 7), (1, 'b', 7), (1, 'r', 7), "
    "(2, 'of a segment that is gone', 7)",
    "INSERT INTO pending VALUES (1, 'b', 'DELETE', 5, 2)",
    f"INSERT INTO rejects VALUES (1, 'r', {REJECT}), (1, 'b', {REJECT}), (1, 's', {REJECT}), "
    f"(1, 'q', {REJECT})",
    "INSERT INTO newcomers VALUES (1, 'n')",
)


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """Two runs are watched, of three; some of what they said is pending, or was refused."""
    path = tmp_path / "state.db"
    create(path, IDENTITY)
    with closing(open_state(path, read_only=False)) as made:
        with made._database.transaction():
            for statement in CONTENT:
                made._database.execute(statement)
            write_seals(made._database, backlog=True)
        yield made


def rows(state: State, columns: str, table: str) -> list[Any]:
    """What a reader finds who opens the state anew, and checks its seals."""
    with closing(open_state(state.path, read_only=True)) as reader:
        return reader._database.rows(f"SELECT {columns} FROM {table} ORDER BY {columns}")


def watched(state: State) -> tuple[Run, Run]:
    seven, nine = state.watched_runs()
    return seven, nine


def test_the_oldest_run_is_looked_at_first(state: State) -> None:
    assert [run.serial for run in state.watched_runs()] == [7, 9]


def test_what_a_late_execution_may_have_undone_becomes_pending(state: State) -> None:
    assert state.say_again(watched(state)[0], executions=4) == 3
    assert rows(state, "identifier, operation, fingerprint, failures", "pending") == [
        ("a", "UPDATE", 0, 0),
        ("b", "DELETE", 5, 2),
        ("r", "UPDATE", 0, 0),
    ]


def test_a_reject_says_nothing_any_more_unless_its_command_is_in_doubt_as_well(
    state: State,
) -> None:
    state.say_again(watched(state)[0], executions=4)
    assert rows(state, "identifier", "rejects") == [("b",), ("q",), ("s",)]


def test_the_executions_of_a_run_are_those_that_were_seen_last(state: State) -> None:
    state.say_again(watched(state)[0], executions=4)
    seven, nine = watched(state)
    assert [part.executions for part in seven.parts] == [3, 1]
    assert seven.executions == 4
    assert nine.executions == 1


def test_a_watch_ends_for_its_run_alone(state: State) -> None:
    state.end_watch(watched(state)[0])
    assert rows(state, "identifier, run", "watched") == [("c", 9), ("s", 9)]
    assert rows(state, "identifier", "newcomers") == [("n",)]


def test_with_the_last_watch_the_newcomers_are_forgotten(state: State) -> None:
    with state._database.transaction():
        state._database.execute("DELETE FROM pending")
        write_seals(state._database, backlog=True)
    for run in watched(state):
        state.end_watch(run)
    assert rows(state, "identifier", "watched") == []
    assert rows(state, "identifier", "newcomers") == []


def test_of_a_run_only_the_parts_are_watched_that_may_come_once_more(state: State) -> None:
    parts = [
        PartRecord(number, 1, 2 * number - 1, 2 * number, 9, "", is_watched=number == 2)
        for number in (1, 2, 3)
    ]
    with state._database.transaction():
        for line in range(1, 7):
            state._database.execute(
                "INSERT INTO changes VALUES (?, 1, ?, 'add', 0, 0, 0)", (line, f"line {line}")
            )
        watch(state._database, 8, parts)
        write_seals(state._database, backlog=True)
    new = [row for row in rows(state, "identifier, run", "watched") if row[1] == 8]
    assert new == [("line 3", 8), ("line 4", 8)]
