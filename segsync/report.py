"""What an apply did, as a value."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from segsync.exits import Exit, first_of
from segsync.model import LineRange
from segsync.plan import Plan
from segsync.state import Outcome, PartRecord, PartStatus, RunStatus


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
    """One run that was ended: by this apply, or for one that was killed."""

    reference: str
    import_id: str | None
    outcome: Outcome
    parts: tuple[PartRecord, ...]
    segments: tuple[SegmentOutcome, ...]
    problems: tuple[str, ...]
    seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What an apply did. `run` is None where nothing had to be sent or the user said no.

    `pending` and `rejects` are what the state holds of each after it; what was in doubt before in
    segments that the spec does not mention any more is not counted: no apply says it again.
    `is_behind` says that a saved plan was carried out that does not know of members who came into
    doubt after it was made.
    """

    plan: Plan | None
    run: RunReport | None
    recovered: RunReport | None
    agreed: bool = True
    pending: int = 0
    rejects: int = 0
    is_behind: bool = False

    @property
    def exit(self) -> Exit:
        """The exit status that this amounts to."""
        found = {_recovered_exit(self)}
        if not self.agreed:
            found.add(Exit.ERROR)
        if self.plan:
            found |= self.plan.exits
        if self.run:
            found.add(_run_exit(self.run.outcome))
        if self.is_behind and self.pending:
            found.add(Exit.UNKNOWN)
        return first_of(found)


_EXITS = {
    RunStatus.UNKNOWN: Exit.UNKNOWN,
    RunStatus.UNSENT: Exit.ERROR,
    RunStatus.PARTLY_REJECTED: Exit.REJECTED,
    RunStatus.DONE: Exit.DONE,
}


def _run_exit(outcome: Outcome) -> Exit:
    return Exit.UNKNOWN if outcome.doubted else _EXITS[outcome.status]


def _recovered_exit(report: Report) -> Exit:
    """What is left of a run that was recovered: this apply has planned anew, and may have sent."""
    if report.recovered is None:
        return Exit.DONE
    if report.pending:
        return Exit.UNKNOWN
    outcome = report.recovered.outcome
    is_refused = outcome.given_up or (outcome.rejected and report.rejects)
    return Exit.REJECTED if is_refused else Exit.DONE


def segment_outcomes(
    plan: Plan,
    parts: tuple[PartRecord, ...],
    rejected: Mapping[tuple[int, int], int],
    outcome: Outcome,
) -> tuple[SegmentOutcome, ...]:
    """Split a run's outcome by segment: each segment has known lines, each part a known fate.

    `rejected` counts the rejects by segment number and the last line of their part.
    """
    fates = _fates_by_segment(plan.ranges, parts, rejected)
    given_up = outcome.given_up_in
    return tuple(
        _segment_outcome(item.name, fates[item.number], given_up.get(item.number, 0))
        for item in plan.segments
        if item.number in fates
    )


@dataclass(slots=True)
class _Fates:
    """Lines of one segment: those that were rejected, the others by the status of their part."""

    rejected: int
    others: Counter[PartStatus]


def _fates_by_segment(
    ranges: tuple[LineRange, ...],
    parts: tuple[PartRecord, ...],
    rejected: Mapping[tuple[int, int], int],
) -> dict[int, _Fates]:
    """How many lines of each segment share which fate; parts and ranges are in order of lines."""
    ends = [part.last for part in parts]
    fates: dict[int, _Fates] = {}
    for span in ranges:
        lines = fates.setdefault(span.segment, _Fates(0, Counter()))
        first, end = bisect_left(ends, span.first), bisect_left(ends, span.last) + 1
        for part in parts[first:end]:
            lines.others[part.status] += min(span.last, part.last) - max(span.first, part.first) + 1
    by_end = {part.last: part.status for part in parts}
    for (segment, end), count in rejected.items():
        fates[segment].rejected += count
        fates[segment].others[by_end[end]] -= count
    return fates


def _segment_outcome(name: str, lines: _Fates, given_up: int) -> SegmentOutcome:
    others = lines.others
    return SegmentOutcome(
        name=name,
        confirmed=others[PartStatus.CONFIRMED] + given_up,
        rejected=lines.rejected,
        unknown=others[PartStatus.UNKNOWN] + others[PartStatus.UNATTRIBUTED] - given_up,
        unsent=others[PartStatus.UNSENT],
    )
