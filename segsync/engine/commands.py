"""Changes become commands: their order, their lines as the wire wants them, and the parts."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from segsync.engine.compare import ADD, FORGET, REMOVE, RENEW, UPDATE, WORDS
from segsync.engine.facts import Layout, Target
from segsync.engine.keyspaces import Keyspaces
from segsync.engine.session import Cursor, quoted
from segsync.engine.snapshot import digest_sql
from segsync.model import MINUTE_MS, NEVER, IdentifierKind, LineRange, Part

CSV_FIELDS = (
    "operation",
    "compartment_id",
    "user_account_id",
    "email_hash",
    "user_agent_id",
    "segment_id",
    "segment_technical_name",
    "expiration_duration",
    "expiration_ts",
    "data_bag",
)
CSV_HEADER = (",".join(CSV_FIELDS) + "\r\n").encode()

_COLUMNS = "keyspace, identifier, change, fingerprint, row_expires, data_bag, old_digest"
_NO_CHANGES = (
    "SELECT 1::UTINYINT AS adding_step, 0 AS segment, 0::BIGINT AS keyspace, '' AS identifier, "
    "0::UTINYINT AS change, 0::BIGINT AS fingerprint, 0::BIGINT AS row_expires, "
    "'' AS data_bag, 0::BIGINT AS old_digest LIMIT 0"
)


@dataclass(frozen=True, slots=True)
class Place:
    """A keyspace of a target: what all of its lines have in common."""

    keyspace: int
    kind: IdentifierKind
    compartment_id: str | None
    target: Target


def arrange(
    cursor: Cursor,
    targets: Iterable[Target],
    keyspaces: Keyspaces,
    layout: Layout,
) -> tuple[Part, ...]:
    """Fill the view commands: every change of the targets, numbered in the order of sending.

    Removals that must be finished before a person is added again under another identifier come in
    step 1, all that must wait for them in step 2; forgotten members come last, outside any part.
    """
    chosen = list(targets)
    places = store_places(cursor, chosen, keyspaces)
    union = " UNION ALL ".join(
        f"SELECT {2 if target.rekeyed else 1}::UTINYINT AS adding_step, "
        f"{target.number} AS segment, {_COLUMNS} FROM changed_{target.number}"
        for target in chosen
    )
    step = f"CASE WHEN change = {FORGET} THEN 3 WHEN change = {REMOVE} THEN 1 ELSE adding_step END"
    cursor.execute(
        f"CREATE TABLE ordered AS (SELECT {step} AS step, p.place, c.* EXCLUDE (adding_step) "
        f"FROM ({union or _NO_CHANGES}) c JOIN places p USING (keyspace) "
        "ORDER BY step, segment, keyspace, identifier)"
    )
    return _view_lines(cursor, places, layout)


def restore(
    cursor: Cursor,
    path: Path,
    targets: Iterable[Target],
    keyspaces: Keyspaces,
    layout: Layout,
) -> tuple[Part, ...]:
    """Fill the view commands from a saved plan's file."""
    places = store_places(cursor, targets, keyspaces)
    cursor.execute(
        "CREATE TABLE ordered AS SELECT * EXCLUDE (line) "
        f"FROM read_parquet({quoted(str(path))}) ORDER BY line"
    )
    return _view_lines(cursor, places, layout)


def store_places(
    cursor: Cursor, targets: Iterable[Target], keyspaces: Keyspaces
) -> tuple[Place, ...]:
    """Fill the table places: the keyspaces of the targets, numbered from 1."""
    by_number = {target.number: target for target in targets}
    places = tuple(
        Place(number, kind, compartment, by_number[segment])
        for number, (segment, kind, compartment) in keyspaces.all()
        if segment in by_number
    )
    cursor.execute(
        "CREATE OR REPLACE TABLE places (place INTEGER, keyspace BIGINT, kind VARCHAR, "
        "compartment_id VARCHAR, value VARCHAR)"
    )
    rows = [
        f"({number}, {place.keyspace}, {quoted(place.kind.value)}, "
        f"{_literal(place.compartment_id)}, {quoted(place.target.address.value)})"
        for number, place in enumerate(places, start=1)
    ]
    if rows:
        cursor.execute(f"INSERT INTO places VALUES {', '.join(rows)}")
    return places


def _literal(text: str | None) -> str:
    return "NULL" if text is None else quoted(text)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _of_place(values: Sequence[str]) -> str:
    """The value of a command's place, out of a constant list: unlike a join it keeps the order of
    the lines, so that nothing has to be sorted again."""
    return f"([{', '.join(values)}])[c.place]" if values else "NULL"


def _minutes_sql(places: Sequence[Place]) -> str:
    return _of_place([f"{place.target.expiration_minutes}::BIGINT" for place in places])


def _duration_sql(places: Sequence[Place], now_ms: int) -> str:
    """Minutes; for a member with an expiry of its own, what is left of it, rounded up."""
    left = f"(c.row_expires - {now_ms} + {MINUTE_MS - 1}) // {MINUTE_MS}"
    return (
        f"CASE WHEN c.change = {REMOVE} THEN 0 WHEN c.row_expires IS NULL "
        f"THEN {_minutes_sql(places)} WHEN c.row_expires = 0 THEN 0 ELSE greatest(1, {left}) END"
    )


def _view_lines(cursor: Cursor, places: Sequence[Place], layout: Layout) -> tuple[Part, ...]:
    cursor.execute("CREATE VIEW commands AS SELECT rowid + 1 AS line, * FROM ordered")
    text = (_ndjson_sql if layout.wire == "ndjson" else _csv_sql)(places, layout.now_ms)
    cursor.execute(
        f"CREATE VIEW lines AS SELECT c.line, c.step, {text} AS text FROM commands c "
        f"WHERE c.change <> {FORGET}"
    )
    cursor.execute(f"CREATE VIEW journal AS {_journal_view(places)}")
    return _cut(cursor, len(header_for(layout.wire)), layout.part_limit)


def header_for(wire: str) -> bytes:
    """What each file begins with: TEXT_CSV has the documented property names as its first row."""
    return CSV_HEADER if wire == "csv" else b""


def _ndjson_sql(places: Sequence[Place], now_ms: int) -> str:
    update = f"c.change <> {REMOVE}"
    return f"""concat(
        CASE WHEN {update} THEN '{{"operation":"UPDATE"' ELSE '{{"operation":"DELETE"' END,
        {_of_place([quoted(_opening(place)) for place in places])}, to_json(c.identifier),
        {_of_place([quoted(_address(place)) for place in places])},
        {_duration_sql(places, now_ms)},
        CASE WHEN {update} AND c.row_expires > 0
            THEN concat(',"expiration_ts":', c.row_expires) END,
        CASE WHEN {update} AND c.data_bag IS NOT NULL
            THEN concat(',"data_bag":', to_json(c.data_bag)) END,
        '}}' || chr(10))"""


def _opening(place: Place) -> str:
    text = f'"{place.kind.value}":'
    if place.compartment_id is None:
        return f",{text}"
    return f',"compartment_id":{_json(place.compartment_id)},{text}'


def _address(place: Place) -> str:
    address = place.target.address
    return f',"{address.field}":{_json(address.value)},"expiration_duration":'


def _csv_sql(places: Sequence[Place], now_ms: int) -> str:
    update = f"c.change <> {REMOVE}"
    kinds = _of_place([quoted(place.kind.value) for place in places])
    compartments = _of_place([_literal(place.compartment_id) for place in places])
    identifiers = [
        f"CASE WHEN {kinds} = '{kind}' THEN c.identifier END"
        for kind in ("user_account_id", "email_hash", "user_agent_id")
    ]
    addresses = [
        _of_place(
            [
                quoted(place.target.address.value)
                if place.target.address.field == field
                else "NULL"
                for place in places
            ]
        )
        for field in ("segment_id", "segment_technical_name")
    ]
    cells = [
        f"CASE WHEN {update} THEN 'UPDATE' ELSE 'DELETE' END",
        *(_cell_sql(sql) for sql in (compartments, *identifiers, *addresses)),
        _duration_sql(places, now_ms),
        f"CASE WHEN {update} AND c.row_expires > 0 THEN c.row_expires END",
        _cell_sql(f"CASE WHEN {update} THEN c.data_bag END"),
    ]
    return f"concat({', chr(44), '.join(cells)}, chr(13) || chr(10))"


def _cell_sql(value: str) -> str:
    """A cell as RFC 4180 wants it: quoted where it must be."""
    text = f"({value})::VARCHAR"
    return (
        f"CASE WHEN regexp_matches({text}, '[\",\\r\\n]') "
        f"THEN concat('\"', replace({text}, '\"', '\"\"'), '\"') ELSE {text} END"
    )


def _cut(cursor: Cursor, header: int, limit: int) -> tuple[Part, ...]:
    """The parts: as few as stay below the limit, none across a step."""
    steps = cursor.rows("SELECT step, min(line), max(line) FROM lines GROUP BY step ORDER BY step")
    parts: list[Part] = []
    for step, first, last in steps:
        for start, end, size in _cut_step(cursor, first, last, header, limit):
            parts.append(Part(len(parts) + 1, step, start, end, size))
    return tuple(parts)


def _cut_step(
    cursor: Cursor, first: int, last: int, header: int, limit: int
) -> Iterator[tuple[int, int, int]]:
    """Walk along the lengths of the lines, a batch at a time: first line, last line, bytes."""
    import pyarrow.compute as compute

    start, size, line = first, header, first
    lengths = f"SELECT strlen(text) AS size FROM lines WHERE line BETWEEN {first} AND {last}"
    with cursor.stream(lengths) as batches:
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
                    yield start, line - 1, size
                    start, size = line, header
    yield start, last, size


def ranges(cursor: Cursor) -> tuple[LineRange, ...]:
    """Which lines belong to which segment; a segment has at most one range in each step."""
    rows = cursor.rows(
        f"SELECT segment, min(line), max(line) FROM commands WHERE change <> {FORGET} "
        "GROUP BY segment, step ORDER BY 2"
    )
    return tuple(LineRange(*map(int, row)) for row in rows)


def lines_sql(first: int, last: int) -> str:
    """The text of these lines, in the order of the view commands; each ends with its line end."""
    return f"SELECT text FROM lines WHERE line BETWEEN {first} AND {last}"


def _journal_view(places: Sequence[Place]) -> str:
    """`minutes` is NULL where the expiry does not count from the submission."""
    return (
        "SELECT c.*, CASE WHEN c.row_expires IS NULL "
        f"AND c.change IN ({ADD}, {UPDATE}, {RENEW}) THEN nullif({_minutes_sql(places)}, {NEVER}) "
        "END AS minutes FROM commands c"
    )


def journal_sql(submitted_at_ms: int) -> str:
    """The rows of the state's table `changes`, in the order of their lines.

    `expires_at` is the earliest moment at which the platform may let the member go: it counts from
    when it handles the line, which cannot be before `submitted_at_ms`.
    """
    words = " ".join(f"WHEN {code} THEN '{word}'" for code, word in WORDS.items())
    expires = f"coalesce(row_expires, {submitted_at_ms} + minutes * {MINUTE_MS}, 0)"
    fresh = digest_sql("keyspace", "identifier", "fingerprint", expires)
    return (
        f"SELECT line, keyspace, identifier, CASE change {words} END AS change, "
        f"coalesce(fingerprint, 0) AS fingerprint, ({expires})::BIGINT AS expires_at, "
        f"(CASE WHEN change IN ({ADD}, {UPDATE}, {RENEW}) THEN {fresh} ELSE 0 END - old_digest)"
        "::BIGINT AS digest FROM journal"
    )
