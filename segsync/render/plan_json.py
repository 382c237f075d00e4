"""A plan as JSON: stable keys in a stable order, for policies and for other programs."""

from __future__ import annotations

from typing import Any

from segsync.plan import Plan, SegmentPlan
from segsync.render.figures import iso_moment

FORMAT_VERSION = 1
_COUNTS = (
    "queried",
    "duplicates",
    "invalid",
    "desired",
    "snapshot",
    "add",
    "update",
    "renew",
    "remove",
    "unchanged",
    "retry",
)
_TOTALS = ("add", "update", "renew", "remove", "unchanged", "commands")


def plan_json(plan: Plan) -> dict[str, Any]:
    """The document that `plan --format json` writes; no member is named in it.

    `violations` are objects with the texts guard, message and remedy. The totals are those of the
    segments whose commands are sent (`ok` and `removed`).
    """
    totals = plan.totals
    return {
        "format_version": FORMAT_VERSION,
        "lineage": plan.lineage,
        "serial": plan.serial,
        "spec_sha256": plan.spec_sha256,
        "created_at": iso_moment(plan.created_at_ms),
        "segments": [_segment(segment) for segment in plan.segments],
        "totals": {
            **{name: getattr(totals, name) for name in _TOTALS},
            "bytes": plan.size,
            "executions": len(plan.parts),
        },
    }


def _segment(segment: SegmentPlan) -> dict[str, Any]:
    return {
        "name": segment.name,
        "status": segment.status.value,
        **{name: getattr(segment.counts, name) for name in _COUNTS},
        "violations": [
            {"guard": item.guard, "message": item.message, "remedy": item.remedy}
            for item in segment.violations
        ],
        "error": segment.error,
    }
