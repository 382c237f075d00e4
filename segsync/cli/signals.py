"""Signals that end a command in an orderly way, and a main thread that hears of them at once."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from types import FrameType

LIKE_CTRL_C = (signal.SIGTERM, signal.SIGHUP)
NUDGES = (0.05, 0.2, 1.0)
"""Seconds from one nudge to the next."""


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, unless they are ignored (nohup)."""
    with ExitStack() as stack:
        for number in LIKE_CTRL_C:
            if signal.getsignal(number) != signal.SIG_IGN:
                stack.callback(signal.signal, number, signal.signal(number, _interrupt))
        stack.enter_context(_nudged())
        yield


def ignore_signals() -> None:
    """Let nobody interrupt what is left to say."""
    for number in (signal.SIGINT, *LIKE_CTRL_C):
        signal.signal(number, signal.SIG_IGN)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


@contextmanager
def _nudged() -> Iterator[None]:
    """Wake the main thread up when a signal has come.

    Python runs handlers in the main thread only. Where that waits for a lock, and the signal came
    to another thread or just before the wait, it would be heard of when the wait is over. Where it
    runs a finalizer, the handler's exception would go no further: it is raised once more.
    """
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    main = threading.get_ident()
    swallowed = _Swallowed()
    before = signal.signal(signal.SIGURG, swallowed.raise_again)
    hook_before, sys.unraisablehook = sys.unraisablehook, swallowed.note
    fd_before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_nudge, args=(reader, main), name="signals", daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(fd_before)
        sys.unraisablehook = hook_before
        os.close(writer)
        signal.signal(signal.SIGURG, before)


class _Swallowed:
    """An interrupt that was raised where Python lets no exception out."""

    def __init__(self) -> None:
        self._is_there = False
        self._others = sys.unraisablehook

    def note(self, unraisable: sys.UnraisableHookArgs) -> None:
        """Keep an interrupt, and let the usual hook tell of all else."""
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            self._is_there = True
        else:
            self._others(unraisable)

    def raise_again(self, _number: int, _frame: FrameType | None) -> None:
        if self._is_there:
            self._is_there = False
            raise KeyboardInterrupt


def _nudge(reader: int, main: int) -> None:
    with os.fdopen(reader, "rb", buffering=0) as signals:
        while number := signals.read(1):
            if number[0] == signal.SIGURG:
                continue
            for pause in NUDGES:
                time.sleep(pause)
                signal.pthread_kill(main, signal.SIGURG)
