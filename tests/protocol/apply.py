"""One apply of the model: recover, look for late executions, compare, journal, send, close."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tests.protocol.closing import close
from tests.protocol.comparing import difference, forgotten
from tests.protocol.faults import At, Fault, Upload
from tests.protocol.platform import Commands, Execution, Platform
from tests.protocol.records import Laws, Part, Run, State, Status

HIDDEN = (Upload.SHOWS_LATE, Upload.SHOWS_LATE_AND_IS_SENT_AGAIN)
LATE = (Upload.LATE, Upload.ANSWER_LOST_AND_LATE, *HIDDEN)
NOT_ARRIVED = (Upload.LOST, Upload.NOT_SENT)
NEVER_KNOWN = (Upload.LOST, Upload.SHOWS_LATE)


class Ended(Exception):
    """The process is gone, or has given up: the run stays open."""


@dataclass(slots=True)
class Apply:
    """What one apply does to the state and the platform. `now` moves on while it waits."""

    laws: Laws
    platform: Platform
    state: State
    now: int
    desired: tuple[int, ...]
    fault: Fault
    part_for_each: bool
    copied: Callable[[State], None]
    """Told of the state wherever a copy of it differs from what it is in the end."""
    is_doubted: bool = False
    """Whether a removal that acted late took somebody along: one more apply says them again."""

    def carry_out(self) -> None:
        try:
            self._recover()
            self._look_for_late_executions()
            self._reach(At.BEFORE_JOURNAL)
            commands = difference(self.laws, self.state, self.desired, self.now, self.half)
            lapsed = forgotten(self.laws, self.state, self.desired, self.now)
            if commands or lapsed:
                run, parts = self._send(commands)
                self._reach(At.BEFORE_COMMIT)
                self._close(run, parts, lapsed)
        except Ended:
            return

    @property
    def half(self) -> int:
        return self.platform.duration // 2

    def _reach(self, point: At, part: int = 0) -> None:
        if self.fault.killed is point and self.fault.killed_in == part:
            raise Ended

    # ---------------------------------------------------------------- sending

    def _send(self, commands: Commands) -> tuple[Run, list[Part]]:
        """Journal the commands as a run and send its parts; what each part came to."""
        run = Run(self.state.serial + 1, self.now, self._parts(commands))
        if self.laws.journals:
            self.state.run = run
        if not self.laws.confirms_after_the_result:
            done = [part._replace(status=Status.CONFIRMED) for part in run.parts]
            self._close(run, done, set())
        self.copied(self.state)
        self._reach(At.AFTER_JOURNAL)
        self.platform.imports = run.serial
        self._reach(At.AFTER_IMPORT)
        run.has_import = True
        return run, self._send_parts(run)

    def _parts(self, commands: Commands) -> list[Part]:
        removals = tuple(item for item in commands if not item[1])
        additions = tuple(item for item in commands if item[1])
        if self.laws.removes_first and removals and additions:
            return [Part(1, removals), Part(2, additions)]
        if self.part_for_each:
            return [Part(1, (item,)) for item in commands]
        return [Part(1, commands)] if commands else []

    def _send_parts(self, run: Run) -> list[Part]:
        decided: list[Part] = []
        is_stopped = False
        for number in range(len(run.parts)):
            part = run.parts[number]
            if is_stopped:
                decided.append(part._replace(status=Status.UNSENT))
                continue
            run.parts[number] = part._replace(status=Status.SENDING)
            self.copied(self.state)
            decided.append(self._send_part(run, number, part))
            self.copied(self.state)
            self._reach(At.AFTER_PART, number)
            is_stopped = self.laws.stops_at_a_part_in_doubt and decided[-1].status in (
                Status.UNKNOWN,
                Status.UNSENT,
            )
        return decided

    def _send_part(self, run: Run, number: int, part: Part) -> Part:
        upload = self.fault.upload if self.fault.part == number else Upload.DONE
        if upload not in NOT_ARRIVED:
            self._upload(run, number, part, attempt=0, upload=upload)
        self._reach(At.UPLOAD, number)
        if upload in NEVER_KNOWN:
            raise Ended
        if upload is Upload.NOT_SENT:
            return part._replace(status=Status.UNSENT)
        is_repeated = upload is Upload.SHOWS_LATE_AND_IS_SENT_AGAIN
        if upload is Upload.ANSWER_LOST_AND_LATE and not self.laws.looks_before_sending_again:
            is_repeated = True
        if is_repeated:
            self._note_repeats(run, number)
            self._upload(run, number, part, attempt=1, upload=Upload.DONE)
        part = run.parts[number] = run.parts[number]._replace(
            status=Status.SENT, attempt=int(is_repeated)
        )
        self._wait(run)
        return self._judged(part, [self._execution(run, number, part)])

    def _note_repeats(self, run: Run, number: int) -> None:
        """What acts late undoes the parts behind it, too."""
        last = len(run.parts) if self.laws.watches_behind_a_repeat else number + 1
        for behind in range(number, last):
            run.parts[behind] = run.parts[behind]._replace(is_watched=True)

    def _upload(self, run: Run, number: int, part: Part, attempt: int, upload: Upload) -> None:
        refused = self.fault.refused & part.identifiers
        execution = Execution(
            run.serial, number, attempt, part.commands, refused, self.fault.are_named
        )
        shown = execution._replace(is_shown=upload not in HIDDEN)
        self.platform.accept(shown, self.now, is_late=upload in LATE)

    def _execution(self, run: Run, number: int, part: Part) -> Execution:
        """The newest: an old copy that was not refused has given a serial away twice."""
        return [
            item
            for item in self.platform.shown(run.serial)
            if (item.part, item.attempt) == (number, part.attempt)
        ][-1]

    def _wait(self, run: Run) -> None:
        """Wait until all that shows has ended: that takes a tick."""
        if self.laws.waits_for_executions and self.platform.end_shown(self.now + 1, run.serial):
            self.now += 1

    def _judged(self, part: Part, executions: list[Execution]) -> Part:
        part = part._replace(executions=len(executions))
        refused = [item for item in executions if item.refused]
        if not executions:
            return part._replace(status=Status.UNKNOWN)
        if len(refused) < len(executions):
            return part._replace(status=Status.CONFIRMED)
        is_named = refused[0].are_named or not self.laws.believes_only_named_failures
        if len(executions) > 1 or not is_named:
            return part._replace(status=Status.UNKNOWN)
        rejected = refused[0].refused if refused[0].are_named and self.laws.keeps_rejects else ()
        return part._replace(status=Status.CONFIRMED, rejected=frozenset(rejected))

    # ---------------------------------------------------------------- recovering

    def _recover(self) -> None:
        """End a run that an earlier apply left open: ask what became of it, send nothing."""
        run = self.state.run
        if run is None:
            return
        found = self._found(run)
        sent = [part for part in run.parts if part.status in (Status.SENDING, Status.SENT)]
        is_behind = len(sent) < len(run.parts) and len(found) > len(sent)
        is_sure = len(sent) == 1 and not is_behind
        decided: list[Part] = []
        for number, part in enumerate(run.parts):
            if part.status is Status.WAITING:
                is_next = not any(before.status is Status.WAITING for before in run.parts[:number])
                decided.append(self._not_sent(part, is_behind, is_next and self._is_known(run)))
                continue
            own = [item for item in found if (item.part, item.attempt) == (number, part.attempt)]
            if is_sure or not self.laws.judges_each_part:
                own = found
            is_watched = part.is_watched or part.status is Status.SENDING or not own
            decided.append(self._judged(part._replace(is_watched=is_watched), own))
        self._close(run, decided, set())

    def _not_sent(self, part: Part, is_behind: bool, is_next: bool) -> Part:
        """A part that was not sent, as far as the journal knows. An older copy knows less: the next
        one may have been, and not show yet.
        """
        watches = self.laws.watches_what_a_copy_thinks_unsent
        if is_behind and self.laws.doubts_what_a_copy_thinks_unsent:
            return part._replace(status=Status.UNKNOWN, is_watched=watches)
        return part._replace(status=Status.UNSENT, is_watched=is_next and watches)

    def _is_known(self, run: Run) -> bool:
        by_reference = self.laws.finds_runs_by_reference and self.platform.imports >= run.serial
        return run.has_import or by_reference

    def _found(self, run: Run) -> list[Execution]:
        if not self._is_known(run):
            return []
        self._wait(run)
        return self.platform.shown(run.serial)

    def _look_for_late_executions(self) -> None:
        """Say again what an upload said that was given up, and acted after all."""
        state = self.state
        for serial, watch in [*state.watched.items()]:
            if self.laws.waits_for_executions and self.platform.end_shown(self.now + 1, serial):
                self.now += 1
            executions = len(self.platform.shown(serial))
            if executions > watch.executions:
                for identifier in watch.identifiers - state.pending:
                    state.rejects.pop(identifier, None)
                state.pending |= watch.identifiers
                state.watched[serial] = watch._replace(executions=executions)

    def _close(self, run: Run, parts: list[Part], lapsed: set[int]) -> None:
        if close(self.laws, self.state, run, parts, self.now, self.platform.duration, lapsed):
            self.is_doubted = True
