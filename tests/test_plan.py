"""The plan as a value: figures that add up, guards, and the entry that ends a segment."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import Any

import pytest

from segsync.exits import Exit
from segsync.model import Address, Guard, Part
from segsync.plan import Counts, Plan, SegmentPlan, SegmentStatus, check_guards, removed_entry

EACH = Counts(
    queried=1 + 2 + 124,
    duplicates=1,
    invalid=2,
    desired=4 + 8 + 16 + 96,
    snapshot=1000,
    add=4,
    update=8,
    renew=16,
    remove=32,
    unchanged=96,
    forget=64,
    settled=128,
    spared=5,
    in_doubt=7,
    deferred=60,
    deferred_add=20,
    deferred_remove=30,
)
"""Figures that no two sums of are the same."""


def test_figures_that_add_up_pass() -> None:
    EACH.check()
    Counts().check()


@pytest.mark.parametrize(
    "field", ["queried", "duplicates", "invalid", "add", "update", "renew", "unchanged"]
)
def test_figures_that_do_not_add_up_are_never_shown(field: str) -> None:
    with pytest.raises(AssertionError, match="do not add up"):
        replace(EACH, **{field: asdict(EACH)[field] + 1}).check()


def test_what_follows_from_the_figures() -> None:
    assert EACH.commands == 4 + 8 + 16 + 32
    assert EACH.dropped == 64 + 128
    assert EACH.after == 124 - 20 + 30 + 5
    assert EACH.removed_uncounted == 32 - (1000 + 4 - 139)
    assert EACH.possible == 1000 + 7
    assert EACH.left_alone == 96 - (60 - 30)


def test_a_segment_that_was_not_compared_has_no_figures() -> None:
    assert set(asdict(segment(SegmentStatus.ERROR).counts).values()) == {0}


def segment(status: SegmentStatus, **fields: Any) -> SegmentPlan:
    address = Address("segment_technical_name", "vip")
    return replace(SegmentPlan("vip", address, 1, status), **fields)


def plan(*segments: SegmentPlan) -> Plan:
    return Plan("lineage", 1, "sha256", "1509", "https://api", 0, segments, ())


def test_what_is_not_said_of_a_plan_is_not_so() -> None:
    one, all_ = segment(SegmentStatus.OK), plan()
    assert (one.keep, one.waiting, one.renamed_from, one.place) == (False, False, None, None)
    assert (one.violations, one.samples, one.invalid_reasons) == ((), (), {})
    assert (all_.partial, all_.open_run, all_.watched, all_.ranges) == (False, None, (), ())
    assert all_.last_submitted_ms == 0
    assert one.sends
    assert not all_.changes_something


def test_a_plan_adds_up_what_its_segments_send() -> None:
    """What is blocked, cannot be read or is in no spec any more is not sent."""
    segments = [segment(status, number=n, counts=EACH) for n, status in enumerate(SegmentStatus)]
    parts = (Part(1, 1, 1, 10, 700), Part(2, 2, 11, 20, 34))
    whole = replace(plan(*segments), parts=parts)
    assert asdict(whole.totals) == {name: 2 * count for name, count in asdict(EACH).items()}
    assert whole.size == 734
    assert whole.sending == {0, 3}
    assert [item.number for item in whole.dropped] == [3]
    assert whole.exits == {Exit.ERROR, Exit.REFUSED}
    assert plan(segments[0], segments[3], segments[4]).exits == set()
    found = whole.with_status(SegmentStatus.ERROR, SegmentStatus.OK)
    assert [item.status for item in found] == [SegmentStatus.OK, SegmentStatus.ERROR]
    assert plan().totals == Counts()


@pytest.mark.parametrize(
    ("last_run_ms", "is_out_of_time"), [(0, False), (1_300_000, False), (1_300_001, True)]
)
def test_a_plan_may_be_five_minutes_older_than_the_last_run(
    last_run_ms: int, is_out_of_time: bool
) -> None:
    made = replace(plan(), created_at_ms=1_000_000, last_submitted_ms=last_run_ms)
    assert made.is_out_of_time is is_out_of_time


def test_the_states_of_a_segment_are_words_that_programs_read() -> None:
    sending = {status.value: segment(status).sends for status in SegmentStatus}
    assert sending == {
        "ok": True,
        "blocked": False,
        "error": False,
        "removed": True,
        "orphaned": False,
    }


@pytest.mark.parametrize(
    ("segments", "changes"),
    [
        ([], False),
        ([segment(SegmentStatus.OK)], False),
        ([segment(SegmentStatus.OK, counts=Counts(remove=1))], True),
        ([segment(SegmentStatus.OK, counts=Counts(forget=1))], True),
        ([segment(SegmentStatus.OK, counts=Counts(settled=1))], True),
        ([segment(SegmentStatus.BLOCKED, counts=Counts(remove=1))], False),
        ([segment(SegmentStatus.REMOVED)], True),
        ([segment(SegmentStatus.REMOVED, waiting=True)], False),
    ],
)
def test_a_plan_knows_whether_it_changes_something(
    segments: list[SegmentPlan], changes: bool
) -> None:
    assert plan(*segments).changes_something == changes


# -------------------------------------------------------------------- guards


@pytest.mark.parametrize(
    ("guard", "counts", "names"),
    [
        (Guard(), Counts(), []),
        (Guard(), Counts(in_doubt=1), ["empty"]),
        (Guard(), Counts(snapshot=1), ["empty"]),
        (Guard(allow_empty=True), Counts(snapshot=1), []),
        (Guard(), Counts(desired=1, snapshot=9, removed_live=9), []),
        (Guard(), Counts(desired=1, snapshot=10, removed_live=3), []),
        (Guard(), Counts(desired=1, snapshot=10, removed_live=4), ["max_removed"]),
        (Guard(), Counts(desired=1, snapshot=9, in_doubt=1, removed_live=4), ["max_removed"]),
        (Guard(max_removed=3), Counts(desired=1, snapshot=4, removed_live=3), []),
        (Guard(max_removed=3), Counts(desired=1, snapshot=4, removed_live=4), ["max_removed"]),
        (Guard(max_members=2), Counts(desired=2), []),
        (Guard(max_members=2), Counts(desired=3), ["max_members"]),
        (
            Guard(max_members=2),
            Counts(desired=3, snapshot=20, removed_live=18),
            ["max_removed", "max_members"],
        ),
    ],
)
def test_a_guard_refuses_beyond_its_limit_only(
    guard: Guard, counts: Counts, names: list[str]
) -> None:
    assert [found.guard for found in check_guards("vip", guard, counts)] == names


def test_a_guard_says_what_it_found_and_what_to_type() -> None:
    remedy = "if this is intended, add --allow 'a b' to this invocation"
    many = Counts(desired=3000, snapshot=4000, removed_live=3333)
    [removed, members] = check_guards("a b", Guard(max_removed=0.125, max_members=2000), many)
    assert removed.message == (
        "3,333 of 4,000 members (83.3%) would be removed; the limit is 12.5 % (`max_removed`)"
    )
    assert removed.remedy == remedy
    assert members.message == "the query returned 3,000 members; the limit is 2,000"
    assert members.remedy == f"{remedy}, or raise `guard: {{max_members: …}}`"
    [removed] = check_guards("a b", Guard(max_removed=1000), many)
    assert removed.message.endswith("the limit is 1,000 members (`max_removed`)")
    [empty] = check_guards("a b", Guard(), Counts(snapshot=4000, removed_live=4000))
    assert empty.message == "the query returned no members, but the segment has 4,000"
    assert empty.remedy.startswith(f"{remedy}; where it may be empty as a rule, set `guard:")


# -------------------------------------------------------------------- the entry under `removed`


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("vip", "vip"),
        ("_vip-2", "_vip-2"),
        ("2vip", '"2vip"'),
        ("été", '"été"'),
        *((word, f'"{word}"') for word in ("y", "N", "yes", "No", "on", "OFF", "true", "false")),
        ("null", '"null"'),
    ],
)
def test_a_name_that_yaml_may_take_for_something_else_is_quoted(name: str, key: str) -> None:
    assert removed_entry(name, "delete") == f"`removed: {{{key}: delete}}`"
    assert removed_entry(name, "keep") == f"`removed: {{{key}: keep}}`"


@pytest.mark.parametrize("percent", range(1, 101))
def test_exactly_the_share_that_a_guard_allows_may_be_removed(percent: int) -> None:
    """0.29 of 100 is 28.999999999999996."""
    guard = Guard(max_removed=percent / 100, allow_empty=True)
    counts = Counts(desired=100 - percent, snapshot=100, removed_live=percent)
    assert not check_guards("vip", guard, counts)
    if percent < 100:
        more = replace(counts, desired=99 - percent, removed_live=percent + 1)
        assert check_guards("vip", guard, more)
