"""What segsync of the model keeps: its state, the open run, and the laws it obeys."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum
from typing import NamedTuple

from tests.protocol.platform import Commands, Member


@dataclass(frozen=True)
class Laws:
    """What keeps the protocol right. Each mutant breaks one."""

    journals: bool = True
    says_pending_again: bool = True
    confirms_after_the_result: bool = True
    waits_for_executions: bool = True
    looks_before_sending_again: bool = True
    finds_runs_by_reference: bool = True
    judges_each_part: bool = True
    keeps_rejects: bool = True
    tries_rejects_again: bool = True
    believes_only_named_failures: bool = True
    compares_data_bags: bool = True
    removes_first: bool = True
    stops_at_a_part_in_doubt: bool = True
    holds_later_steps: bool = True
    watches_what_may_arrive: bool = True
    watches_behind_a_repeat: bool = True
    notes_newcomers: bool = True
    says_again_who_stayed: bool = True
    refuses_old_copies: bool = True
    doubts_what_a_copy_thinks_unsent: bool = True
    watches_what_a_copy_thinks_unsent: bool = True
    renews: bool = True
    adds_who_lapsed: bool = True
    forgets_after_the_longest_run: bool = True
    counts_from_submission: bool = True


class Status(Enum):
    """Of a part; the last three are what it comes to."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    UNKNOWN = "unknown"
    UNSENT = "unsent"


class Part(NamedTuple):
    """Commands of one upload; those of step 2 go when step 1 has ended."""

    step: int
    commands: Commands
    status: Status = Status.WAITING
    attempt: int | None = None
    """Which of its uploads was answered."""
    is_watched: bool = False
    rejected: frozenset[int] = frozenset()
    executions: int = 0

    @property
    def identifiers(self) -> frozenset[int]:
        return frozenset(identifier for identifier, _ in self.commands)


@dataclass(slots=True)
class Run:
    """An open run, as it is journalled."""

    serial: int
    started: int
    parts: list[Part]
    has_import: bool = False


class Reject(NamedTuple):
    """A command that was refused, and the tick from which on it is tried again."""

    value: int
    again: int


class Watch(NamedTuple):
    """Commands of a run of which an upload may still act, and how many executions are known."""

    identifiers: frozenset[int]
    executions: int


@dataclass(slots=True)
class State:
    """The state file."""

    snapshot: list[Member]
    serial: int = 0
    pending: set[int] = field(default_factory=set)
    rejects: dict[int, Reject] = field(default_factory=dict)
    newcomers: set[int] = field(default_factory=set)
    watched: dict[int, Watch] = field(default_factory=dict)
    run: Run | None = None
    longest_run: int = 0

    def copy(self) -> State:
        return replace(
            self,
            snapshot=[*self.snapshot],
            pending={*self.pending},
            rejects={**self.rejects},
            newcomers={*self.newcomers},
            watched={**self.watched},
            run=self.run and replace(self.run, parts=[*self.run.parts]),
        )

    def settle(self, now: int) -> None:
        """Begin the clock anew."""
        self.snapshot = [member.earlier(now) for member in self.snapshot]
        self.rejects = {
            identifier: Reject(reject.value, max(0, reject.again - now))
            for identifier, reject in self.rejects.items()
        }
        if self.run:
            self.run.started -= now

    def runs(self) -> set[int]:
        """Whose executions it may ask for."""
        return {*self.watched} | ({self.run.serial} if self.run else set())

    def key(self) -> tuple[object, ...]:
        run = self.run
        return (
            *self.snapshot,
            self.serial,
            frozenset(self.pending),
            frozenset(self.rejects.items()),
            frozenset(self.newcomers),
            frozenset(self.watched.items()),
            run and (run.serial, run.started, tuple(run.parts), run.has_import),
            self.longest_run,
        )
