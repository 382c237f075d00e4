"""PostgreSQL's SQL: how a query is read so that every driver gives the same values.

Each column is cast in the query to one of four types that no driver can differ on: bigint, double
precision, boolean, text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from segsync.model import ParamValue, Segment
from segsync.source.columns import EMAIL, Role, refused, role
from segsync.source.fragments import LONG_AGO_MS, MARK, UNREADABLE_MS, Form, Tag, quote
from segsync.source.lane import Column, Projection

SESSION = (
    # For one transaction: behind a pooler (PgBouncer) the next one of a connection is another's.
    "SET LOCAL client_encoding TO 'UTF8'",
    "SET LOCAL standard_conforming_strings TO on",
    # What a query means may not depend on where it runs, nor on the settings of a role.
    "SET LOCAL TimeZone TO 'UTC'",
    "SET LOCAL DateStyle TO 'ISO, YMD'",
    "SET LOCAL extra_float_digits TO 1",
    "SET LOCAL cursor_tuple_fraction TO 1",
    # The first connection holds the snapshot while the others read.
    "SET LOCAL idle_in_transaction_session_timeout TO 0",
)
BEGIN = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
SAVEPOINT = "SAVEPOINT segsync"
BACK_TO_SAVEPOINT = ("ROLLBACK TO SAVEPOINT segsync", "RELEASE SAVEPOINT segsync")
EXPORT_SNAPSHOT = "SELECT pg_export_snapshot()"

TYPE_NAMES = {
    16: "bool",
    17: "bytea",
    18: "char",
    19: "name",
    20: "int8",
    21: "int2",
    23: "int4",
    25: "text",
    26: "oid",
    114: "json",
    700: "float4",
    701: "float8",
    790: "money",
    1042: "bpchar",
    1043: "varchar",
    1082: "date",
    1083: "time",
    1114: "timestamp",
    1184: "timestamptz",
    1186: "interval",
    1266: "timetz",
    1700: "numeric",
    2950: "uuid",
    3802: "jsonb",
}
"""The types by their number in pg_type, which never changes; the others are looked up there."""

INTEGERS = frozenset({"int2", "int4", "int8", "oid"})
FLOATS = frozenset({"float4", "float8"})
TEXTS = frozenset({"text", "varchar", "bpchar", "name", "char", "citext", "unknown"})
JSONS = frozenset({"json", "jsonb"})
TIMES = frozenset({"timestamp", "timestamptz"})
NO_IDENTIFIERS = FLOATS | JSONS | TIMES | {"bool", "bytea", "date", "time", "timetz", "interval"}
LOWEST, HIGHEST = "0001-01-01 00:00:00", "9999-12-31 23:59:59.999999"
"""Points in time outside of these cannot be written as ISO 8601."""


@dataclass(frozen=True, slots=True)
class Described:
    """A column of the query: its name, the name of its type in pg_type, a numeric's scale."""

    name: str
    type: str
    scale: int | None = None


def probe(sql: str) -> str:
    """A query that gives the columns of `sql` and no row."""
    return f"SELECT * FROM ({sql}\n) AS segsync LIMIT 0"


def project(segment: Segment, sql: str, described: Sequence[Described]) -> Projection:
    """The query `sql` with each column cast to its canonical form.

    Raises SourceError for a column whose type cannot be what its name says.
    """
    casts = [_cast(segment, column) for column in described]
    values = ",\n  ".join(cast for cast, _ in casts)
    return Projection(
        tuple(column for _, column in casts),
        f"SELECT\n  {values}\nFROM (\n{sql}\n) AS segsync",
    )


def number_literal(value: ParamValue) -> str:
    """The SQL of a parameter that is not text."""
    match value:
        case None:
            return "NULL"
        case bool():
            return "TRUE" if value else "FALSE"
        case float():
            return f"'{value!r}'::float8"
        case _:
            return f"({value})"


def _cast(segment: Segment, column: Described) -> tuple[str, Column]:
    x = quote(column.name)
    match role(column.name.lower()):
        case Role.IDENTIFIER:
            return _identifier(segment, column, x), _text_column(column)
        case Role.TEXT:
            allowed = TEXTS if column.name.lower() == EMAIL else TEXTS | JSONS
            if column.type not in allowed:
                raise refused(segment, column.name, column.type, "CAST it AS text")
            return f"{x}::text", _text_column(column)
        case Role.EXPIRATION:
            return _expiration(segment, column, x), Column.of(column.name, "int64")
        case Role.VALUE:
            return _value(segment, column, x)


def _text_column(column: Described, form: Form = Form.JSON_SAFE) -> Column:
    return Column.of(column.name, "string", form)


def _identifier(segment: Segment, column: Described, x: str) -> str:
    if column.type in NO_IDENTIFIERS or column.type.startswith("_"):
        raise refused(segment, column.name, column.type, "CAST it AS bigint or text")
    if column.type != "numeric":
        return f"{x}::text"
    if column.scale is not None and column.scale > 0:
        type_ = f"numeric with {column.scale} decimals"
        raise refused(segment, column.name, type_, "CAST it AS bigint or text")
    # Only a number has a scale: NaN and infinity have none.
    broken = _mark("is no whole number: CAST it AS text in the query, or leave it out")
    return f"CASE WHEN scale({x}) = 0 THEN {x}::text WHEN {x} IS NOT NULL THEN {broken} END"


def _expiration(segment: Segment, column: Described, x: str) -> str:
    if column.type in INTEGERS:
        return f"{x}::int8"
    if column.type in FLOATS or column.type == "numeric":
        readable, value = f"{x} BETWEEN -9e18 AND 9e18", f"trunc({x})::int8"
    elif column.type in TIMES:
        readable = _in_range(x, column.type)
        value = f"(extract(epoch FROM date_trunc('milliseconds', {x})) * 1000)::int8"
        value = f"greatest({value}, {LONG_AGO_MS})"
    elif column.type == "date":
        readable = f"isfinite({x})"
        value = f"greatest(({x} - DATE '1970-01-01')::int8 * 86400000, {LONG_AGO_MS})"
    elif column.type in TEXTS:
        # A bare NULL is of type text; it is an expiry, and every other text is none.
        readable, value = "FALSE", "NULL::int8"
    else:
        remedy = "CAST it AS timestamptz, or give a number of milliseconds since 1970"
        raise refused(segment, column.name, column.type, remedy)
    unreadable = f"({UNREADABLE_MS + 1} - 1)"
    return f"CASE WHEN {readable} THEN {value} WHEN {x} IS NOT NULL THEN {unreadable} END"


def _value(segment: Segment, column: Described, x: str) -> tuple[str, Column]:
    name, type_ = column.name, column.type
    if type_ in INTEGERS:
        return f"{x}::int8", Column.of(name, "int64")
    if type_ in FLOATS:
        # By its text, a float4 of 0.1 stays 0.1 as a float8.
        exact = f"{x}::text::float8" if type_ == "float4" else x
        return exact, Column.of(name, "double")
    if type_ == "bool":
        return x, Column.of(name, "bool")
    if type_ == "numeric":
        no_number = _mark("is NaN or infinite, which JSON cannot carry")
        usable = f"{x} IS NULL OR scale({x}) IS NOT NULL"
        return _either(usable, f"{x}::text", no_number), _text_column(column, Form.FRAGMENT)
    if type_ in JSONS:
        return f"{x}::text", _text_column(column, Form.FRAGMENT)
    if type_.startswith("_"):
        return f"array_to_json({x})::text", _text_column(column, Form.FRAGMENT)
    if type_ in TIMES or type_ == "date":
        return _time(column, x)
    if type_ == "bytea":
        raise refused(segment, name, type_, f"use encode({name}, 'hex')")
    return f"{x}::text", _text_column(column)


def _time(column: Described, x: str) -> tuple[str, Column]:
    text, form = f"{x}::text", Form.JSON_SAFE
    if column.type == "timestamp":
        text, form = f"'{Tag.LOCAL_TIME.value}' || {text}", Form.TAGGED
    elif column.type == "timestamptz":
        text, form = f"'{Tag.MOMENT.value}' || ({x} AT TIME ZONE 'UTC')::text", Form.TAGGED
    usable = f"{x} IS NULL OR {_in_range(x, column.type)}"
    outside = _mark(
        "is a time that ISO 8601 cannot write: infinite, or outside the years 1 to 9999"
    )
    return _either(usable, text, outside), _text_column(column, form)


def _in_range(x: str, type_: str) -> str:
    zone = "+00" if type_ == "timestamptz" else ""
    return f"{x} BETWEEN '{LOWEST}{zone}' AND '{HIGHEST}{zone}'"


def _either(usable: str, text: str, mark: str) -> str:
    return f"CASE WHEN {usable} THEN {text} ELSE {mark} END"


def _mark(reason: str) -> str:
    return f"chr({ord(MARK[0])}) || '{MARK[1:]}{reason}'"
