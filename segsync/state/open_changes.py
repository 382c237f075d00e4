"""The commands of the open run that may have been sent: what became of them is not known yet."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from segsync.state.database import Database

Span = tuple[int, int]
MAY_HAVE_LEFT = (
    "SELECT c.keyspace, c.identifier FROM runs r CROSS JOIN parts p ON p.run = r.serial "
    "CROSS JOIN changes c ON c.line BETWEEN p.first_line AND p.last_line "
    "WHERE r.status = 'open' AND p.status <> 'waiting'"
)
"""A part is noted as `sending` before its first byte.

CROSS JOIN makes SQLite keep the order of the tables, so that lines are looked up by part.
"""
_LEFT = (
    "SELECT p.first_line, p.last_line FROM runs r JOIN parts p ON p.run = r.serial "
    "WHERE r.status = 'open' AND p.status <> 'waiting'"
)


def spans_by_keyspace(database: Database) -> Mapping[int, Sequence[Span]]:
    """Where the lines of each keyspace are that may have left: one pass for all of them.

    The lines of a keyspace are together, the removals and the rest apart. Who is only forgotten
    stands behind the lines of all parts: with them, a span would reach over those of others.
    """
    left = [(int(first), int(last)) for first, last in database.rows(_LEFT)]
    if not left:
        return {}
    found: defaultdict[int, list[Span]] = defaultdict(list)
    for keyspace, first, last in database.rows(
        "SELECT keyspace, min(line), max(line) FROM changes WHERE change <> 'forget' "
        "GROUP BY keyspace, change = 'remove'"
    ):
        both = [(max(first, start), min(last, end)) for start, end in left]
        found[int(keyspace)] += [span for span in both if span[0] <= span[1]]
    return found


def lines_sql(spans: Sequence[Span], keyspaces: str) -> str:
    """SQL for the keyspace and identifier of the lines in these spans; other keyspaces than these
    may have lines there, too.
    """
    if not spans:
        return "SELECT keyspace, identifier FROM changes WHERE false"
    rows = ", ".join(f"({first}, {last})" for first, last in spans)
    return (
        f"SELECT c.keyspace, c.identifier FROM (VALUES {rows}) v "
        "CROSS JOIN changes c ON c.line BETWEEN v.column1 AND v.column2 "
        f"WHERE c.keyspace IN {keyspaces}"
    )
