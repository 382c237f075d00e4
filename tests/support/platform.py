"""A destination for tests, its settings and clock, and what its errors must be like."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

from segsync.errors import DestinationError
from segsync.mediarithmics import Mediarithmics
from segsync.mediarithmics.envelope import cleaner
from segsync.mediarithmics.exchange import Limits, Request
from segsync.mediarithmics.wire import Wire
from segsync.model import DestinationSettings
from segsync.secret import Redactor, Secret

DATAMART = "1509"
TOKEN = "canary+token/5f3a9c=="

QUICK = Limits(connect_seconds=1.0, request_seconds=1.0, upload_seconds=1.0, error_file_seconds=1.0)
"""For tests in which a deadline passes."""


@dataclass
class FakeClock:
    """Time that moves by sleeping only."""

    seconds: float = 1_800_000_000.0
    slept: list[float] = field(default_factory=list)

    def now_ms(self) -> int:
        return int(self.seconds * 1000)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.seconds += seconds


def settings(url: str, **more: Any) -> DestinationSettings:
    chosen: dict[str, Any] = {"datamart_id": DATAMART, "api_token": Secret(TOKEN), **more}
    return DestinationSettings(api_url=url, **chosen)


def wire(url: str, *, limits: Limits | None = None, **more: Any) -> Wire:
    chosen = settings(url, **more)
    return Wire(chosen, limits or Limits(), cleaner(Redactor([chosen.api_token.reveal()])))


def asking(path: str = "/v1/things", seconds: float = 5.0, **more: Any) -> Request:
    chosen: dict[str, Any] = {"method": "GET", **more}
    return Request(purpose="ask", path=path, seconds=seconds, **chosen)


def destination(url: str, *, clock: FakeClock | None = None, **more: Any) -> Mediarithmics:
    """A destination whose pauses take no time and have no jitter.

    `more` is for the constructor where it is one of its words, else for the settings.
    """
    mine = {name: more.pop(name) for name in ("limits", "on_sent", "notify") if name in more}
    return Mediarithmics(settings(url, **more), clock or FakeClock(), lambda: 1.0, **mine)


@contextmanager
def fails(kind: type[DestinationError], *words: str) -> Iterator[list[Any]]:
    """Exactly this error, its text with these words, no secret and no foreign exception in it.

    The list that it gives holds the error afterwards.
    """
    caught: list[Any] = []
    with pytest.raises(DestinationError) as raised:
        yield caught
    error = raised.value
    caught.append(error)
    assert kind in type(error).__mro__[:2], repr(error)
    text = f"{error} {error.hint or ''}"
    assert all(word in text for word in words), text
    assert TOKEN not in text
    assert text.isprintable(), text
    assert_clean(error)


def assert_clean(error: BaseException) -> None:
    """No exception of a library, whose text may hold anything, hangs on to this one."""
    linked: BaseException | None = error
    while linked is not None:
        assert type(linked).__module__.startswith("segsync."), repr(linked)
        assert TOKEN not in repr(linked)
        linked = linked.__cause__ or linked.__context__


@contextmanager
def lasting(seconds: float, *, tolerance: float = 0.1) -> Iterator[None]:
    """The block takes this long, give or take the tolerance and the machine's own slowness."""
    started = time.monotonic()
    yield
    took = time.monotonic() - started
    assert seconds * (1 - tolerance) <= took <= seconds * (1 + tolerance) + 0.5, took
