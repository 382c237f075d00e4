"""How a run ends: what is written of it, of its parts and of its segments, and what is let go."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pytest

from segsync.state import Closing, PartRecord, PartStatus, RunStatus
from segsync.state.closing import Outcome
from tests.support.rows import Row, part_row, rows_in, run_row, state_of

SEGMENTS = [
    (1, "segment_id", "71", "vip", 10, 100, 1, "p1"),
    (2, "segment_id", "72", "mail", 20, 100, None, None),
    (3, "segment_technical_name", "t", "third", 30, 100, 1, None),
]
KEYSPACES = [
    (1, 2, "user_account_id", None), (2, 1, "email_hash", None), (3, 1, "user_account_id", "c"),
    (4, 3, "email_hash", None),
]  # fmt: skip
CHANGES = [
    (1, 2, "a", "add", 1, 0, 0), (2, 3, "a", "add", 1, 0, 0), (3, 2, "b", "add", 1, 0, 0),
    (4, 4, "c", "add", 1, 0, 0), (5, 4, "d", "add", 1, 0, 0), (6, 4, "e", "add", 1, 0, 0),
]  # fmt: skip
OTHERS = [part_row(1, 1, 1, 6, "sent", execution_id="e0", executions=7)]
BEFORE: dict[str, list[Row]] = {
    "segments": SEGMENTS, "keyspaces": KEYSPACES, "changes": CHANGES,
    "runs": [run_row(1, "done", closed_at=5, confirmed=9), run_row(2, "open", submitted_at=600)],
    "parts": [*OTHERS, part_row(2, 1, 1, 3, "sent"), part_row(2, 2, 4, 6, "sent")],
}  # fmt: skip


def parts(first: PartStatus, second: PartStatus, **other: Any) -> tuple[PartRecord, ...]:
    return (
        PartRecord(1, 1, 1, 3, 9, "", first, **other), PartRecord(2, 1, 4, 6, 9, "", second),
    )  # fmt: skip


def closed(
    path: Path, tables: dict[str, list[Row]], closing: Closing
) -> tuple[Outcome, dict[str, list[Row]]]:
    with state_of(path, {**BEFORE, **tables}, serial=1) as state:
        outcome = state.close_run(closing)
        assert state.identity.serial == 2
        assert state.open_run() is None
    return outcome, rows_in(path)


def test_a_run_and_its_parts_are_written_with_all_their_figures(tmp_path: Path) -> None:
    rejected = pa.table({"line": [2, 5], "reason": ["no", "never"]}).to_reader()
    told = parts(
        PartStatus.CONFIRMED, PartStatus.UNKNOWN,
        execution_id="e1", total_success=2, total_failure=1, executions=3,
    )  # fmt: skip
    outcome, rows = closed(tmp_path / "state.db", {}, Closing(2, 900, told, rejected))
    assert outcome == Outcome(2, 2, 2, 0)
    assert rows["runs"] == [
        BEFORE["runs"][0],
        run_row(2, "unknown", submitted_at=600, closed_at=900, confirmed=2, rejected=2, unknown=2),
    ]
    assert rows["parts"] == [
        *OTHERS,
        part_row(2, 1, 1, 3, "confirmed", execution_id="e1", total_success=2, total_failure=1,
                 executions=3),
        part_row(2, 2, 4, 6, "unknown"),
    ]  # fmt: skip
    assert not rows.keys() & {"changes", "rejected_lines"}


@pytest.mark.parametrize(
    ("counts", "status"),
    [
        ((5, 0, 0, 0), RunStatus.DONE),
        ((5, 1, 0, 0), RunStatus.PARTLY_REJECTED),
        ((5, 0, 0, 1), RunStatus.UNSENT),
        ((0, 1, 0, 1), RunStatus.UNSENT),
        ((0, 1, 1, 1), RunStatus.UNKNOWN),
        ((0, 0, 1, 0), RunStatus.UNKNOWN),
    ],
)
def test_a_run_is_known_by_the_worst_that_came_of_it(
    counts: tuple[int, int, int, int], status: RunStatus
) -> None:
    assert Outcome(*counts).status is status


def test_who_was_taken_as_confirmed_counts_like_a_reject_in_the_status() -> None:
    outcome = Outcome(5, 0, 0, 0, given_up_in={1: 2, 7: 3}, doubted_in={2: 4, 3: 5})
    assert (outcome.status, outcome.given_up, outcome.doubted) == (
        RunStatus.PARTLY_REJECTED, 5, 9,
    )  # fmt: skip


@pytest.mark.parametrize("second", [PartStatus.CONFIRMED, PartStatus.UNSENT])
def test_segments_are_reasserted_unless_something_was_not_sent(
    tmp_path: Path, second: PartStatus
) -> None:
    told = parts(PartStatus.CONFIRMED, second)
    closing = Closing(2, 900, told, reasserted=(1, 3), planned_at_ms=777, planned=(2, 3))
    outcome, rows = closed(tmp_path / "state.db", {}, closing)
    moment = 100 if outcome.unsent else 777
    assert outcome.unsent == (3 if second is PartStatus.UNSENT else 0)
    assert [(*row[:1], *row[5:]) for row in rows["segments"]] == [
        (1, moment, 1, "p1"), (2, 100, 2, None), (3, moment, 2, None),
    ]  # fmt: skip


def test_a_run_that_another_apply_ends_is_one_of_the_segments_that_it_changes(
    tmp_path: Path,
) -> None:
    told = parts(PartStatus.CONFIRMED, PartStatus.CONFIRMED)
    _, rows = closed(tmp_path / "state.db", {}, Closing(2, 900, told))
    assert [row[6] for row in rows["segments"]] == [2, None, 2]
    assert [row[5] for row in rows["segments"]] == [100, 100, 100]


CONTENT: dict[str, Row] = {
    "members": ("x", 1, 0),
    "recent": ("x", 1, 0, 1),
    "pending": ("x", "UPDATE", 1, 0),
    "rejects": ("x", "UPDATE", 1, "no", 1, 1, 1, 1),
    "newcomers": ("x",),
    "watched": ("x", 1),
}
"""One row of each table that may keep a segment, behind its keyspace."""


def dropped(
    path: Path, members: Literal["delete", "keep"], held: tuple[str, ...]
) -> dict[str, list[Row]]:
    """The rows after a run that drops segment 1, of which these tables only had rows.

    Segment 3 has rows in all of them, and they stay.
    """
    tables: dict[str, list[Row]] = {
        table: [(2, *row)] * (table in held) + [(4, *row)] for table, row in CONTENT.items()
    }
    if held == ("newcomers",):
        tables["watched"].append((3, *CONTENT["watched"]))
    closing = Closing(2, 900, (), planned=(2,), dropped={1: members})
    _, rows = closed(path, {**tables, "changes": [], "parts": OTHERS}, closing)
    assert {table: [row for row in rows[table] if row[0] == 4] for table in CONTENT} == {
        table: [(4, *row)] for table, row in CONTENT.items()
    }
    return rows


@pytest.mark.parametrize("held", CONTENT)
def test_a_removed_segment_stays_until_nothing_of_it_is_left(tmp_path: Path, held: str) -> None:
    rows = dropped(tmp_path / "state.db", "delete", (held,))
    assert [row[0] for row in rows["segments"]] == [1, 2, 3]
    assert rows["keyspaces"] == KEYSPACES
    assert (2, *CONTENT[held]) in rows[held]


@pytest.mark.parametrize("members", ["delete", "keep"])
def test_a_removed_segment_of_which_nothing_is_left_goes_alone(
    tmp_path: Path, members: Literal["delete", "keep"]
) -> None:
    held = ("members", "recent", "pending", "rejects", "newcomers") if members == "keep" else ()
    rows = dropped(tmp_path / "state.db", members, held)
    assert [row[0] for row in rows["segments"]] == [2, 3]
    assert rows["keyspaces"] == [KEYSPACES[0], KEYSPACES[3]]


def test_what_may_still_act_late_keeps_a_segment_whose_members_are_forgotten(
    tmp_path: Path,
) -> None:
    rows = dropped(tmp_path / "state.db", "keep", tuple(CONTENT))
    assert [row[0] for row in rows["segments"]] == [1, 2, 3]
    assert rows["keyspaces"] == KEYSPACES
    assert {table for table in CONTENT for row in rows[table] if row[0] == 2} == {"watched"}
