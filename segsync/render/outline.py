"""What a plan's text, Markdown and HTML say, decided once: each of them only lays it out.

Every text in an outline is printable, and every identifier masked unless they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from segsync.plan import Counts, Plan, SegmentPlan, SegmentStatus
from segsync.render import figures
from segsync.render.explain import Examples, Trouble, examples, facts, together, trouble
from segsync.render.notes import Surroundings, notes
from segsync.render.printable import printable

CHANGES = (("+", "add"), ("~", "update"), ("↻", "renew"), ("−", "remove"))
MOST_IDLE = 20
"""With more segments without a change than this, the summary counts them instead."""


@dataclass(frozen=True, slots=True)
class Row:
    """A segment's row in the summary: `now` and `after` are members, None where not known.

    `changes` are add, update, renew, remove; None where `note` says why nothing is done. Without a
    status it stands for many segments.
    """

    name: str
    status: SegmentStatus | None
    now: int | None
    after: int | None
    changes: tuple[int, int, int, int] | None
    unchanged: int = 0
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Detail:
    """What stands out in a segment that is carried out."""

    name: str
    facts: tuple[str, ...]
    examples: tuple[Examples, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A plan to be laid out. `notes` come before everything; `verdict` and `effort` are the end.

    `total` are add, update, renew, remove, unchanged. `quiet` says that there is nothing to do.
    """

    title: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    total: tuple[int, int, int, int, int]
    details: tuple[Detail, ...]
    troubles: tuple[Trouble, ...]
    verdict: str
    effort: str
    quiet: bool


def outline(plan: Plan, around: Surroundings, *, show_ids: bool) -> Outline:
    """The content of a plan's presentation."""
    troubled = [s for s in plan.segments if s.status is not SegmentStatus.OK]
    details = [_detail(s, show_ids) for s in plan.segments if s.status is SegmentStatus.OK]
    return Outline(
        title=_title(plan),
        notes=tuple(map(printable, notes(plan, around))),
        rows=_rows(plan),
        total=(*_changes(plan.totals), plan.totals.left_alone),
        details=tuple(detail for detail in details if detail.facts or detail.examples),
        troubles=together(trouble(s, show_ids=show_ids) for s in sorted(troubled, key=_gravity)),
        verdict=_verdict(plan),
        effort=_effort(plan),
        quiet=not plan.changes_something,
    )


def _gravity(segment: SegmentPlan) -> int:
    """The worst comes last, where the eye is when the output has scrolled by."""
    order = (
        SegmentStatus.REMOVED,
        SegmentStatus.ORPHANED,
        SegmentStatus.BLOCKED,
        SegmentStatus.ERROR,
    )
    return order.index(segment.status)


def _title(plan: Plan) -> str:
    where = f"datamart {plan.datamart_id} at {plan.api_origin.partition('://')[2]}"
    return printable(f"Plan for {where}, state serial {plan.serial}")


def _changes(counts: Counts) -> tuple[int, int, int, int]:
    return counts.add, counts.update, counts.renew, counts.remove


def _rows(plan: Plan) -> tuple[Row, ...]:
    """Segments that send something or could, then those that do not; many idle ones in one row."""
    idle = [s for s in plan.segments if s.status is SegmentStatus.OK and not s.counts.commands]
    hidden = set(map(id, idle)) if len(idle) > MOST_IDLE else set[int]()
    shown = [segment for segment in plan.segments if id(segment) not in hidden]
    rows = [_row(segment) for segment in sorted(shown, key=lambda s: not s.sends)]
    if hidden:
        now = sum(segment.counts.snapshot for segment in idle)
        after = sum(segment.counts.after for segment in idle)
        left_alone = sum(segment.counts.left_alone for segment in idle)
        name = f"{len(idle):,} others without a change"
        rows.append(Row(name, None, now, after, (0, 0, 0, 0), left_alone))
    return tuple(rows)


def _row(segment: SegmentPlan) -> Row:
    counts, name, status = segment.counts, printable(segment.name), segment.status
    match status:
        case SegmentStatus.OK:
            changes = _changes(counts)
            return Row(name, status, counts.snapshot, counts.after, changes, counts.left_alone)
        case SegmentStatus.REMOVED if segment.keep:
            return Row(name, status, counts.snapshot, None, None, note="removed, members kept")
        case SegmentStatus.REMOVED:
            return Row(name, status, counts.snapshot, counts.after, _changes(counts))
    return Row(name, status, counts.snapshot, counts.snapshot, None, note=status.value.upper())


def _detail(segment: SegmentPlan, show_ids: bool) -> Detail:
    found = examples(segment, show_ids=show_ids)
    return Detail(printable(segment.name), facts(segment), found)


def _verdict(plan: Plan) -> str:
    totals = plan.totals
    held = plan.with_status(SegmentStatus.BLOCKED, SegmentStatus.ERROR)
    if totals.commands:
        return (
            f"Plan: {totals.add:,} to add, {totals.update:,} to update, {totals.renew:,} to renew, "
            f"{totals.remove:,} to remove."
        )
    if plan.changes_something:
        return "Nothing to send: only the state changes."
    if totals.deferred:
        waiting = figures.plural(totals.deferred, "command")
        return f"Nothing to send now: {waiting} that the platform rejected must wait."
    if len(held) == len(plan.segments) and held:
        return "Nothing can be done."
    return "No changes in the other segments." if held else "No changes."


def _effort(plan: Plan) -> str:
    totals = plan.totals
    texts = []
    order = ", removals first" if len({part.step for part in plan.parts}) > 1 else ""
    if totals.commands:
        texts.append(
            f"{figures.plural(totals.commands, 'command')}, {figures.size(plan.size)}, "
            f"{figures.plural(len(plan.parts), 'execution')}{order}."
        )
    for status, what in (
        (SegmentStatus.ORPHANED, "orphaned"),
        (SegmentStatus.BLOCKED, "blocked"),
        (SegmentStatus.ERROR, "in error"),
    ):
        if found := plan.with_status(status):
            texts.append(f"{figures.plural(len(found), 'segment')} {what}.")
    return " ".join(texts)
