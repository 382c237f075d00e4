"""Columns of Python values, as a DBAPI driver gives them, in their canonical Arrow form.

A column of one Python type, which is what a typed database gives, is converted as a whole. Only
columns of several types, and of types that Arrow has no text for, are converted value by value.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from math import isfinite
from typing import TYPE_CHECKING, Any
from uuid import UUID

from segsync.source.fragments import LONG_AGO_MS, MARK, UNREADABLE_MS, Tag
from segsync.source.values import NO_JSON, NOT_FINITE

if TYPE_CHECKING:
    import pyarrow as pa

Values = Sequence[Any]
INT64 = range(-(2**63) + 1, 2**63)
LAX_JSON = "(?i)nan|inf|,\\s*[}\\]]"
"""What DuckDB's parser of JSON lets through, though it is none; perhaps inside of a text."""
_MILLISECOND = timedelta(milliseconds=1)


class UnfitError(Exception):
    """A column has values of a type that cannot be what its name says."""

    def __init__(self, type_: str, remedy: str) -> None:
        super().__init__(type_)
        self.type = type_
        self.remedy = remedy


def identifiers(values: Values) -> pa.Array:
    """Exact texts. Raises UnfitError for anything but texts, whole numbers and UUIDs."""
    import pyarrow as pa

    types = _types(values)
    if types == {int}:
        return _integers(values)
    if types <= {str}:
        return pa.array(values, pa.string())
    unfit = [type_ for type_ in types if not issubclass(type_, str | int | UUID | Decimal)]
    if unfit or bool in types:
        raise UnfitError(_names(types), "CAST it to an integer or text")
    return pa.array([None if value is None else _whole(value) for value in values], pa.string())


def texts(values: Values) -> pa.Array:
    """Texts; JSON that the driver has decoded is encoded again. Raises UnfitError for the rest."""
    import pyarrow as pa

    types = _types(values)
    if types <= {str}:
        return pa.array(values, pa.string())
    if types <= {str, dict, list}:
        return pa.array([v if v is None or isinstance(v, str) else _json(v) for v in values])
    raise UnfitError(_names(types), "CAST it to text")


def milliseconds(values: Values) -> pa.Array:
    """Points in time, as milliseconds since 1970. Raises UnfitError for what is none."""
    import pyarrow as pa

    types = _types(values)
    if not types:
        return pa.nulls(len(values), pa.int64())
    moments = _moments(values, types)
    if moments is not None:
        return _not_long_ago(moments.cast(pa.timestamp("us")).cast(pa.timestamp("ms"), safe=False))
    if types == {date}:
        return _not_long_ago(pa.array(values, pa.date32()).cast(pa.timestamp("ms")))
    if bool in types or not all(issubclass(t, int | float | Decimal | date | str) for t in types):
        raise UnfitError(
            _names(types), "CAST it to a timestamp, or give a number of milliseconds since 1970"
        )
    return pa.array([None if value is None else _ms(value) for value in values], pa.int64())


def tagged(values: Values) -> pa.Array:
    """Values of the data bag, each a text that begins with its Tag."""
    import pyarrow as pa

    types = _types(values)
    whole_column = _COLUMNS.get(next(iter(types))) if len(types) == 1 else None
    array = whole_column(values) if whole_column else None
    if array is None:
        array = pa.array([None if value is None else _tag(value) for value in values], pa.string())
    return array


def tagged_json(values: Values) -> pa.Array:
    """Values of the data bag that the database knows to be JSON, as texts or decoded."""
    import pyarrow as pa
    import pyarrow.compute as pc

    array = texts(values)
    fragments = _prefixed(Tag.FRAGMENT, array)
    suspects = pc.indices_nonzero(pc.match_substring_regex(array, LAX_JSON)).to_pylist()
    bad = {number for number in suspects if not _is_json(array[number].as_py())}
    if not bad:
        return fragments
    is_bad = pa.array([number in bad for number in range(len(array))])
    return pc.if_else(is_bad, MARK + NO_JSON, fragments)


def _is_json(text: str) -> bool:
    try:
        json.loads(text, parse_constant=int)
    except ValueError:
        return False
    return True


def tagged_moments(values: Values) -> pa.Array:
    """Timestamps of which the database knows that they are in UTC, though the driver does not."""
    import pyarrow.compute as pc

    array = tagged(values)
    return pc.replace_substring_regex(array, f"^{Tag.LOCAL_TIME.value}", Tag.MOMENT.value)


def _not_long_ago(moments: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.max_element_wise(moments.view("int64"), LONG_AGO_MS, skip_nulls=False)


def _types(values: Values) -> set[type]:
    return set(map(type, values)) - {type(None)}


def _names(types: set[type]) -> str:
    return " and ".join(sorted(type_.__name__ for type_ in types))


def _integers(values: Values) -> pa.Array:
    import pyarrow as pa

    try:
        return pa.array(values, pa.int64()).cast(pa.string())
    except (OverflowError, pa.ArrowInvalid):
        return pa.array([None if value is None else str(value) for value in values], pa.string())


def _whole(value: str | int | UUID | Decimal) -> str:
    if isinstance(value, Decimal):
        if not value.is_finite() or value.as_tuple().exponent != 0:
            raise UnfitError("a number with decimals", "CAST it to an integer or text")
        return format(value, "f")
    return str(value)


def _ms(value: float | Decimal | date | str) -> int:
    if isinstance(value, str):
        return UNREADABLE_MS
    if isinstance(value, datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=UTC)
        return max((moment - datetime(1970, 1, 1, tzinfo=UTC)) // _MILLISECOND, LONG_AGO_MS)
    if isinstance(value, date):
        return max((value - date(1970, 1, 1)).days * 86_400_000, LONG_AGO_MS)
    if not isfinite(value) or int(value) not in INT64:
        return UNREADABLE_MS
    return int(value)


def _moments(values: Values, types: set[type]) -> pa.Array | None:
    """An Arrow column of points in time, in UTC where they have a zone; None where it is mixed."""
    import pyarrow as pa

    if types != {datetime}:
        return None
    zoned = {value.tzinfo is not None for value in filter(None, values)}
    if len(zoned) != 1:
        return None
    return pa.array(values, pa.timestamp("us", "UTC" if zoned == {True} else None))


def _prefixed(tag: Tag, array: pa.Array) -> pa.Array:
    import pyarrow.compute as pc

    return pc.binary_join_element_wise(tag.value, array, "")


def _tagged_integers(values: Values) -> pa.Array:
    return _prefixed(Tag.FRAGMENT, _integers(values))


def _tagged_texts(values: Values) -> pa.Array:
    import pyarrow as pa

    return _prefixed(Tag.TEXT, pa.array(values, pa.string()))


def _tagged_booleans(values: Values) -> pa.Array:
    import pyarrow as pa

    return _prefixed(Tag.FRAGMENT, pa.array(values, pa.bool_()).cast(pa.string()))


def _tagged_floats(values: Values) -> pa.Array | None:
    import pyarrow as pa
    import pyarrow.compute as pc

    array = pa.array(values, pa.float64())
    if not pc.all(pc.is_finite(array), min_count=0).as_py():
        return None
    return _prefixed(Tag.FLOAT, array.cast(pa.string()))


def _tagged_times(values: Values) -> pa.Array | None:
    import pyarrow as pa

    moments = _moments(values, {datetime})
    if moments is None:
        return None
    tag = Tag.LOCAL_TIME if moments.type.tz is None else Tag.MOMENT
    return _prefixed(tag, moments.cast(pa.timestamp("us")).cast(pa.string()))


def _tagged_dates(values: Values) -> pa.Array:
    import pyarrow as pa

    return _prefixed(Tag.TEXT, pa.array(values, pa.date32()).cast(pa.string()))


_COLUMNS: dict[type, Callable[[Values], pa.Array | None]] = {
    int: _tagged_integers,
    str: _tagged_texts,
    bool: _tagged_booleans,
    float: _tagged_floats,
    datetime: _tagged_times,
    date: _tagged_dates,
}


def _tag(value: Any) -> str:
    match value:
        case bool() | dict() | list() | tuple():
            text = _json(value)
            return text if text.startswith(MARK) else Tag.FRAGMENT.value + text
        case int():
            return f"{Tag.FRAGMENT.value}{value}"
        case float() | Decimal() if not isfinite(value):
            return MARK + NOT_FINITE
        case float():
            return f"{Tag.FLOAT.value}{value!r}"
        case Decimal():
            return f"{Tag.FRAGMENT.value}{value:f}"
        case datetime() if value.tzinfo:
            utc = value.astimezone(UTC).replace(tzinfo=None)
            return f"{Tag.MOMENT.value}{utc.isoformat(' ')}"
        case datetime():
            return f"{Tag.LOCAL_TIME.value}{value.isoformat(' ')}"
        case bytes() | bytearray() | memoryview():
            raise UnfitError("bytes", "encode it as text (hex or base64)")
        case _:
            return f"{Tag.TEXT.value}{value}"


def _json(value: Any) -> str:
    try:
        return json.dumps(
            value, ensure_ascii=False, allow_nan=False, default=_nested, separators=(",", ":")
        )
    except ValueError:
        return MARK + NOT_FINITE


def _nested(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview):
        raise UnfitError("bytes inside of a value", "encode them as text (hex or base64)")
    return str(value)
