"""Plans of segments of which no member is compared: nothing is done to them, and why is said."""

from __future__ import annotations

from collections.abc import Iterator

from segsync.errors import SourceError
from segsync.model import RemovedSegment, Segment
from segsync.plan import SegmentPlan, SegmentStatus, removed_entry
from segsync.selection import Selected
from segsync.state import StateSegment


def failed(selected: Selected, error: SourceError) -> SegmentPlan:
    """The plan of a segment that could not be read from its source."""
    return SegmentPlan(
        name=selected.segment.name,
        address=selected.segment.address,
        number=selected.number,
        status=SegmentStatus.ERROR,
        error=str(error),
        hint=error.hint,
        place=selected.segment.place,
    )


def ambiguous(entry: RemovedSegment, meant: tuple[StateSegment, ...]) -> Iterator[SegmentPlan]:
    """Segments that an entry under `removed` may mean, one of them or all: nothing is done."""
    addresses = [str(known.address) for known in meant]
    for known in meant:
        yield SegmentPlan(
            name=entry.name,
            address=known.address,
            number=known.number,
            status=SegmentStatus.ERROR,
            error=f"{entry.place}: the state has {len(meant)} segments that had this name: "
            f"{', '.join(addresses)}",
            hint="write the address of the one that is meant instead of the name, such as "
            f"{removed_entry(addresses[0], entry.members)}",
            place=entry.place,
        )


def orphan(known: StateSegment, twin: Segment | None) -> SegmentPlan:
    """A segment that the state knows and the spec does not mention: nothing is done to it.

    `twin` is the one that the spec has by its name, at another address.
    """
    return SegmentPlan(
        name=known.name,
        address=known.address,
        number=known.number,
        status=SegmentStatus.ORPHANED,
        error=f"the state has it under {known.address}, but the spec does not mention it"
        if twin
        else "the state has it, but the spec does not mention it",
        hint=f"the spec has {known.name} under {twin.address} now: put the other back, or end the "
        f"old one with {removed_entry(str(known.address), 'delete')}"
        if twin
        else f"to delete its members add {removed_entry(known.name, 'delete')}; "
        f"to leave them alone and forget the segment, {removed_entry(known.name, 'keep')}",
    )
