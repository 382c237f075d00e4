"""Which segments a command is about, and where each stands in the state."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from segsync.errors import UsageError
from segsync.model import RemovedSegment, Segment, Spec
from segsync.state import StateSegment


@dataclass(frozen=True, slots=True)
class Selected:
    """A segment of the spec with its number; `known` is what the state has of it."""

    segment: Segment
    number: int
    known: StateSegment | None


@dataclass(frozen=True, slots=True)
class Selection:
    """What a plan is about."""

    segments: tuple[Selected, ...]
    removed: tuple[tuple[RemovedSegment, StateSegment], ...]
    orphaned: tuple[StateSegment, ...]
    partial: bool


def select(
    spec: Spec,
    known: tuple[StateSegment, ...],
    targets: Iterable[str],
    excluded: Iterable[str],
) -> Selection:
    """Match the spec with the state. Raises UsageError for a name that is in neither, or if none
    is left.
    """
    wanted, unwanted = set(targets), set(excluded)
    names = [segment.name for segment in spec.segments] + [item.name for item in spec.removed]
    for name in sorted(wanted | unwanted):
        _check_name(name, names)
    chosen = {name for name in names if (not wanted or name in wanted) and name not in unwanted}
    if names and not chosen:
        raise UsageError(
            "--target and --exclude leave no segment",
            hint=f"the spec has: {', '.join(names[:10])}",
        )
    by_address = {item.address: item for item in known}
    numbers = iter(range(max((item.number for item in known), default=0) + 1, 2**31))
    segments = tuple(
        _selected(segment, by_address.get(segment.address), numbers)
        for segment in spec.segments
        if segment.name in chosen
    )
    addresses = {segment.address for segment in spec.segments}
    others = [item for item in known if item.address not in addresses]
    removed = [(entry, item) for entry in spec.removed for item in _meant(entry, others)]
    gone = {item.number for _, item in removed}
    return Selection(
        segments=segments,
        removed=tuple(pair for pair in removed if pair[0].name in chosen),
        orphaned=tuple(i for i in others if i.number not in gone) if not wanted else (),
        partial=len(chosen) < len(names),
    )


def check_allowed(spec: Spec, allowed: Iterable[str]) -> None:
    """Raise UsageError for an --allow that names no segment."""
    names = [segment.name for segment in spec.segments]
    for name in allowed:
        _check_name(name, names)


def _selected(segment: Segment, known: StateSegment | None, numbers: Iterator[int]) -> Selected:
    number = known.number if known else next(numbers)
    return Selected(segment, number, known)


def _meant(entry: RemovedSegment, others: list[StateSegment]) -> list[StateSegment]:
    """By the name that the spec had for it; only where there is none by that on the platform."""
    named = [item for item in others if item.name == entry.name]
    return named or [item for item in others if item.address.value == entry.name]


def _check_name(name: str, names: list[str]) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names, n=1)
    raise UsageError(
        f"there is no segment {name!r} in the spec",
        hint=f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(names[:10])}",
    )
