"""Processes that a test starts: they heed signals, and none outlives its test."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def heed_signals() -> None:
    """In a job in the background they may be ignored, and segsync leaves that as it is."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def started(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process that heeds signals; whatever happens, it has ended when the context has."""
    with subprocess.Popen(command, preexec_fn=heed_signals, **options) as process:
        try:
            yield process
        finally:
            process.kill()
