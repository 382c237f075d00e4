"""From arguments to an exit status: the one place where errors become one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence

import typer

from segsync.cli.app import build
from segsync.cli.session import Session
from segsync.errors import Locked, OutcomeUnknown, SegsyncError
from segsync.render.errors import error_lines, message_lines
from segsync.render.lines import Line, line
from segsync.render.printable import printable
from segsync.render.terminal import Terminal, open_standard_streams
from segsync.secret import Redactor

DONE, ERROR, UNKNOWN, LOCKED = 0, 1, 5, 6
SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "URL", "DSN", "KEY")


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit status and never raises an Exception."""
    from segsync.cli.interrupts import like_ctrl_c

    open_standard_streams()
    plain = [item for item in arguments if item != "--debug"]
    session = Session(Terminal(os.environ), debug=len(plain) < len(arguments))
    try:
        with like_ctrl_c():
            return _run(session, plain)
    except KeyboardInterrupt:
        from segsync.cli.interrupts import after_interrupt

        return after_interrupt(session)


def _run(session: Session, arguments: Sequence[str]) -> int:
    terminal = session.terminal
    try:
        command = build()
        with command.make_context("segsync", list(arguments), obj=session) as context:
            command.invoke(context)
        return DONE
    except typer.Exit as ended:
        return int(ended.exit_code)
    except typer.TyperException as error:
        terminal.tell(_usage_lines(error, terminal.columns))
        return ERROR
    except SegsyncError as error:
        terminal.tell(error_lines(error, terminal.columns))
        return _status(error)
    except Exception as error:
        return _unexpected(session, error)


def _status(error: SegsyncError) -> int:
    if isinstance(error, OutcomeUnknown):
        return UNKNOWN
    return LOCKED if isinstance(error, Locked) else ERROR


def _usage_lines(error: typer.TyperException, columns: int) -> list[Line]:
    context = getattr(error, "ctx", None)
    hint = f"`{context.command_path} --help` lists what there is" if context else None
    return message_lines(error.format_message(), hint, columns)


def _unexpected(session: Session, error: Exception) -> int:
    """One line, or with --debug the traceback; neither shows a secret."""
    terminal = session.terminal
    if session.debug:
        text = "".join(traceback.format_exception(error))
        terminal.tell([line(_hidden(printable(row))) for row in text.splitlines()])
        return ERROR
    message = _hidden(f"unexpected error: {type(error).__name__}: {error}")
    hint = "this is a mistake in segsync, please report it; --debug shows where it happened"
    terminal.tell(message_lines(message, hint, terminal.columns))
    return ERROR


def _hidden(text: str) -> str:
    """`text` without what the environment holds under names of secrets: the spec may not be read yet."""
    return Redactor(
        value for name, value in os.environ.items() if any(w in name.upper() for w in SECRET_NAMES)
    )(text)
