"""A plan is made: all segments are read and compared in parallel, then put into one order."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal

from segsync.comparison import (
    LAPSE_MARGIN_MS,
    Circumstances,
    compare_removed,
    compare_segment,
    orphan,
)
from segsync.destination import SegmentLookup
from segsync.engine import Engine, Keyspaces, Target
from segsync.errors import SourceError
from segsync.model import Address, Spec
from segsync.plan import Plan, SegmentPlan, SegmentStatus
from segsync.progress import Progress
from segsync.selection import Selected, Selection, check_allowed, select
from segsync.source import Source, open_source
from segsync.state import State, StateSegment

LookUp = Callable[[Address], SegmentLookup]


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
    def numbers(self) -> tuple[int, ...]:
        """The segments that this plan carries out."""
        return tuple(item.number for item in self.plan.segments if item.sends)

    @property
    def dropped(self) -> dict[int, Literal["delete", "keep"]]:
        """Removed segments, which leave the state."""
        return {item.number: "keep" if item.keep else "delete" for item in self.plan.dropped}


@contextmanager
def open_engine(state: State, options: PlanOptions) -> Iterator[Engine]:
    """An engine that knows the state's keyspaces."""
    known = [(k.number, (k.segment, k.kind, k.compartment_id)) for k in state.keyspaces()]
    with Engine(Keyspaces(known), options.memory_limit) as engine:
        yield engine


def make_plan(
    spec: Spec,
    state: State,
    engine: Engine,
    options: PlanOptions,
    now_ms: int,
    progress: Progress,
    look_up: LookUp | None = None,
) -> Planned:
    """Plan every selected segment.

    With `look_up`, segments that the platform cannot fill are errors. A source's errors are those
    of its segments. Raises UsageError for unknown names, StateError, EngineError.
    """
    state.check_belongs(spec.destination.datamart_id, spec.destination.api_url)
    check_allowed(spec, options.allowed)
    selection = select(spec, state.segments(), options.targets, options.excluded)
    segments = _compare_all(spec, state, engine, selection, options, now_ms, progress)
    if look_up:
        segments = tuple(_look_up(segment, look_up) for segment in segments)
    plan = _assemble(spec, state, selection, segments, now_ms)
    parts = engine.arrange(targets(plan, spec), spec.destination.format, now_ms)
    return Planned(
        plan=replace(plan, parts=parts, ranges=engine.ranges()),
        engine=engine,
        spec=spec,
        segments=_sending_segments(plan, selection),
        reasserted=_reasserted(plan, selection),
    )


def _sending_segments(plan: Plan, selection: Selection) -> tuple[StateSegment, ...]:
    sending = {item.number for item in plan.segments if item.sends}
    return tuple(
        StateSegment(item.number, item.segment.address, item.segment.name, 0, 0, None)
        for item in selection.segments
        if item.number in sending
    )


def _reasserted(plan: Plan, selection: Selection) -> tuple[int, ...]:
    sending = {item.number for item in plan.segments if item.sends}
    return tuple(
        item.number
        for item in selection.segments
        if item.segment.reassert_minutes and item.number in sending
    )


def targets(plan: Plan, spec: Spec) -> tuple[Target, ...]:
    """Where the commands of a plan go. Segments without a change are left out."""
    minutes = {segment.address: segment.expiration_minutes for segment in spec.segments}
    return tuple(
        Target(item.number, item.address, minutes.get(item.address, 0), item.rekeyed)
        for item in plan.segments
        if item.sends and not item.keep and (item.counts.commands or item.counts.forget)
    )


def _assemble(
    spec: Spec,
    state: State,
    selection: Selection,
    segments: tuple[SegmentPlan, ...],
    now_ms: int,
) -> Plan:
    run = state.open_run()
    return Plan(
        lineage=state.identity.lineage,
        serial=state.identity.serial,
        spec_sha256=spec.sha256,
        datamart_id=spec.destination.datamart_id,
        api_origin=spec.destination.api_url,
        created_at_ms=now_ms,
        segments=segments,
        parts=(),
        partial=selection.partial,
        open_run=run.reference if run else None,
    )


def _look_up(segment: SegmentPlan, look_up: LookUp) -> SegmentPlan:
    if not segment.sends or not segment.counts.commands:
        return segment
    answer = look_up(segment.address)
    if answer.problem is None:
        return segment
    return replace(segment, status=SegmentStatus.ERROR, error=answer.detail)


def _compare_all(
    spec: Spec,
    state: State,
    engine: Engine,
    selection: Selection,
    options: PlanOptions,
    now_ms: int,
    progress: Progress,
) -> tuple[SegmentPlan, ...]:
    with _Workers(spec, selection, options) as workers:
        whole = workers.snapshots.submit(state.check_whole)
        around = _circumstances(state, engine, options, now_ms, progress, workers)
        try:
            plans = workers.compare(around)
        except BaseException:
            workers.cancel()
            engine.interrupt()
            raise
        removed = [compare_removed(around, *pair) for pair in selection.removed]
        whole.result()
    return (*plans, *removed, *(orphan(known) for known in selection.orphaned))


def _circumstances(
    state: State,
    engine: Engine,
    options: PlanOptions,
    now_ms: int,
    progress: Progress,
    workers: _Workers,
) -> Circumstances:
    return Circumstances(
        state=state,
        engine=engine,
        progress=progress,
        snapshots=workers.snapshots,
        now_ms=now_ms,
        certain_after_ms=LAPSE_MARGIN_MS + state.longest_run_ms(),
        check_digests=engine.digest_probe() == state.identity.digest_probe,
        pending=frozenset(state.pending_counts()),
        rejected=state.rejected_segments(),
        allowed=frozenset(options.allowed),
        samples=options.samples,
    )


@dataclass
class _Workers:
    """Threads for the sources of a plan, and as many for the snapshots beside them."""

    spec: Spec
    selection: Selection
    options: PlanOptions
    _stack: ExitStack = field(default_factory=ExitStack)
    _sources: dict[str, Source] = field(default_factory=dict)

    def __enter__(self) -> _Workers:
        names = {item.segment.source for item in self.selection.segments}
        count = max(1, len(names)) * self.options.parallelism
        self.snapshots = self._stack.enter_context(ThreadPoolExecutor(count + 1))
        self._readers = {
            name: self._stack.enter_context(ThreadPoolExecutor(self.options.parallelism))
            for name in sorted(names)
        }
        return self

    def __exit__(self, *details: object) -> None:
        for source in self._sources.values():
            source.close()
        self._stack.close()

    def cancel(self) -> None:
        """Let no reading go on: the user does not want the plan any more."""
        for source in self._sources.values():
            source.cancel()
        for reader in self._readers.values():
            reader.shutdown(wait=False, cancel_futures=True)

    def compare(self, around: Circumstances) -> list[SegmentPlan]:
        """All segments of the spec, in its order."""
        failures = self._open()
        futures = [
            self._submit(around, item, failures.get(item.segment.source))
            for item in self.selection.segments
        ]
        return [future.result() for future in futures]

    def _open(self) -> dict[str, SourceError]:
        failures = {}
        for name in self._readers:
            try:
                self._sources[name] = open_source(
                    name,
                    self.spec.sources[name],
                    parallelism=self.options.parallelism,
                    folder=self.spec.path.parent,
                )
            except SourceError as error:
                failures[name] = error
        return failures

    def _submit(
        self, around: Circumstances, item: Selected, failure: SourceError | None
    ) -> Future[SegmentPlan]:
        reader = self._readers[item.segment.source]
        if failure:
            return reader.submit(_source_failed, item, failure)
        return reader.submit(compare_segment, around, item, self._sources[item.segment.source])


def _source_failed(item: Selected, failure: SourceError) -> SegmentPlan:
    return SegmentPlan(
        name=item.segment.name,
        address=item.segment.address,
        number=item.number,
        status=SegmentStatus.ERROR,
        error=str(failure),
        hint=failure.hint,
        place=item.segment.place,
    )
