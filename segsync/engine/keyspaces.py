"""Numbers for the places where identifiers are told apart."""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from segsync.model import IdentifierKind

Place = tuple[int, IdentifierKind, str | None]
"""Segment number, kind, and the compartment of an account."""


class Keyspaces:
    """Gives each place a number: the one it has in the state, or the next free one."""

    def __init__(self, known: Iterable[tuple[int, Place]]) -> None:
        self._lock = Lock()
        self._places = dict(known)
        self._numbers = {place: number for number, place in self._places.items()}
        self._next = max(self._places, default=0) + 1

    def number(self, place: Place) -> int:
        """The number of a place."""
        with self._lock:
            if place not in self._numbers:
                self._note(self._next, place)
            return self._numbers[place]

    def place(self, number: int) -> Place:
        """The place that has this number."""
        with self._lock:
            return self._places[number]

    def adopt(self, number: int, place: Place) -> None:
        """Take over a number that was given when a plan was saved."""
        with self._lock:
            self._note(number, place)

    def _note(self, number: int, place: Place) -> None:
        self._numbers[place] = number
        self._places[number] = place
        self._next = max(self._next, number + 1)

    def all(self) -> tuple[tuple[int, Place], ...]:
        """Every number given so far, with its place."""
        with self._lock:
            return tuple(sorted(self._places.items()))
