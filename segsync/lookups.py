"""What the platform says of the segments of a plan, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable

from segsync.destination import Destination, SegmentLookup
from segsync.errors import Refused
from segsync.model import Address
from segsync.plan import SegmentPlan, removed_entry
from segsync.progress import Progress


class LookUps:
    """Asks the platform for segments; where the token may not, says so once, and asks no more.

    `addresses` are all that the spec and the state know. One segment of the platform must not be
    known by its id and by its technical name at once: two queries would take turns on it.
    """

    def __init__(
        self, destination: Destination, progress: Progress, addresses: Iterable[Address]
    ) -> None:
        self._destination = destination
        self._progress = progress
        self._allowed = True
        self._names = {a.value for a in addresses if a.field == "segment_technical_name"}

    def problem_of(self, segment: SegmentPlan) -> str | None:
        """Why a segment's plan cannot be carried out; None where it can, or has nothing to send."""
        if not segment.sends or not segment.counts.commands:
            return None
        is_named = segment.address.field == "segment_technical_name"
        answer = self._ask(segment.address)
        if answer is None:
            return None
        if answer.technical_name in self._names and not is_named:
            return (
                f"the segment with {segment.address} is the one that is also known here by its "
                f"technical name {answer.technical_name}: keep one of the two. To keep this one, "
                f"end the other with {removed_entry(answer.technical_name, 'delete')}: its members "
                "leave first, and the next apply adds those of this one. With `keep` those who "
                "have left the query since would stay for ever"
            )
        return answer.detail if answer.problem else None

    def _ask(self, address: Address) -> SegmentLookup | None:
        if not self._allowed:
            return None
        try:
            return self._destination.look_up_segment(address)
        except Refused as error:
            if error.status != 403:
                raise
            self._allowed = False
            self._progress.say(
                "the token may not read segments: whether they exist and can take members "
                "is not checked"
            )
            return None
