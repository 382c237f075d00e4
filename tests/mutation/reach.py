"""Which lines of the mutated modules a test runs through, and how long it takes."""

from __future__ import annotations

import sys
import threading
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

Lines = defaultdict[str, set[int]]
Plain = tuple[float, dict[str, list[int]]]


@dataclass(slots=True)
class Taken:
    """What one test takes: seconds, and the lines that it reaches, by module."""

    seconds: float = 0.0
    lines: Lines = field(default_factory=lambda: defaultdict(set))

    def plain(self) -> Plain:
        """As JSON can say it."""
        return self.seconds, {module: sorted(lines) for module, lines in self.lines.items()}


def taken(plain: Plain) -> Taken:
    """From what JSON says."""
    seconds, modules = plain
    return Taken(seconds, defaultdict(set, {name: set(lines) for name, lines in modules.items()}))


class Tracer:
    """Sees the lines of the watched files, in every thread. `into` is where they are noted."""

    def __init__(self, watched: Mapping[str, str]) -> None:
        self._watched = watched
        self.into: Lines = defaultdict(set)

    def start(self) -> None:
        """From here on, in this thread and in those that are started later."""
        threading.settrace(self._called)
        sys.settrace(self._called)

    def stop(self) -> None:
        """For this thread."""
        sys.settrace(None)
        threading.settrace(None)

    def _called(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        if frame.f_code.co_filename not in self._watched:
            return None
        return self._noted(frame, _event, _argument)

    def _noted(self, frame: FrameType, _event: str, _argument: Any) -> Any:
        self.into[self._watched[frame.f_code.co_filename]].add(frame.f_lineno)
        return self._noted
