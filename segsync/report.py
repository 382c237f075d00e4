"""What an apply did, as a value."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from segsync.model import LineRange
from segsync.plan import Plan, SegmentStatus
from segsync.state import Outcome, PartRecord, PartStatus


class Exit(IntEnum):
    """Exit statuses of the command line."""

    DONE = 0
    ERROR = 1
    CHANGES = 2
    REFUSED = 3
    REJECTED = 4
    UNKNOWN = 5
    LOCKED = 6


FIRST_OF = (Exit.UNKNOWN, Exit.ERROR, Exit.REFUSED, Exit.REJECTED)
"""Where several are true at once, the first of these is the exit status."""


@dataclass(frozen=True, slots=True)
class SegmentOutcome:
    """Commands of one segment by what became of them."""

    name: str
    confirmed: int
    rejected: int
    unknown: int
    unsent: int


@dataclass(frozen=True, slots=True)
class RunReport:
    """One run that was ended: by this apply, or for one that was killed (`recovered`)."""

    reference: str
    import_id: str | None
    outcome: Outcome
    parts: tuple[PartRecord, ...]
    segments: tuple[SegmentOutcome, ...]
    problems: tuple[str, ...]
    seconds: float
    recovered: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What an apply did. `run` is None where nothing had to be sent or the user said no."""

    plan: Plan | None
    run: RunReport | None
    recovered: RunReport | None
    agreed: bool = True

    @property
    def exit(self) -> Exit:
        """The exit status that this amounts to."""
        found = set[Exit]()
        if self.plan:
            found |= plan_exits(self.plan)
        for run in (self.run, self.recovered if self.run is None else None):
            if run:
                found |= _run_exits(run.outcome)
        return next((status for status in FIRST_OF if status in found), Exit.DONE)


def plan_exits(plan: Plan) -> set[Exit]:
    """What segments that send nothing say about the exit status."""
    found = set()
    if plan.with_status(SegmentStatus.ERROR):
        found.add(Exit.ERROR)
    if plan.with_status(SegmentStatus.BLOCKED):
        found.add(Exit.REFUSED)
    return found


def _run_exits(outcome: Outcome) -> set[Exit]:
    found = set()
    if outcome.unknown or outcome.doubted:
        found.add(Exit.UNKNOWN)
    if outcome.unsent:
        found.add(Exit.ERROR)
    if outcome.rejected or outcome.given_up:
        found.add(Exit.REJECTED)
    return found


def segment_outcomes(
    plan: Plan, parts: tuple[PartRecord, ...], rejected: Mapping[int, int], outcome: Outcome
) -> tuple[SegmentOutcome, ...]:
    """Split a run's outcome by segment: each segment has known lines, each part a known fate."""
    fates = _fates_by_segment(plan.ranges, parts)
    given_up = outcome.given_up_in
    return tuple(
        _segment_outcome(
            item.name,
            fates[item.number],
            rejected.get(item.number, 0),
            given_up.get(item.number, 0),
        )
        for item in plan.segments
        if item.number in fates
    )


def _fates_by_segment(
    ranges: tuple[LineRange, ...], parts: tuple[PartRecord, ...]
) -> dict[int, Counter[PartStatus]]:
    """How many lines of each segment share which fate; parts and ranges are in order of lines."""
    ends = [part.last for part in parts]
    fates: dict[int, Counter[PartStatus]] = {}
    for span in ranges:
        lines = fates.setdefault(span.segment, Counter())
        first, end = bisect_left(ends, span.first), bisect_left(ends, span.last) + 1
        for part in parts[first:end]:
            lines[part.status] += min(span.last, part.last) - max(span.first, part.first) + 1
    return fates


def _segment_outcome(
    name: str, lines: Counter[PartStatus], rejected: int, given_up: int
) -> SegmentOutcome:
    return SegmentOutcome(
        name=name,
        confirmed=lines[PartStatus.CONFIRMED] - rejected + given_up,
        rejected=rejected,
        unknown=lines[PartStatus.UNKNOWN] + lines[PartStatus.UNATTRIBUTED] - given_up,
        unsent=lines[PartStatus.UNSENT],
    )
