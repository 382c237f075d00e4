"""How a run ends: its outcome is carried into the snapshot in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from segsync.model import LONGEST_PAUSE_MS
from segsync.state.database import Database
from segsync.state.late_removals import (
    doubt_newcomers,
    note_newcomers,
    segments_of_late_removals,
)
from segsync.state.records import PartRecord, PartStatus, RunStatus
from segsync.state.seal import write_seals
from segsync.state.watching import watch

if TYPE_CHECKING:
    import pyarrow

UNATTRIBUTED_LIMIT = 3
"""After so many runs with failures that cannot be named, a command is taken as confirmed."""

HOUR_MS = 3_600_000
FIRST_PAUSES_MS = (0, HOUR_MS, 4 * HOUR_MS, 16 * HOUR_MS, 64 * HOUR_MS)


@dataclass(frozen=True, slots=True)
class Closing:
    """The outcome of a run.

    `parts` carry their final status; `rejected` has the columns line and reason. `reasserted` are
    the segments whose reassertion is complete, up to the plan's moment; `dropped` says for removed
    segments whether their members are forgotten at once (`keep`) or as they are deleted.
    """

    serial: int
    closed_at_ms: int
    parts: tuple[PartRecord, ...]
    rejected: pyarrow.RecordBatchReader | None = None
    reasserted: tuple[int, ...] = ()
    planned_at_ms: int = 0
    planned: tuple[int, ...] = ()
    dropped: Mapping[int, Literal["delete", "keep"]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How many commands of a run were confirmed, rejected, are unknown, or were never sent.

    By segment number: `given_up_in` (part of `confirmed`) were taken as confirmed although some
    failed namelessly; `doubted_in` are members who may have left with one that was removed late.
    """

    confirmed: int
    rejected: int
    unknown: int
    unsent: int
    given_up_in: Mapping[int, int] = field(default_factory=dict)
    doubted_in: Mapping[int, int] = field(default_factory=dict)

    @property
    def given_up(self) -> int:
        """The sum over the segments."""
        return sum(self.given_up_in.values())

    @property
    def doubted(self) -> int:
        """The sum over the segments."""
        return sum(self.doubted_in.values())

    @property
    def status(self) -> RunStatus:
        """The run's status that these figures amount to."""
        if self.unknown:
            return RunStatus.UNKNOWN
        if self.unsent:
            return RunStatus.UNSENT
        refused = self.rejected or self.given_up
        return RunStatus.PARTLY_REJECTED if refused else RunStatus.DONE


def close_run(database: Database, closing: Closing) -> Outcome:
    """Write the outcome. The rejected lines are staged first: an ingest commits by itself."""
    database.execute("DELETE FROM rejected_lines")
    if closing.rejected is not None:
        database.ingest("rejected_lines", closing.rejected)
    with database.transaction():
        removed_late = segments_of_late_removals(database, closing.parts)
        _store_rejects(database, closing.closed_at_ms)
        given_up = Counter[int]()
        for part in _merged(closing.parts):
            given_up.update(_settle_part(database, part))
        watch(database, closing.serial, closing.parts)
        _forget(database, after=max((part.last for part in closing.parts), default=0))
        doubted = doubt_newcomers(database, removed_late, closing.parts)
        note_newcomers(database)
        outcome = _count(database, closing.parts, given_up, doubted)
        _update_segments(database, closing, outcome)
        _end(database, closing, outcome)
    return outcome


_OPERATION = "CASE c.change WHEN 'remove' THEN 'DELETE' ELSE 'UPDATE' END"


def _same_command(table: str) -> str:
    """Whether a table has the very command that is to be written into it."""
    return (
        f"({table}.operation = excluded.operation AND {table}.fingerprint = excluded.fingerprint)"
    )


def _store_rejects(database: Database, now_ms: int) -> None:
    pauses = " ".join(f"WHEN {n} THEN {p}" for n, p in enumerate(FIRST_PAUSES_MS, start=1))
    same = _same_command("rejects")
    database.execute(
        "INSERT INTO rejects SELECT c.keyspace, c.identifier, "
        f"{_OPERATION}, c.fingerprint, r.reason, 1, "
        f"{now_ms}, {now_ms}, {now_ms} FROM rejected_lines r JOIN changes c ON c.line = r.line "
        "WHERE true ON CONFLICT (keyspace, identifier) DO UPDATE SET "
        f"attempts = CASE WHEN {same} THEN attempts + 1 ELSE 1 END, "
        f"next_attempt_at = {now_ms} + CASE (CASE WHEN {same} THEN attempts + 1 ELSE 1 END) "
        f"{pauses} ELSE {LONGEST_PAUSE_MS} END, operation = excluded.operation, "
        "fingerprint = excluded.fingerprint, reason = excluded.reason, last_at = excluded.last_at"
    )


def _merged(parts: tuple[PartRecord, ...]) -> list[PartRecord]:
    """Neighbours with one fate as one: a statement for all of them is cheaper than one for each."""
    merged: list[PartRecord] = []
    for part in parts:
        if merged and merged[-1].status is part.status and merged[-1].last + 1 == part.first:
            merged[-1] = replace(merged[-1], last=part.last)
        else:
            merged.append(part)
    return merged


def _settle_part(database: Database, part: PartRecord) -> dict[int, int]:
    """Confirm a part's commands or keep them pending; returns how many were given up on."""
    match part.status:
        case PartStatus.CONFIRMED:
            _confirm(database, _accepted_lines(part))
        case PartStatus.UNKNOWN:
            _keep_pending(database, part, failures=0)
        case PartStatus.UNATTRIBUTED:
            _keep_pending(database, part, failures=1)
            return _give_up(database, part)
        case _:
            pass
    return {}


def _accepted_lines(part: PartRecord) -> str:
    return (
        f"c.line BETWEEN {part.first} AND {part.last} "
        "AND c.line NOT IN (SELECT line FROM rejected_lines)"
    )


def _keep_pending(database: Database, part: PartRecord, *, failures: int) -> None:
    """Failures add up for one and the same command; another one of the member counts anew."""
    same = _same_command("pending")
    database.execute(
        f"INSERT INTO pending SELECT c.keyspace, c.identifier, {_OPERATION}, c.fingerprint, "
        f"{failures} FROM changes c WHERE {_accepted_lines(part)} "
        "ON CONFLICT (keyspace, identifier) DO UPDATE SET "
        f"failures = excluded.failures + CASE WHEN {same} THEN failures ELSE 0 END, "
        "operation = excluded.operation, fingerprint = excluded.fingerprint"
    )
    # An earlier refusal says nothing of what the platform has now, and must not delay the next try.
    _delete(database, "rejects", _accepted_lines(part))


def _give_up(database: Database, part: PartRecord) -> dict[int, int]:
    lines = (
        f"{_accepted_lines(part)} AND (SELECT p.failures FROM pending p "
        "WHERE p.keyspace = c.keyspace AND p.identifier = c.identifier) >= "
        f"{UNATTRIBUTED_LIMIT}"
    )
    counts = database.rows(
        "SELECT k.segment, count(*) FROM changes c JOIN keyspaces k ON k.id = c.keyspace "
        f"WHERE {lines} GROUP BY k.segment"
    )
    if counts:
        _confirm(database, lines)
    return {int(segment): int(count) for segment, count in counts}


def _confirm(database: Database, lines: str) -> None:
    """Carry the changes on these lines into the snapshot; `pending` is read last, cleared last."""
    removed = _add_digests(database, lines)
    database.execute(
        "INSERT INTO members SELECT c.keyspace, c.identifier, c.fingerprint, c.expires_at "
        f"FROM changes c WHERE {lines} AND c.change IN ('add', 'update', 'renew') "
        "ON CONFLICT (keyspace, identifier) DO UPDATE SET "
        "fingerprint = excluded.fingerprint, expires_at = excluded.expires_at"
    )
    if removed:
        _delete(database, "members", f"{lines} AND c.change = 'remove'")
    _delete(database, "rejects", lines)
    _delete(database, "pending", lines)


def _forget(database: Database, *, after: int) -> None:
    """Forgotten members stand behind the lines of all parts.

    Where only a reject is forgotten, the digest is 0: a member that is confirmed stays.
    """
    lines = f"c.line > {after} AND c.change = 'forget'"
    _add_digests(database, lines)
    _delete(database, "members", f"{lines} AND c.digest <> 0")
    _delete(database, "rejects", lines)


def _delete(database: Database, table: str, lines: str) -> None:
    if not database.rows(f"SELECT 1 FROM {table} LIMIT 1"):
        return
    database.execute(
        f"DELETE FROM {table} WHERE (keyspace, identifier) IN "
        f"(SELECT c.keyspace, c.identifier FROM changes c WHERE {lines})"
    )


def _add_digests(database: Database, lines: str) -> int:
    """Carry the changes' digests into those of their segments; returns how many are removals."""
    first, last, digest, removed = database.rows(
        "SELECT coalesce(min(c.keyspace), 0), coalesce(max(c.keyspace), 0), "
        "coalesce(sum(c.digest), 0), coalesce(sum(c.change = 'remove'), 0) "
        f"FROM changes c WHERE {lines}"
    )[0]
    sums = [(first, digest)]
    if first != last:
        sums = database.rows(
            f"SELECT c.keyspace, sum(c.digest) FROM changes c WHERE {lines} GROUP BY c.keyspace"
        )
    for keyspace, part in sums:
        database.execute(
            "UPDATE segments SET digest = digest + ? "
            "WHERE id = (SELECT segment FROM keyspaces WHERE id = ?)",
            (int(part), int(keyspace)),
        )
    return int(removed)


def _count(
    database: Database,
    parts: tuple[PartRecord, ...],
    given_up: Counter[int],
    doubted: Mapping[int, int],
) -> Outcome:
    lines = dict.fromkeys(PartStatus, 0)
    rejected = 0
    for part in parts:
        named = _rejected_in(database, part)
        rejected += named
        lines[part.status] += part.last - part.first + 1 - named
    return Outcome(
        confirmed=lines[PartStatus.CONFIRMED] + given_up.total(),
        rejected=rejected,
        unknown=lines[PartStatus.UNKNOWN] + lines[PartStatus.UNATTRIBUTED] - given_up.total(),
        unsent=lines[PartStatus.UNSENT],
        given_up_in=dict(given_up),
        doubted_in=doubted,
    )


def _rejected_in(database: Database, part: PartRecord) -> int:
    sql = "SELECT count(*) FROM rejected_lines WHERE line BETWEEN ? AND ?"
    return int(database.rows(sql, (part.first, part.last))[0][0])


def _update_segments(database: Database, closing: Closing, outcome: Outcome) -> None:
    if not outcome.unsent:
        for segment in closing.reasserted:
            database.execute(
                "UPDATE segments SET reasserted_at = ? WHERE id = ?",
                (closing.planned_at_ms, segment),
            )
    for segment in closing.planned or _with_changes(database):
        database.execute("UPDATE segments SET last_run = ? WHERE id = ?", (closing.serial, segment))
    for segment, members in closing.dropped.items():
        _drop(database, segment, keep=members == "keep")


def _with_changes(database: Database) -> tuple[int, ...]:
    """The segments of a run that is ended by another apply than the one that planned it."""
    rows = database.rows(
        "SELECT DISTINCT k.segment FROM (SELECT DISTINCT keyspace FROM changes) c "
        "JOIN keyspaces k ON k.id = c.keyspace"
    )
    return tuple(int(row[0]) for row in rows)


def _drop(database: Database, segment: int, *, keep: bool) -> None:
    """Take a removed segment out of the state, unless members are still to be deleted."""
    keyspaces = f"(SELECT id FROM keyspaces WHERE segment = {int(segment)})"
    tables = ("members", "pending", "watched", "rejects", "newcomers")
    if keep:
        for table in tables:
            database.execute(f"DELETE FROM {table} WHERE keyspace IN {keyspaces}")
    left = [
        database.rows(f"SELECT count(*) FROM {table} WHERE keyspace IN {keyspaces}")[0][0]
        for table in tables
    ]
    if not any(left):
        database.execute("DELETE FROM keyspaces WHERE segment = ?", (segment,))
        database.execute("DELETE FROM segments WHERE id = ?", (segment,))


def _end(database: Database, closing: Closing, outcome: Outcome) -> None:
    for part in closing.parts:
        database.execute(
            "UPDATE parts SET status = ?, execution_id = ?, total_success = ?, total_failure = ?, "
            "executions = ? WHERE run = ? AND number = ?",
            (
                part.status.value,
                part.execution_id,
                part.total_success,
                part.total_failure,
                part.executions,
                closing.serial,
                part.number,
            ),
        )
    database.execute(
        "UPDATE runs SET status = ?, closed_at = ?, confirmed = ?, rejected = ?, unknown = ?, "
        "unsent = ? WHERE serial = ?",
        (
            outcome.status.value,
            closing.closed_at_ms,
            outcome.confirmed,
            outcome.rejected,
            outcome.unknown,
            outcome.unsent,
            closing.serial,
        ),
    )
    database.execute("DELETE FROM changes")
    database.execute("DELETE FROM rejected_lines")
    database.execute("UPDATE identity SET serial = ?", (closing.serial,))
    write_seals(database, backlog=True)
