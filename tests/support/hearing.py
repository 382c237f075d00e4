"""What the user of a world is told: no secret, and no identifier that is not masked."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from segsync.emulator.people import IDENTIFIER_FIELDS
from segsync.errors import SegsyncError
from segsync.plan import Plan
from segsync.render.lines import plain
from segsync.render.notes import Surroundings
from segsync.render.plan_text import plan_text
from segsync.render.report_text import report_text
from segsync.report import Report
from tests.support.canary import PERSON, tokens_in

COLUMNS = 80
SHORTEST = 8
"""Characters: shorter identifiers may be part of any word."""


class People:
    """The identifiers that queries of a world have given: none may be told whole."""

    def __init__(self) -> None:
        self._known = {PERSON}

    def note(self, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Remember those in these rows."""
        for at, column in enumerate(columns):
            if column in IDENTIFIER_FIELDS or column == "email":
                self._known |= {
                    value for row in rows if isinstance(value := row[at], str) and is_telling(value)
                }

    def told_in(self, text: str) -> list[str]:
        """Those that stand in a text."""
        return [one for one in self._known if one in text]


def is_telling(identifier: str) -> bool:
    """Whether nobody would write it by chance."""
    return len(identifier) >= SHORTEST and any(map(str.isdigit, identifier))


@contextmanager
def listening(sentences: list[str], people: People) -> Iterator[None]:
    """Look at what is said while the context is open, and at the error that ends it."""
    before = len(sentences)
    try:
        yield
    except SegsyncError as error:
        assert_discreet(f"{error} {error.hint}", people)
        raise
    finally:
        assert_discreet(" ".join(sentences[before:]), people)


def assert_discreet(text: str, people: People) -> None:
    content = text.encode(errors="surrogateescape")
    assert not tokens_in(content), text
    assert not people.told_in(text), text


def assert_plan_discreet(plan: Plan, people: People) -> None:
    """Only its examples name members, its errors and guards a value; they are as they are shown."""
    if any(item.samples or item.error for item in plan.segments):
        shown = plan_text(plan, Surroundings("state.db"), columns=COLUMNS, show_ids=False)
        assert_discreet(plain(shown), people)


def assert_report_discreet(report: Report, people: People) -> None:
    """What the platform said of a command is among its problems."""
    if report.plan is not None:
        assert_plan_discreet(report.plan, people)
    if any(run and run.problems for run in (report.run, report.recovered)):
        assert_discreet(plain(report_text(report, columns=COLUMNS)), people)
