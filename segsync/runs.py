"""A plan becomes a run: journalled, sent, judged and closed."""

from __future__ import annotations

import glob
import shutil
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from segsync.destination import Destination
from segsync.engine import Engine, Target, header_for
from segsync.judging import Judging
from segsync.model import Clock, Spec
from segsync.payload import PayloadFile, write_parts
from segsync.plan import Plan
from segsync.planning import Planned
from segsync.progress import Progress
from segsync.report import RunReport, segment_outcomes
from segsync.sending import Sending, Timing
from segsync.state import (
    Closing,
    Journal,
    Keyspace,
    PartRecord,
    Run,
    RunStatus,
    State,
    drafts_of,
)

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
    assume_finished: bool


def carry_through(planned: Planned, state: State, applying: Applying) -> RunReport:
    """Journal a plan, send it, and close it."""
    started = applying.clock.monotonic()
    plan, engine = planned.plan, planned.engine
    with payload_folder(state) as folder:
        header = header_for(planned.spec.destination.format)
        now_ms = applying.clock.now_ms()
        with ThreadPoolExecutor(1) as beside:
            staged = beside.submit(_stage, state, engine, now_ms)
            files = write_parts(engine, plan.parts, folder, header)
            changes_seal = staged.result()
        run = _journal(planned, state, files, now_ms, changes_seal)
        sending = sending_of(planned.spec, state, run, applying)
        judging = Judging(state, engine, applying.destination, folder, state_targets(state))
        parts = sending.send(files, judging) if files else ()
        ends = [part.last for part in parts]
        rejected = engine.count_rejected(ends) if judging.rejected else {}
        report = close(state, engine, run, judging, parts, sending, planned)
    return replace(
        report,
        segments=segment_outcomes(plan, parts, rejected, report.outcome),
        seconds=applying.clock.monotonic() - started,
    )


def _stage(state: State, engine: Engine, now_ms: int) -> str:
    with engine.journal(now_ms) as changes:
        return state.stage_changes(changes)


def _journal(
    planned: Planned, state: State, files: tuple[PayloadFile, ...], now_ms: int, changes_seal: str
) -> Run:
    serial = state.identity.serial + 1
    run = Run(
        serial=serial,
        reference=state.identity.reference(serial),
        status=RunStatus.OPEN,
        submitted_at_ms=now_ms,
        spec_sha256=planned.plan.spec_sha256,
        commands=planned.plan.totals.commands,
        changes_seal=changes_seal,
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


def sending_of(
    spec: Spec, state: State, run: Run, applying: Applying, age_minutes: int = 0
) -> Sending:
    return Sending(
        state=state,
        destination=applying.destination,
        clock=applying.clock,
        timing=applying.timing,
        progress=applying.progress,
        run=run,
        max_age_minutes=spec.destination.execution_max_age_minutes,
        age_minutes=age_minutes,
    )


def close(
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
    )


def state_targets(state: State) -> tuple[Target, ...]:
    return tuple(Target(item.number, item.address, 0) for item in state.segments())


@contextmanager
def payload_folder(state: State) -> Iterator[Path]:
    """A private folder beside the state: what a killed apply leaves there is swept by the next."""
    prefix = f"{state.path.name}{PAYLOAD_SUFFIX}"
    folder = Path(tempfile.mkdtemp(prefix=prefix, dir=state.path.parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def sweep(state: State) -> None:
    """Take away what a killed apply has left: payloads, and states that were never finished."""
    for left in state.path.parent.glob(f"{glob.escape(state.path.name)}{PAYLOAD_SUFFIX}*"):
        shutil.rmtree(left, ignore_errors=True)
    for left in drafts_of(state.path):
        left.unlink(missing_ok=True)
