"""Removals that were rejected once and were let through now: whom they may have taken along.

The platform keeps members per person. While the removal of one identifier was deferred, the person
may have become a member under another; what is accepted now removes the person.
"""

from __future__ import annotations

from collections.abc import Iterable

from segsync.state.database import Database
from segsync.state.records import PartRecord, PartStatus

Keyspace = tuple[int, int]
"""A keyspace's number and its segment's."""


def keyspaces_of_late_removals(
    database: Database, parts: Iterable[PartRecord]
) -> tuple[Keyspace, ...]:
    """Where the parts removed, or may have removed, members whose removal was rejected before."""
    if not database.rows("SELECT 1 FROM rejects WHERE operation = 'DELETE' LIMIT 1"):
        return ()
    found: set[Keyspace] = set()
    for part in parts:
        if part.status is not PartStatus.UNSENT:
            found.update(
                database.rows(
                    "SELECT DISTINCT k.id, k.segment FROM changes c JOIN keyspaces k "
                    "ON k.id = c.keyspace JOIN rejects r ON r.keyspace = c.keyspace "
                    "AND r.identifier = c.identifier WHERE c.line BETWEEN ? AND ? "
                    "AND c.change = 'remove' AND r.operation = 'DELETE' "
                    "AND c.line NOT IN (SELECT line FROM rejected_lines)",
                    (part.first, part.last),
                )
            )
    return tuple(sorted(found))


def doubt_members_beside(
    database: Database, removed: Iterable[Keyspace], parts: Iterable[PartRecord]
) -> dict[int, int]:
    """Make the members under other identifiers pending; returns how many, by segment.

    What was confirmed in a later step was said after the removals, and is beyond doubt.
    """
    later = " OR ".join(
        f"c.line BETWEEN {part.first} AND {part.last}"
        for part in parts
        if part.step > 1 and part.status is PartStatus.CONFIRMED
    )
    doubted: dict[int, int] = {}
    for keyspace, segment in removed:
        before = _pending_in(database, segment)
        database.execute(
            "INSERT INTO pending SELECT m.keyspace, m.identifier, 'UPDATE', m.fingerprint, 0 "
            "FROM members m WHERE m.keyspace IN (SELECT id FROM keyspaces WHERE segment = "
            f"{segment} AND id <> {keyspace}) AND (m.keyspace, m.identifier) NOT IN "
            f"(SELECT c.keyspace, c.identifier FROM changes c WHERE ({later or 'false'}) "
            "AND c.line NOT IN (SELECT line FROM rejected_lines)) "
            "ON CONFLICT (keyspace, identifier) DO NOTHING"
        )
        added = _pending_in(database, segment) - before
        doubted[segment] = doubted.get(segment, 0) + added
    return {segment: count for segment, count in doubted.items() if count}


def _pending_in(database: Database, segment: int) -> int:
    sql = (
        "SELECT count(*) FROM pending WHERE keyspace IN "
        "(SELECT id FROM keyspaces WHERE segment = ?)"
    )
    return int(database.rows(sql, (segment,))[0][0])
