"""A plan is made: all segments are read and compared in parallel, then put into one order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from segsync.comparison import (
    LAPSE_MARGIN_MS,
    Circumstances,
    compare_removed,
    compare_segment,
)
from segsync.engine import Engine, Keyspaces, Layout, Target
from segsync.model import NEVER, Clock, Spec
from segsync.own_state import reading_state
from segsync.plan import Plan, SegmentPlan, SegmentStatus
from segsync.progress import Progress
from segsync.readers import Readers
from segsync.selection import Selection, check_allowed, select
from segsync.state import State, StateMoved, StateSegment
from segsync.uncompared import ambiguous, failed, orphan

NOT_READ = (SegmentStatus.ERROR, SegmentStatus.ORPHANED)
"""The members of such a segment may not have been read from the state."""
READ_ATTEMPTS = 5
"""How often a plan starts anew because another apply finished while it read the state."""
ProblemOf = Callable[[SegmentPlan], str | None]


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """What of the spec is planned, and how. `samples` are members per kind of change."""

    targets: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    samples: int = 3
    parallelism: int = 4
    memory_limit: str = "1GB"


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, and the engine that holds its members until the plan is carried out or dropped.

    `segments` are those that a run makes known to the state; `reasserted` the numbers of those
    whose members are asserted once more from time to time.
    """

    plan: Plan
    engine: Engine
    spec: Spec
    segments: tuple[StateSegment, ...]
    reasserted: tuple[int, ...]

    @property
    def dropped(self) -> dict[int, Literal["delete", "keep"]]:
        """Removed segments, which leave the state."""
        return {item.number: "keep" if item.keep else "delete" for item in self.plan.dropped}


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
def open_engine(state: State, options: PlanOptions) -> Iterator[Engine]:
    """An engine that knows the state's keyspaces."""
    known = [(k.number, (k.segment, k.kind, k.compartment_id)) for k in state.keyspaces()]
    with Engine(Keyspaces(known), options.memory_limit) as engine:
        yield engine


@dataclass(frozen=True, slots=True)
class Planner:
    """Makes one plan. Writes nothing.

    Segments of which `problem_of` says why the platform cannot fill them are errors.
    """

    spec: Spec
    state: State
    engine: Engine
    options: PlanOptions
    progress: Progress
    now_ms: int
    problem_of: ProblemOf | None = None

    def make(self) -> Planned:
        """Plan every selected segment; a source's errors are those of its segments.

        Raises UsageError for unknown names, StateError, EngineError.
        """
        spec, engine = self.spec, self.engine
        self.state.check_belongs(spec.destination.datamart_id, spec.destination.api_url)
        check_allowed(spec, self.options.allowed)
        selection = select(spec, self.state.segments(), self.options.targets, self.options.excluded)
        plan = self._assemble(selection, self._compare_all(selection))
        parts = engine.arrange(targets(plan, spec), layout_of(spec, self.now_ms))
        sending = [item for item in selection.segments if item.number in plan.sending]
        return Planned(
            plan=replace(plan, parts=parts, ranges=engine.ranges()),
            engine=engine,
            spec=spec,
            segments=tuple(
                StateSegment(item.number, item.segment.address, item.segment.name, 0, 0, None)
                for item in sending
            ),
            reasserted=tuple(i.number for i in sending if i.segment.reassert_minutes),
        )

    def _compare_all(self, selection: Selection) -> tuple[SegmentPlan, ...]:
        with Readers(self.spec, selection.segments, self.options.parallelism) as readers:
            around = self._circumstances()
            try:
                plans = readers.each(partial(compare_segment, around), failed)
            except BaseException:
                readers.cancel()
                self.engine.interrupt()
                raise
            removed = [compare_removed(around, *pair) for pair in selection.removed]
        unclear = [plan for pair in selection.ambiguous for plan in ambiguous(*pair)]
        defined = {segment.name: segment for segment in self.spec.segments}
        orphaned = [orphan(known, defined.get(known.name)) for known in selection.orphaned]
        names = {known.number: known.name for known in self.state.segments()}
        named = [_with_old_name(plan, names) for plan in plans]
        found = tuple(map(self._counted, (*named, *removed, *unclear, *orphaned)))
        self._check_what_was_not_read(found)
        return tuple(self._looked_up(segment) for segment in found)

    def _counted(self, segment: SegmentPlan) -> SegmentPlan:
        """With the members that the state has, where nothing was compared."""
        if segment.status not in NOT_READ or segment.counts.snapshot:
            return segment
        live = self.state.live_members(segment.number, self.now_ms)
        return replace(segment, counts=replace(segment.counts, snapshot=live))

    def _check_what_was_not_read(self, plans: Iterable[SegmentPlan]) -> None:
        """Before a state is written: what was read agrees with its digest, but was it all?"""
        if self.state.read_only:
            return
        read = {plan.number for plan in plans if plan.status not in NOT_READ}
        if any(known.number not in read for known in self.state.segments()):
            self.state.check_whole()

    def _circumstances(self) -> Circumstances:
        state, engine = self.state, self.engine
        return Circumstances(
            state=state,
            engine=engine,
            progress=self.progress,
            now_ms=self.now_ms,
            certain_after_ms=LAPSE_MARGIN_MS + state.longest_run_ms(),
            check_digests=engine.digest_probe() == state.identity.digest_probe,
            only_keyspaces=state.only_keyspaces(),
            pending=frozenset(state.pending_counts()),
            rejected=frozenset(state.reject_counts()),
            watched=state.watched_segments(),
            allowed=frozenset(self.options.allowed),
            samples=self.options.samples,
        )

    def _looked_up(self, segment: SegmentPlan) -> SegmentPlan:
        problem = self.problem_of(segment) if self.problem_of else None
        return replace(segment, status=SegmentStatus.ERROR, error=problem) if problem else segment

    def _assemble(self, selection: Selection, segments: tuple[SegmentPlan, ...]) -> Plan:
        run = self.state.open_run()
        return Plan(
            lineage=self.state.identity.lineage,
            serial=self.state.identity.serial,
            spec_sha256=self.spec.sha256,
            datamart_id=self.spec.destination.datamart_id,
            api_origin=self.spec.destination.api_url,
            created_at_ms=self.now_ms,
            segments=segments,
            parts=(),
            partial=selection.partial,
            open_run=run.reference if run else None,
            watched=tuple(item.reference for item in self.state.watched_runs()),
            last_submitted_ms=self.state.last_submitted_ms(),
        )


def _with_old_name(segment: SegmentPlan, names: Mapping[int, str]) -> SegmentPlan:
    """By an id a segment is the same one, whatever the spec calls it. `names` are the state's."""
    before = names.get(segment.number, segment.name)
    return segment if before == segment.name else replace(segment, renamed_from=before)


def layout_of(spec: Spec, now_ms: int) -> Layout:
    """How the commands of a plan that was made at this time are written."""
    return Layout(spec.destination.format, now_ms, spec.destination.max_upload_bytes)


def targets(plan: Plan, spec: Spec) -> tuple[Target, ...]:
    """Where the commands of a plan go. Segments without a change are left out."""
    minutes = {segment.address: segment.expiration_minutes for segment in spec.segments}
    return tuple(
        Target(item.number, item.address, minutes.get(item.address, NEVER))
        for item in plan.segments
        if item.sends and not item.keep and (item.counts.commands or item.counts.dropped)
    )
