"""Members that stand for many in a plan, and why each changes, in words."""

from __future__ import annotations

from datetime import UTC, datetime

from segsync.engine import Difference, Engine, Example
from segsync.model import Segment
from segsync.plan import Sample, SegmentPlan

SYMBOLS = {"add": "+", "update": "~", "renew": "↻", "remove": "-"}


def samples_of(
    engine: Engine, segment: Segment, plan: SegmentPlan, difference: Difference, most: int
) -> tuple[Sample, ...]:
    """At most `most` members of each kind: of each change, of invalid rows, of conflicts."""
    if not most:
        return ()
    found: list[Example] = []
    if plan.counts.invalid:
        found += engine.invalid_examples(plan.number, most)
    if difference.conflicts:
        found += engine.conflict_examples(plan.number, most)
    if plan.counts.commands:
        found += _of_changes(engine, plan, most)
    return tuple(_sample(example, segment) for example in found)


def samples_of_removed(engine: Engine, plan: SegmentPlan, most: int) -> tuple[Sample, ...]:
    """The same of a segment that the spec ends."""
    return tuple(_sample(example, None) for example in _of_changes(engine, plan, most))


def _of_changes(engine: Engine, plan: SegmentPlan, most: int) -> list[Example]:
    return engine.examples(plan.number, most, reattempts=plan.counts.reattempted > 0)


def _sample(example: Example, segment: Segment | None) -> Sample:
    return Sample(
        label=SYMBOLS.get(example.label, example.label),
        kind=example.kind,
        compartment_id=example.compartment_id,
        identifier=example.identifier,
        reason=example.reason or _reason(example, segment),
        row=example.row,
        column=example.column,
    )


def _reason(example: Example, segment: Segment | None) -> str:
    if example.retry:
        return "the outcome of an earlier run is unknown"
    if example.reattempted:
        return "rejected earlier, tried again"
    expiry = _date(example.old_expires_at)
    match example.label:
        case "add":
            return f"lapsed on {expiry}" if expiry else "new in the query"
        case "update":
            has_bag = segment is not None and bool(segment.data_bag)
            return "data bag or expiry changed" if has_bag else "expiry or data bag changed"
        case "renew":
            return f"stays, and would lapse on {expiry}" if expiry else "asserted once more"
        case "remove":
            return "no longer in the query" if segment else "the segment is removed"
    return "returned with different data bag or expiry"


def _date(epoch_ms: int | None) -> str | None:
    if not epoch_ms:
        return None
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).date().isoformat()
