"""What the user of a world is told: no secret, and no identifier that is not masked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segsync.errors import SegsyncError
from segsync.plan import Plan
from segsync.render.lines import plain
from segsync.render.notes import Surroundings
from segsync.render.plan_text import plan_text
from segsync.render.report_text import report_text
from segsync.report import Report
from tests.support.canary import identifiers_in, tokens_in

COLUMNS = 80


@contextmanager
def listening(sentences: list[str]) -> Iterator[None]:
    """Look at what is said while the context is open, and at the error that ends it."""
    before = len(sentences)
    try:
        yield
    except SegsyncError as error:
        assert_discreet(f"{error} {error.hint}")
        raise
    finally:
        assert_discreet(" ".join(sentences[before:]))


def assert_discreet(text: str) -> None:
    content = text.encode(errors="surrogateescape")
    assert not tokens_in(content), text
    assert not identifiers_in(content), text


def assert_plan_discreet(plan: Plan) -> None:
    """Only its examples name members, its errors and guards a value; they are as they are shown."""
    if any(item.samples or item.error for item in plan.segments):
        shown = plan_text(plan, Surroundings("state.db"), columns=COLUMNS, show_ids=False)
        assert_discreet(plain(shown))


def assert_report_discreet(report: Report) -> None:
    """What the platform said of a command is among its problems."""
    if report.plan is not None:
        assert_plan_discreet(report.plan)
    if any(run and run.problems for run in (report.run, report.recovered)):
        assert_discreet(plain(report_text(report, columns=COLUMNS)))
