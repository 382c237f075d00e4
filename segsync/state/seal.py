"""Checksums of the tables that have no digest: what a flipped bit has changed is not believed.

The members have their digests, which the engine checks as it reads them. `records` covers what says
whose members these are and what is under way; `backlog` what is pending, watched, was rejected, or
came meanwhile.
The changes of a run have one of their own, made as they are staged.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from segsync.state.database import STRANGE_VALUE, Database, damaged

if TYPE_CHECKING:
    import pyarrow

_RECORDS = {
    "identity": "lineage serial datamart_id api_origin digest_probe",
    "segments": "id field value name digest reasserted_at last_run platform_id",
    "keyspaces": "id segment kind compartment_id",
    "runs WHERE status = 'open'": (
        "serial reference submitted_at import_id spec_sha256 commands changes_seal"
    ),
    "parts WHERE run > (SELECT serial FROM identity)": (
        "run number step first_line last_line bytes sha256 status execution_id is_watched"
    ),
}
_BACKLOG = {
    "pending": "keyspace identifier operation fingerprint failures",
    "watched": "keyspace identifier run",
    "newcomers": "keyspace identifier",
    "rejects": (
        "keyspace identifier operation fingerprint reason attempts first_at last_at next_attempt_at"
    ),
}


def write_seals(database: Database, *, backlog: bool) -> None:
    """Bring the checksums up to date, inside the transaction that changes the tables."""
    database.execute("UPDATE identity SET records_seal = ?", (_records(database),))
    if backlog:
        database.execute("UPDATE identity SET backlog_seal = ?", (_backlog(database),))


def check_seals(database: Database) -> None:
    """Raise StateDamaged unless the tables are as they were written."""
    found = database.rows("SELECT records_seal, backlog_seal FROM identity")
    if found != [(_records(database), _backlog(database))]:
        raise damaged(database.path, "its records are not those that were written")


def _records(database: Database) -> str:
    digest = hashlib.sha256()
    for table, columns in _RECORDS.items():
        row = " || ',' || ".join(f"quote({column})" for column in columns.split())
        for (text,) in database.rows(f"SELECT {row} FROM {table} ORDER BY 1"):
            digest.update(f"{text}\n".encode())
    return digest.hexdigest()


def _backlog(database: Database) -> str:
    return hashlib.sha256(
        b"".join(_hash_table(database, table, columns) for table, columns in _BACKLOG.items())
    ).hexdigest()


class RowsHash:
    """Hashes of each column: it does not matter how the rows are cut into batches."""

    def __init__(self) -> None:
        self._digests: list[hashlib._Hash] = []

    def passing(self, rows: pyarrow.RecordBatchReader) -> pyarrow.RecordBatchReader:
        """The same rows, which are hashed as they are taken."""
        import pyarrow

        return pyarrow.RecordBatchReader.from_batches(rows.schema, self._each(rows))

    def _each(self, rows: pyarrow.RecordBatchReader) -> Iterator[pyarrow.RecordBatch]:
        for batch in rows:
            self.add(batch)
            yield batch

    def add(self, batch: pyarrow.RecordBatch) -> None:
        """The next rows."""
        if not batch.num_rows:
            return
        pieces = [piece for column in batch.columns for piece in _pieces(column)]
        self._digests = self._digests or [hashlib.sha256() for _ in pieces]
        for digest, piece in zip(self._digests, pieces, strict=True):
            digest.update(piece)

    def digest(self) -> bytes:
        """Of all rows so far."""
        return b"".join(digest.digest() for digest in self._digests)


def _hash_table(database: Database, table: str, columns: str) -> bytes:
    import pyarrow

    hashed = RowsHash()
    listed = ", ".join(columns.split())
    sql = f"SELECT {listed} FROM {table} ORDER BY {listed}"
    with database.stream(sql) as rows:
        for batch in database.batches(rows):
            try:
                hashed.add(batch)
            except pyarrow.ArrowInvalid:  # bytes that are no text
                raise damaged(database.path, STRANGE_VALUE) from None
    return hashed.digest()


def stage_changes(database: Database, changes: pyarrow.RecordBatchReader) -> str:
    """Write the changes of a run that is about to begin; returns their checksum."""
    hashed = RowsHash()
    database.execute("DELETE FROM changes")
    database.ingest("changes", hashed.passing(changes))
    return hashlib.sha256(hashed.digest()).hexdigest()


def check_changes(database: Database, seal: str) -> None:
    """Raise StateDamaged unless the changes of the open run are those that were staged."""
    columns = "line keyspace identifier change fingerprint expires_at digest"
    if hashlib.sha256(_hash_table(database, "changes", columns)).hexdigest() != seal:
        raise damaged(database.path, "the changes of the open run are not those that were written")


def _pieces(column: pyarrow.Array) -> Iterator[memoryview]:
    """The bytes of a column's numbers; of texts the lengths, and apart from them the bytes."""
    import pyarrow
    import pyarrow.compute as compute

    if pyarrow.types.is_integer(column.type):
        numbers = column.cast(pyarrow.int64())
        start = numbers.offset * 8
        yield memoryview(numbers.buffers()[1])[start : start + len(numbers) * 8]
        return
    texts = column.cast(pyarrow.large_string())
    yield from _pieces(compute.binary_length(texts))
    _, offsets, data = texts.buffers()
    bounds = memoryview(offsets).cast("q")
    first, last = bounds[texts.offset], bounds[texts.offset + len(texts)]
    yield memoryview(data or b"")[first:last]
