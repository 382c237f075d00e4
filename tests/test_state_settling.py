"""What becomes of each command of a run, by the fate of its part: every row of every table."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from segsync.model import DAY_MS
from segsync.state import Closing, PartRecord, PartStatus
from segsync.state.closing import Outcome
from segsync.state.records import merged
from tests.support.layering import layered
from tests.support.rows import Row, confirmed_in, part_row, rows_in, run_row, state_of

NOW = 1_790_000_000_000
HOUR = 3_600_000
SEGMENTS = [
    (1, "segment_id", "71", "vip", 1000, 0, None, None),
    (2, "segment_id", "72", "mail", 2000, 0, None, None),
]
KEYSPACES = [
    (1, 1, "user_account_id", None), (2, 2, "email_hash", None), (3, 1, "email_hash", None),
]  # fmt: skip
CONFIRMED, UNKNOWN, UNATTRIBUTED, UNSENT = (
    PartStatus.CONFIRMED, PartStatus.UNKNOWN, PartStatus.UNATTRIBUTED, PartStatus.UNSENT,
)  # fmt: skip
Tables = dict[str, list[Row]]


@pytest.fixture(autouse=True, params=[0, 1], ids=["one layer", "two layers"])
def kept(request: pytest.FixtureRequest) -> Iterator[None]:
    with layered(request.param):
        yield


def closed(
    tmp_path: Path,
    changes: list[Row],
    fates: list[tuple[int, int, PartStatus]],
    rejected: dict[int, str],
    **before: list[Row],
) -> tuple[Outcome, Tables]:
    """Ends a run of these changes: the outcome, and the tables but those of runs and parts; as
    `members` the confirmed ones of both layers.

    `fates` are the first and the last line of each part and its status.
    """
    parts = [
        PartRecord(number, 1, first, last, 9, "", status)
        for number, (first, last, status) in enumerate(fates, start=1)
    ]
    tables: dict[str, list[Row]] = {
        "segments": SEGMENTS, "keyspaces": KEYSPACES, "runs": [run_row(1, "open")],
        "parts": [part_row(1, part.number, part.first, part.last, "sent") for part in parts],
        "changes": changes, "rejected_lines": [(1, "of a process that was killed")], **before,
    }  # fmt: skip
    lines = pa.table({"line": pa.array(rejected, pa.int64()), "reason": [*rejected.values()]})
    closing = Closing(1, NOW, tuple(parts), lines.to_reader() if rejected else None)
    with state_of(tmp_path / "state.db", tables) as state:
        outcome = state.close_run(closing)
        rows = rows_in(state.path)
        confirmed = confirmed_in(state.path)
    layer = rows.pop("members", [])
    if rows.pop("recent", []):
        assert layer == sorted(before.get("members", []))
    if confirmed:
        rows["members"] = confirmed
    assert [row[2] for row in rows.pop("runs")] == [outcome.status]
    assert [row[7] for row in rows.pop("parts", [])] == [part.status for part in parts]
    assert rows.pop("keyspaces") == KEYSPACES
    assert not rows.keys() & {"changes", "rejected_lines"}
    return outcome, rows


def reject(keyspace: int, name: str, operation: str, fingerprint: int, **other: Any) -> Row:
    columns = {"reason": "old", "attempts": 1, "first_at": 1, "last_at": 2, "next_attempt_at": 3}
    return (keyspace, name, operation, fingerprint, *(columns | other).values())


@pytest.mark.parametrize(
    ("fates", "expected"),
    [
        ([(1, 2, CONFIRMED), (3, 3, CONFIRMED), (4, 6, CONFIRMED)], [(1, 6)]),
        ([(1, 2, CONFIRMED), (3, 3, UNKNOWN), (4, 6, CONFIRMED)], [(1, 2), (3, 3), (4, 6)]),
        ([(1, 2, UNKNOWN), (3, 3, CONFIRMED), (4, 6, CONFIRMED)], [(1, 2), (3, 6)]),
        ([(1, 2, CONFIRMED), (4, 5, CONFIRMED), (6, 6, CONFIRMED)], [(1, 2), (4, 6)]),
        ([], []),
    ],
)
def test_neighbours_of_one_fate_are_settled_as_one(
    fates: list[tuple[int, int, PartStatus]], expected: list[tuple[int, int]]
) -> None:
    parts = [
        PartRecord(number, 1, first, last, 9, "", status)
        for number, (first, last, status) in enumerate(fates, start=1)
    ]
    found = merged(parts)
    assert [(part.first, part.last) for part in found] == expected
    assert {part.status for part in found} == {status for _, _, status in fates}


def test_what_is_confirmed_goes_into_the_snapshot_and_out_of_doubt(tmp_path: Path) -> None:
    """What has the same identifier in another keyspace, or no command, stays as it is."""
    changes = [
        (1, 1, "removed", "remove", 1, 0, -1), (2, 2, "removed too", "remove", 2, 0, -20),
        (3, 1, "added", "add", 3, 30, 4), (4, 1, "updated", "update", 4, 40, 8),
        (5, 1, "renewed", "renew", 5, 50, 16), (6, 2, "added", "add", 6, 60, 300),
        (7, 3, "refused", "update", 7, 70, 7000), (8, 3, "added", "add", 8, 80, 32),
    ]  # fmt: skip
    others = [(1, "else", 9, 9), (3, "removed", 9, 9), (3, "updated", 9, 9)]
    outcome, rows = closed(
        tmp_path, changes, [(1, 4, CONFIRMED), (5, 8, CONFIRMED)], {7: "no"},
        members=[(1, "removed", 1, 1), (1, "renewed", 5, 1), (1, "updated", 1, 1),
                 (2, "removed too", 2, 2), (3, "refused", 1, 1), *others],
        pending=[(1, "added", "UPDATE", 3, 2), (1, "removed", "DELETE", 1, 0),
                 (1, "z", "UPDATE", 1, 1), (2, "removed", "DELETE", 1, 0)],
        rejects=[reject(1, "removed", "DELETE", 1), reject(1, "z", "UPDATE", 1),
                 reject(2, "updated", "UPDATE", 1), reject(3, "added", "UPDATE", 8)],
    )  # fmt: skip
    assert outcome == Outcome(7, 1, 0, 0)
    assert rows == {
        "segments": [(1, "segment_id", "71", "vip", 1000 - 1 + 4 + 8 + 16 + 32, 0, 1, None),
                     (2, "segment_id", "72", "mail", 2000 - 20 + 300, 0, 1, None)],
        "members": [(1, "added", 3, 30), others[0], (1, "renewed", 5, 50), (1, "updated", 4, 40),
                    (2, "added", 6, 60), (3, "added", 8, 80), (3, "refused", 1, 1), *others[1:]],
        "pending": [(1, "z", "UPDATE", 1, 1), (2, "removed", "DELETE", 1, 0)],
        "rejects": [reject(1, "z", "UPDATE", 1), reject(2, "updated", "UPDATE", 1),
                    (3, "refused", "UPDATE", 7, "no", 1, NOW, NOW, NOW)],
        "newcomers": [(1, "added"), (1, "updated"), (2, "added"), (3, "added"), (3, "refused")],
    }  # fmt: skip


def test_changes_of_one_keyspace_change_the_digest_of_its_segment_alone(tmp_path: Path) -> None:
    changes = [(1, 3, "a", "add", 1, 0, 5), (2, 3, "b", "add", 1, 0, 7)]
    outcome, rows = closed(tmp_path, changes, [(1, 2, CONFIRMED)], {})
    assert outcome == Outcome(2, 0, 0, 0)
    assert [row[4] for row in rows["segments"]] == [1012, 2000]
    assert rows["members"] == [(3, "a", 1, 0), (3, "b", 1, 0)]


def test_a_run_may_only_remove(tmp_path: Path) -> None:
    changes = [(1, 1, "a", "remove", 1, 0, -5), (2, 1, "b", "remove", 1, 0, -7)]
    members = [(1, "a", 1, 0), (1, "b", 1, 0), (1, "c", 1, 0), (2, "a", 1, 0)]
    outcome, rows = closed(tmp_path, changes, [(1, 2, CONFIRMED)], {}, members=members)
    assert outcome == Outcome(2, 0, 0, 0)
    assert [row[4] for row in rows["segments"]] == [988, 2000]
    assert rows["members"] == members[2:]


def test_what_is_unknown_is_pending_and_what_was_unsent_has_not_happened(tmp_path: Path) -> None:
    """Failures are those of one and the same command; an older refusal says nothing any more."""
    changes = [
        (1, 1, "a", "remove", 1, 0, -1), (2, 1, "b", "add", 2, 0, 2), (3, 1, "c", "add", 3, 0, 3),
        (4, 1, "d", "add", 4, 0, 4), (5, 1, "e", "renew", 5, 0, 5),
        (6, 1, "f", "remove", 6, 0, -6), (7, 2, "g", "add", 7, 0, 7),
    ]  # fmt: skip
    members = [(1, "a", 1, 0), (1, "f", 6, 0), (1, "z", 9, 0)]
    rejects = [reject(1, "f", "DELETE", 6), reject(2, "a", "DELETE", 1)]
    outcome, rows = closed(
        tmp_path, changes, [(1, 5, UNKNOWN), (6, 7, UNSENT)], {5: "no"},
        members=members,
        rejects=[reject(1, "a", "DELETE", 1), *rejects],
        pending=[(1, "b", "UPDATE", 2, 2), (1, "c", "UPDATE", 9, 2), (1, "d", "DELETE", 4, 2),
                 (1, "f", "DELETE", 6, 1)],
    )  # fmt: skip
    assert outcome == Outcome(0, 1, 4, 2)
    assert [row[4] for row in rows["segments"]] == [1000, 2000]
    assert rows["members"] == members
    assert rows["pending"] == [
        (1, "a", "DELETE", 1, 0), (1, "b", "UPDATE", 2, 2), (1, "c", "UPDATE", 3, 0),
        (1, "d", "UPDATE", 4, 0), (1, "f", "DELETE", 6, 1),
    ]  # fmt: skip
    assert rows["rejects"] == [(1, "e", "UPDATE", 5, "no", 1, NOW, NOW, NOW), *rejects]


def test_the_third_failure_that_cannot_be_named_is_taken_as_confirmed(tmp_path: Path) -> None:
    """That of the very command, in its own keyspace."""
    changes = [
        (1, 1, "again", "add", 1, 0, 1), (2, 1, "last", "remove", 2, 0, -2),
        (3, 1, "other", "add", 3, 0, 3), (4, 3, "last", "add", 4, 0, 4),
        (5, 3, "named", "add", 5, 0, 5), (6, 2, "long ago", "update", 6, 66, 6),
        (7, 2, "first", "add", 7, 0, 7), (8, 2, "sent later", "add", 8, 0, 8),
    ]  # fmt: skip
    outcome, rows = closed(
        tmp_path, changes, [(1, 4, UNATTRIBUTED), (5, 7, UNATTRIBUTED), (8, 8, UNKNOWN)],
        {5: "no"},
        members=[(1, "last", 2, 0), (2, "last", 2, 0), (2, "long ago", 1, 1)],
        rejects=[reject(1, "last", "DELETE", 2)],
        pending=[(1, "again", "UPDATE", 1, 1), (1, "last", "DELETE", 2, 2),
                 (1, "other", "UPDATE", 9, 2), (2, "long ago", "UPDATE", 6, 5),
                 (2, "sent later", "UPDATE", 8, 7), (3, "named", "UPDATE", 5, 7)],
    )  # fmt: skip
    assert outcome == Outcome(2, 1, 5, 0, {1: 1, 2: 1})
    assert (outcome.given_up, outcome.doubted) == (2, 0)
    assert [row[4] for row in rows["segments"]] == [998, 2006]
    assert rows["members"] == [(2, "last", 2, 0), (2, "long ago", 6, 66)]
    assert rows["pending"] == [
        (1, "again", "UPDATE", 1, 2), (1, "other", "UPDATE", 3, 1), (2, "first", "UPDATE", 7, 1),
        (2, "sent later", "UPDATE", 8, 7), (3, "last", "UPDATE", 4, 1),
        (3, "named", "UPDATE", 5, 7),
    ]  # fmt: skip
    assert rows["rejects"] == [(3, "named", "UPDATE", 5, "no", 1, NOW, NOW, NOW)]


PAUSES = {1: HOUR, 2: 4 * HOUR, 3: 16 * HOUR, 4: 64 * HOUR, 5: 7 * DAY_MS, 6: 7 * DAY_MS}
"""After so many attempts before."""


def test_who_is_rejected_again_waits_longer_and_longer(tmp_path: Path) -> None:
    """Another command of the same member is tried anew; since when it is refused stays known."""
    changes = [(n, 1, f"tried {n}", "add", n, 0, n) for n in PAUSES]
    changes += [
        (7, 1, "u other operation", "remove", 7, 0, -7),
        (8, 1, "v other content", "add", 8, 0, 8),
        (9, 1, "w removal", "remove", 9, 0, -9),
        (10, 2, "tried 1", "renew", 10, 0, 10),
    ]
    fates = [(1, 5, CONFIRMED), (6, 7, UNKNOWN), (8, 9, UNATTRIBUTED), (10, 10, UNSENT)]
    outcome, rows = closed(
        tmp_path, changes, fates, {line: f"no {line}" for line in range(1, 11)},
        members=[(1, "w removal", 9, 0)],
        rejects=[
            *(reject(1, f"tried {n}", "UPDATE", n, attempts=n, first_at=n) for n in PAUSES),
            reject(1, "u other operation", "UPDATE", 7, attempts=4),
            reject(1, "v other content", "UPDATE", 1, attempts=4),
            reject(1, "w removal", "DELETE", 9, attempts=1),
        ],
    )  # fmt: skip
    assert outcome == Outcome(0, 10, 0, 0)
    assert [row[4] for row in rows["segments"]] == [1000, 2000]
    assert rows["members"] == [(1, "w removal", 9, 0)]
    assert rows["rejects"] == [
        *((1, f"tried {n}", "UPDATE", n, f"no {n}", n + 1, n, NOW, NOW + pause)
          for n, pause in PAUSES.items()),
        (1, "u other operation", "DELETE", 7, "no 7", 1, 1, NOW, NOW),
        (1, "v other content", "UPDATE", 8, "no 8", 1, 1, NOW, NOW),
        (1, "w removal", "DELETE", 9, "no 9", 2, 1, NOW, NOW + HOUR),
        (2, "tried 1", "UPDATE", 10, "no 10", 1, NOW, NOW, NOW),
    ]  # fmt: skip


@pytest.mark.parametrize("sent", [0, 2])
def test_forgotten_members_and_rejects_go_without_having_been_sent(
    tmp_path: Path, sent: int
) -> None:
    """A digest of 0 says that only the reject is forgotten."""
    changes = [(line, 2, f"sent {line}", "add", 1, 0, 100) for line in range(1, sent + 1)]
    changes += [
        (sent + 1, 1, "both", "forget", 1, 0, -1), (sent + 2, 1, "member", "forget", 1, 0, 3),
        (sent + 3, 1, "only the reject", "forget", 1, 0, 0),
    ]  # fmt: skip
    stay = [(1, "only the reject", 1, 0), (2, "both", 1, 0)]
    outcome, rows = closed(
        tmp_path, changes, [(1, sent, CONFIRMED)] if sent else [], {},
        members=[(1, "both", 1, 0), (1, "member", 1, 0), *stay],
        rejects=[reject(1, "both", "DELETE", 1), reject(1, "only the reject", "DELETE", 1),
                 reject(2, "both", "DELETE", 1)],
        pending=[(1, "both", "UPDATE", 1, 0)],
    )  # fmt: skip
    assert outcome == Outcome(sent, 0, 0, 0)
    assert [row[4] for row in rows["segments"]] == [1002, 2000 + 100 * sent]
    assert rows["members"] == [*stay, *((2, f"sent {n}", 1, 0) for n in range(1, sent + 1))]
    assert rows["rejects"] == [reject(2, "both", "DELETE", 1)]
    assert rows["pending"] == [(1, "both", "UPDATE", 1, 0)]
