"""Sources: databases that are only read. A query goes in, Arrow record batches come out."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Literal

from segsync.errors import SourceError
from segsync.secret import Secret, credentials_cut, secrets_of
from segsync.source.columns import INVALID, check_columns
from segsync.source.lane import Column, Lane
from segsync.source.messages import Translator
from segsync.source.query import LEXES, STANDARD
from segsync.source.reading import QueryResult, Source

__all__ = [
    "INVALID",
    "Column",
    "QueryResult",
    "Source",
    "check_columns",
    "open_source",
]


def open_source(
    name: str,
    url: Secret,
    *,
    lane: Literal["auto", "dbapi"] = "auto",
    parallelism: int = 4,
    folder: Path | None = None,
    place: str | None = None,
) -> Source:
    """Open the source `name` at the SQLAlchemy URL `url`, read-only and in one snapshot.

    `lane` is "dbapi" to read through SQLAlchemy's driver where ADBC could. Up to `parallelism`
    queries run at once, where the database can. Relative file paths begin at `folder`. Errors name
    the `place` of the URL. Raises SourceError.
    """
    lexis = LEXES.get(_backend(url.reveal()), STANDARD)
    server = _server(url.reveal())
    secrets = secrets_of(url.reveal())
    translator = Translator(name, secrets, lexis, server=server, place=place)
    try:
        opened = _open(url.reveal(), lane, parallelism, folder)
    except SourceError as error:
        raise SourceError(f"source `{name}`: {error.message}", hint=error.hint) from None
    except Exception as error:
        raise translator.not_opened(error) from None
    return Source(name, opened, translator)


def _open(url: str, lane: str, parallelism: int, folder: Path | None) -> Lane:
    backend = _backend(url)
    if lane == "auto" and backend == "sqlite":
        from segsync.source.adbc_sqlite import SqliteLane
        from segsync.source.sqlite import read_only_uri

        return SqliteLane(read_only_uri(url, folder), parallelism)
    if lane == "auto" and backend in ("postgresql", "postgres") and _has_adbc_postgresql():
        from segsync.source.adbc_postgresql import PostgresqlLane, libpq_uri

        return PostgresqlLane(libpq_uri(url), parallelism)
    from segsync.source.dbapi import DbapiLane

    return DbapiLane(url, folder)


def _backend(url: str) -> str:
    return url.partition("://")[0].partition("+")[0]


def _server(url: str) -> str | None:
    """The host and port of a database that is not a file."""
    _, behind = credentials_cut(url)
    return behind.partition("/")[0].partition("?")[0] or None


def _has_adbc_postgresql() -> bool:
    return find_spec("adbc_driver_postgresql") is not None
