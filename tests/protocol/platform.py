"""The platform of the model: people, imports and their executions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import NamedTuple

ABSENT = 0
FOREVER = 1_000_000
"""The tick at which those lapse who never do, and a duration."""

Commands = tuple[tuple[int, int], ...]
"""Identifiers, and the value that each is to have; ABSENT is a DELETE."""


class Member(NamedTuple):
    """A data bag, and the first tick at which it is a member no more."""

    value: int
    expires: int

    def at(self, now: int) -> int:
        """The value, or ABSENT after it has lapsed."""
        return self.value if now < self.expires else ABSENT

    def earlier(self, ticks: int) -> Member:
        """As seen from a clock that begins so many ticks later."""
        return self if self.expires in (0, FOREVER) else Member(self.value, self.expires - ticks)


def expiry(now: int, duration: int) -> int:
    """When what is said now lapses."""
    return FOREVER if duration == FOREVER else now + duration


NOBODY = Member(ABSENT, 0)


class Execution(NamedTuple):
    """One upload that arrived, the `attempt`-th of a part. `is_shown`: lists have it."""

    run: int
    part: int
    attempt: int
    commands: Commands
    refused: frozenset[int]
    are_named: bool = True
    is_ended: bool = False
    is_shown: bool = True


@dataclass(slots=True)
class Platform:
    """`person_of[identifier]` has the membership, for `duration` ticks.

    Commands of one execution act in the worst order, additions first: a removal may undo the
    addition of the same person. `collided`: whether two executions were ever in flight.
    """

    person_of: tuple[int, ...]
    duration: int
    people: list[Member]
    imports: int = 0
    """Serial of the newest run that has one."""
    executions: list[Execution] = field(default_factory=list)
    collided: bool = False

    def copy(self) -> Platform:
        return replace(self, people=[*self.people], executions=[*self.executions])

    def key(self) -> tuple[object, ...]:
        return (*self.people, self.imports, *self.executions, self.collided)

    def accept(self, execution: Execution, now: int, *, is_late: bool) -> None:
        """Take an upload, and carry it out unless it is late."""
        if any(item.is_shown and not item.is_ended for item in self.executions):
            self.collided = True
        self.executions.append(execution)
        if not is_late:
            self._end(len(self.executions) - 1, now)

    def _end(self, number: int, now: int) -> None:
        execution = self.executions[number]
        for identifier, value in sorted(execution.commands, key=lambda item: item[1] == ABSENT):
            if identifier not in execution.refused:
                person = self.person_of[identifier]
                self.people[person] = Member(value, expiry(now, self.duration)) if value else NOBODY
        self.executions[number] = execution._replace(is_ended=True, is_shown=True)

    @property
    def is_busy(self) -> bool:
        """Whether an execution has not ended."""
        return not all(item.is_ended for item in self.executions)

    def end(self, now: int, chosen: Callable[[Execution], bool], before: int | None = None) -> bool:
        """Let those of the first `before` that are chosen act and show; whether there was any."""
        numbers = [
            number
            for number, item in enumerate(self.executions[:before])
            if not item.is_ended and chosen(item)
        ]
        for number in numbers:
            self._end(number, now)
        return bool(numbers)

    def end_shown(self, now: int, run: int) -> bool:
        """What waiting for all of a run that a list shows comes to."""
        return self.end(now, lambda item: item.is_shown and item.run == run)

    def shown(self, run: int) -> list[Execution]:
        """What the list of a run's executions shows."""
        return [item for item in self.executions if item.run == run and item.is_shown]

    def settle(self, now: int, runs: set[int]) -> None:
        """Begin the clock anew, and drop the executions of runs that nobody asks for any more."""
        self.people = [member.earlier(now) if member.at(now) else NOBODY for member in self.people]
        self.executions = [
            item for item in self.executions if item.run in runs or not item.is_ended
        ]
