"""What a plan's text, Markdown and HTML say, decided once: each of them only lays it out.

Every text in an outline is printable, and every identifier masked unless they were asked for.
"""

from __future__ import annotations

from dataclasses import dataclass

from segsync.plan import Counts, Plan, Sample, SegmentPlan, SegmentStatus
from segsync.render import figures
from segsync.render.printable import mask, printable

CHANGES = (("+", "add"), ("~", "update"), ("↻", "renew"), ("−", "remove"))


@dataclass(frozen=True, slots=True)
class Row:
    """A segment's row in the summary: `now` and `after` are members, None where not known.

    `changes` are add, update, renew, remove; None where `note` says why nothing is done.
    """

    name: str
    now: int | None
    after: int | None
    changes: tuple[int, int, int, int] | None
    unchanged: int
    note: str | None = None


@dataclass(frozen=True, slots=True)
class Example:
    """One member or row: its symbol, the identifier as it may be shown, why."""

    symbol: str
    subject: str
    reason: str


@dataclass(frozen=True, slots=True)
class Detail:
    """What stands out in a segment that is carried out."""

    name: str
    facts: tuple[str, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A segment that nothing is sent for, or that leaves: what, where, why, and what to type."""

    name: str
    status: SegmentStatus
    title: str
    place: str | None
    messages: tuple[str, ...]
    remedies: tuple[str, ...]
    examples: tuple[Example, ...]


@dataclass(frozen=True, slots=True)
class Outline:
    """A plan to be laid out. `notes` come before everything; `verdict` and `effort` are the end."""

    title: str
    notes: tuple[str, ...]
    rows: tuple[Row, ...]
    total: tuple[int, int, int, int, int]
    details: tuple[Detail, ...]
    troubles: tuple[Trouble, ...]
    verdict: str
    effort: str
    quiet: bool


def outline(plan: Plan, *, show_ids: bool) -> Outline:
    """The content of a plan's presentation."""
    totals = plan.totals
    troubled = [s for s in plan.segments if s.status is not SegmentStatus.OK]
    details = [_detail(s, show_ids) for s in plan.segments if s.status is SegmentStatus.OK]
    return Outline(
        title=_title(plan),
        notes=_notes(plan),
        rows=tuple(_row(s) for s in sorted(plan.segments, key=lambda s: not s.sends)),
        total=(*_changes(totals), totals.unchanged),
        details=tuple(detail for detail in details if detail.facts or detail.examples),
        troubles=tuple(_trouble(s, show_ids) for s in sorted(troubled, key=_gravity)),
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


def _notes(plan: Plan) -> tuple[str, ...]:
    notes = []
    if plan.open_run:
        notes.append(
            f"The run {printable(plan.open_run)} is not finished: what became of its commands is "
            "unknown. apply finds that out first; what is still in doubt then is sent again."
        )
    if plan.partial:
        notes.append("This plan is partial: --target or --exclude leaves segments out.")
    return tuple(notes)


def _changes(counts: Counts) -> tuple[int, int, int, int]:
    return counts.add, counts.update, counts.renew, counts.remove


def _row(segment: SegmentPlan) -> Row:
    counts, name = segment.counts, printable(segment.name)
    match segment.status:
        case SegmentStatus.OK:
            return Row(
                name, counts.snapshot, counts.desired, _changes(counts), counts.unchanged
            )
        case SegmentStatus.REMOVED if segment.keep:
            note = "forgotten, its members stay on the platform"
            return Row(name, counts.snapshot, None, None, 0, note)
        case SegmentStatus.REMOVED:
            return Row(name, counts.snapshot, 0, _changes(counts), 0, None)
        case SegmentStatus.BLOCKED:
            return Row(name, counts.snapshot, counts.snapshot, None, 0, "BLOCKED by a guard")
        case SegmentStatus.ERROR:
            known = counts.snapshot or None
            return Row(name, known, known, None, 0, "ERROR")
        case SegmentStatus.ORPHANED:
            known = counts.snapshot or None
            return Row(name, known, known, None, 0, "ORPHANED: not in the spec")


def _detail(segment: SegmentPlan, show_ids: bool) -> Detail:
    counts = segment.counts
    facts = []
    if counts.invalid:
        facts.append(
            f"{_of(counts.invalid, counts.queried)} left out: " + _reasons(segment)
        )
    if counts.duplicates:
        facts.append(f"{figures.plural(counts.duplicates, 'row')} of {counts.queried:,} "
                     "only repeat another row")
    facts += _facts(segment)
    return Detail(printable(segment.name), tuple(facts), _examples(segment, show_ids))


def _facts(segment: SegmentPlan) -> list[str]:
    counts = segment.counts
    facts = []
    if counts.retry:
        facts.append(
            f"{figures.plural(counts.retry, 'command')} of an earlier run with an unknown outcome "
            "said again"
        )
    if counts.deferred:
        facts.append(
            f"{figures.plural(counts.deferred, 'command')} rejected earlier, waiting for the next "
            "attempt: `segsync state rejects`"
        )
    if counts.forget:
        facts.append(
            f"{figures.plural(counts.forget, 'member')} lapsed and no longer in the query: "
            "dropped without a command"
        )
    if segment.rekeyed:
        facts.append(
            "identifiers change their kind or compartment: the removals go first, in an execution "
            "of their own"
        )
    return facts


def _of(part: int, whole: int) -> str:
    return f"{part:,} of {whole:,} rows"


def _reasons(segment: SegmentPlan) -> str:
    pairs = segment.invalid_reasons.items()
    return "; ".join(f"{number:,} × {printable(reason)}" for reason, number in pairs)


def _examples(segment: SegmentPlan, show_ids: bool) -> tuple[Example, ...]:
    return tuple(_example(sample, show_ids) for sample in segment.samples)


def _example(sample: Sample, show_ids: bool) -> Example:
    symbol = "−" if sample.label == "-" else sample.label
    words = []
    if sample.row is not None:
        words.append(f"row {sample.row:,}")
    if sample.identifier is not None:
        shown = sample.identifier if show_ids else mask(sample.identifier, sample.kind)
        kind = f"{sample.kind.value} " if sample.kind else ""
        words.append(kind + shown)
    if sample.compartment_id is not None:
        words.append(f"in compartment {sample.compartment_id}")
    return Example(symbol, printable(" ".join(words)), printable(sample.reason))


def _trouble(segment: SegmentPlan, show_ids: bool) -> Trouble:
    messages, remedies = _explanation(segment)
    blocked = segment.status in (SegmentStatus.BLOCKED, SegmentStatus.ERROR)
    return Trouble(
        name=printable(segment.name),
        status=segment.status,
        title=_headline(segment),
        place=printable(segment.place) if segment.place else None,
        messages=tuple(map(printable, messages)),
        remedies=tuple(map(printable, remedies)),
        examples=_examples(segment, show_ids) if blocked or segment.counts.commands else (),
    )


def _headline(segment: SegmentPlan) -> str:
    match segment.status:
        case SegmentStatus.BLOCKED:
            return "is blocked by a guard: nothing is sent for it"
        case SegmentStatus.ERROR:
            return "has an error: nothing is sent for it"
        case SegmentStatus.ORPHANED:
            return "is orphaned: nothing is sent for it"
    if segment.keep:
        return "is removed from the state; its members stay on the platform"
    return f"is removed: {figures.plural(segment.counts.remove, 'member')} to be deleted"


def _explanation(segment: SegmentPlan) -> tuple[list[str], list[str]]:
    """What is wrong, and what to do about it."""
    messages = [violation.message for violation in segment.violations]
    if segment.status is SegmentStatus.BLOCKED:
        parts = zip(("add", "update", "renew", "remove"), _changes(segment.counts), strict=True)
        changes = ", ".join(f"{number:,} to {word}" for word, number in parts)
        messages.append(f"held back: {changes}")
    if segment.error:
        messages += [text for text in segment.error.splitlines() if text.strip()]
    remedies = [violation.remedy for violation in segment.violations]
    if segment.hint:
        remedies.append(segment.hint)
    return messages, remedies


def _verdict(plan: Plan) -> str:
    totals, dropped = plan.totals, plan.dropped
    held = plan.with_status(SegmentStatus.BLOCKED, SegmentStatus.ERROR)
    if totals.commands:
        return (
            f"Plan: {totals.add:,} to add, {totals.update:,} to update, {totals.renew:,} to renew, "
            f"{totals.remove:,} to remove."
        )
    if totals.forget or dropped:
        return "Nothing to send; only the state changes."
    if held:
        return "No changes in the other segments." if len(held) < len(plan.segments) else (
            "Nothing can be done."
        )
    return "No changes. The segments are as the queries say."


def _effort(plan: Plan) -> str:
    totals = plan.totals
    texts = []
    if totals.commands:
        texts.append(
            f"{figures.plural(totals.commands, 'command')}, {figures.size(plan.size)}, "
            f"{figures.plural(len(plan.parts), 'execution')}."
        )
    for status, word in ((SegmentStatus.BLOCKED, "blocked"), (SegmentStatus.ERROR, "in error")):
        if found := plan.with_status(status):
            texts.append(f"{figures.plural(len(found), 'segment')} {word}.")
    return " ".join(texts)
