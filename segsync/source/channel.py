"""Batches from the thread that reads a query to the thread that uses them."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

from segsync.errors import SourceError
from segsync.source.lane import Column

if TYPE_CHECKING:
    import pyarrow as pa

BYTES_AHEAD = 16 * 1024 * 1024
"""How far the reading may run ahead of the use: enough to overlap, little to hold in memory."""


class Channel:
    """A short queue between one reader and one user; either may end it at any time.

    It ends complete (`finish`) or with an error (`fail`), never silently: a user that has seen
    the end of `batches()` has seen every row.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._batches: deque[pa.RecordBatch] = deque()
        self._bytes = 0
        self._columns: tuple[Column, ...] | None = None
        self._finished = False
        self._failure: SourceError | None = None

    @property
    def failure(self) -> SourceError | None:
        """Why the reading ended, where it did not end complete."""
        return self._failure

    @property
    def ended(self) -> bool:
        """Whether nothing more will be put in."""
        return self._finished or self._failure is not None

    def open(self, columns: tuple[Column, ...]) -> None:
        """The reader knows the columns."""
        with self._changed:
            self._columns = columns
            self._changed.notify_all()

    def put(self, batch: pa.RecordBatch) -> bool:
        """Hand over a batch, when there is room; False where nobody wants it any more."""
        with self._changed:
            self._changed.wait_for(lambda: self.ended or self._bytes < BYTES_AHEAD)
            if self.ended:
                return False
            self._batches.append(batch)
            self._bytes += batch.nbytes
            self._changed.notify_all()
            return True

    def finish(self) -> None:
        """The reader has put in every row."""
        with self._changed:
            self._finished = not self._failure
            self._changed.notify_all()

    def fail(self, failure: SourceError) -> None:
        """End it here; the first failure is the one that is told."""
        with self._changed:
            if not self.ended:
                self._failure = failure
                self._batches.clear()
            self._changed.notify_all()

    def columns(self) -> tuple[Column, ...]:
        """Wait for the columns. Raises SourceError where they will never be known."""
        with self._changed:
            self._changed.wait_for(lambda: self._columns is not None or self._failure)
            if self._failure:
                raise self._failure
            assert self._columns is not None
            return self._columns

    def batches(self) -> Iterator[pa.RecordBatch]:
        """Every batch, as it comes. Raises SourceError where the reading fails."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._batches) or self.ended)
                if self._failure:
                    raise self._failure
                if not self._batches:
                    return
                batch = self._batches.popleft()
                self._bytes -= batch.nbytes
                self._changed.notify_all()
            yield batch
