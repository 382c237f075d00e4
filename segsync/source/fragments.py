"""How one value of a data bag column becomes JSON, as DuckDB expressions.

A column arrives in one of the forms below. The JSON of a value is the same whatever the form:
numbers exact (`1.50` stays `1.50`, floats in their shortest form that reads back), text escaped
by DuckDB's `to_json`, timestamps `2026-11-24T08:00:00`, with `Z` where the moment is known and
microseconds where there are any.
"""

from __future__ import annotations

from enum import Enum, StrEnum

MARK = "\x01segsync:"
"""Begins a text that stands for a value that cannot be used; the reason follows."""

UNREADABLE_MS = -(2**63)
"""Stands for an expiry that is no point in time."""


LONG_AGO_MS = 100_000_000_000
"""March 1973. An expiry that is an earlier point in time is given as this one, which has passed as
well: 0 would be never, and what is between may be a number of seconds.
"""


class Tag(StrEnum):
    """First character of a tagged text: what the rest of it is."""

    TEXT = '"'
    FRAGMENT = "="
    FLOAT = "~"
    LOCAL_TIME = "T"
    MOMENT = "Z"


class Form(Enum):
    """The forms in which a column's values arrive."""

    JSON_SAFE = "an Arrow type that to_json writes as it should: integer, double, boolean, text"
    FRAGMENT = "text that is the JSON fragment already"
    TAGGED = "text that begins with a Tag"


def json_sql(name: str, form: Form) -> str:
    """A DuckDB expression: the JSON fragment (VARCHAR) of the column `name`, NULL for NULL."""
    column = quote(name)
    if form is Form.FRAGMENT:
        return column
    if form is Form.JSON_SAFE:
        return f"CAST(to_json({column}) AS VARCHAR)"
    rest = f"substr({column}, 2)"
    moment = f"CAST({rest} AS TIMESTAMP)"
    return (
        f"CASE substr({column}, 1, 1)"
        f" WHEN '{Tag.TEXT.value}' THEN CAST(to_json({rest}) AS VARCHAR)"
        f" WHEN '{Tag.FRAGMENT.value}' THEN {rest}"
        f" WHEN '{Tag.FLOAT.value}' THEN CAST(to_json(CAST({rest} AS DOUBLE)) AS VARCHAR)"
        f" WHEN '{Tag.LOCAL_TIME.value}' THEN '\"' || {_iso(moment)} || '\"'"
        f" WHEN '{Tag.MOMENT.value}' THEN '\"' || {_iso(moment)} || 'Z\"' END"
    )


def _iso(moment: str) -> str:
    return f"replace(strftime({moment}, '%Y-%m-%dT%H:%M:%S.%f'), '.000000', '')"


def quote(name: str) -> str:
    """`name` as a quoted SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
