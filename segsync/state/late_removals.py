"""Removals that act later than they were first said: whom they may have taken along.

The platform keeps members per person. While the removal of one identifier was refused, or an upload
was given up that may still be executed, the person may have become a member by another identifier.
A removal that is accepted, or said again, after that removes the person. So whoever is said in the
meantime is noted as a newcomer, and said once more when such a removal has acted.
"""

from __future__ import annotations

from collections.abc import Iterable

from segsync.state.database import Database
from segsync.state.layers import confirmed_as_sql
from segsync.state.records import PartRecord, PartStatus, merged


def segments_of_late_removals(database: Database, parts: Iterable[PartRecord]) -> tuple[int, ...]:
    """Where the parts removed, or may have removed, members whose removal was rejected before, or
    of unknown outcome.
    """
    if not database.rows("SELECT 1 FROM newcomers LIMIT 1"):
        return ()
    found: set[int] = set()
    for part in parts:
        if part.status is not PartStatus.UNSENT:
            rows = database.rows(
                "SELECT DISTINCT k.segment FROM changes c JOIN keyspaces k ON k.id = c.keyspace "
                "WHERE c.line BETWEEN ? AND ? AND c.change = 'remove' "
                "AND c.line NOT IN (SELECT line FROM rejected_lines) "
                f"AND (c.keyspace, c.identifier) IN ({_SAID_BEFORE})",
                (part.first, part.last),
            )
            found.update(int(row[0]) for row in rows)
    return tuple(sorted(found))


def doubt_newcomers(
    database: Database, segments: Iterable[int], parts: Iterable[PartRecord]
) -> dict[int, int]:
    """Make the newcomers of these segments pending; returns how many, by segment.

    What was confirmed in a later step was said after the removals, and is beyond doubt.
    """
    numbers = _listed(segments)
    if not numbers:
        return {}
    before = _pending_in(database, numbers)
    keyspaces = f"(SELECT id FROM keyspaces WHERE segment IN ({numbers}))"
    # What was refused in an earlier run must not delay the next try. Who was no member then is
    # not in doubt, and stays refused.
    database.execute(
        "DELETE FROM rejects WHERE operation = 'UPDATE' AND (keyspace, identifier) IN "
        "(SELECT n.keyspace, n.identifier FROM newcomers n "
        f"WHERE n.keyspace IN {keyspaces} AND EXISTS {confirmed_as_sql('n')}) "
        "AND (keyspace, identifier) NOT IN (SELECT keyspace, identifier FROM pending) "
        "AND (keyspace, identifier) NOT IN (SELECT c.keyspace, c.identifier FROM changes c "
        "JOIN rejected_lines r ON r.line = c.line)"
    )
    database.execute(
        "INSERT INTO pending SELECT n.keyspace, n.identifier, 'UPDATE', "
        f"(SELECT fingerprint FROM {confirmed_as_sql('n')}), 0 FROM newcomers n "
        f"WHERE n.keyspace IN {keyspaces} AND EXISTS {confirmed_as_sql('n')} "
        "AND (n.keyspace, n.identifier) NOT IN "
        f"(SELECT c.keyspace, c.identifier FROM changes c WHERE {_said_later(parts)} "
        "AND c.line NOT IN (SELECT line FROM rejected_lines)) "
        "ON CONFLICT (keyspace, identifier) DO NOTHING"
    )
    after = _pending_in(database, numbers)
    added = {segment: count - before.get(segment, 0) for segment, count in after.items()}
    return {segment: count for segment, count in added.items() if count}


def _said_later(parts: Iterable[PartRecord]) -> str:
    """Whether a change `c` was confirmed in a later step than the first."""
    spans = [
        f"({part.first}, {part.last})"
        for part in merged(
            part for part in parts if part.step > 1 and part.status is PartStatus.CONFIRMED
        )
    ]
    if not spans:
        return "false"
    listed = f"(SELECT column1 AS first, column2 AS last FROM (VALUES {', '.join(spans)}))"
    return f"EXISTS (SELECT 1 FROM {listed} WHERE c.line BETWEEN first AND last)"


def segments_in_doubt(database: Database) -> tuple[int, ...]:
    """Where members were of unknown outcome before the run, of whom it says nothing.

    Such a run is that of a plan that was saved before they were.
    """
    if not database.rows("SELECT 1 FROM pending LIMIT 1"):
        return ()
    rows = database.rows(
        "SELECT DISTINCT k.segment FROM pending p JOIN keyspaces k ON k.id = p.keyspace "
        "WHERE (p.keyspace, p.identifier) NOT IN (SELECT keyspace, identifier FROM changes)"
    )
    return tuple(int(row[0]) for row in rows)


def note_newcomers(database: Database, in_doubt: Iterable[int]) -> None:
    """Keep whom the run has said where a removal may act later, or be said only then.

    What is watched of the run itself is said once more as a whole: see watching.py.
    """
    doubted = f"SELECT id FROM segments WHERE id IN ({_listed(in_doubt)})"
    segments = f"{_segments(_MAY_ACT_LATER)} UNION {doubted}"
    database.execute(
        "INSERT INTO newcomers SELECT c.keyspace, c.identifier FROM changes c "
        "WHERE c.change IN ('add', 'update') AND c.keyspace IN "
        f"(SELECT id FROM keyspaces WHERE segment IN ({segments})) "
        "ON CONFLICT DO NOTHING"
    )


def forget_newcomers(database: Database) -> None:
    """Forget the newcomers of segments where no removal may act later, or be said again."""
    if database.rows("SELECT 1 FROM newcomers LIMIT 1"):
        open_ends = f"{_MAY_ACT_LATER} UNION SELECT keyspace FROM pending"
        database.execute(
            "DELETE FROM newcomers WHERE keyspace IN "
            f"(SELECT id FROM keyspaces WHERE segment NOT IN ({_segments(open_ends)}))"
        )


_SAID_BEFORE = (
    "SELECT keyspace, identifier FROM rejects WHERE operation = 'DELETE' "
    "UNION SELECT keyspace, identifier FROM pending"
)
_MAY_ACT_LATER = (
    "SELECT keyspace FROM rejects WHERE operation = 'DELETE' UNION SELECT keyspace FROM watched"
)


def _segments(keyspaces: str) -> str:
    return f"SELECT segment FROM keyspaces WHERE id IN ({keyspaces})"


def _listed(segments: Iterable[int]) -> str:
    return ", ".join(map(str, segments))


def _pending_in(database: Database, numbers: str) -> dict[int, int]:
    rows = database.rows(
        "SELECT k.segment, count(*) FROM pending p JOIN keyspaces k ON k.id = p.keyspace "
        f"WHERE k.segment IN ({numbers}) GROUP BY k.segment"
    )
    return {int(segment): int(count) for segment, count in rows}
