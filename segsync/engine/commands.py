"""Changes become commands: their order, their lines as the wire wants them, and the parts."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from segsync.engine.compare import ADD, FORGET, REMOVE, RENEW, UPDATE, WORDS, digest_sql
from segsync.engine.facts import Target
from segsync.engine.keyspaces import Keyspaces
from segsync.engine.session import Cursor, quoted
from segsync.model import MINUTE_MS, NEVER, IdentifierKind, LineRange, Part

Format = Literal["ndjson", "csv"]

PART_LIMIT = 100_000_000
"""Bytes; a part stays below. The platform takes "100 Mo" (API documentation, requirements)."""

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
CSV_HEADER = ",".join(CSV_FIELDS) + "\r\n"

_COLUMNS = (
    "keyspace, identifier, change, retry, fingerprint, row_expires, data_bag, confirmed, "
    "old_expires, old_digest"
)


def arrange(
    cursor: Cursor,
    targets: Iterable[Target],
    keyspaces: Keyspaces,
    wire: Format,
    now_ms: int,
) -> tuple[Part, ...]:
    """Fill the table commands: every change of the targets, numbered in the order of sending.

    Removals that must be finished before a person is added again under another identifier come in
    step 1, all that must wait for them in step 2; forgotten members come last, outside any part.
    """
    chosen = list(targets)
    store_targets(cursor, chosen, keyspaces)
    union = (
        " UNION ALL ".join(
            f"SELECT {2 if target.rekeyed else 1}::UTINYINT AS adding_step, {target.number} AS segment, "
            f"{_COLUMNS} FROM changed_{target.number}"
            for target in chosen
        )
        or f"SELECT 1::UTINYINT AS adding_step, 0 AS segment, {_COLUMNS} FROM ({_NO_CHANGES})"
    )
    step = f"CASE WHEN change = {FORGET} THEN 3 WHEN change = {REMOVE} THEN 1 ELSE adding_step END"
    cursor.execute(
        f"CREATE TABLE commands AS SELECT row_number() OVER () AS line, * FROM "
        f"(SELECT {step} AS step, * EXCLUDE (adding_step) FROM ({union}) "
        "ORDER BY step, segment, keyspace, identifier)"
    )
    return _view_lines(cursor, wire, now_ms)


def restore(
    cursor: Cursor,
    path: Path,
    targets: Iterable[Target],
    keyspaces: Keyspaces,
    wire: Format,
    now_ms: int,
) -> tuple[Part, ...]:
    """Fill the table commands from a saved plan's file."""
    store_targets(cursor, targets, keyspaces)
    cursor.execute(
        f"CREATE TABLE commands AS SELECT * FROM read_parquet({quoted(str(path))}) ORDER BY line"
    )
    return _view_lines(cursor, wire, now_ms)


def _view_lines(cursor: Cursor, wire: Format, now_ms: int) -> tuple[Part, ...]:
    cursor.execute(f"CREATE VIEW lines AS {_lines_sql(wire, now_ms)}")
    return _cut(cursor, len(CSV_HEADER) if wire == "csv" else 0)


_NO_CHANGES = (
    "SELECT 0::BIGINT AS keyspace, '' AS identifier, 0::UTINYINT AS change, false AS retry, "
    "0::BIGINT AS fingerprint, 0::BIGINT AS row_expires, '' AS data_bag, false AS confirmed, "
    "0::BIGINT AS old_expires, 0::BIGINT AS old_digest LIMIT 0"
)


def store_targets(cursor: Cursor, targets: Iterable[Target], keyspaces: Keyspaces) -> None:
    """Fill the table targets: for each keyspace of a target, the constant texts of its lines."""
    cursor.execute(
        "CREATE OR REPLACE TABLE targets (keyspace BIGINT, kind VARCHAR, compartment_id VARCHAR, "
        "field VARCHAR, value VARCHAR, opening VARCHAR, target VARCHAR, minutes BIGINT)"
    )
    by_number = {target.number: target for target in targets}
    rows = [
        _target_row(number, kind, compartment, by_number[segment])
        for number, (segment, kind, compartment) in keyspaces.all()
        if segment in by_number
    ]
    if rows:
        cursor.execute(f"INSERT INTO targets VALUES {', '.join(rows)}")


def _target_row(number: int, kind: IdentifierKind, compartment: str | None, target: Target) -> str:
    opening = "" if compartment is None else f',"compartment_id":{_json(compartment)}'
    opening += f',"{kind.value}":'
    address = f',"{target.address.field}":{_json(target.address.value)},"expiration_duration":'
    texts = (kind.value, compartment, target.address.field, target.address.value, opening, address)
    literals = ["NULL" if text is None else quoted(text) for text in texts]
    return f"({number}, {', '.join(literals)}, {target.expiration_minutes})"


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _duration_sql(now_ms: int) -> str:
    """Minutes; for a member with an expiry of its own, what is left of it, rounded up."""
    left = f"(c.row_expires - {now_ms} + {MINUTE_MS - 1}) // {MINUTE_MS}"
    return (
        f"CASE WHEN c.change = {REMOVE} THEN 0 WHEN c.row_expires IS NULL THEN t.minutes "
        f"WHEN c.row_expires = 0 THEN 0 ELSE greatest(1, {left}) END"
    )


def _lines_sql(wire: Format, now_ms: int) -> str:
    text = _ndjson_sql(now_ms) if wire == "ndjson" else _csv_sql(now_ms)
    return (
        f"SELECT c.line, c.step, {text} AS text FROM commands c "
        f"JOIN targets t ON t.keyspace = c.keyspace WHERE c.change <> {FORGET}"
    )


def _ndjson_sql(now_ms: int) -> str:
    update = f"c.change <> {REMOVE}"
    return f"""concat(
        CASE WHEN {update} THEN '{{"operation":"UPDATE"' ELSE '{{"operation":"DELETE"' END,
        t.opening, to_json(c.identifier), t.target, {_duration_sql(now_ms)},
        CASE WHEN {update} AND c.row_expires > 0
            THEN concat(',"expiration_ts":', c.row_expires) END,
        CASE WHEN {update} AND c.data_bag IS NOT NULL
            THEN concat(',"data_bag":', to_json(c.data_bag)) END,
        '}}' || chr(10))"""


def _csv_sql(now_ms: int) -> str:
    update = f"c.change <> {REMOVE}"
    identifiers = [
        f"CASE WHEN t.kind = '{kind}' THEN c.identifier END"
        for kind in ("user_account_id", "email_hash", "user_agent_id")
    ]
    addresses = [
        f"CASE WHEN t.field = '{field}' THEN t.value END"
        for field in ("segment_id", "segment_technical_name")
    ]
    cells = [
        f"CASE WHEN {update} THEN 'UPDATE' ELSE 'DELETE' END",
        *(_cell_sql(sql) for sql in ("t.compartment_id", *identifiers, *addresses)),
        _duration_sql(now_ms),
        f"CASE WHEN {update} AND c.row_expires > 0 THEN c.row_expires END",
        _cell_sql(f"CASE WHEN {update} THEN c.data_bag END"),
    ]
    return f"concat({', chr(44), '.join(cells)}, chr(13) || chr(10))"


def _cell_sql(value: str) -> str:
    """A cell as RFC 4180 wants it: quoted where it must be."""
    return (
        f"CASE WHEN regexp_matches({value}, '[\",\\r\\n]') "
        f"THEN concat('\"', replace({value}, '\"', '\"\"'), '\"') ELSE {value} END"
    )


def _cut(cursor: Cursor, header: int) -> tuple[Part, ...]:
    """The parts: as few as stay below the limit, none across a step."""
    steps = cursor.rows(
        "SELECT step, min(line), max(line), sum(strlen(text))::BIGINT FROM lines GROUP BY step "
        "ORDER BY step"
    )
    parts: list[Part] = []
    for step, first, last, size in steps:
        if size + header < PART_LIMIT:
            parts.append(Part(len(parts) + 1, step, first, last, size + header))
        else:
            parts += _cut_step(cursor, (step, first, last), header, len(parts))
    return tuple(parts)


def _cut_step(cursor: Cursor, bounds: tuple[int, int, int], header: int, made: int) -> list[Part]:
    step, first, last = bounds
    cursor.execute(
        "CREATE OR REPLACE TEMP TABLE ends AS SELECT line, "
        "sum(strlen(text)) OVER (ORDER BY line)::BIGINT AS size "
        f"FROM lines WHERE line BETWEEN {first} AND {last}"
    )
    parts: list[Part] = []
    start, before = first, 0
    while start <= last:
        end, size = cursor.row(
            f"SELECT max(line), max(size) FROM ends WHERE line >= {start} "
            f"AND size < {before + PART_LIMIT - header}"
        )
        number = made + len(parts) + 1
        parts.append(Part(number, step, start, end, size - before + header))
        start, before = end + 1, size
    return parts


def ranges(cursor: Cursor) -> tuple[LineRange, ...]:
    """Which lines belong to which segment; a segment has at most one range in each step."""
    rows = cursor.rows(
        f"SELECT segment, min(line), max(line) FROM commands WHERE change <> {FORGET} "
        "GROUP BY segment, step ORDER BY 2"
    )
    return tuple(LineRange(*map(int, row)) for row in rows)


def lines_sql(first: int, last: int) -> str:
    """The text of these lines, in order; each ends with its line end."""
    return f"SELECT text FROM lines WHERE line BETWEEN {first} AND {last} ORDER BY line"


def journal_sql(submitted_at_ms: int) -> str:
    """The rows of the state's table `changes`, in the order of their lines.

    `expires_at` is the earliest moment at which the platform may let the member go: it counts from
    when it handles the line, which cannot be before `submitted_at_ms`.
    """
    words = " ".join(f"WHEN {code} THEN '{word}'" for code, word in WORDS.items())
    expires = (
        f"CASE WHEN c.change IN ({REMOVE}, {FORGET}) OR c.row_expires = 0 THEN 0 "
        "WHEN c.row_expires > 0 THEN c.row_expires "
        f"WHEN t.minutes = {NEVER} THEN 0 ELSE {submitted_at_ms} + t.minutes * {MINUTE_MS} END"
    )
    fresh = digest_sql("keyspace", "identifier", "fingerprint", "expires_at")
    return (
        f"SELECT line, keyspace, identifier, CASE change {words} END AS change, "
        f"coalesce(fingerprint, 0) AS fingerprint, expires_at, "
        f"(CASE WHEN change IN ({ADD}, {UPDATE}, {RENEW}) THEN {fresh} ELSE 0 END - old_digest) "
        "AS digest FROM (SELECT c.line, c.keyspace, c.identifier, c.change, "
        f"c.fingerprint, ({expires})::BIGINT AS expires_at, c.old_digest "
        "FROM commands c JOIN targets t ON t.keyspace = c.keyspace) ORDER BY line"
    )
