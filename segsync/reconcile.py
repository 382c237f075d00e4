"""The order of things: what a plan, an apply and a recovery do, one after the other."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

from segsync import planfile
from segsync.destination import Destination, DocumentImport
from segsync.engine import Engine
from segsync.errors import PlanFileError, StateStale
from segsync.lookups import LookUps
from segsync.model import Spec
from segsync.plan import SegmentStatus
from segsync.planning import Planned, Planner, PlanOptions, open_engine
from segsync.recovery import look_for_late_executions, recover
from segsync.report import Report, RunReport
from segsync.runs import Applying, carry_through
from segsync.state import State

LONG_THOUGHT_S = 60.0
"""Whoever thinks about a plan for longer may have used another copy of the state meanwhile."""


def apply(spec: Spec, state: State, options: PlanOptions, applying: Applying) -> Report:
    """Recover, plan, confirm, and carry out. The caller holds the state's lock."""
    recovered = recover(spec, state, options, applying)
    look_for_late_executions(spec, state, applying)
    with open_engine(state, options) as engine:
        _refresh_digests(state, engine)
        look_ups = _look_ups(spec, state, applying)
        planned = Planner(
            spec=spec,
            state=state,
            engine=engine,
            options=options,
            progress=applying.progress,
            now_ms=applying.clock.now_ms(),
            problem_of=look_ups.problem_of,
        ).make()
        return carry_out(_identified(planned, look_ups), state, applying, recovered)


def apply_saved(
    spec: Spec, state: State, path: Path, options: PlanOptions, applying: Applying
) -> Report:
    """Carry out a saved plan, exactly, or refuse it. The caller holds the state's lock.

    A run that was left open is ended first: the plan was made without knowing what became of it.
    """
    if recovered := recover(spec, state, options, applying):
        raise PlanFileError(
            f"the plan {path} cannot be applied: run {recovered.reference}, which an earlier apply "
            "had left open, was ended just now, and the plan was made before",
            hint="nothing else was sent; make a new one with `segsync plan --out`",
        )
    said_again = look_for_late_executions(spec, state, applying)
    with open_engine(state, options) as engine:
        _refresh_digests(state, engine)
        planned = planfile.load(path, spec, state, engine, applying.clock.now_ms())
        look_ups = _look_ups(spec, state, applying)
        for segment in planned.plan.segments:
            if problem := look_ups.problem_of(segment):
                raise PlanFileError(f"the plan {path} cannot be applied: {segment.name}: {problem}")
        report = carry_out(_identified(planned, look_ups), state, applying, None)
        return replace(report, is_behind=bool(said_again))


def _look_ups(spec: Spec, state: State, applying: Applying) -> LookUps:
    return LookUps(
        applying.destination,
        applying.progress,
        stored=state.segments(),
        defined=(segment.address for segment in spec.segments),
    )


def _identified(planned: Planned, look_ups: LookUps) -> Planned:
    """The plan, with what the platform says which segments they are."""
    segments = (
        replace(segment, platform_id=look_ups.platform_ids.get(segment.address))
        for segment in planned.segments
    )
    return replace(planned, segments=tuple(segments))


def carry_out(
    planned: Planned, state: State, applying: Applying, recovered: RunReport | None
) -> Report:
    """Confirm a plan, and do it."""
    plan = planned.plan
    check_not_stale(state, applying.destination)
    asked = applying.clock.monotonic()
    agreed = applying.confirm(plan)
    if agreed:
        _note_names(planned.spec, state)
    sends = agreed and plan.changes_something
    if sends and applying.clock.monotonic() - asked > LONG_THOUGHT_S:
        check_not_stale(state, applying.destination)
    run = carry_through(planned, state, applying) if sends else None
    orphaned = {segment.number for segment in plan.with_status(SegmentStatus.ORPHANED)}
    if recovered and recovered.outcome.unknown:
        orphaned = set()  # theirs may be among them
    return Report(
        plan,
        run,
        recovered,
        agreed=agreed,
        pending=sum(n for segment, n in state.pending_counts().items() if segment not in orphaned),
        rejects=sum(state.reject_counts().values()),
    )


def _note_names(spec: Spec, state: State) -> None:
    """By its name a segment is ended under `removed`: it must not be one that another has now."""
    names = {segment.address: segment.name for segment in spec.segments}
    renamed = {
        known.number: names[known.address]
        for known in state.segments()
        if names.get(known.address, known.name) != known.name
    }
    if renamed:
        state.rename_segments(renamed)


def check_not_stale(state: State, destination: Destination) -> None:
    """Raise StateStale if the platform has seen a run of this lineage that the state has not.

    It is not noticed where the imports of the next fifty runs after an old copy was made are
    missing while its own newest is there: those of runs without one, or that somebody deleted.
    """
    prefix, serial = state.identity.reference_prefix, state.identity.serial
    known = state.import_ids()
    found = _own_imports(state, destination, known)
    runs = [(int(n), i) for i in found if (n := i.name.removeprefix(prefix)).isdecimal()]
    latest = max((number for number, _ in runs), default=0)
    if latest > serial:
        raise StateStale(
            f"the state {state.path} is an old copy: it is at serial {serial}, and the platform "
            f"has seen run {latest} of its lineage",
            hint=f"use the newest copy of the state; if there is none, {_ANEW}",
        )
    for number, item in runs:
        # A creation whose answer was lost may have left an import in which nothing ever was.
        if item.id != known.get(number) and destination.list_executions(item.id):
            raise StateStale(
                f"the state {state.path} is one of two copies that were both used: run {number} of "
                f"its lineage was made by the other one (document import {item.id})",
                hint="keep one copy for all: a lock does not reach from one machine to another. "
                f"Neither of the two knows what the other has sent; to go on, {_ANEW}",
            )


def _own_imports(
    state: State, destination: Destination, known: Mapping[int, str | None]
) -> list[DocumentImport]:
    """The imports of the lineage that may be later than the state; all where the newest that it
    knows is not among those: somebody deletes imports, and later ones may be left.
    """
    recent = destination.find_imports(*state.identity.recent_references)
    newest = max((number for number, item in known.items() if item), default=None)
    if newest is None or known[newest] in {item.id for item in recent}:
        return recent
    return destination.find_imports(state.identity.reference_prefix)


_ANEW = (
    "move this one away: the next apply then adds every member again, and cannot remove those that "
    "it does not know"
)


def _refresh_digests(state: State, engine: Engine) -> None:
    """Make the digests anew where another version of the engine made those in the state."""
    probe = engine.digest_probe()
    if probe == state.identity.digest_probe:
        return
    state.check_whole()
    digests = {}
    only_keyspaces = state.only_keyspaces()
    for segment in state.segments():
        only = only_keyspaces.get(segment.number)
        members = partial(state.members, segment.number, only)
        with closing(engine.open_snapshot(members, only, 0)) as snapshot:
            digests[segment.number] = snapshot.drain().digest
    state.replace_digests(digests, probe)
