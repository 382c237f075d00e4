"""One segment of a plan in words: what stands out, some members, what is wrong and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from segsync.plan import Sample, SegmentPlan, SegmentStatus
from segsync.render import figures
from segsync.render.printable import mask, printable

MOST_NAMED = 10
"""Segments with one and the same error; the others are counted."""
_WORDS = ("add", "update", "renew", "remove")


@dataclass(frozen=True, slots=True)
class Examples:
    """Members or rows that have a symbol, a reason and a kind of identifier in common."""

    symbol: str
    reason: str
    kind: str
    subjects: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Trouble:
    """A segment that nothing is sent for, or that leaves: what, where, why, and what to type."""

    name: str
    status: SegmentStatus
    title: str
    place: str | None
    messages: tuple[str, ...]
    remedies: tuple[str, ...]
    examples: tuple[Examples, ...]


def facts(segment: SegmentPlan) -> tuple[str, ...]:
    """Sentences about what is out of the ordinary."""
    counts = segment.counts
    found = []
    rows = figures.plural(counts.queried, "row")
    if counts.invalid:
        reasons = "; ".join(
            f"{number:,} × {printable(reason)}"
            for reason, number in segment.invalid_reasons.items()
        )
        found.append(f"{counts.invalid:,} of {rows} left out: {reasons}")
    if counts.duplicates:
        repeat = "repeats" if counts.duplicates == 1 else "repeat"
        found.append(f"{counts.duplicates:,} of {rows} {repeat} another one")
    if counts.retry:
        commands = figures.plural(counts.retry, "command")
        found.append(f"{commands} said again: what became of them in an earlier run is unknown")
    if counts.reattempted:
        commands = figures.plural(counts.reattempted, "command")
        found.append(f"{commands} rejected earlier, and tried again now (`segsync state rejects`)")
    if counts.deferred:
        commands = figures.plural(counts.deferred, "command")
        found.append(
            f"{commands} rejected earlier, waiting for the next attempt (`segsync state rejects`)"
        )
    if 0 < counts.removed_uncounted <= counts.remove:
        found.append(
            f"{counts.removed_uncounted:,} of {figures.plural(counts.remove, 'removal')} not "
            "counted in `now`: the members have just lapsed, or may never have come; removed to "
            "be sure"
        )
    if counts.forget:
        members = figures.plural(counts.forget, "member")
        where = "in no valid row of" if counts.invalid else "no longer in"
        found.append(f"{members} lapsed and {where} the query: dropped without a command")
    if counts.settled:
        rejects = figures.plural(counts.settled, "rejected command")
        found.append(f"{rejects} no longer needed: dropped")
    if counts.spared:
        members = figures.plural(counts.spared, "member")
        found.append(f"{members} left as they are, not renewed: their rows may be invalid ones")
    return tuple(found)


def examples(segment: SegmentPlan, *, show_ids: bool) -> tuple[Examples, ...]:
    """The samples, those together that have everything but the member in common."""
    groups: dict[tuple[str, str, str], list[str]] = {}
    for sample in segment.samples:
        symbol = "−" if sample.label == "-" else printable(sample.label)
        kind = _kind(sample)
        subjects = groups.setdefault((symbol, printable(sample.reason), kind), [])
        subjects.append(printable(_subject(sample, show_ids)))
    return tuple(Examples(*key, tuple(subjects)) for key, subjects in groups.items())


def _kind(sample: Sample) -> str:
    """As the platform calls the identifier, or the query that of an invalid row."""
    if sample.kind and sample.identifier:
        return sample.kind.value
    return printable(sample.column or "")


def _subject(sample: Sample, show_ids: bool) -> str:
    words = []
    if sample.row is not None:
        words.append(f"row {sample.row:,}")
    if sample.identifier is not None:
        words.append(sample.identifier if show_ids else mask(sample.identifier, sample.kind))
    if sample.compartment_id is not None:
        words.append(f"(compartment {sample.compartment_id})")
    return " ".join(words)


def trouble(segment: SegmentPlan, *, show_ids: bool) -> Trouble:
    """What is the matter with a segment that is not simply carried out."""
    messages, remedies = _explanation(segment)
    return Trouble(
        name=printable(segment.name),
        status=segment.status,
        title=_title(segment),
        place=_place(segment),
        messages=tuple(map(printable, messages)),
        remedies=tuple(map(printable, remedies)),
        examples=examples(segment, show_ids=show_ids),
    )


def together(troubles: Iterable[Trouble]) -> tuple[Trouble, ...]:
    """The troubles, those in one that have the same cause: a source that cannot be reached."""
    found: dict[object, list[Trouble]] = {}
    for index, item in enumerate(troubles):
        alike = item.status is SegmentStatus.ERROR and not item.examples
        key = (item.messages, item.remedies) if alike else index
        found.setdefault(key, []).append(item)
    return tuple(_as_one(group) if len(group) > 1 else group[0] for group in found.values())


def _as_one(group: list[Trouble]) -> Trouble:
    names = [item.name for item in group[:MOST_NAMED]]
    more = len(group) - len(names)
    names += [figures.plural(more, "other")] if more else []
    return replace(
        group[0],
        name=f"{', '.join(names[:-1])} and {names[-1]}",
        title="have an error: nothing is sent for them",
        place=None,
    )


def _place(segment: SegmentPlan) -> str | None:
    """Where the segment is defined, unless its error names a place of its own."""
    if segment.place is None:
        return None
    file = segment.place.split(":", 1)[0]
    named = segment.error is not None and segment.error.startswith(f"{file}:")
    return None if named else printable(segment.place)


def _title(segment: SegmentPlan) -> str:
    match segment.status:
        case SegmentStatus.BLOCKED:
            return "is blocked by a guard: nothing is sent for it"
        case SegmentStatus.ERROR:
            return "has an error: nothing is sent for it"
        case SegmentStatus.ORPHANED:
            return "is orphaned: nothing is sent for it"
    if segment.keep:
        return "is removed: it is forgotten, its members stay on the platform"
    return f"is removed: {figures.plural(segment.counts.remove, 'member')} to remove"


def _explanation(segment: SegmentPlan) -> tuple[list[str], list[str]]:
    """What is wrong, and what to do about it."""
    counts = segment.counts
    messages = [violation.message for violation in segment.violations]
    remedies = [violation.remedy for violation in segment.violations]
    if segment.status is SegmentStatus.BLOCKED:
        numbers = (counts.add, counts.update, counts.renew, counts.remove)
        held = [f"{n:,} to {word}" for n, word in zip(numbers, _WORDS, strict=True) if n]
        messages.append(f"held back: {', '.join(held) or 'nothing'}")
    if segment.error:
        messages += [text for text in segment.error.splitlines() if text.strip()]
    if segment.hint:
        remedies.append(segment.hint)
    if segment.status is SegmentStatus.REMOVED:
        messages += facts(segment)
    if segment.waiting and not counts.deferred:
        messages.append("it stays in the state while an upload that was given up may be executed")
    return messages, list(dict.fromkeys(remedies))
