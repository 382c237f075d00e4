"""Which segments a command is about, and where each stands in the state."""

from __future__ import annotations

import difflib
import itertools
from collections import defaultdict
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
    """What a plan is about. An `ambiguous` entry means several segments of the state."""

    segments: tuple[Selected, ...]
    removed: tuple[tuple[RemovedSegment, StateSegment], ...]
    ambiguous: tuple[tuple[RemovedSegment, tuple[StateSegment, ...]], ...]
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
    numbers = itertools.count(max((item.number for item in known), default=0) + 1)
    segments = tuple(
        _selected(segment, by_address.get(segment.address), numbers)
        for segment in spec.segments
        if segment.name in chosen
    )
    addresses = {segment.address for segment in spec.segments}
    others = [item for item in known if item.address not in addresses]
    meant = _meant(spec.removed, others)
    gone = {item.number for found in meant.values() for item in found}
    ended = [(entry, meant[entry.name]) for entry in spec.removed if entry.name in chosen]
    return Selection(
        segments=segments,
        removed=tuple((entry, found[0]) for entry, found in ended if len(found) == 1),
        ambiguous=tuple((entry, tuple(found)) for entry, found in ended if len(found) > 1),
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


def _meant(
    removed: Iterable[RemovedSegment], others: Iterable[StateSegment]
) -> dict[str, list[StateSegment]]:
    """What each entry under `removed` means: by the name that the spec had for it, or an address.

    An address is looked for only where nothing has that name; what it means is none of the others.
    """
    by_name: dict[str, list[StateSegment]] = defaultdict(list)
    by_address: dict[str, list[StateSegment]] = defaultdict(list)
    for item in others:
        by_name[item.name].append(item)
        by_address[str(item.address)].append(item)
        by_address[item.address.value].append(item)
    names = [entry.name for entry in removed]
    addressed = {name: by_address[name] for name in names if name not in by_name}
    taken = {item.number for found in addressed.values() for item in found}
    named = {
        name: [item for item in by_name[name] if item.number not in taken]
        for name in names
        if name in by_name
    }
    return addressed | named


def _check_name(name: str, names: list[str]) -> None:
    if name in names:
        return
    near = difflib.get_close_matches(name, names)
    raise UsageError(
        f"there is no segment {name!r} in the spec",
        hint=f"did you mean {near[0]!r}?" if near else f"it has: {', '.join(names[:10])}",
    )
