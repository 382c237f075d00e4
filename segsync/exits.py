"""Exit statuses of the command line, and which of several is the one."""

from __future__ import annotations

from collections.abc import Collection
from enum import IntEnum


class Exit(IntEnum):
    """Exit statuses of the command line."""

    DONE = 0
    ERROR = 1
    CHANGES = 2
    REFUSED = 3
    REJECTED = 4
    UNKNOWN = 5
    LOCKED = 6


_FIRST_OF = (Exit.UNKNOWN, Exit.ERROR, Exit.REFUSED, Exit.REJECTED)


def first_of(found: Collection[Exit]) -> Exit:
    """Where several are true at once, the one that matters most; DONE where there is none."""
    return next((status for status in _FIRST_OF if status in found), Exit.DONE)
