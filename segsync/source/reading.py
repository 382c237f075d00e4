"""A source as the rest of segsync sees it: segments go in, Arrow batches come out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from segsync.errors import SourceError
from segsync.model import Segment
from segsync.source.channel import Channel
from segsync.source.lane import STOPPED, Column, Control, Lane
from segsync.source.messages import Translator
from segsync.source.values import check_batch, invalid_column

if TYPE_CHECKING:
    import pyarrow as pa

PATIENCE_S = 0.5
"""How long `close` waits for queries to stop before it leaves their threads behind."""


class Source:
    """One open database. `read` may be called in several threads; the others in any."""

    def __init__(self, name: str, lane: Lane, translator: Translator) -> None:
        self.name = name
        self._lane = lane
        self._translator = translator
        self._changed = threading.Condition()
        self._readings: set[_Reading] = set()
        self._ending: str | None = None
        self._closing = False
        self._closed = False

    @property
    def slots(self) -> int:
        """How many results can be open at once."""
        return self._lane.slots

    def read(self, segment: Segment) -> QueryResult:
        """Run the query of `segment`; returns when its columns are known and accepted.

        Waits while as many queries as the database can run at once are still open. Raises
        SourceError, with the place of the query.
        """
        reading = _Reading(self._lane, segment, self._translator, self._forget)
        with self._changed:
            self._changed.wait_for(lambda: self._ending or len(self._readings) < self._lane.slots)
            if self._ending:
                raise SourceError(self._ending, place=segment.query_place)
            self._readings.add(reading)
        return reading.start()

    def cancel(self) -> None:
        """End every read, running or to come, with an error. Returns at once; a signal handler may
        call it: the work is done in a thread that cannot be waiting for its own caller.
        """
        threading.Thread(target=self._end, args=("the reading was cancelled",), daemon=True).start()

    def close(self) -> None:
        """End what is still running, and give the connections back.

        A query that does not end in time is left to its thread, the last of which closes them.
        """
        self._end(f"the source `{self.name}` is closed")
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._readings, PATIENCE_S)
            self._close_lane_once_idle()

    def _close_lane_once_idle(self) -> None:
        if self._closing and not self._closed and not self._readings:
            self._closed = True
            with contextlib.suppress(Exception):
                self._lane.close()

    def _end(self, reason: str) -> None:
        with self._changed:
            self._ending = self._ending or reason
            readings = list(self._readings)
            self._changed.notify_all()
        for reading in readings:
            reading.stop(reason)

    def _forget(self, reading: _Reading) -> None:
        with self._changed:
            self._readings.discard(reading)
            self._close_lane_once_idle()
            self._changed.notify_all()

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class QueryResult:
    """The rows of one segment's query, and their columns. A context manager."""

    def __init__(self, reading: _Reading, columns: tuple[Column, ...]) -> None:
        self.segment = reading.segment
        self.columns = columns
        self._reading = reading

    def batches(self) -> pa.RecordBatchReader:
        """The rows, streamed; once.

        What is raised while it is read reaches its user in that user's own exception (DuckDB's,
        for one): `raise_for_failure` then tells the reason.
        """
        import pyarrow as pa

        schema = pa.schema([(column.name, column.type) for column in self.columns])
        return pa.RecordBatchReader.from_batches(schema, self._reading.channel.batches())

    def raise_for_failure(self) -> None:
        """Raise the SourceError that ended the reading, where it did not end complete."""
        if self._reading.channel.failure:
            raise self._reading.channel.failure

    def close(self) -> None:
        """Stop the query, if it has not given all its rows yet."""
        self._reading.stop(STOPPED)

    def __enter__(self) -> QueryResult:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Reading:
    """One query at work, in a thread of its own.

    The thread is a daemon and never waited for without a limit: a driver that cannot be
    interrupted must not hold up a user who pressed Ctrl-C.
    """

    def __init__(
        self,
        lane: Lane,
        segment: Segment,
        translator: Translator,
        ended: Callable[[_Reading], None],
    ) -> None:
        self.segment = segment
        self.channel = Channel()
        self._lane = lane
        self._translator = translator
        self._ended = ended
        self._control = Control()
        self._thread = threading.Thread(target=self._run, name=f"read {segment.name}", daemon=True)

    def start(self) -> QueryResult:
        self._thread.start()
        return QueryResult(self, self.channel.columns())

    def stop(self, reason: str) -> None:
        """End the result now; the query ends as soon as its driver lets it."""
        if not self.channel.ended:
            self.channel.fail(SourceError(reason, place=self.segment.query_place))
            threading.Thread(target=self._control.stop, daemon=True).start()

    def _run(self) -> None:
        rows = 0
        try:
            with self._lane.execute(self.segment, self._control) as execution:
                self.channel.open((*execution.columns, invalid_column()))
                for batch in execution.batches:
                    if not self.channel.put(check_batch(batch)):
                        return
                    rows += batch.num_rows
            self.channel.finish()
        except SourceError as error:
            error.place = error.place or self.segment.query_place
            self.channel.fail(error)
        except Exception as error:
            self.channel.fail(self._translator.query_failed(self.segment, error, rows))
        finally:
            self._ended(self)
