"""What a run's commands came to, carried into the snapshot, the rejects and what is pending."""

from __future__ import annotations

from collections import Counter

from segsync.model import LONGEST_PAUSE_MS
from segsync.state.database import Database
from segsync.state.layers import Layer, confirmed_as_sql, put, take
from segsync.state.records import PartRecord, PartStatus, merged

UNATTRIBUTED_LIMIT = 3
"""After so many runs with failures that cannot be named, a command is taken as confirmed."""

HOUR_MS = 3_600_000
FIRST_PAUSES_MS = (0, HOUR_MS, 4 * HOUR_MS, 16 * HOUR_MS, 64 * HOUR_MS)

_OPERATION = "CASE c.change WHEN 'remove' THEN 'DELETE' ELSE 'UPDATE' END"


def _same_command(table: str) -> str:
    """Whether a table has the very command that is to be written into it."""
    return (
        f"({table}.operation = excluded.operation AND {table}.fingerprint = excluded.fingerprint)"
    )


def store_rejects(database: Database, now_ms: int) -> None:
    """Keep the commands that were rejected, and when each is tried again: of a member that lapses
    meanwhile before half of the time that it has left is over.
    """
    pauses = " ".join(f"WHEN {n} THEN {p}" for n, p in enumerate(FIRST_PAUSES_MS, start=1))
    same = _same_command("rejects")
    database.execute(
        "INSERT INTO rejects SELECT c.keyspace, c.identifier, "
        f"{_OPERATION}, c.fingerprint, r.reason, 1, "
        f"{now_ms}, {now_ms}, {now_ms} FROM rejected_lines r JOIN changes c ON c.line = r.line "
        "WHERE true ON CONFLICT (keyspace, identifier) DO UPDATE SET "
        f"attempts = CASE WHEN {same} THEN attempts + 1 ELSE 1 END, "
        f"next_attempt_at = {now_ms} + min(CASE (CASE WHEN {same} THEN attempts + 1 ELSE 1 END) "
        f"{pauses} ELSE {LONGEST_PAUSE_MS} END, coalesce((SELECT (m.expires_at - {now_ms}) / 2 "
        f"FROM {confirmed_as_sql('excluded')} m WHERE m.expires_at > {now_ms} "
        f"AND excluded.operation = 'UPDATE'), {LONGEST_PAUSE_MS})), "
        "operation = excluded.operation, fingerprint = excluded.fingerprint, "
        "reason = excluded.reason, last_at = excluded.last_at"
    )


def settle(database: Database, layer: Layer, parts: tuple[PartRecord, ...]) -> Counter[int]:
    """Confirm the parts' commands or keep them pending; counts those given up on, by segment."""
    given_up = Counter[int]()
    for part in merged(parts):
        given_up.update(_settle_part(database, layer, part))
    return given_up


def _settle_part(database: Database, layer: Layer, part: PartRecord) -> dict[int, int]:
    match part.status:
        case PartStatus.CONFIRMED:
            _confirm(database, layer, _accepted_lines(part))
        case PartStatus.UNKNOWN:
            _keep_pending(database, part, failures=0)
        case PartStatus.UNATTRIBUTED:
            _keep_pending(database, part, failures=1)
            return _give_up(database, layer, part)
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


def _give_up(database: Database, layer: Layer, part: PartRecord) -> dict[int, int]:
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
        _confirm(database, layer, lines)
    return {int(segment): int(count) for segment, count in counts}


def _confirm(database: Database, layer: Layer, lines: str) -> None:
    """Carry the changes on these lines into the snapshot; `pending` is read last, cleared last."""
    removed = _add_digests(database, lines)
    put(database, layer, lines)
    if removed:
        take(database, layer, f"{lines} AND c.change = 'remove'")
    _delete(database, "rejects", lines)
    _delete(database, "pending", lines)


def forget(database: Database, layer: Layer, *, after: int) -> None:
    """Drop the members that are forgotten: they stand behind the lines of all parts.

    Where only a reject is forgotten, the digest is 0: a member that is confirmed stays.
    """
    lines = f"c.line > {after} AND c.change = 'forget'"
    _add_digests(database, lines)
    take(database, layer, f"{lines} AND c.digest <> 0")
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
