"""What a command says on the wire: SQL that writes a line of NDJSON or CSV, over a command `c`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from segsync.engine.facts import Target
from segsync.engine.rules import REMOVE
from segsync.engine.session import quoted
from segsync.model import MINUTE_MS, IdentifierKind

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


@dataclass(frozen=True, slots=True)
class TargetPlace:
    """A keyspace of a target: what all of its lines have in common."""

    keyspace: int
    kind: IdentifierKind
    compartment_id: str | None
    target: Target


def literal(text: str | None) -> str:
    """A text, or NULL, in SQL."""
    return "NULL" if text is None else quoted(text)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _of_place(values: Sequence[str]) -> str:
    """The value of a command's place, out of a constant list: unlike a join it keeps the order of
    the lines, so that nothing has to be sorted again."""
    return f"([{', '.join(values)}])[c.place]" if values else "NULL"


def minutes_sql(places: Sequence[TargetPlace]) -> str:
    """The expiration of a command's segment; see `Target`."""
    return _of_place([f"{place.target.expiration_minutes}::BIGINT" for place in places])


def _duration_sql(places: Sequence[TargetPlace], now_ms: int) -> str:
    """Minutes; for a member with an expiry of its own, what is left of it, rounded up."""
    left = f"(c.row_expires - {now_ms} + {MINUTE_MS - 1}) // {MINUTE_MS}"
    return (
        f"CASE WHEN c.change = {REMOVE} THEN 0 WHEN c.row_expires IS NULL "
        f"THEN {minutes_sql(places)} WHEN c.row_expires = 0 THEN 0 ELSE greatest(1, {left}) END"
    )


def header_for(wire: str) -> bytes:
    """What each file begins with: TEXT_CSV has the documented property names as its first row."""
    return CSV_HEADER if wire == "csv" else b""


def text_sql(places: Sequence[TargetPlace], wire: str, now_ms: int) -> str:
    """The whole line, with its end; `wire` is ndjson or csv."""
    return (_csv_sql if wire == "csv" else _ndjson_sql)(places, now_ms)


def _ndjson_sql(places: Sequence[TargetPlace], now_ms: int) -> str:
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


def _opening(place: TargetPlace) -> str:
    text = f'"{place.kind.value}":'
    if place.compartment_id is None:
        return f",{text}"
    return f',"compartment_id":{_json(place.compartment_id)},{text}'


def _address(place: TargetPlace) -> str:
    address = place.target.address
    return f',"{address.field}":{_json(address.value)},"expiration_duration":'


def _csv_sql(places: Sequence[TargetPlace], now_ms: int) -> str:
    update = f"c.change <> {REMOVE}"
    kinds = _of_place([quoted(place.kind.value) for place in places])
    compartments = _of_place([literal(place.compartment_id) for place in places])
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
