"""Rows in portions whose size in memory is bounded, however large a single value is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow

PORTION_BYTES = 8 * 1024 * 1024
"""The engine computes with whole portions of at most 2,048 rows, and holds some ten copies."""


def in_portions(stream: pyarrow.RecordBatchReader) -> pyarrow.RecordBatchReader:
    """The same rows, in batches of at most PORTION_BYTES or of one row."""
    import pyarrow

    portions = (portion for batch in stream for portion in _portions(batch))
    return pyarrow.RecordBatchReader.from_batches(stream.schema, portions)


def _portions(batch: pyarrow.RecordBatch) -> Iterator[pyarrow.RecordBatch]:
    if batch.nbytes <= PORTION_BYTES or batch.num_rows == 1:
        yield batch
        return
    half = batch.num_rows // 2
    yield from _portions(batch.slice(0, half))
    yield from _portions(batch.slice(half))
