"""Sources made from a seed, in random order; run as a child: see main."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import duckdb

ODD = 2_654_435_761
"""Multiplying by an odd number modulo 2^32 scatters the ids, each of them once."""
BATCH_ROWS = 100_000


def member_sql(first: int, size: int, seed: int, segments: int) -> str:
    """Members number `first` and so on: id, total, and one of so many segments."""
    return (
        f"SELECT 'c' || lpad((i * {ODD} % 4294967296)::VARCHAR, 10, '0') AS id, "
        f"(i * 7919 % 1000)::BIGINT AS total, (i % {segments})::BIGINT AS segment "
        f"FROM range({first}, {first + size}) t(i) ORDER BY hash(i + {seed})"
    )


def make_sqlite(path: Path, first: int, size: int, seed: int, segments: int) -> None:
    """A table `customers` in a new SQLite file, of one segment or with a column `segment`."""
    import adbc_driver_sqlite.dbapi as sqlite

    draft = path.with_suffix(".new")
    draft.unlink(missing_ok=True)
    columns = ["id TEXT", "total INTEGER"] + ["segment INTEGER"] * (segments > 1)
    with sqlite.connect(f"file:{draft}") as connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE TABLE customers ({', '.join(columns)})")
        cursor.adbc_ingest("customers", rows(first, size, seed, segments), mode="append")
        if segments > 1:
            cursor.execute("CREATE INDEX customers_of ON customers (segment)")
        connection.commit()
    draft.rename(path)


def make_postgresql(url: str, first: int, size: int, seed: int) -> None:
    """A table `segsync_benchmark` in a database, in place of one that is there."""
    import adbc_driver_postgresql.dbapi as postgresql

    with postgresql.connect(url) as connection, connection.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS segsync_benchmark")
        cursor.execute("CREATE TABLE segsync_benchmark (id TEXT, total BIGINT)")
        cursor.adbc_ingest("segsync_benchmark", rows(first, size, seed, 1), mode="append")
        connection.commit()


def rows(first: int, size: int, seed: int, segments: int) -> Any:
    """The members as Arrow batches."""
    names = "id, total, segment" if segments > 1 else "id, total"
    database = duckdb.connect(config={"memory_limit": "2GB"})
    sql = f"SELECT {names} FROM ({member_sql(first, size, seed, segments)})"
    return database.execute(sql).to_arrow_reader(BATCH_ROWS)


def main(kind: str, first: str, size: str, seed: str, segments: str, where: str) -> None:
    """Make one source: `kind` sqlite or postgresql, at a path or URL."""
    place = (int(first), int(size), int(seed))
    if kind == "postgresql":
        make_postgresql(where, *place)
    else:
        make_sqlite(Path(where), *place, int(segments))


if __name__ == "__main__":
    main(*sys.argv[1:])
