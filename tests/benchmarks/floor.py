"""The floor: a full join in DuckDB over two ADBC streams, and nothing else."""

from __future__ import annotations

import json
import sys

import adbc_driver_sqlite.dbapi as sqlite
import duckdb

BATCH_ROWS = 65_536
SOURCE = "SELECT id FROM customers"
SNAPSHOT = "SELECT identifier, fingerprint, expires_at FROM members WHERE keyspace = 1"
JOIN = """
SELECT count(*) FILTER (WHERE identifier IS NULL), count(*) FILTER (WHERE id IS NULL),
    count(*) FILTER (WHERE fingerprint < 0 OR expires_at < 0)
FROM source FULL JOIN snapshot ON source.id = snapshot.identifier
"""


def main(source_file: str, state_file: str, memory_limit: str) -> None:
    """Print what is new and what is gone."""
    database = duckdb.connect(config={"memory_limit": memory_limit})
    options = {"adbc.sqlite.query.batch_rows": BATCH_ROWS}
    with (
        sqlite.connect(f"file:{source_file}?mode=ro") as left,
        left.cursor(adbc_stmt_kwargs=options) as source_cursor,
        sqlite.connect(f"file:{state_file}?mode=ro") as right,
        right.cursor(adbc_stmt_kwargs=options) as snapshot_cursor,
    ):
        source_cursor.execute(SOURCE)
        snapshot_cursor.execute(SNAPSHOT)
        database.register("source", source_cursor.fetch_record_batch())
        database.register("snapshot", snapshot_cursor.fetch_record_batch())
        add, remove, _ = database.execute(JOIN).fetchall()[0]
    print(json.dumps({"add": add, "remove": remove}))


if __name__ == "__main__":
    main(*sys.argv[1:])
