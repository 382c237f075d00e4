"""Sources: databases that are only read. A query goes in, Arrow record batches come out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from segsync.secret import Secret
from segsync.source.columns import check_columns
from segsync.source.lane import Column
from segsync.source.messages import Translator
from segsync.source.reading import QueryResult, Source
from segsync.source.values import INVALID

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
) -> Source:
    """Open the source `name` at the SQLAlchemy URL `url`, read-only and in one snapshot.

    `lane` is "dbapi" to read through SQLAlchemy's driver where ADBC could. Up to `parallelism`
    queries run at once, where the database can. Relative file paths begin at `folder`.
    Raises SourceError.
    """
    from segsync.source.sqlite import SqliteLane, read_only_uri

    translator = Translator(name, [url.reveal()])
    return Source(name, SqliteLane(read_only_uri(url.reveal(), folder), parallelism), translator)
