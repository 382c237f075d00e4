"""How much is tried: little at each submission, much at night (`SEGSYNC_TESTS=full`)."""

from __future__ import annotations

import os

FULL = os.environ.get("SEGSYNC_TESTS") == "full"


def size(quick: int, full: int) -> int:
    """The number for this run of the tests."""
    return full if FULL else quick
