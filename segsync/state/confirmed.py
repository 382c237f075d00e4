"""The confirmed members of a segment, streamed: each of its keyspaces from both layers at once."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from segsync.state.database import STRANGE_VALUE, Database, damaged, named

if TYPE_CHECKING:
    import pyarrow

_COLUMNS = ("identifier", "fingerprint", "expires_at")
_RECENT = (*_COLUMNS, "is_member")


@dataclass(frozen=True, slots=True)
class Wanted:
    """The members of a segment, of its `only` keyspace if it has one, behind a key if given."""

    segment: int
    only: int | None
    behind: tuple[int, str] | None


@contextmanager
def stream_members(database: Database, wanted: Wanted) -> Iterator[pyarrow.RecordBatchReader]:
    """Their keyspace unless it is the only one, identifier, fingerprint and expires_at.

    One batch comes after the other in the order of keys; in a batch, what is recent comes first.
    """
    import pyarrow

    names = _COLUMNS if wanted.only else ("keyspace", *_COLUMNS)
    batches = _members(database, wanted)
    try:
        yield pyarrow.RecordBatchReader.from_batches(_schema(names), batches)
    finally:
        batches.close()


def _schema(names: tuple[str, ...]) -> pyarrow.Schema:
    import pyarrow

    types = {name: pyarrow.int64() for name in names} | {"identifier": pyarrow.string()}
    return pyarrow.schema(types)


def _members(database: Database, wanted: Wanted) -> Generator[pyarrow.RecordBatch, None, None]:
    import pyarrow

    for keyspace, after in _keyspaces(database, wanted):
        for batch in _both_layers(database, keyspace, after):
            if wanted.only:
                yield batch
            else:
                number = pyarrow.repeat(pyarrow.scalar(keyspace, pyarrow.int64()), batch.num_rows)
                yield batch.add_column(0, "keyspace", number)


def _keyspaces(database: Database, wanted: Wanted) -> list[tuple[int, str | None]]:
    """Those that are to be read, and behind which identifier."""
    first, identifier = wanted.behind or (0, None)
    numbers = [wanted.only] if wanted.only else _numbers(database, wanted.segment)
    return [(n, identifier if n == first else None) for n in numbers if n >= first]


def _numbers(database: Database, segment: int) -> list[int]:
    rows = database.rows("SELECT id FROM keyspaces WHERE segment = ? ORDER BY id", (segment,))
    return [int(row[0]) for row in rows]


def _both_layers(
    database: Database, keyspace: int, after: str | None
) -> Iterator[pyarrow.RecordBatch]:
    import pyarrow

    values = () if after is None else (after,)
    rest = f"WHERE keyspace = {int(keyspace)}{' AND identifier > ?' if values else ''}"
    sql = "SELECT {} FROM {} {} ORDER BY identifier"
    with (
        database.stream(sql.format(named(*_COLUMNS), "members", rest), values) as members,
        database.stream(sql.format(named(*_RECENT), "recent", rest), values) as recent,
    ):
        try:
            yield from _merged(
                _typed(database, members, _COLUMNS), _typed(database, recent, _RECENT)
            )
        except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, pyarrow.ArrowIndexError):
            raise damaged(database.path, "its members cannot be read") from None


def _typed(
    database: Database, rows: pyarrow.RecordBatchReader, names: tuple[str, ...]
) -> Iterator[pyarrow.RecordBatch]:
    """The driver takes a column's type from the first rows; a table without rows has none."""
    schema = _schema(names)
    for batch in database.batches(rows):
        if any(column.null_count for column in batch.columns):
            raise damaged(database.path, STRANGE_VALUE)
        if batch.num_rows:
            yield batch.cast(schema)


def _merged(
    members: Iterator[pyarrow.RecordBatch], recent: Iterator[pyarrow.RecordBatch]
) -> Iterator[pyarrow.RecordBatch]:
    waiting = next(recent, None)
    for batch in members:
        last, here = batch.column("identifier")[-1], []
        while waiting is not None and (rows := _rows_up_to(waiting, last)):
            here.append(waiting.slice(0, rows))
            waiting = waiting.slice(rows) if rows < waiting.num_rows else next(recent, None)
        yield _overridden(batch, here) if here else batch
    while waiting is not None:
        yield _members_of(waiting)
        waiting = next(recent, None)


def _rows_up_to(batch: pyarrow.RecordBatch, last: pyarrow.Scalar) -> int:
    import pyarrow.compute as compute

    return int(compute.search_sorted(batch.column("identifier"), last, side="right").as_py())


def _members_of(recent: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    return recent.filter(recent.column("is_member").cast("bool")).select(_COLUMNS)


def _overridden(
    batch: pyarrow.RecordBatch, recent: list[pyarrow.RecordBatch]
) -> pyarrow.RecordBatch:
    """What is recent up to a batch's last member, and those of the batch that it leaves."""
    import pyarrow
    import pyarrow.compute as compute

    new = pyarrow.concat_batches(recent)
    names, new_names = batch.column("identifier"), new.column("identifier")
    places = compute.search_sorted(names, new_names).cast(pyarrow.int64())
    gone = places.filter(compute.equal(names.take(places), new_names))
    is_left = compute.is_null(compute.scatter(gone, gone, max_index=batch.num_rows - 1))
    return pyarrow.concat_batches([_members_of(new), batch.filter(is_left)])
