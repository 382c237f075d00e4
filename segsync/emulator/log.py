"""The request log."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from segsync.emulator.faults import Fault


@dataclass(slots=True)
class RequestRecord:
    """What the log keeps of a request. `status` is None where nothing was answered.

    `started` is seconds of the monotonic clock. No header is kept: one of them is the token.
    """

    number: int
    method: str
    target: str
    endpoint: str
    at_ms: int
    started: float
    faults: tuple[Fault, ...]
    status: int | None = None
    body_size: int = 0
    sha256: str | None = None
    payload: Path | None = None
    seconds: float | None = None
