"""Long tests come first in the share of each worker.

pytest-xdist gives each worker a part of the list, and lets who is done take from the end of
another's: so the short tests are left for the end, and nobody waits long for the last one.
"""

from __future__ import annotations

import pytest

LONG_SECONDS = 300


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if _may_take(item) >= LONG_SECONDS]
    short = [item for item in items if _may_take(item) < LONG_SECONDS]
    left = len(items)
    items.clear()
    for worker in range(workers):
        share = left // (workers - worker)
        left -= share
        first = long[worker::workers]
        filling = max(share - len(first), 0)
        items += first + short[:filling]
        del short[:filling]
    items += short


def _may_take(item: pytest.Item) -> float:
    """What its author allows it, seconds."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker and marker.args else 0.0
