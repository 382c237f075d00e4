"""Changes become commands: their order, the parts they are sent in, and their journal."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segsync.engine.facts import Layout, Target
from segsync.engine.keyspaces import Keyspaces
from segsync.engine.rules import ADD, FORGET, REMOVE, RENEW, UPDATE, WORDS
from segsync.engine.session import Cursor, EngineError, quoted
from segsync.engine.snapshot import digest_sql
from segsync.engine.wire_text import TargetPlace, header_for, minutes_sql, text_sql
from segsync.model import MINUTE_MS, NEVER, LineRange, Part

TABLES_AT_ONCE = 50
_COLUMNS = "keyspace, identifier, change, fingerprint, row_expires, data_bag, old_digest"
_NO_CHANGES = (
    "SELECT 0 AS segment, 0::BIGINT AS keyspace, '' AS identifier, "
    "0::UTINYINT AS change, 0::BIGINT AS fingerprint, 0::BIGINT AS row_expires, "
    "'' AS data_bag, 0::BIGINT AS old_digest LIMIT 0"
)


COMMANDS = "(SELECT rowid + 1 AS line, * FROM ordered)"
"""Every change of the targets, numbered in the order of sending."""


@dataclass(frozen=True, slots=True)
class Arranged:
    """The commands as they are sent: their parts, which lines are whose, and SQL for what a line
    says, over a command `c`.
    """

    parts: tuple[Part, ...]
    ranges: tuple[LineRange, ...]
    text_sql: str
    minutes_sql: str


def arrange(
    cursor: Cursor,
    targets: Iterable[Target],
    keyspaces: Keyspaces,
    layout: Layout,
) -> Arranged:
    """Fill the table ordered: every change of the targets, in the order of sending.

    The platform keeps members per person, and the lines of an execution have no order: a person who
    is removed under one identifier and said under another, of whatever kind and by whatever address
    of the segment, would be in or out by chance. So all removals are step 1, everything else is
    step 2; forgotten members come last, outside any part. A segment has at most one range of lines
    in each step.
    """
    chosen = list(targets)
    places = places_of(chosen, keyspaces)
    try:
        _order(cursor, _changes_of(chosen), places)
    except EngineError as error:
        if not error.is_for_want_of_room:
            raise
        with cursor.alone():
            _order_a_few_at_once(cursor, chosen, places)
    return _cut(cursor, places, layout)


def _changes_of(targets: Sequence[Target]) -> str:
    union = " UNION ALL ".join(
        f"SELECT {target.number} AS segment, {_COLUMNS} FROM changed_{target.number}"
        for target in targets
    )
    return f"({union or _NO_CHANGES})"


def _order(cursor: Cursor, changes: str, places: Sequence[TargetPlace]) -> None:
    numbers = [f"({number}, {place.keyspace})" for number, place in enumerate(places, start=1)]
    step = f"(CASE change WHEN {REMOVE} THEN 1 WHEN {FORGET} THEN 3 ELSE 2 END)::UTINYINT"
    cursor.execute(
        f"CREATE TABLE ordered AS (SELECT {step} AS step, p.place, c.* FROM {changes} c JOIN "
        f"(VALUES {', '.join(numbers) or '(0, 0)'}) p(place, keyspace) USING (keyspace) "
        "ORDER BY step, segment, keyspace, identifier)"
    )


def _order_a_few_at_once(
    cursor: Cursor, targets: Sequence[Target], places: Sequence[TargetPlace]
) -> None:
    """A sort holds some memory for each table that it takes from: a second time, from one."""
    cursor.execute(f"CREATE TABLE unordered AS {_NO_CHANGES}")
    for start in range(0, len(targets), TABLES_AT_ONCE):
        changes = _changes_of(targets[start : start + TABLES_AT_ONCE])
        cursor.execute(f"INSERT INTO unordered FROM {changes}")
    _order(cursor, "unordered", places)
    cursor.execute("DROP TABLE unordered")


def restore(
    cursor: Cursor,
    path: Path,
    targets: Iterable[Target],
    keyspaces: Keyspaces,
    layout: Layout,
) -> Arranged:
    """Fill the table ordered from a saved plan's file."""
    cursor.execute(
        "CREATE TABLE ordered AS SELECT * EXCLUDE (line) "
        f"FROM read_parquet({quoted(str(path))}) ORDER BY line"
    )
    return _cut(cursor, places_of(targets, keyspaces), layout)


def places_of(targets: Iterable[Target], keyspaces: Keyspaces) -> tuple[TargetPlace, ...]:
    """The keyspaces of the targets."""
    by_number = {target.number: target for target in targets}
    return tuple(
        TargetPlace(number, kind, compartment, by_number[segment])
        for number, (segment, kind, compartment) in keyspaces.all()
        if segment in by_number
    )


def _cut(cursor: Cursor, places: Sequence[TargetPlace], layout: Layout) -> Arranged:
    """Cut the lines into parts: as few as stay below the limit, none across a step."""
    text, header = text_sql(places, layout.wire, layout.now_ms), len(header_for(layout.wire))
    rows = cursor.rows(
        f"SELECT step, segment, min(line), max(line) FROM {COMMANDS} WHERE change <> {FORGET} "
        "GROUP BY ALL ORDER BY 3"
    )
    parts: list[Part] = []
    for step, ranges in itertools.groupby(rows, key=lambda row: row[0]):
        lines = [line for _, _, *lines in ranges for line in lines]
        cut = _cut_step(cursor, text, (lines[0], lines[-1]), header, layout.part_limit)
        for start, end, size in cut:
            parts.append(Part(len(parts) + 1, step, start, end, size))
    return Arranged(
        tuple(parts),
        tuple(LineRange(*map(int, row[1:])) for row in rows),
        text_sql=text,
        minutes_sql=minutes_sql(places),
    )


def _cut_step(
    cursor: Cursor, text: str, lines: tuple[int, int], header: int, limit: int
) -> Iterator[tuple[int, int, int]]:
    """Walk along the lengths of the lines, a batch at a time: first line, last line, bytes."""
    import pyarrow.compute as compute

    first, last = lines
    start, size, line = first, header, first
    with cursor.stream(lines_sql(f"strlen({text})", first, last)) as batches:
        for batch in batches:
            column = batch.column(0)
            while len(column):
                ends = compute.cumulative_sum(column)
                room = compute.index(compute.greater_equal(ends, limit - size), True).as_py()
                taken = len(column) if room < 0 else room
                if taken:
                    size += ends[taken - 1].as_py()
                line += taken
                column = column.slice(taken)
                if room >= 0:
                    if line == start:
                        raise EngineError(
                            f"a single command has more than the {limit:,} bytes of a part",
                            hint="is destination.max_upload_bytes too low, or a data bag too long?",
                        )
                    yield start, line - 1, size
                    start, size = line, header
    yield start, last, size


def lines_sql(value: str, first: int, last: int) -> str:
    """Something of these lines, in their order."""
    return f"SELECT {value} AS value FROM {COMMANDS} c WHERE c.line BETWEEN {first} AND {last}"


def journal_sql(minutes: str, submitted_at_ms: int) -> str:
    """The rows of the state's table `changes`, in the order of their lines.

    `expires_at` is the earliest moment at which the platform may let the member go: it counts from
    when it handles the line, which cannot be before `submitted_at_ms`.
    """
    words = " ".join(f"WHEN {code} THEN '{word}'" for code, word in WORDS.items())
    counted = (
        f"CASE WHEN c.change IN ({ADD}, {UPDATE}, {RENEW}) "
        f"THEN {submitted_at_ms} + nullif({minutes}, {NEVER}) * {MINUTE_MS} END"
    )
    expires = f"coalesce(row_expires, {counted}, 0)"
    fresh = digest_sql("keyspace", "identifier", "fingerprint", expires)
    return (
        f"SELECT line, keyspace, identifier, CASE change {words} END AS change, "
        f"coalesce(fingerprint, 0) AS fingerprint, ({expires})::BIGINT AS expires_at, "
        f"(CASE WHEN change IN ({ADD}, {UPDATE}, {RENEW}) THEN {fresh} ELSE 0 END - old_digest)"
        f"::BIGINT AS digest FROM {COMMANDS} c"
    )
