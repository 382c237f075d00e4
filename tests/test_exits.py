"""Scripts depend on the exit statuses: they are those of the README, for ever."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain, combinations

from segsync.exits import Exit, first_of
from segsync.report import Report

MATTERS_MOST_FIRST = (5, 1, 3, 4)


def test_each_status_has_its_number() -> None:
    assert {status.name: status.value for status in Exit} == {
        "DONE": 0, "ERROR": 1, "CHANGES": 2, "REFUSED": 3, "REJECTED": 4, "UNKNOWN": 5, "LOCKED": 6,
    }  # fmt: skip


def test_of_several_the_one_that_matters_most_is_told() -> None:
    found = [Exit(number) for number in MATTERS_MOST_FIRST]
    some = chain.from_iterable(combinations(found, count) for count in range(1, 5))
    assert all(first_of(set(several)) is several[0] for several in some)
    assert first_of(set()) is Exit.DONE


def test_what_an_apply_leaves_behind_in_doubt_is_unknown() -> None:
    """As an apply of a saved plan does, which may say no more than was planned."""
    nothing = Report(None, None, None)
    assert replace(nothing, pending=1, is_behind=True).exit is Exit.UNKNOWN
    for other in (nothing, replace(nothing, pending=1), replace(nothing, is_behind=True)):
        assert other.exit is Exit.DONE
