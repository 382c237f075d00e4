"""The real command is killed at every system call that matters, or the disk fails it there; then
one apply sets it right.

That happens on entering the n-th call of one kind, n = 1, 2, … until the command makes fewer;
whichever of its threads makes them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import count

import pytest

from segsync.emulator.people import Identifier
from segsync.exits import Exit
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import apply_until_killed
from tests.support.kills import (
    FILES,
    IS_EVERY_THREAD_COUNTED,
    KEPT,
    STEPS,
    TIDY_EVERY,
    WIRE,
    Record,
    assert_one_apply_is_enough,
    change,
    fill,
    has_open_run,
    killed_at,
    step_of_the_commit,
    traced,
)
from tests.support.size import FULL, size
from tests.support.world import Row, World, assert_sound

WRITES = ("pwrite64",)
OTHERS = ("fsync", "unlink", "ftruncate", "write")
FAULTS = [
    *[("ENOSPC", "", 1), ("EIO", "", 2), ("EIO", "+", 1), ("ENOSPC", "+", 2)],
    *([("EIO", "", 1), ("ENOSPC", "", 2), ("ENOSPC", "+", 1), ("EIO", "+", 2)] if FULL else []),
]
"""At every odd or even call: each fails once, and for ever; with both errors at full size only."""


class Victim(LeanWorld):
    """Whose applies run in processes of their own, with real databases; who sets right what they
    leave is this process, in which nothing costs much (test_kills_random.py has the real one)."""

    def fill(self, name: str, rows: Sequence[Row]) -> None:
        World.fill(self, name, rows)


@pytest.fixture
def world() -> Iterator[World]:
    with victim() as made:
        made.apply()
        yield made


@contextmanager
def victim() -> Iterator[World]:
    with in_one_thread() as folder, Victim(folder / "world") as made:
        fill(made)
        yield made


@pytest.mark.parametrize(
    ("calls", "first", "step"),
    [(WRITES, 1, 2), (WRITES, 2, 2), (FILES, 1, 1), (WIRE, 1, 1)],
    ids=["odd writes", "even writes", "files", "wire"],
)
@pytest.mark.timeout(600)
def test_an_apply_may_be_killed_at_any_system_call(
    world: World, record_property: Record, calls: tuple[str, ...], first: int, step: int
) -> None:
    kills = 0
    cut_short = set()
    for _, uploads in killed(world, calls, first, step):
        kills += 1
        cut_short.add(step_of_the_commit(world))
        assert_one_apply_is_enough(world, uploads)
    assert_sound(world)
    record_property("kills", kills)
    assert kills > 20
    if IS_EVERY_THREAD_COUNTED:
        found = cut_short - {None}
        # Changes are staged while the payload is written: that commit may be under way.
        assert found <= {"nothing is staged"} if calls == WIRE else found == set(STEPS)


def killed(
    world: World,
    calls: Sequence[str],
    first: int,
    step: int,
    prepare: Callable[[int], object] = lambda _: None,
    through: Collection[int] = (Exit.DONE,),
) -> Iterator[tuple[int, int]]:
    """Kill an apply at each of these calls; gives after each which change it applied, and how many
    uploads there were before."""
    changes = count(1)
    for call in calls:
        for number in count(first, step):
            latest = next(changes)
            change(world, latest)
            uploads = len(world.uploads)
            prepare(latest)
            if not killed_at(world, call, number, through):
                break
            yield latest, uploads
            if latest % TIDY_EVERY == 0:
                world.apply(assume_finished=True)


@pytest.mark.timeout(600)
def test_a_first_apply_may_be_killed_while_it_makes_the_state(record_property: Record) -> None:
    kills = 0
    for call in (*WRITES, "mkdir", *FILES, *WIRE) if FULL else ("mkdir", "fsync", "unlink"):
        for number in count(1, size(2, 1)):
            with victim() as world:
                if not killed_at(world, call, number):
                    break
                kills += 1
                assert_one_apply_is_enough(world, 0, parts=1)
    record_property("kills", kills)
    assert kills > 20


@pytest.mark.parametrize("calls", [WRITES, FILES, WIRE], ids=["writes", "files", "wire"])
@pytest.mark.timeout(3600)
def test_an_apply_of_which_a_part_is_rejected_may_be_killed_at_any_system_call(
    world: World, record_property: Record, calls: tuple[str, ...]
) -> None:
    kills = 0
    through = (Exit.REJECTED, Exit.UNKNOWN)
    for latest, uploads in killed(world, calls, 1, size(8, 1), partial(reject, world), through):
        kills += 1
        assert_one_apply_does_the_rest(world, uploads, rejected(world, latest))
    world.emulator.accept_all()
    world.advance(days=8)
    world.settle(allowed=("vip",))
    world.emulator.refused.clear()
    assert_sound(world)
    record_property("kills", kills)
    assert kills > 5


def rejected(world: World, number: int) -> set[Identifier]:
    """An update and an addition of that change; a removal that acts later has tests of its own."""
    return {world.emulator.account(name) for name in (KEPT[number % 6], f"new{number}")}


def reject(world: World, number: int) -> None:
    """From now on only what that change is to lose is rejected."""
    world.emulator.accept_all()
    world.emulator.reject(rejected(world, number))


def assert_one_apply_does_the_rest(world: World, uploads: int, but: set[Identifier]) -> None:
    """All is as it should be but these, and nothing else is tried again."""
    world.apply(allowed=("vip",))
    assert len(world.uploads) - uploads <= 3
    assert_sound(world, converged=False)
    plan = world.plan(allowed=("vip",))
    assert plan.open_run is None
    assert plan.totals.commands - plan.totals.retry <= len(but), plan.totals
    differing = {who for who, _ in world.members("vip").items() ^ world.expected("vip").items()}
    assert differing
    assert differing <= but


@pytest.mark.parametrize("calls", [WRITES, FILES, WIRE], ids=["writes", "files", "wire"])
@pytest.mark.timeout(3600)
def test_the_recovery_from_an_answer_that_was_lost_may_be_killed_at_any_system_call(
    world: World, record_property: Record, calls: tuple[str, ...]
) -> None:
    def lose_an_answer(_: int) -> None:
        assert apply_until_killed(world, "after upload", allowed=("vip",))

    kills = 0
    for _, uploads in killed(world, calls, 1, size(8, 1), lose_an_answer):
        kills += 1
        assert_one_apply_is_enough(world, uploads)
    assert_sound(world)
    record_property("kills", kills)
    assert kills > 5


@pytest.mark.parametrize("calls", [WRITES, OTHERS], ids=["writes", "files"])
@pytest.mark.parametrize(("error", "lasting", "first"), FAULTS)
@pytest.mark.timeout(600)
def test_a_disk_that_fails_is_told_and_nothing_is_lost(
    world: World,
    record_property: Record,
    calls: tuple[str, ...],
    error: str,
    lasting: str,
    first: int,
) -> None:
    failures = 0
    changes = count(1)
    for call in calls:
        for number in count(first, 2):
            change(world, next(changes))
            uploads = len(world.uploads)
            done = traced(world, call, f"error={error}:when={number}{lasting}")
            place = f"{call} {number}: {done}"
            assert "Traceback" not in done.err, place
            if not done.reached:
                break
            failures += 1
            assert done.status in (0, 1, 5), place
            assert has_open_run(world) == (done.status == 5), place
            if done.status == 0:
                assert not world.plan().changes_something, place
            elif not (call == "write" and lasting):  # then nothing can be told either
                assert tells_of_the_disk(done.err, world), place
            assert_one_apply_is_enough(world, uploads)
    record_property("failures", failures)
    assert failures > 5


def tells_of_the_disk(text: str, world: World) -> bool:
    """Whether it says which file could not be written, and why."""
    if "No usable temporary directory" in text or "the output could not be written" in text:
        return True
    return (str(world.state) in text or "payload" in text) and ("disk" in text or "space" in text)
