"""Persons (user points), the identifiers that lead to them, and their membership of segments."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

IDENTIFIER_FIELDS = ("user_account_id", "email_hash", "user_agent_id")


class Identifier(NamedTuple):
    """One identifier; `compartment` is None for all kinds but user_account_id."""

    kind: str
    compartment: str | None
    value: str

    def __str__(self) -> str:
        scope = f"{self.compartment}/" if self.compartment is not None else ""
        return f"{self.kind}={scope}{self.value}"


class Member(NamedTuple):
    """A member as the tests see it; `expires_at_ms` is 0 for one that never leaves."""

    expires_at_ms: int
    data_bag: str | None


class Membership(NamedTuple):
    """One person in one segment. Times are epoch milliseconds."""

    expires_at_ms: int
    data_bag: str | None
    created_ms: int
    modified_ms: int

    def live(self, now_ms: int) -> bool:
        """Whether the platform has not yet removed it."""
        return self.expires_at_ms == 0 or self.expires_at_ms > now_ms


class People:
    """Who is who. A person is a number; each identifier is its own person unless declared."""

    def __init__(self) -> None:
        self.number_of: dict[Identifier, int] = {}
        self.identifiers_of: dict[int, tuple[Identifier, ...]] = {}
        self.quarantined: set[int] = set()
        self.last_number = 0
        self.united = False
        """Whether persons became one since the last save."""

    def __len__(self) -> int:
        return len(self.identifiers_of)

    def meet(self, identifier: Identifier) -> int:
        """The identifier's person, made if there is none."""
        number = self.number_of.get(identifier)
        if number is None:
            self.last_number = number = self.last_number + 1
            self.number_of[identifier] = number
            self.identifiers_of[number] = (identifier,)
        return number

    def unite(self, identifiers: Iterable[Identifier]) -> tuple[int, list[int]]:
        """Make all identifiers one person's; gives the person and those that ended in it."""
        numbers = sorted({self.meet(identifier) for identifier in identifiers})
        if not numbers:
            raise ValueError("a person needs at least one identifier")
        person, *others = numbers
        self.united = True
        for other in others:
            for identifier in self.identifiers_of[other]:
                self.number_of[identifier] = person
            self.identifiers_of[person] += self.identifiers_of.pop(other)
            if other in self.quarantined:
                self.quarantined.add(person)
        return person, others


class Memberships:
    """Membership of all segments, kept per person."""

    def __init__(self) -> None:
        self._of_segment: dict[str, dict[int, Membership]] = {}
        self._touched: set[tuple[str, int]] | None = None

    def of(self, segment_id: str) -> dict[int, Membership]:
        """The segment's memberships by person, lapsed ones included."""
        return self._of_segment.setdefault(segment_id, {})

    def track(self) -> None:
        """Remember from now on what changes, for whoever saves it."""
        self._touched = set()

    def touch(self, segment_id: str, person: int) -> None:
        """Say that a membership has changed."""
        if self._touched is not None:
            self._touched.add((segment_id, person))

    def changes(self) -> set[tuple[str, int]]:
        """What has changed since the last call: segment and person."""
        touched, self._touched = self._touched or set(), set()
        return touched

    def live(self, segment_id: str, now_ms: int) -> Iterator[tuple[int, Membership]]:
        """The segment's present members."""
        for person, membership in self.of(segment_id).items():
            if membership.live(now_ms):
                yield person, membership

    def of_person(self, person: int, now_ms: int) -> Iterator[tuple[str, Membership]]:
        """The segments that a person is in at present."""
        for segment_id, table in self._of_segment.items():
            membership = table.get(person)
            if membership is not None and membership.live(now_ms):
                yield segment_id, membership

    def merge(self, person: int, others: Iterable[int]) -> None:
        """Give a person what others had; of two memberships of one segment the later one stays."""
        for segment_id, table in self._of_segment.items():
            for other in others:
                theirs = table.pop(other, None)
                if theirs is not None:
                    ours = table.get(person, theirs)
                    table[person] = max(ours, theirs, key=lambda one: one.modified_ms)
                    self.touch(segment_id, person)
                    self.touch(segment_id, other)

    def forget_segment(self, segment_id: str) -> None:
        """Drop a segment with all its members."""
        for person in self._of_segment.pop(segment_id, {}):
            self.touch(segment_id, person)
