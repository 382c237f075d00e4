"""Who is noted as a newcomer, brought into doubt, or forgotten as one, by the end of a run."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from segsync.state import Closing, PartRecord, PartStatus
from segsync.state.late_removals import note_newcomers, segments_in_doubt
from tests.support.rows import Row, part_row, rows_in, run_row, state_of

NUMBERS = range(1, 6)
SEGMENTS = [(n, "segment_id", str(70 + n), f"s{n}", 0, 0, None, None) for n in NUMBERS]
KEYSPACES = [
    *((6 - n, n, "user_account_id", None) for n in NUMBERS),
    *((10 + n, n, "email_hash", None) for n in NUMBERS),
]
"""Two of each segment: the accounts in 5, 4, 3, 2, 1, the addresses in 11, 12, 13, 14, 15."""
NO_MORE = ("no", 1, 1, 1, 1)
CONFIRMED, UNKNOWN, UNATTRIBUTED, UNSENT = (
    PartStatus.CONFIRMED, PartStatus.UNKNOWN, PartStatus.UNATTRIBUTED, PartStatus.UNSENT,
)  # fmt: skip


def closed(
    path: Path,
    changes: list[Row],
    parts: list[PartRecord],
    refused: tuple[int, ...] = (),
    **before: list[Row],
) -> tuple[dict[int, int], dict[str, list[Row]]]:
    """Ends a run of these changes: how many are doubted by segment, and the tables."""
    tables: dict[str, list[Row]] = {
        "segments": SEGMENTS, "keyspaces": KEYSPACES, "runs": [run_row(1, "open")],
        "parts": [part_row(1, part.number, part.first, part.last, "sent") for part in parts],
        "changes": changes, **before,
    }  # fmt: skip
    lines = pa.table({"line": pa.array(refused, pa.int64()), "reason": ["no"] * len(refused)})
    with state_of(path, tables) as state:
        outcome = state.close_run(Closing(1, 9, tuple(parts), lines.to_reader()))
    after = rows_in(path)
    tables = {table: after.get(table, []) for table in ("newcomers", "pending", "rejects")}
    return dict(outcome.doubted_in), tables


def numbered(*changes: tuple[int, str, str]) -> list[Row]:
    return [(line, *change, 7, 0, 0) for line, change in enumerate(changes, start=1)]


def part(number: int, step: int, first: int, last: int, status: PartStatus) -> PartRecord:
    return PartRecord(number, step, first, last, 9, "", status)


def test_who_is_said_is_a_newcomer_where_a_removal_may_act_later(tmp_path: Path) -> None:
    """Segment 1 has a rejected removal, 2 a rejected update, 3 one in doubt of whom nothing is
    said, 4 a watched run, and 5 nothing. Who is renewed was there before.
    """
    changes = numbered(
        *((place, f"by {change}", change)
          for place in (1, 2, 3, 4, 5, 11) for change in ("add", "update", "renew", "remove")),
    )  # fmt: skip
    doubted, rows = closed(
        tmp_path / "state.db", changes, [part(1, 1, 1, len(changes), CONFIRMED)],
        rejects=[(11, "x", "DELETE", 1, *NO_MORE), (12, "x", "UPDATE", 1, *NO_MORE)],
        pending=[(13, "x", "UPDATE", 1, 0)],
        watched=[(14, "x", 1)],
        newcomers=[(5, "by add"), (11, "else")],
    )  # fmt: skip
    assert doubted == {}
    said = [(place, f"by {change}") for place in (2, 3, 5, 11) for change in ("add", "update")]
    assert rows["newcomers"] == [*said, (11, "else")]


def test_nobody_else_is_noted_and_then_forgotten(tmp_path: Path) -> None:
    """A run may have said millions."""
    tables: dict[str, list[Row]] = {
        "segments": SEGMENTS, "keyspaces": KEYSPACES,
        "changes": numbered(*((n, "a", "add") for n in NUMBERS)),
        "rejects": [(11, "x", "DELETE", 1, *NO_MORE), (12, "x", "UPDATE", 1, *NO_MORE)],
        "watched": [(14, "x", 1)],
        "pending": [(13, "x", "UPDATE", 1, 0), (3, "x", "UPDATE", 1, 0),
                    (1, "a", "UPDATE", 1, 0)],
    }  # fmt: skip
    with state_of(tmp_path / "state.db", tables) as state:
        in_doubt = segments_in_doubt(state._database)
        assert in_doubt == (3,)
        note_newcomers(state._database, in_doubt)
        assert state._database.rows("SELECT keyspace FROM newcomers") == [(2,), (3,), (5,)]


def test_newcomers_are_forgotten_where_no_removal_may_act_later(tmp_path: Path) -> None:
    doubted, rows = closed(
        tmp_path / "state.db", [], [],
        rejects=[(11, "x", "DELETE", 1, *NO_MORE), (2, "x", "UPDATE", 1, *NO_MORE)],
        watched=[(14, "x", 1)],
        pending=[(13, "x", "UPDATE", 1, 0)],
        newcomers=[(n, "n") for n in (*NUMBERS, *range(11, 16))],
    )  # fmt: skip
    assert doubted == {}
    assert {row[0] for row in rows["newcomers"]} == {2, 3, 5, 11, 13, 14}


BEFORE: dict[str, list[Row]] = {
    "members": [(5, "n1", 10, 0), (5, "n2", 20, 0), (11, "n1", 30, 0), (4, "n1", 40, 0),
                (12, "n3", 50, 0)],
    "newcomers": [(4, "n1"), (5, "gone"), (5, "n1"), (5, "n2"), (11, "n1"), (11, "n2"),
                  (12, "n3")],
}  # fmt: skip
"""Newcomers of the segments 1 and 2, two of whom are no members."""
DOUBTED = [
    (5, "n1", "UPDATE", 10, 0), (5, "n2", "UPDATE", 20, 0), (11, "n1", "UPDATE", 30, 0),
]  # fmt: skip
REMOVAL = (11, "x", "DELETE", 1, *NO_MORE)


@pytest.mark.parametrize("status", [CONFIRMED, UNKNOWN, UNATTRIBUTED, UNSENT])
@pytest.mark.parametrize("said", ["rejected", "pending"])
def test_a_removal_that_was_said_before_brings_its_segments_newcomers_into_doubt(
    tmp_path: Path, status: PartStatus, said: str
) -> None:
    in_doubt = (11, "x", "DELETE", 1, 0)
    before = {"rejects": [REMOVAL]} if said == "rejected" else {"pending": [in_doubt]}
    changes = numbered((11, "x", "remove"))
    doubted, rows = closed(
        tmp_path / "state.db", changes, [part(1, 1, 1, 1, status)], (), **BEFORE, **before
    )
    others = [row for row in rows["pending"] if row[1] != "x"]
    assert (doubted, others) == (({}, []) if status is UNSENT else ({1: 3}, DOUBTED))


@pytest.mark.parametrize(
    ("changes", "refused", "before"),
    [
        ([(11, "y", "remove")], (), {"rejects": [REMOVAL]}),
        ([(5, "x", "remove")], (), {"rejects": [REMOVAL]}),
        ([(11, "x", "add")], (), {"rejects": [REMOVAL]}),
        ([(11, "x", "update")], (), {"pending": [(11, "x", "UPDATE", 1, 0)]}),
        ([(11, "x", "remove")], (), {"rejects": [(11, "x", "UPDATE", 1, *NO_MORE)]}),
        ([(11, "x", "remove")], (1,), {"rejects": [REMOVAL]}),
        ([(11, "z", "add"), (11, "x", "remove")], (), {"rejects": [REMOVAL]}),
    ],
    ids=["another", "in another keyspace", "no removal", "no removal of who is in doubt",
         "an update was rejected", "rejected again", "in no part"],
)  # fmt: skip
def test_another_command_brings_nobody_into_doubt(
    tmp_path: Path,
    changes: list[tuple[int, str, str]],
    refused: tuple[int, ...],
    before: dict[str, list[Row]],
) -> None:
    doubted, rows = closed(
        tmp_path / "state.db", numbered(*changes), [part(1, 1, 1, 1, CONFIRMED)], refused,
        **BEFORE, **before,
    )  # fmt: skip
    assert doubted == {}
    assert [row for row in rows["pending"] if row[1] != "x"] == []


def test_in_two_segments_each_has_its_own_newcomers(tmp_path: Path) -> None:
    """Who is in doubt already stays as it is, and is not counted once more."""
    changes = numbered((11, "x", "remove"), (4, "y", "remove"), (4, "z", "remove"))
    pending = [(4, "y", "DELETE", 1, 0), (4, "z", "DELETE", 1, 0), (5, "n1", "DELETE", 99, 2),
               (5, "v", "UPDATE", 1, 1), (13, "w", "UPDATE", 1, 1)]  # fmt: skip
    doubted, rows = closed(
        tmp_path / "state.db", changes,
        [part(2, 1, 2, 3, CONFIRMED), part(1, 1, 1, 1, CONFIRMED)], (),
        **BEFORE, rejects=[REMOVAL], pending=pending,
    )  # fmt: skip
    assert doubted == {1: 2, 2: 2}
    assert rows["pending"] == [
        (4, "n1", "UPDATE", 40, 0), (5, "n1", "DELETE", 99, 2), (5, "n2", "UPDATE", 20, 0),
        (5, "v", "UPDATE", 1, 1), (11, "n1", "UPDATE", 30, 0), (12, "n3", "UPDATE", 50, 0),
        (13, "w", "UPDATE", 1, 1),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("step", "status", "refused", "doubted"),
    [
        (2, CONFIRMED, (), 1), (3, CONFIRMED, (), 1), (1, CONFIRMED, (), 3), (2, UNKNOWN, (), 3),
        (2, UNSENT, (), 3), (2, CONFIRMED, (2,), 2), (2, CONFIRMED, (2, 3), 3),
    ],
)  # fmt: skip
def test_who_was_confirmed_in_a_later_step_is_beyond_doubt(
    tmp_path: Path, step: int, status: PartStatus, refused: tuple[int, ...], doubted: int
) -> None:
    changes = numbered((11, "x", "remove"), (5, "n1", "renew"), (11, "n1", "renew"))
    parts = [part(1, 1, 1, 1, CONFIRMED), part(2, step, 2, 3, status)]
    found, _ = closed(tmp_path / "state.db", changes, parts, refused, **BEFORE, rejects=[REMOVAL])
    assert found == {1: doubted - (2 if status is UNKNOWN else 0)}


def test_only_what_was_confirmed_later_is_beyond_doubt(tmp_path: Path) -> None:
    changes = numbered((11, "x", "remove"), (5, "n1", "renew"), (11, "n1", "renew"))
    parts = [part(1, 1, 1, 1, CONFIRMED), part(2, 2, 2, 2, CONFIRMED), part(3, 2, 3, 3, UNSENT)]
    doubted, _ = closed(tmp_path / "state.db", changes, parts, (), **BEFORE, rejects=[REMOVAL])
    assert doubted == {1: 2}


def test_rejects_of_who_comes_into_doubt_do_not_delay_what_is_said_next(tmp_path: Path) -> None:
    """But those of this run, of removals, of who is in doubt already, or is no member, stay."""
    changes = numbered((11, "x", "remove"), (11, "n1", "update"), (5, "n5", "update"))
    parts = [part(1, 1, 1, 2, CONFIRMED), part(2, 2, 3, 3, UNSENT)]
    update, removal = ("UPDATE", 1, *NO_MORE), ("DELETE", 1, *NO_MORE)
    members = [*BEFORE["members"], (5, "n4", 1, 0), (5, "n5", 1, 0), (5, "old", 1, 0)]
    newcomers = [*BEFORE["newcomers"], (5, "n4"), (5, "n5")]
    stay = [(4, "n1", *update), (5, "gone", *update), (5, "n2", *removal), (5, "n4", *update),
            (5, "old", *update), (11, "n2", *update)]  # fmt: skip
    _, rows = closed(
        tmp_path / "state.db", changes, parts, (2,),
        members=members, newcomers=newcomers,
        rejects=[*stay, (5, "n1", *update), (5, "n5", *update), (11, "x", *removal)],
        pending=[(5, "n4", "UPDATE", 1, 0)],
    )  # fmt: skip
    assert sorted(rows["rejects"]) == sorted([*stay, (11, "n1", "UPDATE", 7, "no", 1, 9, 9, 9)])


def test_a_watched_part_is_said_again_as_a_whole_later(tmp_path: Path) -> None:
    changes = numbered((5, "a", "add"), (5, "b", "add"))
    parts = [replace(part(1, 1, 1, 1, UNKNOWN), is_watched=True), part(2, 1, 2, 2, CONFIRMED)]
    _, rows = closed(tmp_path / "state.db", changes, parts)
    assert rows == {"newcomers": [], "pending": [(5, "a", "UPDATE", 7, 0)], "rejects": []}
    assert rows_in(tmp_path / "state.db")["watched"] == [(5, "a", 1)]
