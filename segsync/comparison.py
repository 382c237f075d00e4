"""One segment after the other: its query, its snapshot, the difference, and what to make of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial

from segsync.engine import (
    Asked,
    Difference,
    Engine,
    EngineError,
    Policy,
    Rows,
    Snapshot,
    SnapshotFacts,
)
from segsync.engine.normalising import DesiredColumn
from segsync.errors import SourceError
from segsync.model import DAY_MS, NEVER, RemovedSegment, Segment
from segsync.plan import Counts, SegmentPlan, SegmentStatus, check_guards
from segsync.progress import Progress
from segsync.sampling import samples_of, samples_of_removed
from segsync.selection import Selected
from segsync.source import Source
from segsync.state import State, StateSegment
from segsync.uncompared import failed

LAPSE_MARGIN_MS = DAY_MS


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What is the same for all segments of a plan."""

    state: State
    engine: Engine
    progress: Progress
    now_ms: int
    certain_after_ms: int
    check_digests: bool
    only_keyspaces: Mapping[int, int]
    pending: frozenset[int]
    rejected: frozenset[int]
    watched: frozenset[int]
    allowed: frozenset[str]
    samples: int


def compare_segment(around: Circumstances, selected: Selected, source: Source) -> SegmentPlan:
    """The plan of one segment of the spec. A failing query is this segment's error, not more."""
    segment = selected.segment
    with _naming(segment.name), _reading_snapshot(around, selected.known) as snapshot:
        try:
            rows = _load_desired(around, selected, source)
        except SourceError as error:
            return failed(selected, error)
        policy = _policy(
            around,
            segment.expiration_minutes,
            known=selected.known,
            renew_at=segment.renew_at,
            reassert_minutes=segment.reassert_minutes,
        )
        number, known = selected.number, selected.known
        asked = Asked(policy, segment.on_conflict, spares_invalid=rows.invalid > rows.expired)
        difference, facts = _compare(around, number, snapshot, asked, known)
    plan = SegmentPlan(
        name=segment.name,
        address=segment.address,
        number=selected.number,
        status=SegmentStatus.OK,
        counts=_counts(rows, difference, facts),
        invalid_reasons=rows.invalid_reasons,
        place=segment.place,
    )
    plan.counts.check()
    plan = _judge(around, segment, plan, rows, difference)
    samples = samples_of(around.engine, segment, plan, difference, around.samples)
    plan = replace(plan, samples=samples)
    around.engine.release(selected.number)
    return plan


def compare_removed(
    around: Circumstances, entry: RemovedSegment, known: StateSegment
) -> SegmentPlan:
    """The plan of a segment that was in the spec once."""
    plan = SegmentPlan(
        name=entry.name,
        address=known.address,
        number=known.number,
        status=SegmentStatus.REMOVED,
        keep=entry.members == "keep",
        place=entry.place,
    )
    with _naming(entry.name), _reading_snapshot(around, known) as snapshot:
        assert snapshot
        if plan.keep:
            facts = snapshot.drain()
            _check_digest(around, known, facts)
            return replace(
                plan, counts=Counts(snapshot=facts.live), waiting=known.number in around.watched
            )
        asked = Asked(_policy(around, NEVER, known=known))
        difference, facts = _compare(around, known.number, snapshot, asked, known)
    counts = _counts(Rows(), difference, facts)
    held = counts.deferred or known.number in around.watched
    waiting = bool(held) and not (counts.commands or counts.dropped)
    plan = replace(plan, counts=counts, waiting=waiting)
    return replace(plan, samples=samples_of_removed(around.engine, plan, around.samples))


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Where memory or disk do not suffice, one would leave this segment out."""
    try:
        yield
    except EngineError as error:
        raise EngineError(f"segment {name}: {error.message}", hint=error.hint) from None


def _load_desired(around: Circumstances, selected: Selected, source: Source) -> Rows:
    segment = selected.segment
    around.progress.reading(segment.name)
    with source.read(segment) as result:
        columns = tuple(DesiredColumn(column.name, column.json_sql) for column in result.columns)
        try:
            rows = around.engine.load_desired(
                selected.number, segment, columns, result.batches(), around.now_ms
            )
        finally:
            result.raise_for_failure()
    around.progress.read(segment.name, rows.queried)
    return rows


@contextmanager
def _reading_snapshot(
    around: Circumstances, known: StateSegment | None
) -> Iterator[Snapshot | None]:
    """What the state has of a segment, read from now on; None where it has nothing."""
    if known is None:
        yield None
        return
    only = around.only_keyspaces.get(known.number)
    members = partial(around.state.members, known.number, only)
    with closing(around.engine.open_snapshot(members, only, around.now_ms)) as snapshot:
        yield snapshot


def _compare(
    around: Circumstances,
    number: int,
    snapshot: Snapshot | None,
    asked: Asked,
    known: StateSegment | None,
) -> tuple[Difference, SnapshotFacts]:
    if number in around.pending:
        asked = replace(asked, doubted=partial(around.state.doubted, number))
    if number in around.rejected:
        asked = replace(asked, rejected=partial(around.state.segment_rejects, number))
    try:
        difference = around.engine.compare(number, snapshot, asked)
    except EngineError as error:
        around.state.raise_if_damage(error.message)
        raise
    facts = snapshot.facts if snapshot else SnapshotFacts()
    if known:
        _check_digest(around, known, facts)
    return difference, facts


def _check_digest(around: Circumstances, known: StateSegment, facts: SnapshotFacts) -> None:
    if around.check_digests and facts.digest != known.digest:
        raise around.state.damage(f"the members of {known.name} are not those that were written")


def _policy(
    around: Circumstances,
    expiration_minutes: int,
    *,
    known: StateSegment | None,
    renew_at: float = 0.5,
    reassert_minutes: int = NEVER,
) -> Policy:
    return Policy(
        now_ms=around.now_ms,
        certain_after_ms=around.certain_after_ms,
        expiration_minutes=expiration_minutes,
        renew_at=renew_at,
        reassert_minutes=reassert_minutes,
        reasserted_at_ms=known.reasserted_at if known else 0,
    )


def _counts(rows: Rows, difference: Difference, facts: SnapshotFacts) -> Counts:
    sent = difference.add + difference.update + difference.renew
    return Counts(
        queried=rows.queried,
        duplicates=difference.duplicates,
        invalid=rows.invalid,
        desired=difference.desired,
        snapshot=facts.live,
        add=difference.add,
        update=difference.update,
        renew=difference.renew,
        remove=difference.remove,
        unchanged=difference.desired - sent,
        retry=difference.retry,
        reattempted=difference.reattempted,
        forget=difference.forget,
        settled=difference.settled,
        spared=difference.spared,
        in_doubt=difference.in_doubt,
        deferred=difference.deferred.commands,
        deferred_add=difference.deferred.add,
        deferred_remove=difference.deferred.remove,
        removed_live=difference.removed_live,
    )


def _judge(
    around: Circumstances,
    segment: Segment,
    plan: SegmentPlan,
    rows: Rows,
    difference: Difference,
) -> SegmentPlan:
    """Whether this plan may be carried out: invalid rows, conflicts, guards."""
    bad = rows.invalid - rows.expired
    if bad and segment.invalid_rows == "error":
        reasons = _listed(rows.invalid_reasons)
        return replace(
            plan,
            status=SegmentStatus.ERROR,
            error=f"{segment.query_place}: {bad:,} of {rows.queried:,} "
            f"{'row' if rows.queried == 1 else 'rows'} {'is' if bad == 1 else 'are'} invalid: "
            f"{reasons}",
            hint="mend the query, or let the other rows through with `invalid_rows: skip`",
        )
    if difference.conflicts and segment.on_conflict == "error":
        return replace(
            plan,
            status=SegmentStatus.ERROR,
            error=f"{segment.query_place}: the query returns {difference.conflicts:,} "
            f"{'identifier' if difference.conflicts == 1 else 'identifiers'} more than once, "
            "with different data bag or expiry",
            hint="mend the query, or choose with `on_conflict: latest_expiry` or `any`",
        )
    violations = check_guards(segment.name, segment.guard, plan.counts)
    if violations and segment.name not in around.allowed:
        return replace(plan, status=SegmentStatus.BLOCKED, violations=violations)
    return plan


def _listed(reasons: Mapping[str, int]) -> str:
    return "; ".join(f"{count:,} × {reason}" for reason, count in reasons.items())
