"""What the platform says of a segment decides whether its plan may be carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from segsync.destination import SegmentLookup, SegmentProblem
from segsync.errors import Refused
from segsync.lookups import LookUps
from segsync.model import Address
from segsync.plan import Counts, SegmentPlan, SegmentStatus
from segsync.state import StateSegment
from tests.support.world import Said

VIP = Address("segment_technical_name", "vip")
VIPS = Address("segment_technical_name", "vips")
SEVEN, EIGHT = Address("segment_id", "7"), Address("segment_id", "8")
Answer = SegmentLookup | Refused


class Directory:
    """A destination that knows segments, and notes which were asked for."""

    def __init__(self, answers: Mapping[Address, Answer]) -> None:
        self.answers = answers
        self.asked: list[Address] = []

    def look_up_segment(self, address: Address) -> SegmentLookup:
        self.asked.append(address)
        answer = self.answers[address]
        if isinstance(answer, Refused):
            raise answer
        return answer

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


def there(address: Address, *others: Address) -> SegmentLookup:
    return SegmentLookup(address, None, "can take members", (address, *others))


def not_there(address: Address, problem: SegmentProblem = SegmentProblem.MISSING) -> SegmentLookup:
    return SegmentLookup(address, problem, f"{address.value} is {problem.value}")


def refused(status: int) -> Refused:
    return Refused(f"HTTP {status}", status=status)


def plan_of(
    address: Address, status: SegmentStatus = SegmentStatus.OK, name: str = "mine"
) -> SegmentPlan:
    return SegmentPlan(name, address, 1, status, counts=Counts(desired=1, add=1))


ENDED = SegmentStatus.REMOVED


class Asking:
    """Look-ups of some segments: `stored` have members, by the platform's id as far as known."""

    def __init__(
        self,
        answers: Mapping[Address, Answer],
        stored: Mapping[Address, str | None] | None = None,
        defined: tuple[Address, ...] = (VIP,),
    ) -> None:
        self.directory = Directory(answers)
        self.said = Said()
        segments = [
            StateSegment(number, address, address.value, 0, 0, None, platform_id)
            for number, (address, platform_id) in enumerate((stored or {}).items(), start=1)
        ]
        self.look_ups = LookUps(self.directory, self.said, stored=segments, defined=defined)

    def of(self, address: Address, status: SegmentStatus = SegmentStatus.OK) -> str | None:
        """The problem of a plan that adds somebody."""
        return self.look_ups.problem_of(plan_of(address, status))


@pytest.mark.parametrize(
    ("status", "counts", "is_asked"),
    [
        (SegmentStatus.OK, Counts(add=1), True),
        (SegmentStatus.REMOVED, Counts(remove=1), True),
        (SegmentStatus.OK, Counts(forget=1, unchanged=1), False),
        (SegmentStatus.REMOVED, Counts(), False),
        (SegmentStatus.BLOCKED, Counts(add=1), False),
        (SegmentStatus.ERROR, Counts(add=1), False),
        (SegmentStatus.ORPHANED, Counts(add=1), False),
    ],
)
def test_only_segments_to_which_something_is_sent_are_asked_for(
    status: SegmentStatus, counts: Counts, is_asked: bool
) -> None:
    asking = Asking({VIP: not_there(VIP, SegmentProblem.PAUSED)})
    problem = asking.look_ups.problem_of(SegmentPlan("vip", VIP, 1, status, counts=counts))
    assert problem == ("vip is paused" if is_asked else None)
    assert asking.directory.asked == ([VIP] if is_asked else [])


def test_a_segment_that_can_take_members_is_known_by_its_id() -> None:
    asking = Asking({VIP: there(VIP, SEVEN), VIPS: there(VIPS)}, {VIPS: None})
    assert asking.of(VIP) is None
    assert asking.of(VIPS) is None
    assert asking.look_ups.platform_ids == {VIP: "7"}
    assert asking.said.sentences == []


@pytest.mark.parametrize("status", [SegmentStatus.OK, ENDED])
@pytest.mark.parametrize("problem", list(SegmentProblem))
def test_a_segment_that_can_take_no_members_is_told_as_the_platform_says(
    status: SegmentStatus, problem: SegmentProblem
) -> None:
    """Where one is gone for good there is nobody to delete; where it is not, there is."""
    asking = Asking({VIP: not_there(VIP, problem), SEVEN: there(SEVEN, VIPS)}, {VIP: None})
    gone = ". If it is gone for good, write `removed: {mine: keep}`: there is nobody to delete"
    is_gone = problem is SegmentProblem.MISSING and status is ENDED
    assert asking.of(VIP, status) == f"vip is {problem.value}" + (gone if is_gone else "")
    assert asking.look_ups.platform_ids == {}
    assert asking.directory.asked == [VIP]


RENAMED = (
    "the segment that was filled under segment_technical_name=vip (id 7) has another name on the "
    "platform now. Give it the old one back there, at least until its members are ended here "
    'with `removed: {"segment_technical_name=vip": delete}`'
)


@pytest.mark.parametrize("status", [SegmentStatus.OK, ENDED])
@pytest.mark.parametrize(
    ("by_id", "is_renamed"),
    [
        (there(SEVEN, VIPS), True),
        (there(SEVEN), True),
        (there(SEVEN, VIP), False),
        (not_there(SEVEN), False),
        (not_there(SEVEN, SegmentProblem.PAUSED), True),
        (refused(404), False),
        (refused(403), False),
    ],
)
def test_one_that_is_missing_is_looked_for_under_its_id(
    by_id: Answer, is_renamed: bool, status: SegmentStatus
) -> None:
    answers = {VIPS: there(VIPS), VIP: not_there(VIP), SEVEN: by_id}
    asking = Asking(answers, {VIP: "7", VIPS: None})
    assert asking.of(VIPS) is None
    problem = asking.of(VIP, status) or ""
    assert asking.directory.asked == [VIPS, VIP, SEVEN]
    if is_renamed:
        assert problem == RENAMED
    else:
        assert problem.startswith("vip is missing")


def test_one_with_another_problem_is_not_looked_for_elsewhere() -> None:
    answers = {VIP: not_there(VIP, SegmentProblem.PAUSED), SEVEN: there(SEVEN, VIPS)}
    asking = Asking(answers, {VIP: "7"})
    assert asking.of(VIP) == asking.of(VIP, ENDED) == "vip is paused"
    assert SEVEN not in asking.directory.asked


@pytest.mark.parametrize(
    ("status", "remedy"),
    [
        (
            SegmentStatus.OK,
            "take it out of `segments`, write `removed: {mine: keep}`, apply, and put it back",
        ),
        (ENDED, "write `removed: {mine: keep}`"),
    ],
)
def test_one_that_was_made_anew_has_none_of_the_members(status: SegmentStatus, remedy: str) -> None:
    for before, found, is_new in [("7", EIGHT, True), ("8", EIGHT, False), (None, EIGHT, False)]:
        asking = Asking({VIP: there(VIP, found), SEVEN: not_there(SEVEN)}, {VIP: before})
        expected = (
            f"the segment with {VIP} is another one (id 8) than the one that was filled before "
            f"(id {before}), and has none of its members. To forget those, {remedy}"
        )
        assert asking.of(VIP, status) == (expected if is_new else None)
        assert asking.look_ups.platform_ids == {VIP: "8"}
    asking = Asking({VIP: there(VIP)}, {VIP: "7"})
    assert asking.of(VIP, status) is None


TWINS = f"the segment with {VIP} is the one that is also known here by its {SEVEN}: "
TWINS += "keep one of the two. "
OUT = "Take the other one out of the spec"
END_THE_OTHER = (
    'To keep this one, end the other with `removed: {"segment_id=7": delete}`: its members leave '
    "first, and the next apply adds those of this one. With `keep` those who have left the query "
    "since would stay for ever"
)
END_BOTH = (
    'Both have members in the state: end both, with `removed: {"segment_id=7": delete}` and '
    '`removed: {"segment_technical_name=vip": delete}`, apply, and then put one of them back: the '
    "next apply adds its members"
)


@pytest.mark.parametrize(
    ("status", "stored", "defined", "remedy"),
    [
        (SegmentStatus.OK, (), (VIP,), None),
        (SegmentStatus.OK, (), (VIP, SEVEN), OUT),
        (SegmentStatus.OK, (SEVEN,), (VIP,), END_THE_OTHER),
        (SegmentStatus.OK, (SEVEN,), (VIP, SEVEN), END_THE_OTHER),
        (SegmentStatus.OK, (VIP,), (VIP, SEVEN), None),
        (SegmentStatus.OK, (VIP, SEVEN), (VIP,), END_BOTH),
        (SegmentStatus.OK, (VIP, SEVEN), (VIP, SEVEN), END_BOTH),
        (ENDED, (VIP,), (), None),
        (ENDED, (VIP,), (SEVEN,), None),
        (ENDED, (VIP, SEVEN), (), None),
        (ENDED, (VIP, SEVEN), (SEVEN,), END_BOTH),
    ],
)
def test_two_addresses_of_one_segment_must_not_take_turns_on_it(
    status: SegmentStatus,
    stored: tuple[Address, ...],
    defined: tuple[Address, ...],
    remedy: str | None,
) -> None:
    """The one that was there first goes on; one that is ended may take nobody along."""
    asking = Asking({VIP: there(VIP, SEVEN)}, dict.fromkeys(stored), defined)
    assert asking.of(VIP, status) == (remedy and TWINS + remedy)


@pytest.mark.parametrize(
    ("status", "earlier", "platform_id", "defined", "is_same"),
    [
        (SegmentStatus.OK, VIPS, "7", (VIP,), True),
        (SegmentStatus.OK, VIPS, "8", (VIP,), False),
        (SegmentStatus.OK, VIPS, None, (VIP,), False),
        (ENDED, VIPS, "7", (), False),
        (ENDED, VIPS, "7", (VIPS,), True),
    ],
)
def test_one_that_was_filled_under_another_name_is_not_filled_under_its_new_one(
    status: SegmentStatus,
    earlier: Address,
    platform_id: str | None,
    defined: tuple[Address, ...],
    is_same: bool,
) -> None:
    stored = {earlier: platform_id} | ({VIP: None} if status is ENDED else {})
    asking = Asking({VIP: there(VIP, SEVEN)}, stored, defined)
    expected = RENAMED.replace("=vip", "=vips")
    assert asking.of(VIP, status) == (
        f"the segment with {VIP} is known here: {expected}" if is_same else None
    )
    asking = Asking({VIP: there(VIP)}, stored, defined)
    assert asking.of(VIP, status) is None


@pytest.mark.parametrize("status", [401, 500, 501, 503])
def test_a_refusal_that_is_for_all_segments_ends_it(status: int) -> None:
    with pytest.raises(Refused, match=f"HTTP {status}"):
        Asking({VIP: refused(status)}).of(VIP)


@pytest.mark.parametrize("status", [400, 402, 404, 422, 499])
def test_another_refusal_is_the_segments_own(status: int) -> None:
    asking = Asking({VIP: refused(status), VIPS: there(VIPS)})
    assert asking.of(VIP) == f"HTTP {status}"
    assert asking.of(VIPS) is None
    assert asking.directory.asked == [VIP, VIPS]
    assert asking.said.sentences == []


def test_a_token_that_may_read_no_segment_asks_for_one_only() -> None:
    asking = Asking({VIP: refused(403), VIPS: not_there(VIPS), SEVEN: there(SEVEN)})
    assert [asking.of(address) for address in (VIP, VIPS, SEVEN)] == [None, None, None]
    assert asking.directory.asked == [VIP]
    assert asking.said.sentences == [
        "the token may not read segments: whether they exist and can take members is not checked"
    ]


def test_a_token_that_may_not_read_one_segment_goes_on_asking() -> None:
    asking = Asking({SEVEN: there(SEVEN), VIP: refused(403), VIPS: not_there(VIPS)})
    assert [asking.of(address) for address in (SEVEN, VIP, VIPS)] == [None, None, "vips is missing"]
    assert asking.said.sentences == [
        f"the token may not read the segment with {VIP}: whether it exists and can take members "
        "is not checked"
    ]
