"""Query results become desired members: normalised and checked, before anything is compared."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segsync.engine.facts import Rows
from segsync.engine.keyspaces import Keyspaces
from segsync.engine.normalising import (
    EXPIRED,
    KINDS,
    REASONS,
    TOLD_BY_SOURCE,
    DesiredColumn,
    Normalising,
    Shape,
    reason_sql,
)
from segsync.engine.portions import in_portions
from segsync.engine.session import Cursor, quoted
from segsync.errors import SourceError
from segsync.model import Segment

if TYPE_CHECKING:
    import pyarrow

MOST_COMPARTMENTS = 1_000
"""Of one segment. Each is a case of its own in the statements that write commands."""


def load(
    cursor: Cursor,
    segment: Segment,
    number: int,
    columns: tuple[DesiredColumn, ...],
    stream: pyarrow.RecordBatchReader,
    keyspaces: Keyspaces,
    now_ms: int,
) -> tuple[Rows, Shape]:
    """Fill the table desired_<number>; invalid rows go to invalid_<number>."""
    loading = Normalising(segment, number, columns, now_ms)
    with cursor.reading("query_result", in_portions(stream)):
        cursor.execute(f"CREATE TABLE {loading.table} AS {loading.select()}")
    rows = _set_invalid_aside(cursor, loading)
    if loading.keyspace_varies:
        _number_keyspaces(cursor, loading, keyspaces)
        return rows, loading.shape("d.keyspace", rows)
    place = (number, loading.kinds[0][1], loading.compartment)
    return rows, loading.shape(f"{keyspaces.number(place)}::BIGINT", rows)


def _set_invalid_aside(cursor: Cursor, loading: Normalising) -> Rows:
    table, number = loading.table, loading.number
    counts = dict(cursor.rows(f"SELECT invalid, count(*) FROM {table} GROUP BY invalid"))
    queried = sum(counts.values())
    counts.pop(0, None)
    reasons: dict[str, int] = {}
    if counts:
        cursor.execute(
            f"CREATE TABLE invalid_{number} AS SELECT rowid + 1 AS row_number, invalid, "
            f"identifier, {loading.only_column_sql} AS column_name FROM {table} WHERE invalid <> 0"
        )
        cursor.execute(f"DELETE FROM {table} WHERE invalid <> 0")
        reasons = _reasons(cursor, number, counts)
    return Rows(queried, reasons, counts.get(EXPIRED, 0))


def _reasons(cursor: Cursor, number: int, counts: dict[int, int]) -> dict[str, int]:
    told = cursor.rows(
        f"SELECT {reason_sql('identifier')}, count(*) FROM invalid_{number} "
        f"WHERE invalid = {TOLD_BY_SOURCE} GROUP BY 1 ORDER BY 2 DESC, 1"
    )
    known = {REASONS[code]: n for code, n in sorted(counts.items()) if code != TOLD_BY_SOURCE}
    return known | {str(reason): int(n) for reason, n in told}


def _number_keyspaces(cursor: Cursor, loading: Normalising, keyspaces: Keyspaces) -> None:
    table, number = loading.table, loading.number
    cursor.execute(f"CREATE TABLE place_{number} (kind UTINYINT, place VARCHAR, keyspace BIGINT)")
    places = cursor.rows(f"SELECT DISTINCT kind, place FROM {table} LIMIT {MOST_COMPARTMENTS + 1}")
    if len(places) > MOST_COMPARTMENTS:
        raise SourceError(
            f"{loading.segment.query_place}: the query returns more than {MOST_COMPARTMENTS:,} "
            "different values of compartment_id",
            hint="is that the column of the compartment? Name another one with AS, or split the "
            "segment's query",
        )
    for kind, place in places:
        keyspace = keyspaces.number((number, KINDS[kind], place))
        text = "NULL" if place is None else quoted(place)
        cursor.execute(f"INSERT INTO place_{number} VALUES ({kind}, {text}, {keyspace})")
    cursor.execute(
        f"CREATE TABLE numbered_{number} AS SELECT t.* EXCLUDE (kind, place), p.keyspace "
        f"FROM {table} t JOIN place_{number} p "
        "ON t.kind = p.kind AND t.place IS NOT DISTINCT FROM p.place"
    )
    cursor.execute(f"DROP TABLE {table}")
    cursor.execute(f"ALTER TABLE numbered_{number} RENAME TO {table}")
