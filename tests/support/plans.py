"""Plans as values, for what is shown of them."""

from __future__ import annotations

from typing import Any

from segsync.model import Address, IdentifierKind, Part
from segsync.plan import Counts, Plan, Sample, SegmentPlan, SegmentStatus, Violation

ACCOUNT = IdentifierKind.USER_ACCOUNT_ID


def sample(label: str, identifier: str, reason: str = "new in the query") -> Sample:
    """A member as an example."""
    return Sample(label, ACCOUNT, None, identifier, reason)


def segment(name: str, **more: Any) -> SegmentPlan:
    """A segment that adds 1,234 to 1,000,000 members; `more` are its fields and its counts."""
    counts = {key: more.pop(key) for key in Counts.__dataclass_fields__ if key in more}
    ordinary = {"queried": 1_001_234, "desired": 1_001_234, "snapshot": 1_000_000, "add": 1_234}
    chosen = {
        "address": Address("segment_technical_name", name),
        "number": 1,
        "status": SegmentStatus.OK,
        "counts": Counts(**(counts or {**ordinary, "unchanged": 1_000_000})),
        "place": "segments.yaml:3:5",
    }
    return SegmentPlan(name=name, **{**chosen, **more})


def blocked(name: str) -> SegmentPlan:
    """A segment under a guard."""
    violation = Violation("empty", "the query returned no members", f"add --allow {name}")
    return segment(
        name,
        status=SegmentStatus.BLOCKED,
        violations=(violation,),
        snapshot=1_000_000,
        remove=1_000_000,
        samples=(sample("-", "customer-77", "no longer in the query"),),
    )


def failed(name: str, error: str = "segments.yaml:4:5: no such table") -> SegmentPlan:
    """A segment whose query failed."""
    return segment(name, status=SegmentStatus.ERROR, error=error, hint="mend it", retry=0)


def plan(*segments: SegmentPlan, **more: Any) -> Plan:
    """A plan of these segments, in one part."""
    commands = sum(item.counts.commands for item in segments if item.sends)
    chosen = {
        "lineage": "abc",
        "serial": 7,
        "spec_sha256": "0" * 64,
        "datamart_id": "1509",
        "api_origin": "https://api.mediarithmics.com",
        "created_at_ms": 1_790_000_000_000,
        "parts": (Part(1, 1, 1, commands, commands * 120),) if commands else (),
    }
    return Plan(**{"segments": segments, **chosen, **more})


def reasons(plan: Plan) -> dict[tuple[str, str | None], str]:
    """Why each member that is shown changes, by symbol and identifier."""
    return {
        (sample.label, sample.identifier): sample.reason
        for segment in plan.segments
        for sample in segment.samples
    }
