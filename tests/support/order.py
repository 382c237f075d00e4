"""Long tests come first, half of them in each half of the list.

Two workers get a half each and take from each other's end when theirs is done: so the short tests
are left for the end, and neither worker waits long for the other's last.
"""

from __future__ import annotations

import pytest

LONG_SECONDS = 300


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    long = [item for item in items if _may_take(item) >= LONG_SECONDS]
    short = [item for item in items if _may_take(item) < LONG_SECONDS]
    middle = len(items) // 2 - len(long[::2])
    items[:] = [*long[::2], *short[:middle], *long[1::2], *short[middle:]]


def _may_take(item: pytest.Item) -> float:
    """What its author allows it, seconds."""
    marker = item.get_closest_marker("timeout")
    return float(marker.args[0]) if marker and marker.args else 0.0
