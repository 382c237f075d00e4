"""The last look at each batch: values that no member can have are taken out, with the reason."""

from __future__ import annotations

from typing import TYPE_CHECKING

from segsync.errors import SourceError
from segsync.source.columns import EXPIRATION, INVALID
from segsync.source.fragments import MARK, UNREADABLE_MS
from segsync.source.lane import Column

if TYPE_CHECKING:
    import pyarrow as pa

NOT_FINITE = "is NaN or infinite, which JSON cannot carry"
NO_JSON = "is no JSON: NaN, Infinity and a comma at an end are none"
NO_TIME = "is no point in time: give a timestamp, a date, or a number of milliseconds since 1970"


def invalid_column() -> Column:
    """The last column of every result."""
    return Column.of(INVALID, "string")


def check_batch(batch: pa.RecordBatch) -> pa.RecordBatch:
    """`batch` with INVALID behind it, and NULL where a value cannot be used.

    Raises SourceError for text that is not UTF-8, which could reach no payload and no state, and
    where there is more of it than Arrow can count.
    """
    import pyarrow as pa

    try:
        batch.validate(full=True)
    except pa.ArrowInvalid as error:
        raise unreadable(error) from None
    reasons: list[pa.Array] = []
    for index, field in enumerate(batch.schema):
        found = _unusable(field.name, batch.column(index))
        if found is not None:
            values, reason = found
            batch = batch.set_column(index, field, values)
            reasons.append(reason)
    return batch.append_column(pa.field(INVALID, pa.string()), _joined(reasons, batch.num_rows))


def unreadable(error: pa.ArrowInvalid) -> SourceError:
    """What Arrow finds wrong with the texts of a batch, in words for whoever wrote the query."""
    if "UTF8" in str(error):
        return SourceError(
            f"the query gives text that is not valid UTF-8 ({error})",
            hint="Convert the column in the query.",
        )
    if "offset" in str(error).lower():
        return too_much_text()
    return SourceError(f"the query gives text that cannot be read ({error})")


def too_much_text() -> SourceError:
    """The texts of one batch have more bytes than Arrow's 31 bits can count."""
    return SourceError(
        "the query gives texts so long that they cannot be read: rows that follow each other have "
        "more than 2 GiB",
        hint="No identifier or data bag may be so long: leave such rows out in the query.",
    )


def _unusable(name: str, values: pa.Array) -> tuple[pa.Array, pa.Array] | None:
    """`values` without the unusable ones, and a reason for each of those; None where all are fine.

    Looks at a whole column at once, and builds nothing for one that is fine.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_string(values.type):
        unusable = pc.starts_with(values, MARK)
    elif pa.types.is_floating(values.type):
        unusable = pc.invert(pc.is_finite(values))
    elif name == EXPIRATION:
        unusable = pc.equal(values, UNREADABLE_MS)
    else:
        return None
    if not pc.any(unusable, min_count=0).as_py():
        return None
    nothing = pa.scalar(None, values.type)
    if pa.types.is_string(values.type):
        words = pc.utf8_slice_codeunits(values, len(MARK))
    else:
        words = NO_TIME if name == EXPIRATION else NOT_FINITE
    reason = pc.binary_join_element_wise(f"`{name}`", words, " ")
    return (
        pc.if_else(unusable, nothing, values),
        pc.if_else(unusable, reason, pa.scalar(None, pa.string())),
    )


def _joined(reasons: list[pa.Array], rows: int) -> pa.Array:
    import pyarrow as pa
    import pyarrow.compute as pc

    joined = pa.nulls(rows, pa.string())
    for reason in reasons:
        both = pc.binary_join_element_wise(joined, reason, "; ")
        joined = pc.coalesce(both, joined, reason)
    return joined
