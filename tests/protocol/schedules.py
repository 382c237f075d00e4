"""Every schedule of a setting: worlds, faults and time, apply after apply."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import product, starmap
from typing import NamedTuple

from tests.protocol.apply import Apply
from tests.protocol.comparing import difference
from tests.protocol.faults import NONE, Fault, faults
from tests.protocol.platform import ABSENT, FOREVER, NOBODY, Platform
from tests.protocol.records import Laws, State

APART = (0, 1)
TOGETHER = (0, 0)
REST = 1
"""Ticks before the last apply: pauses of rejects are over."""
MOST_APPLIES = 2
"""In the end: a second one where the first let a removal through that had been refused, or learnt
only then of a command that was refused for the second time."""


@dataclass(frozen=True)
class Setting:
    """What is tried: all combinations of these, in each of so many applies.

    The last apply has no fault. `copies`: the state may be an older copy before any of them.
    """

    person_of: tuple[int, ...] = APART
    duration: int = FOREVER
    ticks: tuple[int, ...] = (1,)
    part_for_each: bool = False
    copies: bool = False
    applies: int = 3
    only: tuple[Fault, ...] = ()
    """The faults to try instead of all."""

    @property
    def worlds(self) -> list[tuple[int, ...]]:
        """The desired values; of one person's identifiers, one at a time is desired."""
        everything = product((ABSENT, 1, 2), repeat=2)
        if self.person_of == TOGETHER:
            return [world for world in everything if ABSENT in world]
        return list(everything)

    @property
    def faults(self) -> tuple[Fault, ...]:
        parts = 2 if self.part_for_each or self.person_of == TOGETHER else 1
        return self.only or tuple(faults(parts))


@dataclass(slots=True)
class World:
    """The platform, the state, the clock, and a copy of the state that somebody made."""

    platform: Platform
    state: State
    kept: State | None = None
    now: int = 0

    def copy(self) -> World:
        return World(self.platform.copy(), self.state.copy(), self.kept and self.kept.copy())

    def key(self) -> tuple[object, ...]:
        return self.platform.key(), self.state.key(), self.kept and self.kept.key()

    def settle(self) -> None:
        """Begin the clock anew: worlds that differ in nothing else are the same."""
        runs = self.state.runs()
        if self.kept:
            self.kept.settle(self.now)
            runs |= self.kept.runs()
        self.state.settle(self.now)
        self.platform.settle(self.now, runs)
        self.now = 0


class Choice(NamedTuple):
    """What happens in one apply, and before it. `is_early`: what is late acts before it."""

    is_last: bool
    ticks: int
    is_early: bool
    desired: tuple[int, ...]
    fault: Fault
    is_put_back: bool


@dataclass(slots=True)
class Count:
    """Schedules that were told, those that diverged, and how many different worlds were met."""

    schedules: int = 0
    diverged: int = 0
    worlds: int = 1
    example: tuple[Choice, ...] = ()
    """One schedule that diverged."""


class Met(NamedTuple):
    """A world, how many schedules lead to it, and one of them."""

    world: World
    times: int
    path: tuple[Choice, ...]


def tell(setting: Setting, laws: Laws, *, stop_at_first: bool = False) -> Count:
    """Tell all schedules; worlds that are the same are gone on from once, and counted as often."""
    count = Count()
    start = start_of(setting)
    met = {start.key(): Met(start, 1, ())}
    for _ in range(setting.applies - 1):
        met = _one_apply_on(setting, laws, met.values())
        count.worlds += len(met)
    for world, times, path in met.values():
        for choice in choices(setting, world, is_last=True):
            (ended,) = happen(setting, laws, world.copy(), choice)
            count.schedules += times
            if not is_right(laws, ended, choice.desired):
                count.diverged += times
                count.example = count.example or (*path, choice)
                if stop_at_first:
                    return count
    return count


def _one_apply_on(
    setting: Setting, laws: Laws, before: Iterable[Met]
) -> dict[tuple[object, ...], Met]:
    after: dict[tuple[object, ...], Met] = {}
    for world, times, path in before:
        for choice in choices(setting, world, is_last=False):
            for ended in happen(setting, laws, world.copy(), choice):
                key = ended.key()
                if key in after:
                    after[key] = after[key]._replace(times=after[key].times + times)
                else:
                    after[key] = Met(ended, times, (*path, choice))
    return after


def start_of(setting: Setting) -> World:
    """Nobody is a member, and nothing was ever sent."""
    people = [NOBODY] * len({*setting.person_of})
    platform = Platform(setting.person_of, setting.duration, people)
    return World(platform, State([NOBODY] * len(setting.person_of)))


def choices(setting: Setting, world: World, *, is_last: bool) -> Iterator[Choice]:
    """All that may come next."""
    return starmap(
        Choice,
        product(
            (is_last,),
            (REST,) if is_last else setting.ticks,
            (True, False) if world.platform.is_busy else (True,),
            setting.worlds,
            (NONE,) if is_last else setting.faults,
            (False, True) if world.kept else (False,),
        ),
    )


def happen(setting: Setting, laws: Laws, world: World, choice: Choice) -> Iterator[World]:
    """Let time pass, late executions act, an old copy be put back, and an apply be run.

    What was late before acts before the apply or after it, but before the last if nobody can know
    of it. Gives the world after it; with `copies`, once more for each copy that may be kept.
    """
    world.now += choice.ticks
    platform = world.platform
    platform.end(
        world.now,
        lambda item: choice.is_early or (choice.is_last and not item.is_shown),
    )
    late = len(platform.executions)
    if choice.is_put_back:
        put_back(laws, world)
    copies: list[State] = []
    apply_now(setting, laws, world, choice, copies)
    platform.end(world.now, lambda _: True, late)
    if choice.is_last:
        yield world
        return
    kept = {copy.key(): copy for copy in copies} if setting.copies else {}
    kept.pop(world.state.key(), None)
    for copy in kept.values():
        other = World(platform.copy(), world.state.copy(), copy, world.now)
        other.settle()
        yield other
    world.settle()
    yield world


def put_back(laws: Laws, world: World) -> None:
    """Put an old copy in the place of the state; where it is refused, the newest returns."""
    assert world.kept
    old = world.kept.copy()
    known = old.run.serial if old.run else old.serial
    if world.platform.imports <= known or not laws.refuses_old_copies:
        world.state = old


def apply_now(
    setting: Setting, laws: Laws, world: World, choice: Choice, copies: list[State]
) -> None:
    """Run an apply. After the last, go on while one says that something is left to be said."""
    for _ in range(MOST_APPLIES):
        apply = Apply(
            laws=laws,
            platform=world.platform,
            state=world.state,
            now=world.now,
            desired=choice.desired,
            fault=choice.fault,
            part_for_each=setting.part_for_each,
            copied=lambda state: copies.append(state.copy()),
        )
        apply.carry_out()
        world.now = apply.now
        if not choice.is_last or not (apply.is_doubted or world.state.rejects):
            return
        world.now += REST


def is_right(laws: Laws, world: World, desired: tuple[int, ...]) -> bool:
    """Whether the platform and the snapshot have what is desired, and no command is left."""
    platform, state = world.platform, world.state
    half = platform.duration // 2
    wanted = [ABSENT] * len(platform.people)
    for identifier, value in enumerate(desired):
        wanted[platform.person_of[identifier]] |= value
    return (
        not platform.collided
        and [member.at(world.now) for member in platform.people] == wanted
        and all(
            not want or member.expires - world.now >= half
            for want, member in zip(wanted, platform.people, strict=True)
        )
        and [member.value for member in state.snapshot] == list(desired)
        and not state.pending
        and not difference(laws, state, desired, world.now, half)
    )
