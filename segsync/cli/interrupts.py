"""Ctrl-C and its relatives: what they mean, and what a user is told afterwards."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import TYPE_CHECKING

from segsync.errors import StateError
from segsync.render.errors import message_lines

if TYPE_CHECKING:
    from segsync.cli.session import Session
    from segsync.model import Spec

ERROR, UNKNOWN = 1, 5
_SIGNALS = (signal.SIGTERM, signal.SIGHUP)


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """SIGTERM and SIGHUP raise KeyboardInterrupt, unless they are ignored (nohup)."""
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def after_interrupt(session: Session) -> int:
    """Say what was left behind; returns the exit status."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    spec = session.applying
    left_open = spec is not None and _run_is_open(spec)
    message, hint = (
        (
            "interrupted while a run was under way: what became of its commands is unknown",
            "run `segsync apply` again: it asks the platform, and sends again what is in doubt",
        )
        if left_open
        else ("interrupted; nothing was changed" if spec else "interrupted", None)
    )
    session.terminal.tell(message_lines(message, hint, session.terminal.columns))
    return UNKNOWN if left_open else ERROR


def _run_is_open(spec: Spec) -> bool:
    """Whether the state has a run of unknown outcome; where it cannot be read, it may have."""
    from segsync.state import open_state

    if not spec.state.exists():
        return False
    try:
        state = open_state(spec.state, read_only=True)
    except StateError:
        return True
    try:
        return state.open_run() is not None
    finally:
        state.close()
