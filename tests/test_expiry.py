"""A member that stays in the query never lapses; one that leaves it never stays for good."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync.emulator import ExecutionScript
from segsync.errors import ProtocolError
from segsync.model import DAY_MS, MINUTE_MS
from segsync.plan import Counts
from segsync.report import Exit
from segsync.state import open_state
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import apply_until_killed
from tests.support.renewals import renewals
from tests.support.size import size
from tests.support.world import World, assert_sound

pytestmark = pytest.mark.many_rows

YEAR_MS = 365 * DAY_MS
HOUR_MS = 3_600_000


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with in_one_thread(), LeanWorld(tmp_path) as made:
        yield made


def monthly(world: World, count: int = 20) -> None:
    world.define("vip", rows=[f"u{n}" for n in range(count)], expiration="30d")
    world.apply()


def totals(world: World) -> Counts:
    return world.plan(allowed=tuple(world.tables)).totals


def assert_promised(world: World) -> None:
    """No member leaves the platform before the moment that the state has written down."""
    state = open_state(world.state, read_only=True)
    for segment in state.segments():
        kept = world.emulator.members(segment.address.value)
        longest = {who.value: member.expires_at_ms for who, member in kept.items()}
        with state.members(segment.number) as members:
            for row in (row for batch in members for row in batch.to_pylist()):
                if row["identifier"] in longest:
                    until = longest[row["identifier"]]
                    assert until == 0 or until >= row["expires_at"] > 0
    state.close()


def test_removals_of_those_who_have_just_lapsed_are_told_apart(world: World) -> None:
    monthly(world)
    world.advance(days=30, seconds=60)
    world.accounts("vip", "u0", "new")
    counts = totals(world)
    assert (counts.snapshot, counts.add, counts.remove, counts.after) == (0, 2, 19, 2)
    assert counts.removed_uncounted == 19
    world.settle(allowed=("vip",))
    world.accounts("vip", "u0")
    counts = totals(world)
    assert counts.snapshot + counts.add - counts.remove == counts.after
    assert counts.removed_uncounted == 0


def test_renewals_are_spread_over_200_days_and_nobody_ever_lapses() -> None:
    members = size(4_000, 20_000)
    curve = renewals(members, 200)
    assert sum(curve[:7]) == 0
    assert max(curve) <= 0.15 * members
    assert max(curve[59:]) <= 0.10 * members
    assert sum(curve[59:]) / 141 < members / 10


def test_every_member_is_a_member_on_every_day(world: World) -> None:
    monthly(world, 60)
    busiest = 0
    for day in range(50):
        world.advance(days=1)
        assert world.members("vip") == world.expected("vip"), day
        report = world.apply()
        assert report.plan is not None
        assert report.plan.totals.commands == report.plan.totals.renew
        busiest = max(busiest, report.plan.totals.renew)
        assert world.members("vip") == world.expected("vip"), day
        assert_promised(world)
    assert_sound(world)
    assert busiest < 20


@pytest.mark.parametrize("pause", [14.9, 29, 29.99999])
def test_days_without_a_run_do_no_harm_while_half_of_the_time_is_left(
    world: World, pause: float
) -> None:
    monthly(world)
    world.advance(days=pause)
    assert world.members("vip") == world.expected("vip")
    report = world.apply()
    assert report.plan is not None
    assert report.plan.totals.add == 0
    assert (report.plan.totals.renew == 20) == (pause > 15)
    assert_sound(world)


def test_who_lapsed_between_two_runs_is_added_again(world: World) -> None:
    monthly(world)
    world.advance(days=31)
    assert not world.members("vip")
    assert totals(world).add == 20
    world.apply()
    assert_sound(world)


def test_a_member_that_lapses_while_its_renewal_is_under_way_comes_back(world: World) -> None:
    monthly(world)
    world.advance(days=30, seconds=-1)
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=5))
    report = world.apply()
    assert report.plan is not None
    assert report.plan.totals.renew == 20
    assert world.clock.monotonic() > 1
    assert_sound(world)


def test_members_without_an_expiration_are_never_sent_again(world: World) -> None:
    world.define("vip", rows=["a"])
    world.apply()
    world.advance(days=5000)
    assert not world.plan().changes_something
    assert_sound(world)


def test_members_without_an_expiration_are_said_again_where_that_is_asked_for(
    world: World,
) -> None:
    names = [f"u{n}" for n in range(40)]
    world.define("vip", rows=names, reassert="30d")
    world.apply()
    platform = world.emulator.world
    table = platform.memberships.of(platform.segment("vip").id)
    for person in table.keys() - {world.stranger_number}:
        del table[person]
    sent = []
    for _ in range(31):
        world.advance(days=1)
        report = world.apply()
        assert report.plan is not None
        sent.append(report.plan.totals.renew)
    assert sum(sent) in (40, 41, 42)
    assert max(sent) < 10
    assert_sound(world)


def test_a_reassertion_that_is_rejected_is_tried_again(world: World) -> None:
    world.define("vip", rows=[f"u{n}" for n in range(40)], reassert="30d")
    world.apply()
    world.advance(days=15)
    world.emulator.behave(error_file="json_flat")
    world.emulator.reject([world.emulator.account(f"u{n}") for n in range(40)], "not now")
    rejected = world.apply().run
    assert rejected is not None
    assert rejected.outcome.rejected > 5
    world.emulator.accept_all()
    report = world.apply()
    assert report.plan is not None
    assert report.plan.totals.renew == rejected.outcome.rejected
    world.emulator.refused.clear()
    assert_sound(world)


def test_a_period_of_reassertion_that_is_added_later_begins_without_a_change(
    world: World,
) -> None:
    world.define("vip", rows=[f"u{n}" for n in range(40)])
    world.apply()
    world.advance(days=3)
    world.tables["vip"].keys["reassert"] = "30d"
    sent = 0
    for _ in range(31):
        world.advance(days=1)
        report = world.apply()
        assert report.plan is not None
        sent += report.plan.totals.renew
    assert sent >= 40


def test_another_expiration_is_an_update(world: World) -> None:
    monthly(world)
    world.tables["vip"].keys["expiration"] = "60d"
    assert totals(world).update == 20
    world.apply()
    world.tables["vip"].keys["expiration"] = "never"
    assert totals(world).update == 20
    world.apply()
    assert {member.expires_at_ms for member in world.emulator.members("vip").values()} == {0}
    assert_sound(world)


def test_a_row_with_an_expiry_of_its_own_leaves_at_that_time(world: World) -> None:
    then = world.clock.now_ms() + 3 * DAY_MS
    rows = [("a", then), ("b", None), ("c", 0)]
    world.define("vip", "user_account_id", "expiration_ts", rows=rows, expiration="30d")
    world.apply()
    assert_sound(world)
    world.advance(days=2, hours=23)
    assert not world.plan().changes_something
    world.advance(days=1)
    assert len(world.members("vip")) == 2
    world.apply()
    assert_sound(world)


# -------------------------------------------------------------------- who is not desired any more


def test_a_lapsed_member_is_removed_until_a_day_has_passed_and_then_forgotten(
    world: World,
) -> None:
    monthly(world)
    world.accounts("vip", *(f"u{n}" for n in range(1, 20)))
    world.advance(days=30)
    assert (totals(world).remove, totals(world).forget) == (1, 0)
    world.advance(hours=25)
    assert (totals(world).remove, totals(world).forget) == (0, 1)
    world.apply()
    assert_sound(world)


def test_an_execution_that_took_days_makes_the_lapse_uncertain_for_as_long(world: World) -> None:
    """The platform counts from when it handles a line: two days after it was submitted."""
    world.define("vip", rows=["a", "b"], expiration="30d")
    world.destination["execution_max_age"] = "10d"
    world.timing = type(world.timing)(longest_poll=3600.0)
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=60))
    world.apply()
    assert_promised(world)
    world.define("fans", rows=["c"])
    world.apply()  # one that takes no time makes nothing certain
    world.accounts("vip", "b")
    world.advance(days=29, hours=2)
    assert world.emulator.is_member("vip", world.emulator.account("a"))
    assert (totals(world).remove, totals(world).forget) == (1, 0)
    world.apply()
    assert_sound(world)


def test_an_upload_that_is_carried_out_twice_promises_no_more_than_the_first(
    world: World,
) -> None:
    world.define("vip", rows=["a", "b"], expiration="30d")
    world.emulator.faults.add("upload", ExecutionScript(duplicates=1, starts_after_polls=20))
    world.apply()
    assert_promised(world)
    assert_sound(world, in_flight=2)


# -------------------------------------------------------------------- clocks that are wrong


@pytest.mark.parametrize("hours", [-1, 1])
def test_an_hour_more_or_less_does_no_harm(world: World, hours: int) -> None:
    """As after a change of daylight saving time on a machine that keeps local time."""
    monthly(world)
    world.clock.wrong_by_ms = hours * HOUR_MS
    assert not world.plan().changes_something
    world.accounts("vip", *(f"u{n}" for n in range(1, 21)))
    assert world.apply().exit is Exit.DONE
    world.clock.wrong_by_ms = 0
    assert_sound(world)


@pytest.mark.parametrize("years", [-10, 10])
def test_after_a_run_with_a_clock_that_was_years_off_nobody_lapses(
    world: World, years: int
) -> None:
    world.clock.wrong_by_ms = years * YEAR_MS
    monthly(world)
    world.clock.wrong_by_ms = 0
    for _ in range(8):
        world.apply()
        world.advance(days=14)
        assert world.members("vip") == world.expected("vip")


def test_a_clock_that_jumps_during_the_waiting_changes_no_deadline(world: World) -> None:
    world.define("vip", rows=["a"])
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=10))
    world.emulator.on_upload(lambda _: setattr(world.clock, "wrong_by_ms", 10 * YEAR_MS))
    assert world.apply().exit is Exit.DONE
    world.clock.wrong_by_ms = 0
    assert_sound(world)


def test_a_clock_that_is_wrong_is_noticed_where_the_platform_tells_its_time(world: World) -> None:
    world.emulator.behave(dates=True)
    monthly(world)
    world.accounts("vip", "a")
    for minutes in (-11, 11):
        world.clock.wrong_by_ms = minutes * MINUTE_MS
        with pytest.raises(ProtocolError, match="the time here is") as caught:
            world.apply(allowed=("vip",))
        assert caught.value.hint
    world.clock.wrong_by_ms = 9 * MINUTE_MS
    world.apply(allowed=("vip",))
    assert_sound(world)


def test_serials_order_the_runs_whatever_the_clock_says(world: World) -> None:
    world.define("vip", rows=["a"])
    for number, wrong in enumerate((0, -YEAR_MS, YEAR_MS, -10 * YEAR_MS), start=1):
        world.clock.wrong_by_ms = wrong
        world.accounts("vip", f"u{number}")
        assert world.apply(allowed=("vip",)).exit is Exit.DONE
        assert world.plan().serial == number
    assert_sound(world)


@pytest.mark.parametrize("is_open", [False, True])
def test_a_plan_of_a_time_before_the_last_run_is_noticed(world: World, is_open: bool) -> None:
    world.define("vip", rows=["a"])
    assert not world.plan().is_out_of_time
    world.apply()
    world.advance(minutes=30)
    world.accounts("vip", "a", "b")
    assert apply_until_killed(world, "after upload" if is_open else "after list_executions")
    if not is_open:
        world.settle()
    for wrong_by_ms, noticed in ((-300_000, False), (-300_001, True)):
        world.clock.wrong_by_ms = wrong_by_ms
        assert world.plan().is_out_of_time == noticed


def test_who_is_due_is_renewed_to_the_second(world: World) -> None:
    monthly(world, 1)

    def renewed_after(seconds: int) -> bool:
        world.clock.wrong_by_ms = seconds * 1000
        return totals(world).renew == 1

    early, due = 0, 30 * 86_400
    while due - early > 1:
        middle = (early + due) // 2
        early, due = (early, middle) if renewed_after(middle) else (middle, due)
    world.clock.wrong_by_ms = 0
    assert 0.25 <= due / (30 * 86_400) <= 0.5
    world.advance(seconds=due - 1)
    assert world.apply().run is None
    world.advance(seconds=1)
    assert world.apply().plan.totals.renew == 1
    assert_sound(world)


def test_a_leap_day_is_a_day(world: World) -> None:
    noon_before = 1_835_352_000_000  # 2028-02-28 12:00 UTC
    world.advance(seconds=(noon_before - world.clock.now_ms()) / 1000)
    world.define("vip", rows=["a", "b"], expiration="2d")
    world.apply()
    found = world.emulator.members("vip")
    del found[world.stranger]
    [expiry] = {member.expires_at_ms for member in found.values()}
    assert 0 <= expiry - (noon_before + 2 * DAY_MS) < MINUTE_MS
    for _ in range(4):
        world.advance(days=1)
        assert len(world.members("vip")) == 2
        world.apply()
        assert_sound(world)


def test_who_has_an_expiry_of_its_own_is_reasserted(world: World) -> None:
    """One of two accounts of a person lapses, and is removed to be sure: so the person is out."""
    now, there = world.clock.now_ms(), world.emulator
    there.declare_person([there.account("old"), there.account("new")])
    rows = [("old", now + 10 * DAY_MS), ("new", now + 1000 * DAY_MS)]
    world.define("vip", "user_account_id", "expiration_ts", rows=rows)
    world.settle()
    world.advance(days=10, hours=1)
    world.settle()
    assert not there.is_member("vip", there.account("new"))
    world.tables["vip"].keys["reassert"] = "5d"
    for _ in range(6):
        world.advance(days=1)
        world.apply()
    assert there.is_member("vip", there.account("new"))


@pytest.mark.parametrize("moment", ["1970-01-01 00:00:00", "1972-01-01", "1900-01-01"])
def test_a_moment_of_long_ago_has_passed_and_is_neither_never_nor_an_error(
    tmp_path: Path, moment: str
) -> None:
    guard = {"allow_empty": True, "max_removed": "100%"}
    query = f"SELECT 'x' AS user_account_id, '{moment}' AS expiration_ts"
    with World(tmp_path) as world:
        world.define("vip", "user_account_id", "expiration_ts", rows=[("x", 0)], guard=guard)
        world.settle()
        world.tables["vip"].keys["query"] = query
        report = world.apply()
        assert report.exit is Exit.DONE
        assert not world.members("vip")
