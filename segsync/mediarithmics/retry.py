"""Asking again: when, how often, and for how long. The caller's clock does the waiting."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar

from segsync.errors import DestinationError, ProtocolError
from segsync.model import Clock

ATTEMPTS = 5
BASE_SECONDS = 0.5
CAP_SECONDS = 30.0
RETRY_AFTER_CAP_SECONDS = 300.0
TOTAL_SECONDS = 15 * 60.0
CLOCK_DIFFERENCE_SECONDS = 10 * 60.0

T = TypeVar("T")


class Transient(Exception):
    """An attempt failed in a way that may pass. `error` is what it means if it does not."""

    def __init__(self, error: DestinationError, retry_after: str | None = None) -> None:
        super().__init__()
        self.error = error
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Patience:
    """Full jitter over a doubling pause. `jitter` gives a share, 0 to 1.

    `notify` is told of each pause in a sentence for the user.
    """

    clock: Clock
    jitter: Callable[[], float]
    notify: Callable[[str], None]

    def call(self, attempt: Callable[[], T]) -> T:
        """The first result of `attempt` that is not Transient.

        Raises the last attempt's error after ATTEMPTS of them, or where the next pause would end
        more than TOTAL_SECONDS after the start.
        """
        give_up_at = self.clock.monotonic() + TOTAL_SECONDS
        number = 1
        while True:
            try:
                return attempt()
            except Transient as failure:
                error, retry_after = failure.error, failure.retry_after
            pause = self._pause(number, retry_after)
            if number == ATTEMPTS or self.clock.monotonic() + pause > give_up_at:
                raise error
            self.notify(f"{error}; trying again in {pause:.1f} s")
            self.clock.sleep(pause)
            number += 1

    def _pause(self, number: int, retry_after: str | None) -> float:
        asked = retry_after_seconds(retry_after, self.clock.now_ms())
        if asked is not None:
            return asked
        return self.jitter() * min(CAP_SECONDS, BASE_SECONDS * 2.0 ** (number - 1))


def check_clock(date: str | None, now_ms: int) -> None:
    """Raise ProtocolError where an answer's Date says another time; most servers send one."""
    there = _http_date(date or "")
    if there is None or abs(now_ms / 1000 - there) <= CLOCK_DIFFERENCE_SECONDS:
        return
    ours, theirs = (
        datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for seconds in (now_ms / 1000, there)
    )
    raise ProtocolError(
        f"the time here is {ours}, and the platform's is {theirs}",
        hint="set this machine's clock right (NTP): expirations are counted from it; on the "
        "emulator, give --now the time of its clock",
    )


def _http_date(text: str) -> float | None:
    """Seconds since the epoch; None where the text is no date."""
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def retry_after_seconds(header: str | None, now_ms: int) -> float | None:
    """What a Retry-After header asks for, 0 to 300 s; None where it is absent or unreadable.

    It may be a whole number of seconds or an HTTP date.
    """
    text = (header or "").strip()
    if re.fullmatch(r"[0-9]+", text):
        return min(float(text), RETRY_AFTER_CAP_SECONDS)
    moment = _http_date(text)
    if moment is None:
        return None
    return min(max(moment - now_ms / 1000, 0.0), RETRY_AFTER_CAP_SECONDS)
