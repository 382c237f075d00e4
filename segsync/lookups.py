"""What the platform says of the segments of a plan, before anything is sent."""

from __future__ import annotations

from collections.abc import Iterable

from segsync.destination import Destination, SegmentLookup, SegmentProblem
from segsync.errors import Refused
from segsync.model import Address
from segsync.plan import SegmentPlan, SegmentStatus, removed_entry
from segsync.progress import Progress
from segsync.state import StateSegment


class LookUps:
    """Asks the platform for segments. Where the token may read none, it says so and asks no more.

    `stored` is what the state has, `defined` are the addresses in the spec. One segment of the
    platform must not be known by its id and by its technical name at once: two queries would take
    turns on it. Nor may it be another one than before: the members in the state are not in it.
    `platform_ids` are those of the segments that were asked for.
    """

    def __init__(
        self,
        destination: Destination,
        progress: Progress,
        *,
        stored: Iterable[StateSegment],
        defined: Iterable[Address],
    ) -> None:
        self._destination = destination
        self._progress = progress
        self._readable: bool | None = None
        self._stored = {segment.address: segment.platform_id for segment in stored}
        self._defined = frozenset(defined)
        self._known = self._defined.union(self._stored)
        self.platform_ids: dict[Address, str] = {}

    def problem_of(self, segment: SegmentPlan) -> str | None:
        """Why a segment's plan cannot be carried out; None where it can, or has nothing to send."""
        if not segment.sends or not segment.counts.commands:
            return None
        answer = self._ask(segment.address)
        if answer is None:
            return None
        is_removed = segment.status is SegmentStatus.REMOVED
        keep = removed_entry(segment.name, "keep")
        if answer.problem is SegmentProblem.MISSING and self._is_elsewhere(segment.address):
            return _renamed(segment.address, self._stored[segment.address])
        if answer.problem is SegmentProblem.MISSING and is_removed:
            return (
                f"{answer.detail}. If it is gone for good, write {keep}: there is nobody to delete"
            )
        if answer.problem:
            return answer.detail
        return self._made_anew(segment, answer, keep) or self._known_twice(segment, answer)

    def _is_elsewhere(self, address: Address) -> bool:
        """Whether the segment that was filled under a name is there, and is called otherwise."""
        before = self._stored.get(address)
        answer = self._ask(Address("segment_id", before)) if before else None
        if answer is None or answer.problem not in (None, SegmentProblem.PAUSED):
            return False
        return address not in answer.addresses

    def _made_anew(self, segment: SegmentPlan, answer: SegmentLookup, keep: str) -> str | None:
        found = next((a.value for a in answer.addresses if a.field == "segment_id"), None)
        if found is None:
            return None
        self.platform_ids[segment.address] = found
        before = self._stored.get(segment.address)
        if before in (None, found):
            return None
        if self._is_elsewhere(segment.address):
            return _renamed(segment.address, before)
        remedy = f"take it out of `segments`, write {keep}, apply, and put it back"
        if segment.status is SegmentStatus.REMOVED:
            remedy = f"write {keep}"
        return (
            f"the segment with {segment.address} is another one (id {found}) than the one that was "
            f"filled before (id {before}), and has none of its members. To forget those, {remedy}"
        )

    def _known_twice(self, segment: SegmentPlan, answer: SegmentLookup) -> str | None:
        """One that is removed would take along the members of a twin that goes on."""
        address = segment.address
        known = frozenset(self._stored) if address in self._stored else self._known
        if segment.status is SegmentStatus.REMOVED:
            known = self._defined.intersection(self._stored)
        twins = known.intersection(answer.addresses) - {address}
        if twins:
            [twin] = twins
            return (
                f"the segment with {address} is the one that is also known here by its {twin}: "
                f"keep one of the two. {self._remedy(address, twin)}"
            )
        found = self.platform_ids.get(address)
        for earlier in known - {address}:
            if found is not None and self._stored.get(earlier) == found:
                return f"the segment with {address} is known here: {_renamed(earlier, found)}"
        return None

    def _remedy(self, mine: Address, twin: Address) -> str:
        if twin not in self._stored:
            return "Take the other one out of the spec"
        end = removed_entry(str(twin), "delete")
        if mine not in self._stored:
            return (
                f"To keep this one, end the other with {end}: its members leave first, and the "
                "next apply adds those of this one. With `keep` those who have left the query "
                "since would stay for ever"
            )
        return (
            f"Both have members in the state: end both, with {end} and "
            f"{removed_entry(str(mine), 'delete')}, apply, and then put one of them back: the "
            "next apply adds its members"
        )

    def _ask(self, address: Address) -> SegmentLookup | None:
        """The platform's answer; None where the token may not read this segment.

        Raises Refused where that is for all of them: the token is none, or the platform is unwell.
        """
        if self._readable is False:
            return None
        try:
            answer = self._destination.look_up_segment(address)
        except Refused as error:
            if error.status == 403:
                self._not_readable(address)
                return None
            if error.status == 401 or error.status >= 500:
                raise
            return SegmentLookup(address, SegmentProblem.REFUSED, str(error))
        self._readable = True
        return answer

    def _not_readable(self, address: Address) -> None:
        what = f"the segment with {address}: whether it exists and can take members"
        if self._readable is None:
            what = "segments: whether they exist and can take members"
            self._readable = False
        self._progress.say(f"the token may not read {what} is not checked")


def _renamed(address: Address, platform_id: str | None) -> str:
    return (
        f"the segment that was filled under {address} (id {platform_id}) has another name on the "
        "platform now. Give it the old one back there, at least until its members are ended here "
        f"with {removed_entry(str(address), 'delete')}"
    )
