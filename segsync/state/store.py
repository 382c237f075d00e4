"""What is written into the state: the journal of a run, its outcome, and little else."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from segsync.state.closing import Closing, Outcome, close_run
from segsync.state.journal import Journal, write_journal
from segsync.state.reading import StateReader, moment_of, read_identity
from segsync.state.records import PartStatus, Run
from segsync.state.seal import stage_changes, write_seals
from segsync.state.watching import end_watch, say_again

if TYPE_CHECKING:
    import pyarrow


class State(StateReader):
    """What the platform last confirmed, and the run whose outcome is not known yet: one file.

    Every public method that writes is one transaction.
    """

    def stage_changes(self, changes: pyarrow.RecordBatchReader) -> str:
        """Write the changes of a run that is about to begin; without the run they mean nothing.

        They have the columns of the table of that name, in the order of its lines. Returns their
        checksum.
        """
        return stage_changes(self._database, changes)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._database.transaction():
            yield
            write_seals(self._database, backlog=False)

    def begin_run(self, journal: Journal) -> None:
        """Make a run and its staged changes durable. Then, and only then, bytes may be sent."""
        with self._writing():
            write_journal(self._database, journal)
        self._moment = moment_of(self._database)

    def note_import(self, serial: int, import_id: str) -> None:
        """Remember the run's document import; nothing is uploaded before."""
        with self._writing():
            self._database.execute(
                "UPDATE runs SET import_id = ? WHERE serial = ?", (import_id, serial)
            )

    def note_part(
        self, serial: int, number: int, status: PartStatus, execution_id: str | None = None
    ) -> None:
        """Remember how far a part has come."""
        with self._writing():
            self._database.execute(
                "UPDATE parts SET status = ?, execution_id = coalesce(?, execution_id) "
                "WHERE run = ? AND number = ?",
                (status.value, execution_id, serial, number),
            )

    def note_repeats(self, serial: int, number: int) -> None:
        """Remember that this part and those behind it may get the execution of an upload that
        seemed lost, before anything is uploaded again.
        """
        with self._writing():
            self._database.execute(
                "UPDATE parts SET is_watched = 1 WHERE run = ? AND number >= ?", (serial, number)
            )

    def close_run(self, closing: Closing) -> Outcome:
        """Carry a run's outcome into the snapshot, and end the run, in one transaction."""
        outcome = close_run(self._database, closing)
        self._moment = moment_of(self._database)
        self.identity = read_identity(self._database)
        return outcome

    def say_again(self, run: Run, executions: int) -> int:
        """Make what is watched of a run pending, as it has so many executions now."""
        return say_again(self._database, run, executions)

    def end_watch(self, run: Run) -> None:
        """Nothing of this run can come any more."""
        end_watch(self._database, run)

    def rename_segments(self, names: Mapping[int, str]) -> None:
        """Store the names that the spec has now, by segment number. The serial does not move."""
        with self._writing():
            for number, name in names.items():
                self._database.execute("UPDATE segments SET name = ? WHERE id = ?", (name, number))

    def replace_digests(self, digests: dict[int, int], probe: int) -> None:
        """Store digests made by another version of the engine. The serial does not move."""
        with self._writing():
            for segment, digest in digests.items():
                self._database.execute(
                    "UPDATE segments SET digest = ? WHERE id = ?", (digest, segment)
                )
            self._database.execute("UPDATE identity SET digest_probe = ?", (probe,))
        self.identity = read_identity(self._database)
