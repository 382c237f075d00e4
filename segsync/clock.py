"""The clocks of the real world, and one that is moved for rehearsals on the emulator."""

from __future__ import annotations

import time


class SystemClock:
    """Real time. `offset_ms` moves the wall clock only: deadlines stay real."""

    def __init__(self, offset_ms: int = 0) -> None:
        self._offset_ms = offset_ms

    def now_ms(self) -> int:
        """Wall-clock time, epoch milliseconds."""
        return time.time_ns() // 1_000_000 + self._offset_ms

    def monotonic(self) -> float:
        """Seconds that only grow."""
        return time.monotonic()

    def sleep(self, seconds: float) -> None:
        """Wait."""
        time.sleep(seconds)
