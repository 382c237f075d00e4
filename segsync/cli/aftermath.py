"""What a command that did not come to its end leaves behind, and what the user is told of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from segsync.cli.signals import ignore_signals
from segsync.errors import StateError
from segsync.exits import Exit
from segsync.render.errors import message_lines

if TYPE_CHECKING:
    from segsync.cli.session import Session
    from segsync.model import Spec


def after_interrupt(session: Session) -> Exit:
    """Say what was left behind; returns the exit status."""
    ignore_signals()
    if run_is_open(session):
        message = "interrupted while a run was under way: what becomes of its commands is unknown"
        hint = "run `segsync apply` again: it asks the platform, and says again what is in doubt"
        status = Exit.UNKNOWN
    else:
        message = "interrupted; no run was left open" if session.applying else "interrupted"
        hint, status = None, Exit.ERROR
    session.terminal.try_to_tell(message_lines(message, hint, session.terminal.message_columns))
    return status


def run_is_open(session: Session) -> bool:
    """Whether this apply leaves a run of unknown outcome: then another apply must follow."""
    return session.applying is not None and _state_has_open_run(session.applying)


def _state_has_open_run(spec: Spec) -> bool:
    from segsync.state import open_state

    if not spec.state.exists():
        return False
    try:
        state = open_state(spec.state, read_only=True)
    except StateError:
        # Cut off in the middle of a commit, it may hold one; damaged, it has nothing to say.
        return Path(f"{spec.state}-journal").exists()
    try:
        return state.open_run() is not None
    except StateError:
        return False
    finally:
        state.close()
