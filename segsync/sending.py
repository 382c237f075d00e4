"""A journalled run is carried out: uploaded part by part, waited for, and judged.

The laws: nothing is uploaded before the import's id is durable; a part's upload is noted before its
first byte; never two executions in flight; an upload is repeated only when the import shows, for
`grace_seconds`, that the one before did not arrive.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from segsync.destination import Destination, Execution, ExecutionState
from segsync.errors import DestinationError, NotSent, OutcomeUnknown, ProtocolError, Refused
from segsync.model import MINUTE_MS, Clock
from segsync.payload import PayloadFile
from segsync.progress import Progress
from segsync.state import PartRecord, PartStatus, Run, State


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds. `patience` is how long the platform may be out of reach while we wait for it."""

    first_poll: float = 0.2
    longest_poll: float = 10.0
    grace: float = 30.0
    patience: float = 900.0
    settling: float = 30.0
    upload_attempts: int = 3


class StillRunning(OutcomeUnknown):
    """The run must stay open: an execution may still act. Running apply again goes on from here."""


@dataclass
class Sending:
    """One run on its way. `judge` finds the rejects of a finished part (see judging.py).

    `age_minutes` is how long ago an earlier apply began it; 0 for one that begins now.
    """

    state: State
    destination: Destination
    clock: Clock
    timing: Timing
    progress: Progress
    run: Run
    max_age_minutes: int
    age_minutes: int
    problems: list[str] = field(default_factory=list)
    unfinished: str | None = None
    """An execution that did not end while it was waited for."""
    _repeated: bool = False
    """Whether an upload was sent again that may have arrived: its execution may still show."""

    def send(self, files: Iterable[PayloadFile], judge: Judge) -> tuple[PartRecord, ...]:
        """Upload every part in turn; after one that failed the others are not sent.

        Raises StillRunning where the outcome of an upload cannot be learnt now.
        """
        import_id = self._create_import()
        decided: list[PartRecord] = []
        stopped = import_id is None
        for file, part in zip(files, self.run.parts, strict=True):
            if stopped or import_id is None:
                decided.append(replace(part, status=PartStatus.UNSENT))
                continue
            decided.append(self._send_part(import_id, file, part, judge))
            stopped = decided[-1].status in (PartStatus.UNSENT, PartStatus.UNKNOWN)
        return hold_later_steps(decided)

    def _create_import(self) -> str | None:
        try:
            created = self.destination.create_import(self.run.reference)
        except DestinationError as error:
            self._problem(error)
            return None
        self.state.note_import(self.run.serial, created.id)
        return created.id

    def _problem(self, error: DestinationError) -> None:
        self.problems.append(self._said(error) + (f" ({error.hint})" if error.hint else ""))

    def _said(self, error: DestinationError) -> str:
        """What happened, without the members that the platform's own words may name."""
        return error.told(self.state.hide_members)

    def _send_part(
        self, import_id: str, file: PayloadFile, part: PartRecord, judge: Judge
    ) -> PartRecord:
        known = frozenset[str]()
        if part.number > 1:
            before = self.wait(import_id, frozenset(), frozenset())
            known = frozenset(item.id for item in before)
        ambiguous = self._repeated
        self.state.note_part(self.run.serial, part.number, PartStatus.SENDING)
        try:
            arrived, answered = self._upload(import_id, file, known)
        except (NotSent, Refused) as error:
            self._problem(error)
            return replace(part, status=PartStatus.UNSENT)
        for execution in arrived:
            self.state.note_part(
                self.run.serial, part.number, PartStatus.SENT, execution_id=execution.id
            )
        part = replace(part, is_watched=self._repeated)
        ids = frozenset(item.id for item in arrived)
        finished = self.wait(import_id, known, ids)
        if ambiguous and not answered:
            self.problems.append(
                f"part {part.number}: its execution may be that of an earlier part"
            )
            return replace(part, status=PartStatus.UNKNOWN)
        return judge(part, [item for item in finished if item.id in ids])

    def _upload(
        self, import_id: str, file: PayloadFile, known: frozenset[str]
    ) -> tuple[list[Execution], bool]:
        """The part's executions, and whether the platform's answer named them.

        More than one where an upload seemed lost and was not. Raises NotSent or Refused only where
        no attempt can have arrived.
        """
        doubt = ""
        for attempt in range(1, self.timing.upload_attempts + 1):
            self.progress.uploading(file.part.number, len(self.run.parts), file.part.size)
            try:
                return [self.destination.upload(import_id, file.path)], True
            except (NotSent, Refused) as error:
                if isinstance(error, NotSent) and attempt < self.timing.upload_attempts:
                    self._pause(attempt, self._said(error))
                    continue
                if doubt:
                    break
                raise
            except (OutcomeUnknown, ProtocolError) as error:
                doubt = self._said(error)
                self.progress.say(f"{doubt}; looking whether it arrived")
                if arrived := self.look_for(import_id, known):
                    return arrived, False
                self._repeated = True
                self.state.note_repeats(self.run.serial, file.part.number)
        raise StillRunning(
            f"part {file.part.number} was sent, and whether it arrived is unknown: {doubt}",
            hint="run `segsync apply` again: it looks once more, and sends again what is in doubt",
        )

    def _pause(self, attempt: int, why: str) -> None:
        seconds = min(0.5 * 2**attempt, 30.0)
        self.progress.say(f"{why}; trying again in {seconds:.0f} s")
        self.clock.sleep(seconds)

    def look_for(self, import_id: str, known: frozenset[str]) -> list[Execution]:
        """Executions that the import has and we did not know of; waits for `grace` seconds."""
        deadline = self.clock.monotonic() + self.timing.grace
        pause = self.timing.first_poll
        while True:
            found = [item for item in self._list(import_id) if item.id not in known]
            if found or self.clock.monotonic() >= deadline:
                return found
            if pause == self.timing.first_poll:
                self.progress.say(
                    f"import {import_id} does not show it yet: looking for "
                    f"{self.timing.grace:.0f} s whether it arrived"
                )
            self.clock.sleep(pause)
            pause = min(2 * pause, self.timing.longest_poll)

    def _list(self, import_id: str) -> list[Execution]:
        """The import's executions; the platform may be out of reach for a while."""
        deadline = self.clock.monotonic() + self.timing.patience
        pause = self.timing.first_poll
        is_away = False
        while True:
            try:
                return self.destination.list_executions(import_id)
            except DestinationError as error:
                if _is_final(error) or self.clock.monotonic() >= deadline:
                    raise StillRunning(
                        f"the executions of import {import_id} cannot be read: {self._said(error)}",
                        hint="run `segsync apply` again when the platform answers",
                    ) from None
                if not is_away:
                    self.progress.say(
                        f"{self._said(error)}; asking again for {self.timing.patience / 60:.0f} min"
                    )
                is_away = True
            self.clock.sleep(pause)
            pause = min(2 * pause, self.timing.longest_poll)

    def check_reach(self, import_id: str) -> None:
        """Raise StillRunning where the platform is out of reach from the start: nobody waits."""
        try:
            self.destination.list_executions(import_id)
        except NotSent as error:
            raise StillRunning(
                f"what became of an earlier run cannot be asked: {self._said(error)}",
                hint="run `segsync apply` again when the platform answers",
            ) from None
        except DestinationError:
            return  # it answers: whoever asks next judges what

    def wait(
        self, import_id: str, known: frozenset[str], expected: frozenset[str]
    ) -> list[Execution]:
        """Poll until every execution of the import is terminal; returns those not in `known`.

        A finished execution without readable counts is asked for a little longer: they may follow.
        Raises StillRunning where the run is older than `max_age_minutes`, and its executions that
        are at work are, too; and where one of `expected` is not in the list.
        """
        deadline = self.clock.monotonic() + 60 * max(0, self.max_age_minutes - self.age_minutes)
        listed_by = self.clock.monotonic() + self.timing.grace
        settled = self.clock.monotonic() + self.timing.settling
        pause = self.timing.first_poll
        while True:
            executions = [item for item in self._list(import_id) if item.id not in known]
            active = [item for item in executions if item.state is ExecutionState.ACTIVE]
            missing = expected.difference(item.id for item in executions)
            for item in active[:1]:
                self.progress.waiting(item.id, item.status, item.progress)
            if missing and self.clock.monotonic() >= listed_by:
                raise StillRunning(
                    f"execution {min(missing)} of import {import_id} cannot be found",
                    hint="run `segsync apply` again: it looks once more before anything is sent",
                )
            if active or missing:
                settled = self.clock.monotonic() + self.timing.settling
            elif self.clock.monotonic() >= settled or not any(map(_lacks_counts, executions)):
                return executions
            if self.clock.monotonic() >= deadline and not self._has_young(active):
                self.unfinished = active[0].id if active else None
                without_counts = [item.id for item in executions if _lacks_counts(item)]
                [awaited, *_] = [*(item.id for item in active), *sorted(missing), *without_counts]
                raise StillRunning(
                    f"execution {awaited} of import {import_id} has not finished within "
                    f"{self.max_age_minutes} minutes",
                    hint="run `segsync apply` again: it goes on waiting before anything is sent",
                )
            self.clock.sleep(pause)
            pause = min(2 * pause, self.timing.longest_poll)

    def _has_young(self, executions: Iterable[Execution]) -> bool:
        """Whether one was made less than `max_age_minutes` ago: a run of many parts is older."""
        now_ms, most_ms = self.clock.now_ms(), MINUTE_MS * self.max_age_minutes
        made = [item.created_at_ms for item in executions if item.created_at_ms]
        return any(abs(now_ms - moment) < most_ms for moment in made)


Judge = Callable[[PartRecord, list[Execution]], PartRecord]


def _is_final(error: DestinationError) -> bool:
    return isinstance(error, Refused) and error.status < 500 and error.status not in (408, 429)


def hold_later_steps(parts: Iterable[PartRecord]) -> tuple[PartRecord, ...]:
    """Nothing is known to be done, nor given up as if it were, while removals before it are in
    doubt: they will be said again, and may take along a person whom it has added.
    """
    decided: list[PartRecord] = []
    for part in parts:
        doubtful = any(
            earlier.step < part.step and earlier.status is not PartStatus.CONFIRMED
            for earlier in decided
        )
        is_held = doubtful and part.status in (PartStatus.CONFIRMED, PartStatus.UNATTRIBUTED)
        decided.append(replace(part, status=PartStatus.UNKNOWN) if is_held else part)
    return tuple(decided)


def _lacks_counts(execution: Execution) -> bool:
    return execution.state is ExecutionState.SUCCEEDED and execution.total_failure is None


def age_minutes(run: Run, now_ms: int) -> int:
    """For how long a run has been under way."""
    return max(0, now_ms - run.submitted_at_ms) // MINUTE_MS
