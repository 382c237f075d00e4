"""What a plan's reader must know first: of its state, of the run that is open, of the spec."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass

from segsync.model import RemovedSegment, Spec
from segsync.plan import Plan, SegmentStatus
from segsync.render import figures
from segsync.render.explain import MOST_NAMED

MOST_COMPARISONS = 2_000
"""Of names that may be misspelt: each takes a tenth of a millisecond."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a plan does not know: its state's path, whose apply is at work on that now, and what
    the spec has under `removed`.
    """

    state: str
    at_work: str | None = None
    removed: tuple[RemovedSegment, ...] = ()

    @classmethod
    def of(cls, spec: Spec, at_work: str | None = None) -> Surroundings:
        """Those of a plan for `spec`."""
        return cls(str(spec.state), at_work, spec.removed)


def notes(plan: Plan, around: Surroundings) -> Iterator[str]:
    """What comes before everything else in a plan's presentation."""
    if around.at_work:
        yield (
            f"An apply is at work now, of {around.at_work}. What it does is not in this plan yet: "
            "plan again when it has ended."
        )
    elif plan.open_run:
        yield _unfinished(plan.open_run, plan.totals.retry)
    elif not plan.serial:
        yield (
            f"No apply is recorded in the state {around.state} yet, so every member counts as new. "
            "That is right for the first apply. If there was a state before, restore it from its "
            "backup first: without it, those who have left a query since are not removed."
        )
    for run in plan.watched:
        yield (
            f"Run {run} was cut off, or its upload seemed lost: the platform may still execute it "
            "once more. Each apply asks before it plans; if so, its members are said again."
        )
    if plan.is_out_of_time:
        yield (
            f"This plan is of {figures.moment(plan.created_at_ms)}, before the last apply of "
            f"{figures.moment(plan.last_submitted_ms)}: who lapses or is renewed is told wrongly. "
            "Set the clock right, or give --now a later time."
        )
    if plan.partial:
        yield "This plan is partial: --target or --exclude leaves segments out."
    for segment in plan.segments:
        if segment.renamed_from:
            yield (
                f"{segment.name} is what was {segment.renamed_from} in the spec before, as both "
                f"are {segment.address}: its members stay."
            )
    yield from _idle_removals(plan, around.removed)


def _unfinished(run: str, again: int) -> str:
    text = (
        f"Run {run} is not finished: what became of its commands is not known yet. "
        "`segsync apply` finds that out first, and says again what is in doubt"
    )
    if not again:
        return f"{text}."
    commands = figures.plural(again, "command")
    return f"{text}: of the {commands} below that say something again, it leaves out what is done."


def _idle_removals(plan: Plan, removed: tuple[RemovedSegment, ...]) -> Iterator[str]:
    """Entries under `removed` that mean nothing: misspelt, or done long ago."""
    orphans = [
        name
        for segment in plan.with_status(SegmentStatus.ORPHANED)
        for name in dict.fromkeys((segment.name, segment.address.value))
    ]
    found = {
        segment.name for segment in plan.with_status(SegmentStatus.REMOVED, SegmentStatus.ERROR)
    }
    idle = [entry for entry in removed if entry.name not in found]
    done = []
    compares = len(idle) * len(orphans) <= MOST_COMPARISONS
    for entry in idle:
        near = difflib.get_close_matches(entry.name, orphans, n=1) if compares else []
        if near:
            yield (
                f"{entry.place}: the state has no segment {entry.name!r} to remove: did you mean "
                f"{near[0]!r}?"
            )
        else:
            done.append(entry.name)
    if done and plan.serial and not plan.partial:
        names = ", ".join(done[:MOST_NAMED]) + (" …" if len(done) > MOST_NAMED else "")
        yield (
            f"`removed` has what the state does not know: {names}. What has been removed can be "
            "taken out of the spec; of what has not, the name is wrong."
        )
