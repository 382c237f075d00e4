"""Long tests come first in the share of each worker.

pytest-xdist gives each worker a part of the list, and lets who is done take from the end of
another's: so the short tests are left for the end, and nobody waits long for the last one. The
long tests of a module that is marked `one_worker` stay together: each worker would make its
fixtures anew.
"""

from __future__ import annotations

from collections import defaultdict

import pytest

LONG_SECONDS = 300


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    workers = getattr(config, "workerinput", {}).get("workercount", 1)
    long = [item for item in items if _may_take(item) >= LONG_SECONDS]
    shares = _shared_out(long, workers)
    short = [item for item in items if _may_take(item) < LONG_SECONDS]
    left = len(items)
    items.clear()
    for worker in range(workers):
        share = left // (workers - worker)
        left -= share
        first = shares[worker]
        filling = max(share - len(first), 0)
        items += first + short[:filling]
        del short[:filling]
    items += short


def _shared_out(long: list[pytest.Item], workers: int) -> list[list[pytest.Item]]:
    together = defaultdict[str, list[pytest.Item]](list)
    for item in long:
        is_bound = item.get_closest_marker("one_worker") is not None
        together[item.nodeid.partition("::")[0] if is_bound else item.nodeid].append(item)
    groups = list(together.values())
    return [[item for group in groups[n::workers] for item in group] for n in range(workers)]


def _may_take(item: pytest.Item) -> float:
    """What its author allows it, seconds."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker and marker.args else 0.0
