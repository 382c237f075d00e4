"""The emulator's own clock: real time plus an offset, or standing still until it is moved."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta

EPOCH = datetime.fromtimestamp(0, UTC)
MINUTE_MS = 60_000


class EmulatorClock:
    """Epoch milliseconds. `frozen_at_ms` starts a clock that only moves by `advance`."""

    def __init__(self, frozen_at_ms: int | None = None) -> None:
        self.frozen_at_ms = frozen_at_ms
        self.offset_ms = 0

    def now_ms(self) -> int:
        """The present time of the emulator."""
        if self.frozen_at_ms is not None:
            return self.frozen_at_ms + self.offset_ms
        return time.time_ns() // 1_000_000 + self.offset_ms

    def advance_ms(self, milliseconds: int) -> None:
        """Move forward; a negative number moves back. Raises ValueError for no date at all."""
        try:
            EPOCH + timedelta(milliseconds=self.now_ms() + milliseconds)
        except OverflowError:
            raise ValueError("there is no such date") from None
        self.offset_ms += milliseconds

    def text(self) -> str:
        """The present time as ISO 8601, in whole seconds."""
        moment = EPOCH + timedelta(seconds=self.now_ms() // 1000)
        return moment.isoformat().replace("+00:00", "Z")

    def is_moved(self) -> bool:
        """Whether it has another time than the machine."""
        return abs(self.now_ms() - time.time_ns() // 1_000_000) >= MINUTE_MS

    def freeze(self) -> None:
        """Stand still at the present time."""
        self.frozen_at_ms, self.offset_ms = self.now_ms(), 0

    def thaw(self) -> None:
        """Run again, from where the clock stands."""
        now = self.now_ms()
        self.frozen_at_ms, self.offset_ms = None, 0
        self.offset_ms = now - self.now_ms()


def as_ms(days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> int:
    """A duration in milliseconds. Raises ValueError for one that no date is away."""
    try:
        length = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
    except OverflowError:
        raise ValueError("there is no such date") from None
    return round(length / timedelta(milliseconds=1))
