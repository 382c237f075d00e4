"""A run that an earlier apply left open is ended: asked for, waited for, never sent again."""

from __future__ import annotations

from dataclasses import replace

from segsync.destination import Execution
from segsync.judging import Judging
from segsync.model import Spec
from segsync.planning import PlanOptions, open_engine
from segsync.report import RunReport
from segsync.runs import Applying, close, payload_folder, sending_of, state_targets, sweep
from segsync.sending import Sending, StillRunning, age_minutes
from segsync.state import PartRecord, PartStatus, Run, State


def recover(spec: Spec, state: State, applying: Applying) -> RunReport | None:
    """End a run that an earlier apply left open: learn what became of it, never send it again."""
    sweep(state)
    run = state.open_run()
    if run is None:
        return None
    started = applying.clock.monotonic()
    applying.progress.say(f"run {run.serial} was not finished: asking what became of it")
    with open_engine(state, PlanOptions()) as engine, payload_folder(state) as folder:
        sending = sending_of(spec, state, run, applying)
        judging = Judging(state, engine, applying.destination, folder, state_targets(state))
        executions = _executions_of(run, sending, applying)
        parts = tuple(
            _recovered_part(part, executions.get(part.number, []), judging) for part in run.parts
        )
        report = close(state, engine, run, judging, parts, sending, None)
    return replace(report, seconds=applying.clock.monotonic() - started)


def _executions_of(run: Run, sending: Sending, applying: Applying) -> dict[int, list[Execution]]:
    """The executions of each part that was sent.

    One that the journal does not know is of the part whose upload was under way; where another part
    was sent before, it may be of that one too, and proves nothing.
    """
    sent = [part for part in run.parts if part.status in (PartStatus.SENDING, PartStatus.SENT)]
    if run.import_id is None or not sent or applying.assume_finished:
        return {}
    found = _wait(run, run.import_id, sending, applying)
    recorded = {part.execution_id: part.number for part in sent if part.execution_id}
    if len(sent) == 1:
        return {sent[0].number: found}
    return {recorded[execution.id]: [execution] for execution in found if execution.id in recorded}


def _wait(run: Run, import_id: str, sending: Sending, applying: Applying) -> list[Execution]:
    """All executions of the run's import, ended; an upload may take a while to show."""
    recorded = frozenset(part.execution_id for part in run.parts if part.execution_id)
    missing = any(part.status is PartStatus.SENDING for part in run.parts)
    try:
        if missing:
            sending.look_for(import_id, recorded)
        return sending.wait(import_id, frozenset(), recorded)
    except StillRunning as error:
        if age_minutes(run, applying.clock.now_ms()) >= sending.max_age_minutes:
            sending.problems.append(f"{error}; it is taken as ended, being so old")
            return []
        raise StillRunning(
            error.message,
            hint="run `segsync apply` again later; if you know that nothing of that run is still "
            "at work on the platform, `segsync apply --assume-finished` goes on",
        ) from None


def _recovered_part(part: PartRecord, executions: list[Execution], judging: Judging) -> PartRecord:
    if part.status is PartStatus.WAITING:
        return replace(part, status=PartStatus.UNSENT)
    # How often it was sent is not known: another execution than those that were found may come.
    return judging(replace(part, is_watched=part.status is PartStatus.SENDING), executions)


def look_for_late_executions(spec: Spec, state: State, applying: Applying) -> None:
    """Say once more what an upload said that was given up, if it was executed after all."""
    for run in state.watched_runs():
        sending = sending_of(spec, state, run, applying)
        found: list[Execution] = []
        if run.import_id is not None and not applying.assume_finished:
            found = _wait(run, run.import_id, sending, applying)
        if len(found) > run.executions:
            count = state.say_again(run, len(found))
            applying.progress.say(
                f"an upload of run {run.serial} that had been given up was executed late: "
                f"its {count:,} members are said once more"
            )
        is_over = age_minutes(run, applying.clock.now_ms()) >= sending.max_age_minutes
        if is_over or applying.assume_finished:
            state.end_watch(run)
