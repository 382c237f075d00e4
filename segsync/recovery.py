"""A run that an earlier apply left open is ended: asked for, waited for, never sent again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from segsync.destination import Destination, Execution
from segsync.judging import Judging
from segsync.model import MINUTE_MS, Spec
from segsync.planning import PlanOptions, open_engine
from segsync.report import RunReport
from segsync.runs import Applying, close, payload_folder, sending_of, state_targets, sweep
from segsync.sending import Sending, StillRunning, age_minutes, hold_later_steps
from segsync.state import PartRecord, PartStatus, Run, State


def recover(spec: Spec, state: State, options: PlanOptions, applying: Applying) -> RunReport | None:
    """End a run that an earlier apply left open: learn what became of it, never send it again."""
    sweep(state)
    run = state.open_run()
    if run is None:
        return None
    state.check_changes(run)
    started = applying.clock.monotonic()
    applying.progress.say(f"run {run.serial} was not finished: asking what became of it")
    with open_engine(state, options) as engine, payload_folder(state) as folder:
        sending = sending_of(spec, state, run, applying, age_minutes(run, applying.clock.now_ms()))
        judging = Judging(state, engine, applying.destination, folder, state_targets(state))
        found = _found(run, sending, applying)
        parts = hold_later_steps(_recovered_part(part, found, judging) for part in run.parts)
        report = close(state, engine, run, judging, parts, sending, None)
    return replace(report, seconds=applying.clock.monotonic() - started)


@dataclass(frozen=True, slots=True)
class _Found:
    """The executions of each part that was sent.

    `behind`: the platform has more of them than the journal, which is an old copy then, such as a
    backup that was made while an apply ran; or may have, where it could not be asked. What the
    journal thinks unsent may have been sent. `hidden`: of these parts there may be one that does
    not show yet. Nothing is sent before what was sent before it has shown and ended.
    """

    of_part: Mapping[int, list[Execution]]
    behind: bool = False
    hidden: frozenset[int] = frozenset()


def _found(run: Run, sending: Sending, applying: Applying) -> _Found:
    """Ask for the run's executions.

    One that the journal does not know is of the part whose upload was under way; where another part
    was sent before, it may be of that one too, and proves nothing.
    """
    if applying.assume_finished:
        return _Found({}, behind=True)
    import_id = run.import_id or _import_named(run.reference, applying.destination)
    if import_id is None:
        return _Found({})
    if run.import_id is None:
        sending.state.note_import(run.serial, import_id)
    sent = [part for part in run.parts if part.status in (PartStatus.SENDING, PartStatus.SENT)]
    waiting = [part.number for part in run.parts if part.status is PartStatus.WAITING]
    found = _wait(run, import_id, sending)
    if found is None:
        return _Found({}, behind=True, hidden=frozenset(waiting))
    behind = bool(waiting) and len(found) > len(sent)
    hidden = frozenset(waiting if behind else waiting[:1])
    if len(sent) == 1 and not behind:
        return _Found({sent[0].number: found}, hidden=hidden)
    recorded = {part.execution_id: part.number for part in sent if part.execution_id}
    known = [item for item in found if item.id in recorded]
    return _Found({recorded[item.id]: [item] for item in known}, behind, hidden)


def _import_named(reference: str, destination: Destination) -> str | None:
    """The import of a run whose journal does not have its id; the name is the run's alone."""
    found = [item.id for item in destination.find_imports(reference) if item.name == reference]
    return min(found, key=lambda text: (len(text), text), default=None)


def _wait(run: Run, import_id: str, sending: Sending) -> list[Execution] | None:
    """All executions of the run's import, ended; an upload may take a while to show.

    None where that cannot be learnt, and the run is so old that it is taken as ended.
    """
    recorded = frozenset(part.execution_id for part in run.parts if part.execution_id)
    missing = any(part.status is PartStatus.SENDING for part in run.parts)
    sending.check_reach(import_id)
    try:
        if missing:
            sending.look_for(import_id, recorded)
        return sending.wait(import_id, frozenset(), recorded)
    except StillRunning as error:
        if sending.age_minutes >= sending.max_age_minutes:
            sending.problems.append(f"{error}; it is taken as ended, being so old")
            return None
        raise StillRunning(
            error.message,
            hint="run `segsync apply` again later; if you know that nothing of that run is still "
            "at work on the platform, `segsync apply --assume-finished` goes on",
        ) from None


def _recovered_part(part: PartRecord, found: _Found, judging: Judging) -> PartRecord:
    if part.status is PartStatus.WAITING:
        status = PartStatus.UNKNOWN if found.behind else PartStatus.UNSENT
        is_watched = part.is_watched or part.number in found.hidden
        return replace(part, status=status, is_watched=is_watched)
    executions = found.of_part.get(part.number, [])
    # How often it was sent is not known: another execution than those that were found may come, and
    # one that was not seen to end may act.
    is_watched = part.is_watched or part.status is PartStatus.SENDING or not executions
    return judging(replace(part, is_watched=is_watched), executions)


def look_for_late_executions(spec: Spec, state: State, applying: Applying) -> int:
    """Let be said once more what an upload said that was given up, if it was executed after all;
    returns how many members that are.
    """
    again = 0
    for run in state.watched_runs():
        sending = sending_of(spec, state, run, applying, age_minutes(run, applying.clock.now_ms()))
        found: list[Execution] | None = []
        if run.import_id is not None and not applying.assume_finished:
            found = _wait(run, run.import_id, sending)
        if found and len(found) > run.executions:
            count = state.say_again(run, len(found))
            again += count
            applying.progress.say(
                f"an upload of run {run.serial} that had been given up was executed late: "
                f"its {count:,} members are said once more"
            )
        if sending.unfinished:
            applying.progress.say(
                f"execution {sending.unfinished} of run {run.serial}, which was given up, has not "
                "ended: what it does is said once more when it has"
            )
        elif applying.assume_finished or _is_over(run, sending):
            state.end_watch(run)
    return again


def _is_over(run: Run, sending: Sending) -> bool:
    """Whether every upload of a closed run was so long ago that nothing of it can come any more:
    the last one may have left shortly before its end.
    """
    ended_ms = run.closed_at_ms or run.submitted_at_ms
    return sending.clock.now_ms() - ended_ms >= MINUTE_MS * sending.max_age_minutes
