"""The platform keeps members per person: a query may change the identifier it knows them by."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync.emulator import Answer, ExecutionScript
from segsync.report import Exit
from segsync.state import PartStatus
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import apply_until_killed
from tests.support.world import World, assert_sound

PEOPLE = 12


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with in_one_thread(), LeanWorld(tmp_path) as made:
        yield made


def people(world: World, **keys: str) -> None:
    """A segment of people who are known by a hash, an account, and one in another compartment."""
    emulator = world.emulator
    for n in range(PEOPLE):
        emulator.declare_person(
            [
                emulator.email(f"h{n}"),
                emulator.account(f"u{n}"),
                emulator.account(f"u{n}", "2000"),
            ]
        )
    world.define("vip", "email_hash", "user_account_id", "compartment_id", **keys)


def by_hash(count: int = PEOPLE) -> list[tuple[str | None, ...]]:
    return [(f"h{n}", None, None) for n in range(count)]


def by_account(compartment: str | None = None, count: int = PEOPLE) -> list[tuple[str | None, ...]]:
    return [(None, f"u{n}", compartment) for n in range(count)]


def assert_everybody_is_there(world: World) -> None:
    assert_sound(world, converged=False)
    assert not world.plan().changes_something
    assert len(world.members("vip")) == 3 * PEOPLE


@pytest.mark.parametrize("seed", range(6))
def test_people_stay_members_when_their_identifier_changes(tmp_path: Path, seed: int) -> None:
    with in_one_thread(), LeanWorld(tmp_path, seed=seed) as world:
        people(world)
        for rows in (by_hash(), by_account(), by_account("2000"), by_hash()):
            world.fill("vip", rows)
            report = world.apply(allowed=("vip",))
            assert report.exit is Exit.DONE
            assert_everybody_is_there(world)


def test_the_removals_are_finished_before_the_additions_are_sent(world: World) -> None:
    people(world)
    world.fill("vip", by_hash())
    world.apply()
    world.fill("vip", by_account())
    report = world.apply(allowed=("vip",))
    assert report.run is not None
    assert [part.step for part in report.run.parts] == [1, 2]
    assert [part.last - part.first + 1 for part in report.run.parts] == [PEOPLE, PEOPLE]
    assert world.emulator.max_in_flight == 1


def renumbered(world: World, **keys: str) -> None:
    """People with two accounts each, of one kind and compartment; the query returns the old one."""
    for n in range(PEOPLE):
        accounts = [world.emulator.account(f"{generation}{n}") for generation in ("old", "new")]
        world.emulator.declare_person(accounts)
    world.define("vip", rows=[f"old{n}" for n in range(PEOPLE)], **keys)
    world.apply()


@pytest.mark.parametrize("seed", range(4))
def test_people_whose_accounts_get_new_numbers_stay_members(tmp_path: Path, seed: int) -> None:
    """Both are of one kind and compartment: that they are one person only the platform knows."""
    with in_one_thread(), LeanWorld(tmp_path, seed=seed) as world:
        renumbered(world)
        world.accounts("vip", *(f"new{n}" for n in range(PEOPLE)))
        world.apply(allowed=("vip",))
        assert len(world.members("vip")) == 2 * PEOPLE
        assert not world.plan().changes_something


@pytest.mark.parametrize("expiration", ["never", "30d"])
@pytest.mark.parametrize("later", [False, True])
def test_a_late_removal_takes_nobody_along_who_has_a_new_number(
    world: World, expiration: str, later: bool
) -> None:
    """The new number may come with the removal that is rejected, or while it waits."""
    renumbered(world, expiration=expiration)
    others = [f"old{n}" for n in range(1, PEOPLE)]
    world.emulator.reject([world.emulator.account("old0")], operations=("DELETE",))
    if later:
        world.accounts("vip", *others)
        assert world.apply().exit is Exit.REJECTED
    world.accounts("vip", "new0", *others)
    world.apply()
    world.emulator.accept_all()
    world.advance(days=1)
    world.settle(applies=2)  # the first lets the removal through, which may take others along
    assert len(world.members("vip")) == 2 * PEOPLE
    assert not world.plan().changes_something


def test_newcomers_are_forgotten_when_no_removal_waits(world: World) -> None:
    renumbered(world)
    world.emulator.reject([world.emulator.account("old0")], operations=("DELETE",))
    world.accounts("vip", *(f"new{n}" for n in range(PEOPLE)))
    world.apply(allowed=("vip",))
    with sqlite3.connect(world.state) as state:
        assert state.execute("SELECT count(*) FROM newcomers").fetchone() == (PEOPLE,)
    world.emulator.accept_all()
    world.settle(applies=2)  # the first lets the removal through, which may take others along
    with sqlite3.connect(world.state) as state:
        assert state.execute("SELECT count(*) FROM newcomers").fetchone() == (0,)


@pytest.mark.parametrize("seed", range(4))
def test_who_is_updated_under_one_kind_and_removed_under_another_stays(
    tmp_path: Path, seed: int
) -> None:
    with in_one_thread(), LeanWorld(tmp_path, seed=seed) as world:
        people(world, expiration="30d")
        world.fill("vip", [*by_hash(), *by_account()])
        world.apply()
        world.advance(days=20)
        world.fill("vip", by_account())
        report = world.apply(allowed=("vip",))
        assert report.plan is not None
        assert report.plan.totals.renew > 0
        assert len(world.members("vip")) == 3 * PEOPLE


@pytest.mark.parametrize("seed", range(4))
def test_a_segment_that_is_addressed_another_way_keeps_its_members(
    tmp_path: Path, seed: int
) -> None:
    """With a token that may not read segments nobody can tell that the two are one."""
    with in_one_thread(), LeanWorld(tmp_path, seed=seed) as world:
        world.emulator.behave(segment_rights=False)
        world.define("vip", rows=["a", "b", "c"])
        world.apply()
        [segment] = world.emulator.world.segments.by_id.values()
        world.drop("vip", "delete")
        world.define("people", rows=["a", "b", "c"], segment_id=segment.id)
        world.apply()
        assert {i.value for i in world.members("vip")} == {"a", "b", "c"}


def test_with_removals_or_without_one_kind_of_commands_is_one_execution(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    for rows in (["a", "b", "c"], ["a", "b"]):
        world.accounts("vip", *rows)
        report = world.apply(allowed=("vip",))
        assert report.run is not None
        assert len(report.run.parts) == 1


@pytest.mark.parametrize("shape", ["missing", "text"])
def test_additions_are_said_again_with_removals_that_failed_without_a_name(
    world: World, shape: str
) -> None:
    """Said again alone, a removal would throw out the person who has just been added."""
    people(world)
    world.fill("vip", by_hash())
    world.apply()
    world.fill("vip", by_account())
    world.emulator.behave(error_file=shape)
    world.emulator.reject([world.emulator.email("h3")])
    report = world.apply(allowed=("vip",))
    assert report.run is not None
    assert [part.status for part in report.run.parts] == [
        PartStatus.UNATTRIBUTED,
        PartStatus.UNKNOWN,
    ]
    assert len(world.members("vip")) == 3 * PEOPLE
    world.emulator.accept_all()
    again = world.settle(allowed=("vip",))
    assert again.plan is not None
    assert (again.plan.totals.remove, again.plan.totals.add) == (PEOPLE, PEOPLE)
    world.emulator.refused.clear()
    assert_everybody_is_there(world)


def test_additions_are_not_sent_when_the_removals_failed(world: World) -> None:
    people(world)
    world.fill("vip", by_hash())
    world.apply()
    world.fill("vip", by_account())
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    world.apply(allowed=("vip",))
    world.settle(allowed=("vip",))
    assert_everybody_is_there(world)


def test_all_removals_go_first(world: World) -> None:
    people(world)
    world.define("reader", rows=["a", "b"])
    world.fill("vip", by_hash())
    world.apply()
    world.fill("vip", by_account())
    world.accounts("reader", "b", "c")
    report = world.apply(allowed=("vip",))
    assert report.run is not None
    assert [part.last - part.first + 1 for part in report.run.parts] == [PEOPLE + 1, PEOPLE + 1]
    assert_everybody_is_there(world)
    assert world.members("reader") == world.expected("reader")


def test_a_removal_that_is_rejected_does_not_keep_everybody_else_out(world: World) -> None:
    people(world)
    world.fill("vip", by_hash())
    world.apply()
    world.fill("vip", by_account())
    world.emulator.reject([world.emulator.email("h3")])
    report = world.apply(allowed=("vip",))
    assert report.exit is Exit.REJECTED
    assert report.run is not None
    assert [part.status for part in report.run.parts] == [PartStatus.CONFIRMED] * 2
    assert len(world.members("vip")) == 3 * PEOPLE


@pytest.mark.parametrize("expiration", ["never", "30d"])
@pytest.mark.parametrize("lost", [False, True])
def test_whom_a_late_removal_takes_along_is_said_once_more(
    world: World, expiration: str, lost: bool
) -> None:
    """A rejected removal that is accepted later removes the person, under any identifier."""
    people(world, expiration=expiration)
    world.fill("vip", by_hash())
    world.apply()
    world.fill("vip", by_account())
    world.emulator.reject([world.emulator.email("h3")])
    world.apply(allowed=("vip",))
    world.emulator.accept_all()
    if lost:
        world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    late = world.apply()
    assert late.exit is Exit.UNKNOWN
    assert late.run is not None
    assert late.run.outcome.doubted == PEOPLE
    assert len(world.members("vip")) == 3 * (PEOPLE if lost else PEOPLE - 1)
    again = world.apply()
    assert again.plan is not None
    assert again.plan.totals.retry == PEOPLE + lost
    assert again.exit is Exit.DONE
    world.emulator.refused.clear()
    assert_everybody_is_there(world)


def test_who_comes_back_after_a_rejected_removal_is_said_again(world: World) -> None:
    """In between the person was a member by the other identifier, and is removed by it now."""
    people(world, expiration="never")
    world.fill("vip", by_hash())
    world.apply()
    others = by_hash()[1:]
    world.fill("vip", [(None, "u0", None), *others])
    world.emulator.reject([world.emulator.email("h0")], operations=("DELETE",))
    assert world.apply().exit is Exit.REJECTED
    world.emulator.accept_all()
    world.fill("vip", by_hash())
    report = world.apply()
    assert report.exit is Exit.DONE
    assert report.run is not None
    assert [part.step for part in report.run.parts] == [1, 2]
    world.emulator.refused.clear()
    assert_everybody_is_there(world)


def test_an_update_that_is_rejected_beside_a_late_removal_is_said_again(world: World) -> None:
    """The removal takes the member along whose data bag was refused, and then is what it was."""
    emulator = world.emulator
    for n in range(3):
        emulator.declare_person([emulator.email(f"h{n}"), emulator.account(f"u{n}")])
    free = {"max_removed": "100%"}
    columns = ("email_hash", "user_account_id", "total")
    world.define("vip", *columns, rows=[(f"h{n}", None, 1) for n in range(3)], guard=free)
    world.apply()
    world.fill("vip", [(None, f"u{n}", 1) for n in range(3)])
    emulator.reject([emulator.email("h0")], operations=("DELETE",))
    world.apply()
    emulator.accept_all()
    emulator.reject([emulator.account("u0")], operations=("UPDATE",))
    world.fill("vip", [(None, "u0", 2), ("h1", None, 1), (None, "u2", 1)])
    assert world.apply().exit is Exit.UNKNOWN
    emulator.accept_all()
    world.fill("vip", [(None, "u0", 1), ("h1", None, 1), (None, "u2", 1)])
    world.settle()
    assert emulator.is_member("vip", emulator.account("u0"))


def test_whom_a_late_removal_takes_along_does_not_wait_for_an_earlier_refusal(
    world: World,
) -> None:
    """Two updates of u0 were refused, the last an hour ago; then h0's removal is let through."""
    emulator = world.emulator
    emulator.declare_person([emulator.email("h0"), emulator.account("u0")])
    free = {"max_removed": "100%"}
    columns = ("email_hash", "user_account_id", "total")
    world.define("vip", *columns, rows=[("h0", None, 1), ("h1", None, 1)], guard=free)
    world.apply()
    emulator.reject([emulator.email("h0")], operations=("DELETE",))
    world.fill("vip", [(None, "u0", 1), ("h1", None, 1)])
    for _ in range(2):
        world.apply()
    world.advance(minutes=50)
    emulator.reject([emulator.account("u0")], operations=("UPDATE",))
    world.fill("vip", [(None, "u0", 2), ("h1", None, 1)])
    for _ in range(2):
        world.apply()
    world.advance(minutes=15)
    emulator.accept_all()
    assert world.apply().exit is Exit.UNKNOWN
    assert not emulator.is_member("vip", emulator.account("u0"))
    world.settle()
    assert emulator.is_member("vip", emulator.account("u0"))


def test_members_that_a_late_removal_cannot_touch_are_not_said_again(world: World) -> None:
    people(world)
    world.fill("vip", [*by_hash(), ("lonely", None, None)])
    world.apply()
    world.emulator.reject([world.emulator.email("lonely")])
    world.fill("vip", by_hash())
    assert world.apply().exit is Exit.REJECTED
    world.emulator.accept_all()
    report = world.apply()
    assert report.exit is Exit.DONE
    assert report.run is not None
    assert report.run.outcome.doubted == 0
    assert not world.plan().changes_something


def give_up_an_upload(world: World) -> None:
    """An apply dies behind its upload, whose execution does not show for a while, but will run."""
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=10**6))
    assert apply_until_killed(world, "after upload")
    world.emulator.behave(lists_until_seen=10**6)
    world.emulator.on_upload(lambda _: world.emulator.behave(lists_until_seen=0))


def test_a_late_upload_that_is_taken_back_takes_nobody_along(world: World) -> None:
    """Its removal is said again while the person is a member by another kind of identifier."""
    people(world)
    world.fill("vip", by_account(count=1))
    world.apply()
    world.fill("vip", by_account(count=2))
    give_up_an_upload(world)
    world.fill("vip", by_hash(2))
    world.apply(allowed=("vip",))
    world.emulator.run_all()
    world.apply(allowed=("vip",))
    assert not world.plan().changes_something
    assert {world.emulator.email(f"h{n}") for n in range(2)} <= world.members("vip").keys()


@pytest.mark.parametrize("adds", [True, False])
def test_a_late_upload_takes_nobody_along_who_has_a_new_number(world: World, adds: bool) -> None:
    """What it added is removed again, or it removes once more, after the new number was said."""
    renumbered(world)
    everybody = [f"old{n}" for n in range(PEOPLE)]
    if adds:
        world.accounts("vip", *everybody[1:])
        world.apply()
        world.accounts("vip", *everybody)
    else:
        world.accounts("vip", *everybody[1:])
    give_up_an_upload(world)
    world.accounts("vip", "new0", *everybody[1:])
    world.apply()
    world.emulator.run_all()
    world.settle()
    assert len(world.members("vip")) == 2 * PEOPLE
    assert not world.plan().changes_something


def test_removals_that_a_recovery_cannot_name_any_more_take_nobody_along(world: World) -> None:
    """The apply had read the error file before it died; now it is gone."""
    people(world)
    world.fill("vip", by_account())
    world.apply()
    world.fill("vip", by_hash())
    world.emulator.reject([world.emulator.account("u0")], operations=("DELETE",))
    assert apply_until_killed(world, "after upload", nth=2, allowed=("vip",))
    world.emulator.accept_all()
    world.emulator.faults.add("error_file", Answer(404), times=9)
    report = world.apply(allowed=("vip",))
    assert report.recovered is not None
    statuses = [part.status for part in report.recovered.parts]
    assert statuses == [PartStatus.UNATTRIBUTED, PartStatus.UNKNOWN]
    world.settle(allowed=("vip",))
    world.emulator.refused.clear()
    assert_everybody_is_there(world)
