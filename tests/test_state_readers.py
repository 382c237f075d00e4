"""Who reads a state: whose it is, whether it is whole, and whether it is still as it was opened."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from segsync.errors import StateDamaged, StateError, StateForeign
from segsync.state import Run, RunStatus, State, StateMoved, database, open_state
from segsync.state.file import PAGE_SIZE
from tests.support.rows import run_row, state_of


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with state_of(tmp_path / "state.db", {"members": [(1, "a", 1, 0)]}) as made:
        yield made


def look(state: State) -> None:
    with state.changes() as changes, state.doubted(1) as doubted:
        changes.read_all()
        doubted.read_all()


SEALED = {
    "pending": ("failures", [(1, name, "UPDATE", 1, 0) for name in "ab"]),
    "watched": ("run", [(1, name, 1) for name in "ab"]),
    "rejects": ("next_attempt_at", [(1, n, "UPDATE", 1, "no", 1, 1, 1, 1) for n in "ab"]),
}


@pytest.mark.parametrize("table", SEALED)
@pytest.mark.parametrize("which", "ab")
def test_a_text_for_a_number_is_damage_in_whichever_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, table: str, which: str
) -> None:
    """The driver, which has seen numbers before, says so of another row than of the first."""
    monkeypatch.setattr(database, "BATCH_ROWS", 1)
    column, rows = SEALED[table]
    path = tmp_path / "state.db"
    with state_of(path, {table: rows}):
        pass
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute(f"UPDATE {table} SET {column} = 'x' WHERE identifier = ?", (which,))
    with pytest.raises(StateDamaged):
        open_state(path, read_only=True)


@pytest.mark.parametrize("table", SEALED)
def test_bytes_that_are_no_text_are_damage_in_a_sealed_table(tmp_path: Path, table: str) -> None:
    path = tmp_path / "state.db"
    with state_of(path, {table: SEALED[table][1]}):
        pass
    with closing(sqlite3.connect(path)) as opened, opened:
        opened.execute(f"UPDATE {table} SET identifier = x'ff' || identifier")
    with pytest.raises(StateDamaged):
        open_state(path, read_only=True)


@pytest.mark.parametrize("changed", ["datamart", "api"])
def test_a_state_of_another_datamart_or_api_is_told_with_both(state: State, changed: str) -> None:
    api = "https://api.mediarithmics.com"
    state.check_belongs("1509", api)
    assert state.read_only is False
    other = ("1510", api) if changed == "datamart" else ("1509", "https://elsewhere")
    with pytest.raises(StateForeign) as caught:
        state.check_belongs(*other)
    assert caught.value.message == (
        f"the state {state.path} belongs to datamart 1509 at {api}, "
        f"the spec to datamart {other[0]} at {other[1]}"
    )
    assert caught.value.hint == (
        "a state describes one datamart at one API: name another file, such as "
        "`state: .segsync/other.db`, or move this one away"
    )


def test_a_page_that_nobody_has_read_is_looked_at_as_well(state: State) -> None:
    state.check_whole()
    with closing(sqlite3.connect(state.path)) as opened:
        [(page,)] = opened.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'members'")
    content = bytearray(state.path.read_bytes())
    content[(page - 1) * PAGE_SIZE] ^= 0xFF
    state.path.write_bytes(content)
    with pytest.raises(StateDamaged) as caught:
        state.check_whole()
    assert caught.value.message.startswith(f"the state {state.path} is damaged: *** in database")
    assert f"page {page}" in caught.value.message


@pytest.mark.parametrize(
    "text",
    ["database disk image is malformed", "file is not a database", "type mismatch in column 1",
     "Conversion Error: x", "invalid unicode", "bad utf-8 here"],
)  # fmt: skip
def test_a_stream_that_speaks_of_damage_is_one_of_a_damaged_state(state: State, text: str) -> None:
    with pytest.raises(StateDamaged) as caught:
        state.raise_if_damage(f"IOError: {text} (1)")
    assert caught.value.message == f"the state {state.path} is damaged: its members cannot be read"
    state.raise_if_damage("out of memory")


@pytest.mark.parametrize("before", [0, 1])
def test_a_run_that_begins_meanwhile_is_noticed_by_who_reads(tmp_path: Path, before: int) -> None:
    """The serial stays until it ends."""
    runs = [run_row(serial, "done") for serial in range(1, before + 1)]
    with (
        state_of(tmp_path / "state.db", {"runs": runs}, serial=before) as writer,
        closing(open_state(writer.path, read_only=True)) as reader,
    ):
        look(reader)
        with writer._writing():
            writer._database.execute(
                "INSERT INTO runs (serial, reference, status, submitted_at, spec_sha256, "
                "commands, changes_seal) VALUES (?, 'r', 'open', 1, '', 1, '')",
                (before + 1,),
            )
        with pytest.raises(StateMoved) as caught:
            look(reader)
    assert caught.value.message == "another apply finished in the meantime"
    assert caught.value.hint == "run it again"


def test_changes_that_are_not_those_that_were_staged_are_damage(state: State) -> None:
    changes = pa.table({"line": [1], "keyspace": [1], "identifier": ["a"], "change": ["add"],
                        "fingerprint": [1], "expires_at": [0], "digest": [1]})  # fmt: skip
    seal = state.stage_changes(changes.to_reader())
    run = Run(1, "r", RunStatus.OPEN, 0, "", 1, seal)
    state.check_changes(run)
    with pytest.raises(StateDamaged) as caught:
        state.check_changes(replace(run, changes_seal=seal[::-1]))
    assert caught.value.message == (
        f"the state {state.path} is damaged: "
        "the changes of the open run are not those that were written"
    )


def test_while_a_state_is_read_nobody_commits(
    state: State, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also between two statements of one reading: all of them see the same serial."""
    monkeypatch.setattr(database, "BUSY_TIMEOUT_MS", 1)
    with closing(open_state(state.path, read_only=False)) as writer:
        with state.changes() as rows:
            rows.read_all()
            with pytest.raises(StateError, match="is kept busy by another process"):
                writer.replace_digests({}, 7)
        writer.replace_digests({}, 7)


def test_what_is_opened_is_closed(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """What is not would keep the file open, and warn when it is thrown away."""
    open_and_close(tmp_path / "state.db")
    assert not [warning for warning in recwarn if "not explicitly close" in str(warning.message)]


def open_and_close(path: Path) -> None:
    with state_of(path, {}) as state:
        state.check_whole()
        look(state)
        with closing(open_state(path, read_only=False)) as other, other._writing():
            other._database.execute("UPDATE identity SET serial = 1")
        with pytest.raises(StateMoved):
            look(state)
