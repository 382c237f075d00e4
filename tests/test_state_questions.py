"""Each question that is asked of a state gets what its rows say: every one of them, and no other.

The rows are such that whatever is left out of a question, or put another way, changes its answer.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from segsync.errors import UsageError
from segsync.model import Address, IdentifierKind
from segsync.render.state_text import members_text
from segsync.state import Keyspace, Run, RunStatus, State, StateSegment
from segsync.state.open_changes import spans_by_keyspace
from segsync.state.records import PartRecord, PartStatus, Reject
from tests.support.rows import Row, part_row, run_row, state_of

NOW = 1_790_000_000_000
ROWS: dict[str, list[Row]] = {
    "segments": [
        (1, "segment_id", "71", "vip", 11, 1000, 2, "p1"),
        (2, "segment_technical_name", "mail", "all mail", -22, 0, None, None),
        (3, "segment_id", "73", "empty", 0, 0, None, None),
    ],
    # Their numbers are in another order than their segments, kinds and compartments.
    "keyspaces": [
        (1, 2, "email_hash", None),
        (2, 1, "user_account_id", "c1"),
        (3, 1, "user_account_id", ""),
        (4, 3, "user_agent_id", None),
    ],
    "members": [
        (1, "m", 5, 0), (1, "n", 6, NOW + 1),
        (2, "a", 7, 0), (2, "b", 8, NOW - 1), (2, "c", 9, NOW), (2, "d", 10, NOW + 1),
        (3, "a", 11, 1), (3, "e", 12, NOW + 5), (3, "f", 13, 0),
    ],
    "pending": [
        (1, "m", "UPDATE", 5, 0), (2, "a", "DELETE", 7, 1), (2, "x", "UPDATE", 1, 0),
        (3, "y", "UPDATE", 1, 0),
    ],
    "watched": [(1, "m", 1), (1, "n", 2), (9, "of a segment that is gone", 2)],
    "newcomers": [(1, "n"), (2, "b"), (2, "m"), (2, "nobody"), (3, "a")],
    "rejects": [
        (1, "jo.d", "UPDATE", 5, "no jo.d here", 1, 100, 900, 901),
        (2, "b", "DELETE", 8, "refused", 2, 100, 800, 4000),
        (2, "g", "UPDATE", 7, "b of vip is x1y2z3", 3, 50, 800, 5000),
        (3, "a", "UPDATE", 6, "refused", 1, 100, 900, 902),
    ],
    "runs": [
        run_row(1, "done", submitted_at=500, closed_at=800, import_id="i1"),
        run_row(2, "partly rejected", submitted_at=700, closed_at=900, import_id="i2"),
        run_row(3, "open", submitted_at=950, commands=7),
    ],
    "parts": [
        part_row(2, 1, 6, 6, "confirmed", total_success=0, total_failure=7, executions=2),
        part_row(2, 2, 7, 7, "unsent", is_watched=1, execution_id="e2"),
        part_row(3, 1, 1, 2, "sent"), part_row(3, 2, 3, 5, "sending"),
        part_row(3, 3, 6, 7, "waiting"),
    ],
    "changes": [
        (1, 2, "a", "remove", 7, 0, 0), (2, 1, "n", "remove", 6, 0, 0),
        (3, 2, "p", "add", 1, 0, 0), (4, 1, "o", "add", 1, 0, 0), (5, 2, "q", "update", 1, 0, 0),
        (6, 3, "r", "add", 1, 0, 0), (7, 1, "Sue.5", "renew", 1, 0, 0),
        (8, 3, "t", "forget", 1, 0, 0), (9, 2, "u", "forget", 1, 0, 0),
    ],
}  # fmt: skip
RUN_2 = Run(
    2, "run 2", RunStatus.PARTLY_REJECTED, 700, "", 0, "",
    (PartRecord(1, 1, 6, 6, 9, "", PartStatus.CONFIRMED, None, 0, 7, 2),
     PartRecord(2, 1, 7, 7, 9, "", PartStatus.UNSENT, "e2", None, None, 0, is_watched=True)),
    "i2", 900,
)  # fmt: skip


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    with state_of(tmp_path_factory.mktemp("filled") / "state.db", ROWS, serial=2) as made:
        yield made


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """A state in which nothing has happened yet."""
    with state_of(tmp_path_factory.mktemp("empty") / "state.db", {}) as made:
        yield made


def taken(
    stream: AbstractContextManager[pa.RecordBatchReader | Iterator[pa.RecordBatch]],
) -> list[tuple[Any, ...]]:
    """The names of the columns, and then the rows."""
    with stream as reader:
        is_whole = isinstance(reader, pa.RecordBatchReader)
        table = reader.read_all() if is_whole else pa.Table.from_batches(reader)
    columns = [column.to_pylist() for column in table.columns]
    return [tuple(table.column_names), *zip(*columns, strict=True)]


def test_segments_and_keyspaces_are_given_by_number(state: State) -> None:
    assert state.segments() == (
        StateSegment(1, Address("segment_id", "71"), "vip", 11, 1000, 2, "p1"),
        StateSegment(2, Address("segment_technical_name", "mail"), "all mail", -22, 0, None),
        StateSegment(3, Address("segment_id", "73"), "empty", 0, 0, None),
    )
    assert state.keyspaces() == (
        Keyspace(1, 2, IdentifierKind.EMAIL_HASH, None),
        Keyspace(2, 1, IdentifierKind.USER_ACCOUNT_ID, "c1"),
        Keyspace(3, 1, IdentifierKind.USER_ACCOUNT_ID, ""),
        Keyspace(4, 3, IdentifierKind.USER_AGENT_ID, None),
    )
    assert state.only_keyspaces() == {2: 1, 3: 4}


def test_members_are_counted_in_all_keyspaces_of_their_segment(state: State) -> None:
    assert state.member_counts() == {1: 7, 2: 2, 3: 0}
    assert [state.live_members(segment, NOW) for segment in (1, 2, 3)] == [4, 2, 0]
    assert state.live_members(1, 0) == 7


def test_a_member_expires_before_the_moment_that_follows_its_last(state: State) -> None:
    moments = (1, 2, NOW, NOW + 1, NOW + 2, NOW + 6)
    assert state.expiring(1, moments) == [0, 1, 2, 3, 4, 5]
    assert state.expiring(2, moments) == [0, 0, 0, 0, 1, 1]
    assert state.expiring(3, moments) == [0] * 6


def test_what_an_open_run_may_have_sent_is_counted_as_unknown_unless_it_is_left_out(
    state: State,
) -> None:
    assert state.pending_counts() == state.pending_counts(of_open_run=True) == {1: 5, 2: 3}
    assert state.pending_counts(of_open_run=False) == {1: 3, 2: 1}


def test_rejects_are_told_by_age_segment_and_identifier(state: State) -> None:
    account, email = IdentifierKind.USER_ACCOUNT_ID, IdentifierKind.EMAIL_HASH
    told = [
        Reject("vip", account, "c1", "g", "UPDATE", "*** of vip is ***", 3, 50, 5000),
        Reject("all mail", email, None, "jo.d", "UPDATE", "no *** here", 1, 100, 901),
        Reject("vip", account, None, "a", "UPDATE", "refused", 1, 100, 902),
        Reject("vip", account, "c1", "b", "DELETE", "refused", 2, 100, 4000),
    ]
    assert state.rejects(9) == state.rejects(4) == told
    assert state.rejects(3) == told[:3]
    shown = [reject.reason for reject in state.rejects(2, show_ids=True)]
    assert shown == ["b of vip is x1y2z3", "no jo.d here"]


def test_rejects_are_counted_by_segment_run_and_reason(state: State) -> None:
    assert state.reject_counts() == {1: 3, 2: 1}
    assert state.rejecting_runs() == {1: {1, 2}, 2: {2}}
    assert state.reject_reasons() == [
        ("vip", "refused", 2), ("all mail", "no *** here", 1), ("vip", "*** of vip is ***", 1),
    ]  # fmt: skip
    shown = [reason for _, reason, _ in state.reject_reasons(show_ids=True)]
    assert shown == ["refused", "no jo.d here", "b of vip is x1y2z3"]


def test_the_hundred_most_frequent_reasons_are_told(tmp_path: Path) -> None:
    """Those that hiding makes the same are one; it is the only one here that two have."""
    rows = [(1, f"i{n}", "UPDATE", 1, f"{'nxyo'[n % 4]} {n}", 1, 1, 1, 1) for n in range(120)]
    same = [(1, f"j{n}", "UPDATE", 1, f"a name12345{n}", 1, 1, 1, 1) for n in range(2)]
    often = [(1, f"k{n}", "UPDATE", 1, "zzz", 1, 1, 1, 1) for n in range(3)]
    tables: dict[str, list[Row]] = {
        "segments": ROWS["segments"], "keyspaces": ROWS["keyspaces"],
        "rejects": [*rows, *same, *often],
    }  # fmt: skip
    by_name = sorted(row[4] for row in rows)
    with state_of(tmp_path / "state.db", tables) as state:
        told = state.reject_reasons()
        shown = state.reject_reasons(show_ids=True)
    assert told[:2] == [("all mail", "zzz", 3), ("all mail", "a ***", 2)]
    assert told[2:] == [("all mail", reason, 1) for reason in by_name[:97]]
    assert shown[:3] == [
        ("all mail", reason, count)
        for reason, count in (("zzz", 3), ("a name123450", 1), ("a name123451", 1))
    ]
    assert shown[3:] == [("all mail", reason, 1) for reason in by_name[:97]]


def test_runs_are_told_with_their_times(state: State, empty: State) -> None:
    assert (state.longest_run_ms(), empty.longest_run_ms()) == (300, 0)
    assert (state.last_submitted_ms(), empty.last_submitted_ms()) == (950, 0)
    assert state.import_ids() == {1: "i1", 2: "i2", 3: None}
    assert [run.serial for run in state.last_runs(9)] == [3, 2, 1]
    assert state.last_runs(2)[1] == RUN_2
    opened = state.open_run()
    assert opened == state.last_runs(1)[0]
    assert opened is not None
    assert (opened.serial, opened.closed_at_ms, opened.import_id) == (3, None, None)
    told = [(part.number, part.step, part.first, part.last) for part in opened.parts]
    assert told == [(1, 1, 1, 2), (2, 1, 3, 5), (3, 1, 6, 7)]
    assert empty.open_run() is None


def test_members_are_read_from_any_key_on(state: State) -> None:
    names = ("keyspace", "identifier", "fingerprint", "expires_at")
    vip = [row for row in ROWS["members"] if row[0] in (2, 3)]
    assert taken(state.members(1)) == [names, *vip]
    assert taken(state.members(1, behind=(2, "b"))) == [names, *vip[2:]]
    assert taken(state.members(1, behind=(2, "z"))) == [names, *vip[4:]]
    of_one = [names[1:], *(row[1:] for row in vip[:4])]
    assert taken(state.members(1, only=2)) == of_one
    assert taken(state.members(1, only=2, behind=(2, "b"))) == [of_one[0], *of_one[3:]]


def test_of_two_segments_of_one_name_the_address_says_which(tmp_path: Path) -> None:
    """A name in the spec may pass from one segment to another."""
    tables: dict[str, list[Row]] = {
        "segments": [
            (1, "segment_id", "71", "vip", 0, 0, None, None),
            (2, "segment_technical_name", "vip", "old", 0, 0, None, None),
        ],
        "keyspaces": [(1, 1, "email_hash", None), (2, 2, "email_hash", None)],
        "members": [(1, "jo.d", 5, 0), (2, "sue.5", 5, 0)],
    }  # fmt: skip

    def told(name: str) -> list[str]:
        lines = members_text(state, name, 9, show_ids=True)
        return ["".join(span.text for span in line.spans) for line in lines]

    first, second = (f"email_hash {who}  never expires" for who in ("jo.d", "sue.5"))
    with state_of(tmp_path / "state.db", tables) as state:
        assert told("71") == told("segment_id=71") == [first]
        assert told("old") == told("segment_technical_name=vip") == [second]
        with pytest.raises(
            UsageError, match="2 segments of the state have the name 'vip'"
        ) as error:
            told("vip")
    assert error.value.hint == (
        "say which by its address: segment_id=71 or segment_technical_name=vip"
    )


def test_who_is_doubted_is_told_from_who_came_meanwhile(state: State) -> None:
    names = ("keyspace", "identifier", "is_pending")
    for segment, expected in {
        1: [(2, "a", 1), (2, "b", 0), (2, "p", 1), (2, "q", 1), (2, "x", 1),
            (3, "a", 0), (3, "y", 1)],
        2: [(1, "m", 1), (1, "n", 0), (1, "n", 1), (1, "o", 1)],
        3: [],
    }.items():  # fmt: skip
        columns, *rows = taken(state.doubted(segment))
        assert columns == names
        assert sorted(rows) == expected
        counted = state.pending_counts().get(segment, 0)
        assert counted == sum(is_pending for _, _, is_pending in expected)


def test_where_lines_that_may_have_left_are_is_told_by_keyspace(state: State, empty: State) -> None:
    found = spans_by_keyspace(state._database)
    assert {place: sorted(spans) for place, spans in found.items() if spans} == {
        1: [(2, 2), (4, 5)],
        2: [(1, 1), (3, 5)],
    }
    assert spans_by_keyspace(empty._database) == {}


def test_who_is_only_forgotten_does_not_stretch_what_is_looked_at(tmp_path: Path) -> None:
    """With a span that reached there, each segment would look at the lines of all others."""
    tables: dict[str, list[Row]] = {
        "segments": ROWS["segments"], "keyspaces": ROWS["keyspaces"],
        "runs": [run_row(1, "open", submitted_at=1, commands=2)],
        "parts": [part_row(1, 1, 1, 2, "sent")],
        "changes": [
            (1, 1, "a", "add", 1, 0, 0), (2, 2, "b", "add", 1, 0, 0),
            (3, 1, "c", "forget", 1, 0, 0),
        ],
    }  # fmt: skip
    with state_of(tmp_path / "state.db", tables) as state:
        assert spans_by_keyspace(state._database) == {1: [(1, 1)], 2: [(2, 2)]}


def test_rejects_and_changes_are_streamed(state: State) -> None:
    assert taken(state.segment_rejects(1)) == [
        ("keyspace", "identifier", "operation", "fingerprint", "next_attempt_at"),
        *((*row[:4], row[8]) for row in ROWS["rejects"][1:]),
    ]
    assert taken(state.changes()) == [
        ("line", "keyspace", "identifier", "change"), *(row[:4] for row in ROWS["changes"][:7]),
    ]  # fmt: skip


def test_what_is_watched_is_told_by_segment_and_by_run(state: State) -> None:
    assert state.watched_segments() == {2}
    assert [run.serial for run in state.watched_runs()] == [1, 2]


def test_members_of_the_open_run_are_hidden_in_texts(state: State) -> None:
    assert state.hide_members("line 3 of vip: sue.5 is 12345 or x123456") == (
        "line 3 of vip: *** is 12345 or ***"
    )
