"""A segment's snapshot on its way into the join: read ahead in a thread, never kept as a whole."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING

from segsync.engine.facts import SnapshotFacts
from segsync.engine.session import Cursor, EngineError
from segsync.errors import SegsyncError

if TYPE_CHECKING:
    import pyarrow

Key = tuple[int, str]
"""Keyspace and identifier of a member."""

Members = Callable[[Key | None], AbstractContextManager[Iterator["pyarrow.RecordBatch"]]]
"""Opens the confirmed members of a segment behind a key, batches in the order of keys: identifier,
fingerprint, expires_at, and keyspace where they have several."""

AHEAD_BYTES = 128_000_000
"""What may wait in memory for the join, of all snapshots together."""
LOOKED_AT_TOGETHER = 256_000
"""Members: a query over each batch alone costs more in planning than in looking."""
PATIENCE_S = 1.0
"""How long a full room is waited for with the state open, which keeps others from committing."""


def digest_sql(keyspace: str, identifier: str, fingerprint: str, expires_at: str) -> str:
    """32 bits of the engine's own hash: additive over rows, for finding damage, not to compare."""
    return (
        f"(hash({keyspace}::BIGINT, {identifier}, {fingerprint}::BIGINT, {expires_at}::BIGINT) "
        "& 4294967295)::BIGINT"
    )


def members_sql(keyspace: int | None) -> str:
    """The columns of a batch of members, which is called `members`."""
    return (
        f"SELECT ({keyspace or 'keyspace'})::BIGINT AS keyspace, "
        "identifier::VARCHAR AS identifier, fingerprint::BIGINT AS fingerprint, "
        "expires_at::BIGINT AS expires_at FROM members"
    )


NO_MEMBERS = (
    "SELECT 0::BIGINT AS keyspace, '' AS identifier, 0::BIGINT AS fingerprint, "
    "0::BIGINT AS expires_at WHERE false"
)


class Room:
    """Bytes that may be held, shared by several holders; each may always hold one batch."""

    def __init__(self, size: int = AHEAD_BYTES) -> None:
        self.changed = threading.Condition()
        self._left = size

    def has(self, size: int) -> bool:
        """Whether there is so much left. Under the lock of `changed`."""
        return size <= self._left

    def take(self, size: int) -> None:
        """Use it. Under the lock of `changed`."""
        self._left -= size

    def give(self, size: int) -> None:
        """Give it back. Under the lock of `changed`."""
        self._left += size
        self.changed.notify_all()


class Snapshot:
    """Reads a segment's members from the moment it is made; the join takes them batch by batch.

    `keyspace` is that of all members, where they do not bring their own. Close it in any case.
    """

    def __init__(
        self, cursor: Callable[[], Cursor], members: Members, keyspace: int | None, now_ms: int,
        room: Room,
    ) -> None:  # fmt: skip
        self.keyspace = keyspace
        self._cursor = cursor
        self._members = members
        digest = digest_sql("keyspace", "identifier", "fingerprint", "expires_at")
        self._facts_sql = (
            f"SELECT sum({digest})::BIGINT, "
            f"count(*) FILTER (WHERE expires_at = 0 OR expires_at > {now_ms}), count(*) "
            f"FROM ({members_sql(keyspace)})"
        )
        self._room = room
        self._start()

    def _start(self) -> None:
        self._facts = SnapshotFacts()
        self._waiting: deque[pyarrow.RecordBatch] = deque()
        self._rest: pyarrow.RecordBatch | None = None
        self._failure: Exception | None = None
        self._finished = self._closed = False
        self._last: pyarrow.RecordBatch | None = None
        self._next_bytes = 0
        self._thread = threading.Thread(target=self._run, name="snapshot", daemon=True)
        self._thread.start()

    @property
    def facts(self) -> SnapshotFacts:
        """What was read; after the stream's end."""
        assert self._finished
        return self._facts

    @contextmanager
    def stream(self, until: str | None = None) -> Iterator[pyarrow.RecordBatchReader]:
        """The members up to this identifier, then the others; or all that are left.

        After the last one they are read from the state once more. Up to an identifier only where
        `keyspace` says that all members are in one, whose batches are in the order of identifiers.
        """
        import pyarrow

        if self._closed:
            self._start()
        done = False
        try:
            batches = self._batches(until)
            yield pyarrow.RecordBatchReader.from_batches(_schema(self.keyspace), batches)
            done = until is None
        except BaseException as error:
            done = True
            if isinstance(error, EngineError):
                self._raise_failure()
            raise
        finally:
            if done:
                self.close()

    def drain(self) -> SnapshotFacts:
        """Read to the end, for the facts alone."""
        with self.stream() as reader:
            for _ in reader:
                pass
            self._raise_failure()
        return self.facts

    def close(self) -> None:
        """Stop reading."""
        with self._room.changed:
            self._closed = True
            while self._waiting:
                self._room.give(self._waiting.popleft().nbytes)
            self._room.changed.notify_all()
        self._thread.join()

    def _raise_failure(self) -> None:
        if isinstance(self._failure, SegsyncError):
            raise self._failure
        if self._failure:
            raise EngineError(f"the members could not be read: {self._failure}") from None

    def _batches(self, until: str | None) -> Iterator[pyarrow.RecordBatch]:
        while batch := self._rest or self._take():
            wanted, self._rest = (batch, None) if until is None else _parted(batch, until)
            yield wanted
            if self._rest:
                return

    def _take(self) -> pyarrow.RecordBatch | None:
        with self._room.changed:
            self._room.changed.wait_for(lambda: self._waiting or self._finished or self._failure)
            if not self._waiting:
                self._raise_failure()
                return None
            batch = self._waiting.popleft()
            self._room.give(batch.nbytes)
            return batch

    def _run(self) -> None:
        try:
            with self._cursor() as cursor:
                behind: Key | None = None
                while not self._read(cursor, behind):
                    behind = self._last_key()
                    if not self._wait_for_room(None):
                        return
            self._end(None)
        except Exception as error:
            self._end(error)

    def _read(self, cursor: Cursor, behind: Key | None) -> bool:
        """Read on; whether to the end. The state is let go where nobody takes what was read."""
        with self._members(behind) as batches:
            seen: list[pyarrow.RecordBatch] = []
            rows = 0
            for batch in batches:
                if not batch.num_rows:
                    continue
                self._put(batch)
                seen.append(batch)
                rows += batch.num_rows
                if rows >= LOOKED_AT_TOGETHER:
                    self._look(cursor, seen)
                    rows = 0
                if not self._wait_for_room(PATIENCE_S):
                    self._look(cursor, seen)
                    return False
            self._look(cursor, seen)
        return True

    def _last_key(self) -> Key | None:
        """Behind which nothing was read yet."""
        import pyarrow.compute as compute

        if self._last is None:
            return None
        names = self._last.column("identifier")
        if self.keyspace:
            return self.keyspace, compute.max(names).as_py()
        keyspaces = self._last.column("keyspace")
        last = compute.max(keyspaces)
        return last.as_py(), compute.max(names.filter(compute.equal(keyspaces, last))).as_py()

    def _end(self, failure: Exception | None) -> None:
        with self._room.changed:
            self._finished, self._failure = failure is None, failure
            self._room.changed.notify_all()

    def _put(self, batch: pyarrow.RecordBatch) -> None:
        with self._room.changed:
            if self._closed:
                return
            self._last = batch
            self._next_bytes = batch.nbytes
            self._room.take(batch.nbytes)
            self._waiting.append(batch)
            self._room.changed.notify_all()

    def _wait_for_room(self, seconds: float | None) -> bool:
        """Whether there is room for a batch like the last one, and somebody who wants it."""
        with self._room.changed:
            found = self._room.changed.wait_for(
                lambda: self._closed or not self._waiting or self._room.has(self._next_bytes),
                seconds,
            )
            return found and not self._closed

    def _look(self, cursor: Cursor, batches: list[pyarrow.RecordBatch]) -> None:
        """Add these to the facts, and forget them."""
        import pyarrow

        if not batches:
            return
        reader = pyarrow.RecordBatchReader.from_batches(batches[0].schema, batches)
        with cursor.reading("members", reader):
            self._facts += SnapshotFacts(*map(int, cursor.row(self._facts_sql)))
        batches.clear()


def _schema(keyspace: int | None) -> pyarrow.Schema:
    import pyarrow

    names = ("identifier", "fingerprint", "expires_at")
    types = {name: pyarrow.int64() for name in names} | {"identifier": pyarrow.string()}
    return pyarrow.schema(types if keyspace else {"keyspace": pyarrow.int64(), **types})


def _parted(
    batch: pyarrow.RecordBatch, until: str
) -> tuple[pyarrow.RecordBatch, pyarrow.RecordBatch | None]:
    """Those of a batch that do not come after this identifier, and the others if there are any."""
    import pyarrow.compute as compute

    before = compute.less_equal(batch.column("identifier"), until)
    rest = batch.filter(compute.invert(before))
    return (batch.filter(before), rest) if rest.num_rows else (batch, None)
