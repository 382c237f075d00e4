"""Desired members against the snapshot: every rule of what becomes which change stands here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from segsync.engine.desired import (
    EXPIRED,
    NO_ROW_EXPIRY,
    SEPARATOR_SQL,
    Shape,
    fingerprint_sql,
)
from segsync.engine.facts import Asked, Deferred, Difference, Policy
from segsync.engine.join import Join
from segsync.engine.session import Cursor
from segsync.engine.snapshot import Snapshot
from segsync.model import DAY_MS, LONGEST_PAUSE_MS, MINUTE_MS, NEVER, renewal_shares

if TYPE_CHECKING:
    import pyarrow

ADD, UPDATE, RENEW, REMOVE, FORGET = 1, 2, 3, 4, 5
WORDS = {ADD: "add", UPDATE: "update", RENEW: "renew", REMOVE: "remove", FORGET: "forget"}
FIRST_REASSERTED = 10
"""Where the period was set later, one member in so many is due at once, instead of all."""


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
    if shape is None:
        shape = Shape("0::BIGINT", "0::BIGINT", NO_ROW_EXPIRY, "NULL::VARCHAR")
        cursor.execute(f"CREATE TABLE desired_{number} (identifier VARCHAR)")
    doubts = asked.doubted is not None or asked.rejected is not None
    if doubts:
        _load_doubts(cursor, number, asked)
    policy = asked.policy
    rows = shape.rows
    again = asked.doubted is not None and _removes_again(cursor, number, shape)
    beside = "s.newcomer" if again else "false"
    change = _change_sql(shape, policy, beside)
    join = Join(number, shape, change, snapshot, doubts=doubts, beside=beside)
    join.run(cursor, rows)
    counts = _count_changes(cursor, number, policy.now_ms)
    duplicates = conflicts = 0
    doubted = _count(cursor, _doubted_sql(number)) if doubts else 0
    matched = (snapshot.facts.members if snapshot else 0) + doubted - counts.left
    if rows - counts.alone != matched or _some_repeat(cursor, number, counts.alone):
        conflicts = _deduplicate(cursor, number, shape, asked.on_conflict)
        duplicates = rows - _count(cursor, f"desired_{number}")
        cursor.execute(f"DROP TABLE changed_{number}")
        join.run(cursor, rows)
        counts = _count_changes(cursor, number, policy.now_ms)
    deferred = Deferred()
    if asked.rejected is not None:
        deferred = _defer_rejected(cursor, number, policy.now_ms)
    spared = _spare_invalid(cursor, number) if asked.spares_invalid else 0
    if spared or asked.rejected is not None:
        counts = _count_changes(cursor, number, policy.now_ms)
    if doubts:
        cursor.execute(f"DROP TABLE doubts_{number}")
    return Difference(
        desired=rows - duplicates,
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
        deferred=deferred,
        in_doubt=counts.in_doubt,
        removed_live=counts.removed_live,
    )


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


def _removes_again(cursor: Cursor, number: int, shape: Shape) -> bool:
    """Whether a removal of unknown outcome is said again: it may take newcomers along.

    One that was rejected may be so once more: whom it has taken along the run's end tells.
    """
    pending = f"FROM doubts_{number} GROUP BY ALL HAVING bool_or(pending) AND NOT bool_or(stayed)"
    removed = (
        f"(SELECT keyspace, identifier {pending}) p ANTI JOIN desired_{number} d "
        f"ON {shape.keyspace_sql} = p.keyspace AND d.identifier = p.identifier"
    )
    return _count(cursor, removed) > 0


def _change_sql(shape: Shape, policy: Policy, beside: str) -> str:
    now = policy.now_ms
    certain = now - policy.certain_after_ms
    return f"""(CASE
        WHEN d.identifier IS NULL THEN CASE
            WHEN s.fingerprint IS NULL AND NOT s.pending THEN 0
            WHEN s.pending THEN {REMOVE}
            WHEN s.expires_at <> 0 AND s.expires_at <= {certain} THEN {FORGET}
            ELSE {REMOVE} END
        WHEN s.fingerprint IS NULL THEN {ADD}
        WHEN s.expires_at <> 0 AND s.expires_at <= {now} THEN {ADD}
        WHEN {shape.fingerprint_sql} <> s.fingerprint OR s.pending OR s.stayed OR {beside}
            THEN {UPDATE}
        WHEN s.refused = s.fingerprint OR {_due_sql(shape, policy)} THEN {RENEW}
        ELSE 0 END)::UTINYINT"""


def _due_sql(shape: Shape, policy: Policy) -> str:
    """True for an unchanged member that is sent again: before it lapses, or to assert it."""
    if shape.row_expires_sql != NO_ROW_EXPIRY:
        return f"({shape.row_expires_sql} = {NEVER} AND {_reassert_sql(policy)})"
    return _renewal_sql(policy) if policy.expiration_minutes != NEVER else _reassert_sql(policy)


def _renewal_sql(policy: Policy) -> str:
    """True for a member of whose expiration little is left.

    More left than the whole duration, and a little: it was sent while the clock was ahead, and may
    lapse at any time.
    """
    duration = policy.expiration_minutes * MINUTE_MS
    longest = duration + min(DAY_MS, duration // 10)
    lowest, highest = renewal_shares(policy.renew_at)
    left = f"(s.expires_at - {policy.now_ms})"
    member = fingerprint_sql("concat(s.identifier, ':', s.expires_at)")
    spread = f"({member} % 1000003) / 1000003.0"
    share = f"({lowest!r} + {highest - lowest!r} * {spread})"
    return (
        f"(CASE WHEN {left} >= {int(highest * duration)} THEN {left} > {longest} "
        f"ELSE {left} < {share} * {duration} END)"
    )


def _reassert_sql(policy: Policy) -> str:
    """True where a member's turn, spread over the period by a hash, came since the last time."""
    if policy.reassert_minutes == NEVER:
        return "false"
    period = policy.reassert_minutes * MINUTE_MS
    since = policy.reasserted_at_ms
    if not since or since > policy.now_ms + period:  # never, or the clock was ahead then
        since = policy.now_ms - period // FIRST_REASSERTED
    turn = f"({fingerprint_sql('s.identifier')} % {period})"
    return f"((({policy.now_ms} - {turn}) // {period}) > (({since} - {turn}) // {period}))"


def _doubted_sql(number: int) -> str:
    """Members of unknown outcome that were not confirmed."""
    return (
        f"(SELECT keyspace, identifier FROM changed_{number} WHERE matched AND NOT confirmed "
        "GROUP BY ALL)"
    )


def _some_repeat(cursor: Cursor, number: int, alone: int) -> bool:
    """Whether desired rows that are alone may be of one identifier.

    Hashes are cheaper to tell apart than texts. Where two collide, a second look finds nothing.
    """
    hashes = (
        f"(SELECT hash(keyspace, identifier) AS h FROM changed_{number} WHERE NOT matched "
        "GROUP BY h)"
    )
    return alone != _count(cursor, hashes)


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


def _spare_invalid(cursor: Cursor, number: int) -> int:
    """Leave members as they are whose row is there, though it is invalid; returns their number.

    A row whose own expiry has passed says that its member goes.
    """
    named = f"unnest(string_split(identifier, {SEPARATOR_SQL}))"
    spared = (
        f"changed_{number} WHERE change = {REMOVE} AND NOT retry AND identifier IN "
        f"(SELECT {named} FROM invalid_{number} WHERE invalid <> {EXPIRED})"
    )
    count = _count(cursor, spared)
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
    same = (
        f"r.keyspace = {table}.keyspace AND r.identifier = {table}.identifier AND CASE "
        f"WHEN {table}.change = {REMOVE} THEN r.operation = 'DELETE' "
        f"ELSE r.operation = 'UPDATE' AND r.fingerprint = {table}.fingerprint END"
    )
    # Further ahead than the longest pause: it was rejected while the clock was.
    later = f"r.next_attempt_at BETWEEN {now_ms + 1} AND {now_ms + LONGEST_PAUSE_MS}"
    waits = (
        f"change <> {FORGET} AND EXISTS (SELECT 1 FROM rejects_{number} r WHERE {same} AND {later})"
    )
    found = cursor.row(
        f"SELECT count(*), count(*) FILTER (WHERE change = {ADD}), "
        f"count(*) FILTER (WHERE change = {REMOVE}) FROM {table} WHERE {waits}"
    )
    cursor.execute(f"DELETE FROM {table} WHERE {waits}")
    return Deferred(*map(int, found))


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
            count(*) FILTER (WHERE matched AND fingerprint IS NULL)
        FROM changed_{number}"""
    )
    return _Counts(*map(int, counts))
