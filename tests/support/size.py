"""How much is tried: little at each submission, much with `python -m pytest --full`.

That takes hours. `--shard 2/8` runs the second of eight shares, on another machine perhaps.
"""

from __future__ import annotations

import zlib

import pytest

FULL = False


def size(quick: int, full: int) -> int:
    """The number for this run of the tests."""
    return full if FULL else quick


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--full", action="store_true", help="try much more: it takes hours")
    parser.addoption("--shard", metavar="K/N", help="run only the K-th of N shares")


def pytest_configure(config: pytest.Config) -> None:
    """Before any test is imported: many read the size there."""
    global FULL
    FULL = bool(config.getoption("full"))
    if config.getoption("shard"):
        _shard(config)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("shard"):
        number, shares = _shard(config)
        others = [item for item in items if _share(item, shares) != number]
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if _share(item, shares) == number]


def _shard(config: pytest.Config) -> tuple[int, int]:
    number, _, shares = config.getoption("shard").partition("/")
    if not (number.isdigit() and shares.isdigit() and 1 <= int(number) <= int(shares)):
        raise pytest.UsageError("--shard wants K/N with K from 1 to N, like 2/8")
    return int(number), int(shares)


def _share(item: pytest.Item, shares: int) -> int:
    return zlib.crc32(item.nodeid.encode()) % shares + 1
