"""What a plan of many segments costs: a pass over them now and then, not one for each of them."""

from __future__ import annotations

import cProfile
import pstats
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from segsync.model import LineRange
from segsync.plan import SegmentPlan, SegmentStatus
from segsync.report import segment_outcomes
from segsync.state import Outcome, PartRecord, PartStatus
from tests.support.plans import plan, segment
from tests.support.world import Table, World

MANY = 3_000


class Counted(tuple[Any, ...]):
    """A tuple that knows how many of its items were taken out of it."""

    taken: int

    def __new__(cls, items: Iterable[Any]) -> Counted:
        made = super().__new__(cls, items)
        made.taken = 0
        return made

    def __iter__(self) -> Any:
        self.taken += len(self)
        return super().__iter__()

    def __getitem__(self, key: Any) -> Any:
        found = super().__getitem__(key)
        self.taken += len(found) if isinstance(key, slice) else 1
        return found


def test_asking_a_plan_once_for_each_segment_does_not_walk_through_all_of_them_each_time() -> None:
    removed = {"status": SegmentStatus.REMOVED, "remove": 1}
    segments = Counted(
        segment(f"s{n}", number=n, **(removed if n % 2 else {})) for n in range(MANY)
    )
    made = plan(segments=segments)
    segments.taken = 0
    for number in range(MANY):
        assert number in made.sending
        assert made.totals.remove == len(made.dropped) == MANY // 2
        assert made.changes_something
    assert segments.taken <= 5 * MANY


def test_the_outcome_of_each_segment_is_found_without_looking_at_every_part() -> None:
    segments = Counted(segment(f"s{n}", number=n) for n in range(MANY))
    ranges = Counted(LineRange(n, 2 * n + 1, 2 * n + 2) for n in range(MANY))
    fates = [PartStatus.CONFIRMED, PartStatus.UNKNOWN, PartStatus.UNSENT]
    parts = Counted(
        PartRecord(n, 1, 2 * n, 2 * n + 1, 9, "", fates[n % 3]) for n in range(MANY + 1)
    )
    made = plan(segments=segments, ranges=ranges)
    segments.taken = 0
    found = segment_outcomes(made, parts, {(0, 1): 1}, Outcome(0, 0, 0, 0, given_up_in={1: 1}))
    assert [(o.confirmed, o.rejected, o.unknown, o.unsent) for o in found[:3]] == [
        (0, 1, 1, 0),
        (1, 0, 0, 1),
        (1, 0, 0, 1),
    ]
    assert len(found) == MANY
    assert segments.taken + ranges.taken + parts.taken <= 10 * MANY


def test_a_reject_is_taken_from_the_part_that_it_was_in() -> None:
    """The removals are done but for one, the additions in doubt but for one; so in both halves."""
    ranges = (LineRange(1, 1, 4), LineRange(2, 5, 6), LineRange(1, 7, 8), LineRange(2, 9, 10))
    parts = (
        PartRecord(1, 1, 1, 6, 9, "", PartStatus.CONFIRMED),
        PartRecord(2, 2, 7, 10, 9, "", PartStatus.UNKNOWN),
    )
    made = plan(segment("a", number=1), segment("b", number=2), ranges=ranges)
    found = segment_outcomes(made, parts, {(1, 6): 1, (1, 10): 1, (2, 10): 2}, Outcome(0, 0, 0, 0))
    assert [(o.confirmed, o.rejected, o.unknown, o.unsent) for o in found] == [
        (3, 2, 1, 0),
        (2, 2, 0, 0),
    ]


def test_who_was_given_up_is_confirmed_and_who_failed_without_a_name_unknown() -> None:
    ranges = (LineRange(1, 1, 3), LineRange(2, 4, 8))
    parts = (PartRecord(1, 1, 1, 8, 9, "", PartStatus.UNATTRIBUTED),)
    made = plan(segment("a", number=1), segment("b", number=2), ranges=ranges)
    found = segment_outcomes(made, parts, {(2, 8): 1}, Outcome(0, 0, 0, 0, given_up_in={1: 2}))
    assert [(o.confirmed, o.rejected, o.unknown, o.unsent) for o in found] == [
        (2, 0, 1, 0),
        (0, 1, 4, 0),
    ]


def test_planning_asks_each_segment_a_bounded_number_of_times(tmp_path: Path) -> None:
    many = 40
    with World(tmp_path) as world:
        for number in range(many):
            world.define(f"s{number}", rows=["a"])
        with cProfile.Profile() as profile:
            assert world.plan().totals.add == many
    wanted = SegmentPlan.sends.fget.__code__.co_firstlineno  # type: ignore[attr-defined]
    calls = [
        figures[0]
        for (file, line, name), figures in pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
        if name == "sends" and line == wanted and file.endswith("plan.py")
    ]
    assert 0 < sum(calls) <= 10 * many


def test_changes_of_many_segments_are_put_in_order_with_little_memory(tmp_path: Path) -> None:
    """At once they do not fit into so little: a sort holds memory for each table."""
    with World(tmp_path) as world:
        world.define("s0", rows=[f"u{n}" for n in range(10)])
        query = "SELECT user_account_id FROM s0"
        for number in range(1, 300):
            world.tables[f"s{number}"] = Table(("user_account_id",), {"query": query})
        little, much = (payload(world, limit) for limit in ("60MB", "1GB"))
    assert little == much
    assert little.count(b"\n") == 3_000


def payload(world: World, memory_limit: str) -> bytes:
    with world.planned(memory_limit=memory_limit) as planned:
        [part] = planned.plan.parts
        with planned.engine.lines(part) as batches:
            return b"".join(
                line.encode() for batch in batches for line in batch.column(0).to_pylist()
            )
