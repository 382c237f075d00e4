"""A pytest plugin for mutants: the tests that notice soonest come first, and nothing is shrunk."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Generator, Iterator, Mapping

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.mutation.reach import Taken, Tracer


class QuickestFirst:
    """Runs the tests in the order of `limits`, and notes what each takes.

    `limits` gives each test its seconds: a mutant that never ends is noticed by them. None: all
    tests, as long as they please.
    """

    def __init__(self, limits: Mapping[str, float] | None, tracer: Tracer | None) -> None:
        self._limits = limits
        self._tracer = tracer
        self.taken: defaultdict[str, Taken] = defaultdict(Taken)
        self.failed = ""

    def pytest_configure(self) -> None:
        """Shrinking would make the killed mutants the dear ones."""
        settings.register_profile(
            "mutation",
            phases=(Phase.explicit, Phase.generate),
            derandomize=True,
            database=None,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        )
        settings.load_profile("mutation")

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Only those that were asked for, each with its limit."""
        if self._limits is None:
            return
        places = {test: place for place, test in enumerate(self._limits)}
        items[:] = sorted(
            (item for item in items if item.nodeid in places), key=lambda item: places[item.nodeid]
        )
        for item in items:
            item.add_marker(pytest.mark.timeout(self._limits[item.nodeid]), append=False)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """What its fixtures reach is its own, too."""
        if self._tracer:
            self._tracer.into = self.taken[item.nodeid].lines
            self._tracer.start()
        yield
        if self._tracer:
            self._tracer.stop()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        self.taken[item.nodeid].seconds += call.duration
        report = yield
        if report.failed:
            self.failed = self.failed or item.nodeid
        return report

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A module that cannot be imported any more is noticed as well."""
        if report.failed:
            self.failed = self.failed or report.nodeid
