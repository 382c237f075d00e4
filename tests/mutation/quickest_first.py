"""A pytest plugin for mutants: the quickest tests come first, and property tests do not shrink.

A run that passes writes how long each test took into the file that SEGSYNC_DURATIONS names; the
next ones read it, and leave out those that take longer than SEGSYNC_LONGEST seconds.
"""

from __future__ import annotations

import json
import os
from collections import defaultdict
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

_FILE = Path(os.environ["SEGSYNC_DURATIONS"])
_LONGEST = float(os.environ["SEGSYNC_LONGEST"])


class Durations:
    """Seconds of each test, with its fixtures."""

    def __init__(self) -> None:
        self.known: dict[str, float] = json.loads(_FILE.read_text()) if _FILE.exists() else {}
        self.taken: defaultdict[str, float] = defaultdict(float)

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted(
            (item for item in items if self._seconds(item) <= _LONGEST), key=self._seconds
        )

    def _seconds(self, item: pytest.Item) -> float:
        return self.known.get(item.nodeid, 0.0)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, object, object]:
        self.taken[item.nodeid] += call.duration
        return (yield)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        if exitstatus == 0:
            _FILE.write_text(json.dumps(self.taken | self.known))


def pytest_configure(config: pytest.Config) -> None:
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
    config.pluginmanager.register(Durations())
