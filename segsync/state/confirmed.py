"""The confirmed members of a segment, streamed from both layers of the snapshot."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segsync.state.database import STRANGE_VALUE, Database, damaged, named

if TYPE_CHECKING:
    import pyarrow

MOST_BYTES = 2**30
"""Arrow counts the bytes of a column's texts in 31 bits, and those of a batch are fewer."""
_COLUMNS = ("identifier", "fingerprint", "expires_at")
_RECENT = (*_COLUMNS, "is_member")
Batches = Generator["pyarrow.RecordBatch", None, None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """The members of a segment, of its `only` keyspace if it has one, behind a key if given."""

    segment: int
    only: int | None
    behind: tuple[int, str] | None

    @property
    def columns(self) -> tuple[str, ...]:
        """The keyspace costs time to read, where there is no other."""
        return _COLUMNS if self.only else ("keyspace", *_COLUMNS)

    @property
    def where(self) -> str:
        """The condition on a layer's rows, without the key that they are behind."""
        if self.only:
            return f"keyspace = {int(self.only)}"
        return f"keyspace IN (SELECT id FROM keyspaces WHERE segment = {int(self.segment)})"


def stream_members(database: Database, wanted: Wanted) -> Batches:
    """Their keyspace unless it is the only one, identifier, fingerprint and expires_at.

    One batch comes after the other in the order of keys; in a batch, what is recent comes first.
    Close it before the database.
    """
    import pyarrow

    try:
        if database.rows(f"SELECT 1 FROM recent WHERE {wanted.where} LIMIT 1"):
            yield from _of_both_layers(database, wanted)
        else:
            yield from _of_the_lower_layer(database, wanted)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, pyarrow.ArrowIndexError):
        raise damaged(database.path, "its members cannot be read") from None


def _schema(names: tuple[str, ...]) -> pyarrow.Schema:
    import pyarrow

    types = {name: pyarrow.int64() for name in names} | {"identifier": pyarrow.string()}
    return pyarrow.schema(types)


def _of_the_lower_layer(database: Database, wanted: Wanted) -> Iterator[pyarrow.RecordBatch]:
    rows, columns = f"members WHERE {wanted.where}", wanted.columns
    if not wanted.behind:
        return _layer(database, columns, rows, ())
    if wanted.only:
        return _layer(database, columns, f"{rows} AND identifier > ?", wanted.behind[1:])
    return _layer(database, columns, f"{rows} AND (keyspace, identifier) > (?, ?)", wanted.behind)


def _of_both_layers(database: Database, wanted: Wanted) -> Iterator[pyarrow.RecordBatch]:
    """One keyspace after the other: within one, identifiers alone tell the order."""
    for keyspace, after in _keyspaces(database, wanted):
        values = () if after is None else (after,)
        rows = f"WHERE keyspace = {keyspace}{' AND identifier > ?' if values else ''}"
        with (
            closing(_layer(database, _COLUMNS, f"members {rows}", values)) as members,
            closing(_layer(database, _RECENT, f"recent {rows}", values)) as recent,
        ):
            for batch in _merged(members, recent):
                yield batch if wanted.only else _in_keyspace(batch, keyspace)


def _in_keyspace(batch: pyarrow.RecordBatch, keyspace: int) -> pyarrow.RecordBatch:
    import pyarrow

    number = pyarrow.scalar(keyspace, pyarrow.int64())
    return batch.add_column(0, "keyspace", pyarrow.repeat(number, batch.num_rows))


def _keyspaces(database: Database, wanted: Wanted) -> list[tuple[int, str | None]]:
    """Those that are to be read, and behind which identifier."""
    first, identifier = wanted.behind or (0, None)
    numbers = [wanted.only] if wanted.only else _numbers(database, wanted.segment)
    return [(n, identifier if n == first else None) for n in numbers if n >= first]


def _numbers(database: Database, segment: int) -> list[int]:
    rows = database.rows("SELECT id FROM keyspaces WHERE segment = ? ORDER BY id", (segment,))
    return [int(row[0]) for row in rows]


def _layer(
    database: Database, names: tuple[str, ...], rows: str, values: tuple[int | str, ...]
) -> Batches:
    """The driver takes a column's type from the first rows; a table without rows has none."""
    schema = _schema(names)
    order = ", ".join(name for name in names if name in ("keyspace", "identifier"))
    with database.stream(f"SELECT {named(*names)} FROM {rows} ORDER BY {order}", values) as stream:
        for batch in database.batches(stream):
            if any(column.null_count for column in batch.columns):
                raise damaged(database.path, STRANGE_VALUE)
            if batch.num_rows:
                yield batch.cast(schema)


def _merged(
    members: Iterator[pyarrow.RecordBatch], recent: Iterator[pyarrow.RecordBatch]
) -> Iterator[pyarrow.RecordBatch]:
    """Up to one identifier after the other: of each layer no more than a batch at a time."""
    import pyarrow.compute as compute

    old, new = next(members, None), next(recent, None)
    while old is not None and new is not None:
        ends = [_fitting(batch).column("identifier")[-1] for batch in (old, new)]
        last = compute.min_element_wise(*ends)
        old_rows, new_rows = _rows_up_to(old, last), _rows_up_to(new, last)
        yield _overridden(old.slice(0, old_rows), new.slice(0, new_rows))
        old = old.slice(old_rows) if old_rows < old.num_rows else next(members, None)
        new = new.slice(new_rows) if new_rows < new.num_rows else next(recent, None)
    while old is not None:
        yield old
        old = next(members, None)
    while new is not None:
        yield _members_of(new)
        new = next(recent, None)


def _fitting(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """As much of a batch as has room in one column beside that of another one."""
    return batch if batch.nbytes <= MOST_BYTES else batch.slice(0, batch.num_rows // 2 or 1)


def _rows_up_to(batch: pyarrow.RecordBatch, last: pyarrow.Scalar) -> int:
    import pyarrow.compute as compute

    return int(compute.search_sorted(batch.column("identifier"), last, side="right").as_py())


def _members_of(recent: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    return recent.filter(recent.column("is_member").cast("bool")).select(_COLUMNS)


def _overridden(members: pyarrow.RecordBatch, recent: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """The recent members, and those of the other ones that are left beside them."""
    import pyarrow
    import pyarrow.compute as compute

    if not recent.num_rows or not members.num_rows:
        return _members_of(recent) if recent.num_rows else members
    names, recent_names = members.column("identifier"), recent.column("identifier")
    places = compute.search_sorted(names, recent_names).cast(pyarrow.int64())
    inside = compute.min_element_wise(places, len(names) - 1)
    gone = inside.filter(compute.equal(names.take(inside), recent_names))
    is_left = compute.is_null(compute.scatter(gone, gone, max_index=len(names) - 1))
    return pyarrow.concat_batches([_members_of(recent), members.filter(is_left)])
