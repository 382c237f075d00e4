"""How a result comes through a DBAPI cursor: its columns, and how to make Arrow of each.

SQLite and PostgreSQL cast everything in the query, as for their ADBC drivers; the values of the
others are converted here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from segsync.errors import SourceError
from segsync.model import Segment
from segsync.source import postgresql, sqlite, tagging
from segsync.source.columns import Role, check_columns, refused, role
from segsync.source.dialects import DIALECTS, Dialect
from segsync.source.fragments import Form
from segsync.source.lane import Column, Projection
from segsync.source.postgresql import Described

if TYPE_CHECKING:
    import pyarrow as pa

Converter = Callable[[Sequence[Any]], "pa.Array"]


class Run(Protocol):
    """Executes SQL and gives the cursor, one that streams its rows if asked to."""

    def __call__(self, sql: str, *, stream: bool = False) -> Any: ...


@dataclass(frozen=True, slots=True)
class Shape:
    """A running query: what comes out of its cursor, and a converter for each column of that."""

    cursor: Any
    columns: tuple[Column, ...]
    converters: tuple[Converter, ...]
    rows_to_skip: int = 0


def shape(dialect: Dialect, segment: Segment, run: Run, sql: str, *, plain: bool) -> Shape:
    """Run `sql`, the query of `segment`, and see what it gives. Raises SourceError."""
    if dialect is DIALECTS["sqlite"]:
        names = [entry[0] for entry in _description(run(sqlite.probe(sql)))]
        projection = sqlite.project(segment, sql, names, plain=plain)
        return _cast(run, projection, rows_to_skip=1)
    if dialect is DIALECTS["postgresql"]:
        described = _described(run, _description(run(postgresql.probe(sql))))
        check_columns(segment, [column.name for column in described])
        return _cast(run, postgresql.project(segment, sql, described))
    return _converted(dialect, segment, run(dialect.subquery.format(sql), stream=True))


def _cast(run: Run, projection: Projection, *, rows_to_skip: int = 0) -> Shape:
    import pyarrow as pa

    converters = tuple(partial(pa.array, type=column.type) for column in projection.columns)
    return Shape(run(projection.sql, stream=True), projection.columns, converters, rows_to_skip)


def _converted(dialect: Dialect, segment: Segment, cursor: Any) -> Shape:
    description = _description(cursor)
    check_columns(segment, [entry[0] for entry in description])
    columns = tuple(_column(entry[0]) for entry in description)
    converters = tuple(_converter(dialect, segment, entry) for entry in description)
    return Shape(cursor, columns, converters)


def _column(name: str) -> Column:
    if role(name.lower()) is Role.EXPIRATION:
        return Column.of(name, "int64")
    return Column.of(name, "string", Form.TAGGED)


def _converter(dialect: Dialect, segment: Segment, entry: Sequence[Any]) -> Converter:
    name, type_ = entry[0], entry[1]
    convert = {
        Role.IDENTIFIER: tagging.identifiers,
        Role.TEXT: tagging.texts,
        Role.EXPIRATION: tagging.milliseconds,
        Role.VALUE: tagging.tagged,
    }[role(name.lower())]
    if convert is tagging.tagged and dialect.json(type_):
        convert = tagging.tagged_json
    elif convert is tagging.tagged and dialect.utc(type_):
        convert = tagging.tagged_moments

    def checked(values: Sequence[Any]) -> pa.Array:
        try:
            return convert(values)
        except tagging.UnfitError as unfit:
            raise refused(segment, name, unfit.type, unfit.remedy) from None

    return checked


def _described(run: Run, description: Sequence[Sequence[Any]]) -> list[Described]:
    unknown = {entry[1] for entry in description} - postgresql.TYPE_NAMES.keys()
    names = {**postgresql.TYPE_NAMES, **{number: _looked_up(run, number) for number in unknown}}
    return [Described(entry[0], names[entry[1]], _scale(entry[5])) for entry in description]


def _looked_up(run: Run, number: int) -> str:
    cursor = run(f"SELECT typname FROM pg_catalog.pg_type WHERE oid = {int(number)}")
    return str(cursor.fetchone()[0])


def _scale(scale: int | None) -> int | None:
    # A numeric without a declared scale: psycopg has None, psycopg2 a number that is no scale.
    return scale if scale is not None and scale <= 1000 else None


def _description(cursor: Any) -> Sequence[Sequence[Any]]:
    description: Sequence[Sequence[Any]] | None = cursor.description
    if not description:
        raise SourceError("the query gives no columns")
    return description
