"""From arguments to an exit status: the one place where errors become one."""

from __future__ import annotations

import os
import traceback
from collections.abc import Sequence

import typer

from segsync.cli.aftermath import after_interrupt, run_is_open
from segsync.cli.app import build
from segsync.cli.session import Session
from segsync.cli.signals import signals_interrupt
from segsync.errors import Locked, SegsyncError
from segsync.exits import Exit
from segsync.render.errors import error_lines, message_lines
from segsync.render.lines import Line, line
from segsync.render.printable import printable
from segsync.render.terminal import Terminal, open_standard_streams
from segsync.secret import Redactor

DEBUG = "--debug"
SECRET_NAMES = ("TOKEN", "SECRET", "PASSWORD", "URL", "DSN", "KEY")


def run(arguments: Sequence[str]) -> int:
    """Run one command; returns its exit status, whatever happens.

    `--debug` may stand anywhere: it is added when a command has failed, behind it.
    """
    open_standard_streams()
    plain = [item for item in arguments if item != DEBUG]
    session = Session(Terminal(os.environ), debug=len(plain) < len(arguments))
    try:
        with signals_interrupt():
            return _run(session, plain)
    except KeyboardInterrupt:
        return after_interrupt(session)


def _run(session: Session, arguments: Sequence[str]) -> int:
    try:
        command = build(arguments)
        with command.make_context("segsync", list(arguments), obj=session) as context:
            command.invoke(context)
        return Exit.DONE
    except typer.Exit as ended:
        return int(ended.exit_code)
    except BrokenPipeError:
        session.terminal.close()
        return Exit.DONE
    except Exception as error:
        if _came_of_interrupt(error):
            raise KeyboardInterrupt from None
        return _failed(session, error)


def _came_of_interrupt(error: BaseException) -> bool:
    """Whether the error arose while the work was taken down after Ctrl-C: it means nothing."""
    context = error.__context__
    while context and not isinstance(context, KeyboardInterrupt):
        context = context.__context__
    return context is not None


def _failed(session: Session, error: Exception) -> int:
    """Tell an error. Whatever it is: a run that is left open matters more to the caller."""
    session.terminal.try_to_tell(_lines(session, error))
    if isinstance(error, Locked):
        return Exit.LOCKED
    return Exit.UNKNOWN if run_is_open(session) else Exit.ERROR


def _lines(session: Session, error: Exception) -> list[Line]:
    columns = session.terminal.message_columns
    match error:
        case SegsyncError():
            return error_lines(error, columns)
        case typer.TyperException():
            return _usage_lines(error, columns)
        case _ if session.debug:
            text = "".join(traceback.format_exception(error))
            return [line(_hidden(printable(row))) for row in text.splitlines()]
        case OSError():
            return _system_lines(error, columns)
    return _unexpected_lines(error, columns)


def _usage_lines(error: typer.TyperException, columns: int) -> list[Line]:
    context = getattr(error, "ctx", None)
    command = context.command_path if context else "segsync"
    message = error.format_message().replace("Value error, ", "")
    return message_lines(message, f"`{command} --help` lists what there is", columns)


def _system_lines(error: OSError, columns: int) -> list[Line]:
    about = f"{error.filename}: " if error.filename else ""
    return message_lines(_hidden(f"{about}{error.strerror or error}"), None, columns)


def _unexpected_lines(error: Exception, columns: int) -> list[Line]:
    message = _hidden(f"unexpected error: {type(error).__name__}: {error}")
    hint = f"this is a mistake in segsync: please report it, with what {DEBUG} shows"
    return message_lines(message, hint, columns)


def _hidden(text: str) -> str:
    """`text` without what the environment has under names of secrets: the spec may be unread."""
    return Redactor(
        value for name, value in os.environ.items() if any(w in name.upper() for w in SECRET_NAMES)
    )(text)
