"""Desired members against the snapshot: which of them change, counted, and without repetitions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from segsync.engine.facts import Asked, Deferred, Difference
from segsync.engine.join import Join
from segsync.engine.normalising import (
    EXPIRED,
    IDENTIFIER_COLUMNS,
    NO_HASH,
    NO_ROW_EXPIRY,
    NUL_INSIDE,
    SEPARATOR_SQL,
    TOLD_BY_SOURCE,
    Shape,
    reason_sql,
)
from segsync.engine.rules import ADD, FORGET, REMOVE, RENEW, UPDATE, change_sql
from segsync.engine.session import Cursor
from segsync.engine.snapshot import Snapshot
from segsync.model import LONGEST_PAUSE_MS

if TYPE_CHECKING:
    import pyarrow


def compare(
    cursor: Cursor,
    number: int,
    shape: Shape | None,
    snapshot: Snapshot | None,
    asked: Asked,
) -> Difference:
    """Fill changed_<number>: one row for each member that needs a command or is to be forgotten.

    Duplicates are looked for only when the join shows that there are some: each matched row of the
    snapshot was matched once, and each addition is alone with its identifier, or rows repeat.
    """
    shape = shape or _nothing_desired(cursor, number)
    doubts = asked.doubted is not None or asked.rejected is not None
    if doubts:
        _load_doubts(cursor, number, asked)
    now_ms = asked.policy.now_ms
    again = asked.doubted is not None and _removes_again(cursor, number, shape, asked)
    beside = "s.newcomer" if again else "false"
    change = change_sql(shape, asked.policy, beside)
    join = Join(number, shape, change, snapshot, doubts=doubts, beside=beside)
    join.run(cursor, shape.rows)
    counts = _count_changes(cursor, number, now_ms)
    duplicates = conflicts = 0
    if _some_repeat(cursor, join, counts):
        conflicts = _deduplicate(cursor, number, shape, asked.on_conflict)
        duplicates = shape.rows - _count(cursor, f"desired_{number}")
        cursor.execute(f"DROP TABLE changed_{number}")
        join.run(cursor, shape.rows)
    deferred = Deferred()
    if asked.rejected is not None:
        deferred = _defer_rejected(cursor, number, now_ms)
    spared = _spare_invalid(cursor, number) if asked.spares_invalid else 0
    reattempted = _note_reattempts(cursor, number) if asked.rejected is not None else 0
    if duplicates or asked.spares_invalid or asked.rejected is not None:
        counts = _count_changes(cursor, number, now_ms)
    if doubts:
        cursor.execute(f"DROP TABLE doubts_{number}")
    return Difference(
        desired=shape.rows - duplicates,
        duplicates=duplicates,
        conflicts=conflicts,
        add=counts.add,
        update=counts.update,
        renew=counts.renew,
        remove=counts.remove,
        forget=counts.forget,
        settled=counts.settled,
        spared=spared,
        retry=counts.retry,
        reattempted=reattempted,
        deferred=deferred,
        in_doubt=counts.in_doubt,
        removed_live=counts.removed_live,
    )


def _nothing_desired(cursor: Cursor, number: int) -> Shape:
    """Of a segment without a query."""
    cursor.execute(f"CREATE TABLE desired_{number} (identifier VARCHAR)")
    return Shape("0::BIGINT", "0::BIGINT", NO_ROW_EXPIRY, "NULL::VARCHAR")


def _count(cursor: Cursor, table: str) -> int:
    return int(cursor.row(f"SELECT count(*) FROM {table}")[0])


def _load_doubts(cursor: Cursor, number: int, asked: Asked) -> None:
    """Fill doubts_<number>: whose outcome is unknown, and who was rejected and with which command.

    A `newcomer` was said while a removal might still act. Where a removal was rejected (`stayed`),
    the person may since have come and gone by another identifier. `refused` is the fingerprint of
    an update that was rejected.
    """
    cursor.execute(
        f"CREATE TABLE doubts_{number} (keyspace BIGINT, identifier VARCHAR, "
        "pending BOOLEAN, newcomer BOOLEAN, stayed BOOLEAN, refused BIGINT)"
    )
    if asked.doubted is not None:
        with asked.doubted() as doubted, cursor.reading("doubted", doubted):
            cursor.execute(
                f"INSERT INTO doubts_{number} SELECT keyspace, identifier, is_pending = 1, "
                "is_pending = 0, false, NULL FROM doubted"
            )
    if asked.rejected is not None:
        with asked.rejected() as rejects:
            _load_rejects(cursor, number, rejects)
        cursor.execute(
            f"INSERT INTO doubts_{number} SELECT keyspace, identifier, false, false, "
            "operation = 'DELETE', CASE operation WHEN 'UPDATE' THEN fingerprint END "
            f"FROM rejects_{number}"
        )


def _removes_again(cursor: Cursor, number: int, shape: Shape, asked: Asked) -> bool:
    """Whether a removal of unknown outcome is said again: it may take newcomers along.

    One that was rejected may be so once more: whom it has taken along the run's end tells.
    """
    pending = f"FROM doubts_{number} GROUP BY ALL HAVING bool_or(pending) AND NOT bool_or(stayed)"
    removed = (
        f"(SELECT keyspace, identifier {pending}) p ANTI JOIN desired_{number} d "
        f"ON {shape.keyspace_sql} = p.keyspace AND d.identifier = p.identifier"
    )
    if asked.spares_invalid:
        removed = f"(SELECT p.identifier FROM {removed}) WHERE NOT {_spared_sql(number)}"
    return _count(cursor, removed) > 0


def _doubted_sql(number: int) -> str:
    """Members of unknown outcome that were not confirmed."""
    return (
        f"(SELECT keyspace, identifier FROM changed_{number} WHERE matched AND NOT confirmed "
        "GROUP BY ALL)"
    )


def _some_repeat(cursor: Cursor, join: Join, counts: _Counts) -> bool:
    """Whether identifiers were returned more than once.

    Of those that are alone hashes are cheaper to tell apart than texts. Where two collide, a second
    look finds nothing.
    """
    number = join.number
    doubted = _count(cursor, _doubted_sql(number)) if join.doubts else 0
    members = join.snapshot.facts.members if join.snapshot else 0
    if join.shape.rows - counts.alone != members + doubted - counts.left:
        return True
    hashes = (
        f"(SELECT hash(keyspace, identifier) AS h FROM changed_{number} WHERE NOT matched "
        "GROUP BY h)"
    )
    return counts.alone > 1 and counts.alone != _count(cursor, hashes)


def _deduplicate(cursor: Cursor, number: int, shape: Shape, on_conflict: str) -> int:
    """Keep one row for each identifier; returns how many identifiers had rows that differ.

    Which row stays does not depend on the order of the rows: the latest expiry if asked for, then
    the smallest fingerprint.
    """
    expiry = f"CASE {shape.row_expires_sql} WHEN 0 THEN 9223372036854775807 ELSE " + (
        f"{shape.row_expires_sql} END"
    )
    rank = (
        f"{expiry} DESC, {shape.fingerprint_sql}"
        if on_conflict == "latest_expiry"
        else shape.fingerprint_sql
    )
    cursor.execute(
        f"CREATE TABLE repeated_{number} AS SELECT {shape.keyspace_sql} AS keyspace, d.identifier, "
        f"min({shape.fingerprint_sql}) <> max({shape.fingerprint_sql}) AS conflict, "
        f"first(d.rowid ORDER BY {rank}) AS kept "
        f"FROM desired_{number} d GROUP BY ALL HAVING count(*) > 1"
    )
    cursor.execute(
        f"DELETE FROM desired_{number} WHERE rowid IN (SELECT d.rowid FROM desired_{number} d "
        f"JOIN repeated_{number} r ON r.keyspace = {shape.keyspace_sql} "
        "AND r.identifier = d.identifier WHERE d.rowid <> r.kept)"
    )
    return int(cursor.row(f"SELECT count(*) FROM repeated_{number} WHERE conflict")[0])


def _load_rejects(cursor: Cursor, number: int, rejects: pyarrow.RecordBatchReader) -> None:
    with cursor.reading("rejects", rejects):
        cursor.execute(
            f"CREATE TABLE rejects_{number} AS SELECT keyspace::BIGINT AS keyspace, "
            "identifier::VARCHAR AS identifier, operation::VARCHAR AS operation, "
            "fingerprint::BIGINT AS fingerprint, next_attempt_at::BIGINT AS next_attempt_at "
            "FROM rejects"
        )


def _spared_sql(number: int) -> str:
    """Whether an invalid row may be that of an `identifier`.

    One whose own expiry has passed is not: who is named there goes. One whose identifier the source
    could not give, or of which it is not the hash that is sent, may be anybody's.
    """
    nobody = f"({EXPIRED}, {NUL_INSIDE})"
    named = f"unnest(string_split(identifier, {SEPARATOR_SQL}))"
    unread = " OR ".join(
        f"contains({reason_sql('identifier')}, '`{name}` ')" for name in IDENTIFIER_COLUMNS
    )
    return (
        f"(identifier IN (SELECT {named} FROM invalid_{number} WHERE invalid NOT IN {nobody}) "
        f"OR EXISTS (FROM invalid_{number} WHERE invalid = {NO_HASH} "
        f"OR invalid = {TOLD_BY_SOURCE} AND ({unread})))"
    )


def _spare_invalid(cursor: Cursor, number: int) -> int:
    """Leave members as they are whose row is there, though it is invalid; returns how many of them
    were confirmed.

    Who is of unknown outcome stays so: what the row wants is not known, but surely no removal.
    """
    spared = f"changed_{number} WHERE change = {REMOVE} AND {_spared_sql(number)}"
    count = _count(cursor, f"{spared} AND confirmed")
    cursor.execute(f"DELETE FROM {spared}")
    return count


def _defer_rejected(cursor: Cursor, number: int, now_ms: int) -> Deferred:
    """Take out the commands that were rejected and must still wait; returns how many.

    A reject whose member needs no command any more is forgotten.
    """
    table = f"changed_{number}"
    cursor.execute(
        f"INSERT INTO {table} SELECT r.keyspace, r.identifier, {FORGET}, false, NULL, NULL, NULL, "
        f"false, false, 0, 0 FROM rejects_{number} r ANTI JOIN {table} c "
        "ON r.keyspace = c.keyspace AND r.identifier = c.identifier"
    )
    # Further ahead than the longest pause: it was rejected while the clock was.
    later = f"r.next_attempt_at BETWEEN {now_ms + 1} AND {now_ms + LONGEST_PAUSE_MS}"
    waits = (
        f"change <> {FORGET} AND EXISTS (SELECT 1 FROM rejects_{number} r "
        f"WHERE {_is_reject_sql(table)} AND {later})"
    )
    found = cursor.row(
        f"SELECT count(*), count(*) FILTER (WHERE change = {ADD}), "
        f"count(*) FILTER (WHERE change = {REMOVE}) FROM {table} WHERE {waits}"
    )
    cursor.execute(f"DELETE FROM {table} WHERE {waits}")
    return Deferred(*map(int, found))


def _note_reattempts(cursor: Cursor, number: int) -> int:
    """Fill reattempts_<number>: whose command was rejected before, and is sent once more; returns
    how many.
    """
    table = f"changed_{number}"
    cursor.execute(
        f"CREATE TABLE reattempts_{number} AS SELECT keyspace, identifier FROM {table} "
        f"WHERE change <> {FORGET} AND EXISTS "
        f"(SELECT 1 FROM rejects_{number} r WHERE {_is_reject_sql(table)})"
    )
    return _count(cursor, f"reattempts_{number}")


def _is_reject_sql(table: str) -> str:
    """Whether the reject `r` is of the command that a row of this table stands for."""
    return (
        f"r.keyspace = {table}.keyspace AND r.identifier = {table}.identifier AND CASE "
        f"WHEN {table}.change = {REMOVE} THEN r.operation = 'DELETE' "
        f"ELSE r.operation = 'UPDATE' AND r.fingerprint = {table}.fingerprint END"
    )


@dataclass(frozen=True, slots=True)
class _Counts:
    """What changed_<number> has.

    `alone` are desired rows without one of the snapshot, `left` those without a desired one.
    """

    add: int
    update: int
    renew: int
    remove: int
    forget: int
    settled: int
    retry: int
    in_doubt: int
    removed_live: int
    alone: int
    left: int


def _count_changes(cursor: Cursor, number: int, now_ms: int) -> _Counts:
    counts = cursor.row(
        f"""SELECT count(*) FILTER (WHERE change = {ADD}),
            count(*) FILTER (WHERE change = {UPDATE}), count(*) FILTER (WHERE change = {RENEW}),
            count(*) FILTER (WHERE change = {REMOVE}),
            count(*) FILTER (WHERE change = {FORGET} AND confirmed),
            count(*) FILTER (WHERE change = {FORGET} AND NOT confirmed),
            count(*) FILTER (WHERE retry AND change <> {FORGET}),
            count(*) FILTER (WHERE retry AND NOT confirmed),
            count(*) FILTER (WHERE change = {REMOVE} AND (NOT confirmed
                OR old_expires = 0 OR old_expires > {now_ms})),
            count(*) FILTER (WHERE NOT matched),
            count(*) FILTER (WHERE fingerprint IS NULL)
        FROM changed_{number}"""
    )
    return _Counts(*map(int, counts))
