"""How a run ends: its outcome is carried into the snapshot in one transaction."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from segsync.state.database import Database
from segsync.state.late_removals import (
    doubt_newcomers,
    forget_newcomers,
    note_newcomers,
    segments_in_doubt,
    segments_of_late_removals,
)
from segsync.state.layers import confirmed_sql, fold_when_full, prepare_layer
from segsync.state.records import PartRecord, PartStatus, RunStatus
from segsync.state.seal import write_seals
from segsync.state.settling import forget, settle, store_rejects
from segsync.state.watching import watch

if TYPE_CHECKING:
    import pyarrow


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
        in_doubt = segments_in_doubt(database)
        store_rejects(database, closing.closed_at_ms)
        layer = prepare_layer(database)
        given_up = settle(database, layer, closing.parts)
        note_newcomers(database, in_doubt)
        watch(database, closing.serial, closing.parts)
        forget(database, layer, after=max((part.last for part in closing.parts), default=0))
        fold_when_full(database)
        doubted = doubt_newcomers(database, removed_late, closing.parts)
        forget_newcomers(database)
        outcome = _count(database, closing.parts, given_up, doubted)
        _update_segments(database, closing, outcome)
        _end(database, closing, outcome)
    return outcome


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
    """Take a removed segment out of the state, unless members are still to be deleted.

    Who is a member no more may still stand in the lower layer, and is overridden.
    """
    of_segment = f"keyspace IN (SELECT id FROM keyspaces WHERE segment = {int(segment)})"
    if keep:
        for table in ("members", "recent", "pending", "rejects", "newcomers"):
            database.execute(f"DELETE FROM {table} WHERE {of_segment}")
    backlog = (
        f"{table} WHERE {of_segment}" for table in ("pending", "rejects", "newcomers", "watched")
    )
    kept = (confirmed_sql(of_segment), *backlog)
    if not any(database.rows(f"SELECT 1 FROM {rows} LIMIT 1") for rows in kept):
        for table in ("members", "recent"):
            database.execute(f"DELETE FROM {table} WHERE {of_segment}")
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
