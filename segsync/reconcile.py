"""The order of things: what a plan, an apply and a recovery do, one after the other."""

from __future__ import annotations

import glob
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from segsync import planfile
from segsync.destination import Destination, Execution, SegmentLookup
from segsync.engine import Engine, Target
from segsync.errors import PlanFileError, Refused, StateStale
from segsync.judging import Judging
from segsync.model import Address, Clock, Spec
from segsync.payload import PayloadFile, header_for, write_parts
from segsync.plan import Plan
from segsync.planning import Planned, Planner, PlanOptions, open_engine
from segsync.progress import Progress
from segsync.report import Report, RunReport, segment_outcomes
from segsync.sending import Sending, StillRunning, Timing, age_minutes
from segsync.state import (
    Closing,
    Identity,
    Journal,
    Keyspace,
    PartRecord,
    PartStatus,
    Run,
    RunStatus,
    State,
    StateMoved,
    create,
    drafts_of,
    empty_state,
    is_there,
    open_state,
)

READ_ATTEMPTS = 5
"""How often a plan starts anew because another apply finished while it read the state."""
PAYLOAD_SUFFIX = ".payload-"


@dataclass(frozen=True, slots=True)
class Applying:
    """What an apply needs. `confirm` is shown the plan and says whether to go on.

    `assume_finished` gives up on an execution that cannot be found or does not end.
    """

    destination: Destination
    clock: Clock
    confirm: Callable[[Plan], bool]
    progress: Progress
    timing: Timing
    assume_finished: bool = False


@contextmanager
def plan(spec: Spec, options: PlanOptions, clock: Clock, progress: Progress) -> Iterator[Planned]:
    """Plan without writing anything anywhere; the engine lives as long as the context."""
    for attempt in range(1, READ_ATTEMPTS + 1):
        with ExitStack() as stack:
            state = stack.enter_context(reading_state(spec))
            engine = stack.enter_context(open_engine(state, options))
            try:
                planned = Planner(spec, state, engine, options, progress, clock.now_ms()).make()
            except StateMoved:
                if attempt == READ_ATTEMPTS:
                    raise
                continue
            yield planned
            return


@contextmanager
def reading_state(spec: Spec) -> Iterator[State]:
    """The state as it is, or an empty one where no apply has been yet."""
    if not is_there(spec.state):
        with empty_state(new_identity(spec)) as state:
            yield state
        return
    state = open_state(spec.state, read_only=True)
    try:
        yield state
    finally:
        state.close()


@contextmanager
def writing_state(spec: Spec, lineage: str | None = None) -> Iterator[State]:
    """The state for an apply, made where there is none. The caller holds its lock."""
    if not is_there(spec.state):
        create(spec.state.resolve(), new_identity(spec, lineage))
    state = open_state(spec.state, read_only=False)
    try:
        state.check_belongs(spec.destination.datamart_id, spec.destination.api_url)
        yield state
    finally:
        state.close()


def new_identity(spec: Spec, lineage: str | None = None) -> Identity:
    """The identity of a state yet to be written; its digests are made at the first apply."""
    return Identity(
        lineage=lineage or secrets.token_hex(12),
        serial=0,
        datamart_id=spec.destination.datamart_id,
        api_origin=spec.destination.api_url,
        digest_probe=0,
    )


def apply(spec: Spec, state: State, options: PlanOptions, applying: Applying) -> Report:
    """Recover, plan, confirm, and carry out. The caller holds the state's lock."""
    recovered = recover(spec, state, applying)
    with open_engine(state, options) as engine:
        _refresh_digests(state, engine)
        look_up = _LookUps(applying.destination, applying.progress)
        planned = Planner(
            spec=spec,
            state=state,
            engine=engine,
            options=options,
            progress=applying.progress,
            now_ms=applying.clock.now_ms(),
            look_up=look_up,
        ).make()
        return carry_out(planned, state, applying, recovered)


def apply_saved(
    spec: Spec, state: State, path: Path, options: PlanOptions, applying: Applying
) -> Report:
    """Carry out a saved plan, exactly, or refuse it. The caller holds the state's lock."""
    with open_engine(state, options) as engine:
        _refresh_digests(state, engine)
        planned = planfile.load(path, spec, state, engine, applying.clock.now_ms())
        look_up = _LookUps(applying.destination, applying.progress)
        for segment in planned.plan.segments:
            if segment.sends and segment.counts.commands:
                answer = look_up(segment.address)
                if answer.problem:
                    raise PlanFileError(
                        f"the plan {path} cannot be applied: {segment.name}: {answer.detail}"
                    )
        return carry_out(planned, state, applying, None)


def carry_out(
    planned: Planned, state: State, applying: Applying, recovered: RunReport | None
) -> Report:
    """Confirm a plan, and do it."""
    plan = planned.plan
    if plan.changes_something:
        check_not_stale(state, applying.destination)
    agreed = applying.confirm(plan)
    if not plan.changes_something or not agreed:
        return Report(plan, None, recovered, agreed=agreed)
    return Report(plan, _run(planned, state, applying), recovered)


def check_not_stale(state: State, destination: Destination) -> None:
    """Raise StateStale if the platform has seen a run of this lineage that the state has not."""
    prefix = state.identity.reference_prefix
    seen = [item.name.removeprefix(prefix) for item in destination.find_imports(prefix)]
    latest = max((int(text) for text in seen if text.isdecimal()), default=0)
    if latest > state.identity.serial:
        raise StateStale(
            f"the state {state.path} is an old copy: it is at serial {state.identity.serial}, and "
            f"the platform has seen run {latest} of its lineage",
            hint="use the newest copy of the state; if there is none, move this one away: the next "
            "apply then adds every member again, and cannot remove those that it does not know",
        )


def _refresh_digests(state: State, engine: Engine) -> None:
    """Make the digests anew where another version of the engine made those in the state."""
    probe = engine.digest_probe()
    if probe == state.identity.digest_probe:
        return
    digests = {}
    only_keyspaces = state.only_keyspaces()
    for segment in state.segments():
        only = only_keyspaces.get(segment.number)
        members = partial(state.members, segment.number, only)
        with closing(engine.open_snapshot(members, only, 0)) as snapshot:
            digests[segment.number] = snapshot.drain().digest
    state.replace_digests(digests, probe)


class _LookUps:
    """Asks the platform for a segment; where the token may not, says so once, and asks no more."""

    def __init__(self, destination: Destination, progress: Progress) -> None:
        self._destination = destination
        self._progress = progress
        self._allowed = True

    def __call__(self, address: Address) -> SegmentLookup:
        if self._allowed:
            try:
                return self._destination.look_up_segment(address)
            except Refused as error:
                if error.status != 403:
                    raise
                self._allowed = False
                self._progress.say(
                    "the token may not read segments: whether they exist and can take members "
                    "is not checked"
                )
        return SegmentLookup(address, None, "not asked")


def _run(planned: Planned, state: State, applying: Applying) -> RunReport:
    """Journal a plan, send it, and close it."""
    started = applying.clock.monotonic()
    plan, engine = planned.plan, planned.engine
    with _payload_folder(state) as folder:
        header = header_for(planned.spec.destination.format)
        now_ms = applying.clock.now_ms()
        with ThreadPoolExecutor(1) as beside:
            staged = beside.submit(_stage, state, engine, now_ms)
            files = write_parts(engine, plan.parts, folder, header)
            staged.result()
        run = _journal(planned, state, files, now_ms)
        sending = _sending(planned.spec, state, run, applying)
        judging = Judging(state, engine, applying.destination, folder, _state_targets(state))
        parts = sending.send(files, judging) if files else ()
        rejected = engine.rejected_by_segment() if judging.rejected else {}
        report = _close(state, engine, run, judging, parts, sending, planned)
    return replace(
        report,
        segments=segment_outcomes(plan, parts, rejected, report.outcome),
        seconds=applying.clock.monotonic() - started,
    )


def _stage(state: State, engine: Engine, now_ms: int) -> None:
    with engine.journal(now_ms) as changes:
        state.stage_changes(changes)


def _journal(planned: Planned, state: State, files: tuple[PayloadFile, ...], now_ms: int) -> Run:
    serial = state.identity.serial + 1
    run = Run(
        serial=serial,
        reference=state.identity.reference(serial),
        status=RunStatus.OPEN,
        submitted_at_ms=now_ms,
        spec_sha256=planned.plan.spec_sha256,
        commands=planned.plan.totals.commands,
        parts=tuple(
            PartRecord(f.part.number, f.part.step, f.part.first, f.part.last, f.part.size, f.sha256)
            for f in files
        ),
    )
    sending = planned.plan.sending
    keyspaces = tuple(
        Keyspace(number, *place)
        for number, place in planned.engine.keyspaces.all()
        if place[0] in sending
    )
    state.begin_run(Journal(run, planned.segments, keyspaces))
    return run


def _sending(spec: Spec, state: State, run: Run, applying: Applying) -> Sending:
    return Sending(
        state=state,
        destination=applying.destination,
        clock=applying.clock,
        timing=applying.timing,
        progress=applying.progress,
        run=run,
        max_age_minutes=spec.destination.execution_max_age_minutes,
    )


def _close(
    state: State,
    engine: Engine,
    run: Run,
    judging: Judging,
    parts: tuple[PartRecord, ...],
    sending: Sending,
    planned: Planned | None,
) -> RunReport:
    with ExitStack() as stack:
        rejected = stack.enter_context(engine.rejected()) if judging.rejected else None
        closing = Closing(
            serial=run.serial,
            closed_at_ms=sending.clock.now_ms(),
            parts=parts,
            rejected=rejected,
            reasserted=planned.reasserted if planned else (),
            planned_at_ms=planned.plan.created_at_ms if planned else 0,
            planned=tuple(planned.plan.sending) if planned else (),
            dropped=planned.dropped if planned else {},
        )
        outcome = state.close_run(closing)
    last = state.last_runs(1)[0]
    return RunReport(
        reference=run.reference,
        import_id=last.import_id,
        outcome=outcome,
        parts=parts,
        segments=(),
        problems=(*sending.problems, *judging.problems),
        seconds=0.0,
        recovered=planned is None,
    )


def recover(spec: Spec, state: State, applying: Applying) -> RunReport | None:
    """End a run that an earlier apply left open: learn what became of it, never send it again."""
    _sweep(state)
    run = state.open_run()
    if run is None:
        return None
    started = applying.clock.monotonic()
    applying.progress.say(f"run {run.serial} was not finished: asking what became of it")
    with open_engine(state, PlanOptions()) as engine, _payload_folder(state) as folder:
        sending = _sending(spec, state, run, applying)
        judging = Judging(state, engine, applying.destination, folder, _state_targets(state))
        executions = _executions_of(run, sending, applying)
        parts = tuple(
            _recovered_part(part, executions.get(part.number, []), judging) for part in run.parts
        )
        report = _close(state, engine, run, judging, parts, sending, None)
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
    return judging(part, executions)


def _state_targets(state: State) -> tuple[Target, ...]:
    return tuple(Target(item.number, item.address, 0, False) for item in state.segments())


@contextmanager
def _payload_folder(state: State) -> Iterator[Path]:
    """A private folder beside the state: what a killed apply leaves there is swept by the next."""
    prefix = f"{state.path.name}{PAYLOAD_SUFFIX}"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=state.path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _sweep(state: State) -> None:
    """Take away what a killed apply has left: payloads, and states that were never finished."""
    for left in state.path.parent.glob(f"{glob.escape(state.path.name)}{PAYLOAD_SUFFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in drafts_of(state.path):
        left.unlink(missing_ok=True)
