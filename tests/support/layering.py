"""In how many layers a state keeps its members: a small one in one, unless it is told otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from segsync.state import layers

NEVER = 2**62
"""No file has so many bytes."""
MODES = ((NEVER, layers.SHARE), (0, layers.SHARE), (0, 1_000))
"""One layer; two; two of which the upper one is folded into the other again and again."""


@contextmanager
def layered(mode: int) -> Iterator[None]:
    """Keep members as MODES says, in this process."""
    before = (layers.LARGE_BYTES, layers.SHARE)
    layers.LARGE_BYTES, layers.SHARE = MODES[mode]
    try:
        yield
    finally:
        layers.LARGE_BYTES, layers.SHARE = before
