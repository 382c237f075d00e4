"""What the platform says of the segments of a plan, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable

from segsync.destination import Destination, SegmentLookup
from segsync.errors import Refused
from segsync.model import Address
from segsync.plan import SegmentPlan, SegmentStatus, removed_entry
from segsync.progress import Progress


class LookUps:
    """Asks the platform for segments; where the token may not, says so once, and asks no more.

    `stored` are the addresses in the state, `defined` those in the spec. One segment of the
    platform must not be known by its id and by its technical name at once: two queries would take
    turns on it.
    """

    def __init__(
        self,
        destination: Destination,
        progress: Progress,
        *,
        stored: Iterable[Address],
        defined: Iterable[Address],
    ) -> None:
        self._destination = destination
        self._progress = progress
        self._allowed = True
        self._stored = frozenset(stored)
        self._known = self._stored.union(defined)

    def problem_of(self, segment: SegmentPlan) -> str | None:
        """Why a segment's plan cannot be carried out; None where it can, or has nothing to send."""
        if not segment.sends or not segment.counts.commands:
            return None
        answer = self._ask(segment.address)
        if answer is None:
            return None
        if answer.problem:
            return answer.detail
        known = self._stored if segment.address in self._stored else self._known
        twins = known.intersection(answer.addresses) - {segment.address}
        if not twins or segment.status is SegmentStatus.REMOVED:
            return None
        [twin] = twins
        return (
            f"the segment with {segment.address} is the one that is also known here by its {twin}: "
            f"keep one of the two. {self._remedy(segment.address, twin)}"
        )

    def _remedy(self, mine: Address, twin: Address) -> str:
        if twin not in self._stored:
            return "Take the other one out of the spec"
        end = removed_entry(twin.value, "delete")
        if mine not in self._stored:
            return (
                f"To keep this one, end the other with {end}: its members leave first, and the "
                "next apply adds those of this one. With `keep` those who have left the query "
                "since would stay for ever"
            )
        return (
            f"Both have members in the state: end both, with {end} and "
            f"{removed_entry(mine.value, 'delete')}, apply, and then put one of them back: the "
            "next apply adds its members"
        )

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
