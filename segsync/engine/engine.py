"""The engine's face: asked for things in the words of a plan, it answers with figures and rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from segsync.engine import commands, compare, desired, examples, rejects
from segsync.engine.facts import (
    Asked,
    Difference,
    Example,
    Layout,
    Rows,
    Target,
)
from segsync.engine.keyspaces import Keyspaces
from segsync.engine.normalising import DesiredColumn, Shape
from segsync.engine.session import Session, quoted
from segsync.engine.snapshot import AHEAD_BYTES, Members, Room, Snapshot, digest_sql
from segsync.model import LineRange, Part, Segment

if TYPE_CHECKING:
    import pyarrow


class Engine:
    """Compares members and writes commands; segments are told apart by their number.

    Methods that take a segment's number may run in parallel for different segments, and the loading
    of one segment's desired members beside that of its snapshot. All raise EngineError.
    """

    def __init__(self, keyspaces: Keyspaces, memory_limit: str = "1GB") -> None:
        self._session = Session(memory_limit, beside=AHEAD_BYTES)
        self._shapes: dict[int, Shape] = {}
        self._probe: int | None = None
        self._room = Room()
        self._lock = Lock()
        self.keyspaces = keyspaces

    def __enter__(self) -> Engine:
        return self

    def __exit__(self, *_: object) -> None:
        self._session.close()

    def interrupt(self) -> None:
        """Stop what is running, from any thread."""
        self._session.interrupt()

    def digest_probe(self) -> int:
        """The digest of a fixed value: another one means that digests cannot be compared."""
        if self._probe is None:
            sql = digest_sql("1", "'segsync'", "2", "3")
            with self._session.cursor() as cursor:
                self._probe = int(cursor.row(f"SELECT {sql}")[0])
        return self._probe

    def load_desired(
        self,
        number: int,
        segment: Segment,
        columns: tuple[DesiredColumn, ...],
        stream: pyarrow.RecordBatchReader,
        now_ms: int,
    ) -> Rows:
        """Read a query's result to its end."""
        with self._session.cursor() as cursor:
            rows, shape = desired.load(
                cursor, segment, number, columns, stream, self.keyspaces, now_ms
            )
        with self._lock:
            self._shapes[number] = shape
        return rows

    def open_snapshot(self, members: Members, keyspace: int | None, now_ms: int) -> Snapshot:
        """A segment's confirmed members, which are read from now on; to be closed.

        `keyspace` is that of all members, where they do not bring their own.
        """
        return Snapshot(self._session.cursor, members, keyspace, now_ms, self._room)

    def compare(self, number: int, snapshot: Snapshot | None, asked: Asked) -> Difference:
        """Find the changes of a segment; without desired members all of its snapshot goes."""
        with self._session.cursor() as cursor:
            return compare.compare(cursor, number, self._shapes.get(number), snapshot, asked)

    def release(self, number: int) -> None:
        """Give back what was only needed to find a segment's changes."""
        with self._session.cursor() as cursor:
            cursor.execute(f"DROP TABLE IF EXISTS desired_{number}")

    def examples(self, number: int, limit: int, *, reattempts: bool) -> list[Example]:
        """Up to `limit` members of each kind of change; see `Difference.reattempted`."""
        with self._session.cursor() as cursor:
            return examples.changed(cursor, number, self.keyspaces, limit, reattempts=reattempts)

    def invalid_examples(self, number: int, limit: int) -> list[Example]:
        """The first invalid rows of a segment that has some."""
        with self._session.cursor() as cursor:
            return examples.invalid(cursor, number, limit)

    def conflict_examples(self, number: int, limit: int) -> list[Example]:
        """Some conflicts of a segment that has some."""
        with self._session.cursor() as cursor:
            return examples.conflicts(cursor, number, self.keyspaces, limit)

    def arrange(self, targets: Iterable[Target], layout: Layout) -> tuple[Part, ...]:
        """Put the changes of the targets into the order of sending, and cut them into parts."""
        with self._session.cursor() as cursor:
            self._arranged = commands.arrange(cursor, targets, self.keyspaces, layout)
        return self._arranged.parts

    def ranges(self) -> tuple[LineRange, ...]:
        """Which of the arranged lines belong to which segment."""
        return self._arranged.ranges

    @contextmanager
    def lines(self, part: Part) -> Iterator[pyarrow.RecordBatchReader]:
        """The part's lines as they go over the wire, each with its line end; one text column."""
        with (
            self._session.cursor() as cursor,
            cursor.stream(
                commands.lines_sql(self._arranged.text_sql, part.first, part.last)
            ) as rows,
        ):
            yield rows

    @contextmanager
    def journal(self, submitted_at_ms: int) -> Iterator[pyarrow.RecordBatchReader]:
        """All changes as the state's journal wants them."""
        with (
            self._session.cursor() as cursor,
            cursor.stream(
                commands.journal_sql(self._arranged.minutes_sql, submitted_at_ms)
            ) as rows,
        ):
            yield rows

    def has_row_expiries(self) -> bool:
        """Whether an arranged command carries an expiry of its member's own."""
        with self._session.cursor() as cursor:
            return bool(cursor.rows("SELECT 1 FROM ordered WHERE row_expires > 0 LIMIT 1"))

    def save_commands(self, path: Path) -> None:
        """Write the arranged changes to a Parquet file."""
        with self._session.cursor() as cursor:
            cursor.execute(f"COPY {commands.COMMANDS} TO {quoted(str(path))} (FORMAT parquet)")

    def restore_commands(
        self, path: Path, targets: Iterable[Target], layout: Layout
    ) -> tuple[Part, ...]:
        """The counterpart of `save_commands`: the same commands and parts as were arranged then."""
        with self._session.cursor() as cursor:
            self._arranged = commands.restore(cursor, path, targets, self.keyspaces, layout)
        return self._arranged.parts

    def load_sent(self, changes: pyarrow.RecordBatchReader, targets: Iterable[Target]) -> None:
        """Read the journal of a run, to find its rejects."""
        with self._session.cursor() as cursor:
            places = commands.places_of(targets, self.keyspaces)
            rejects.load_sent(cursor, changes, places)

    def match_rejects(
        self, error_file: Path, part_lines: tuple[int, int], platform_ids: Iterable[str] = ()
    ) -> int:
        """Which lines of a part an error file names; returns how many. See `rejected`.

        `platform_ids` are of executions and the like, which the file may name as well.
        """
        with self._session.cursor() as cursor:
            return rejects.match(cursor, error_file, *part_lines, platform_ids)

    def reject_rest(self, part_lines: tuple[int, int]) -> None:
        """All lines of a part failed: those that its error file does not name as well."""
        with self._session.cursor() as cursor:
            rejects.add_rest(cursor, *part_lines)

    def keep_rejects(self) -> None:
        """Add what `match_rejects` and `reject_rest` found to the run's rejects."""
        with self._session.cursor() as cursor:
            rejects.keep(cursor)

    def count_rejected(self, ends: Iterable[int]) -> dict[tuple[int, int], int]:
        """The kept rejects, counted by their segment's number and the last line of their part.

        `ends` are the last lines of all parts.
        """
        with self._session.cursor() as cursor:
            return rejects.counted(cursor, ends)

    @contextmanager
    def rejected(self) -> Iterator[pyarrow.RecordBatchReader]:
        """The run's rejects that were kept: line, reason."""
        with (
            self._session.cursor() as cursor,
            cursor.stream(rejects.KEPT_SQL) as rows,
        ):
            yield rows
