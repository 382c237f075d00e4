"""The commands by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer

from segsync import __version__
from segsync.cli import applying, local, planning, status, stored
from segsync.cli.session import session_of

_HELP = """Keep the segments of a mediarithmics datamart equal to the results of SQL queries.

plan shows who would join and leave; apply sends that and nothing else, and remembers what the
platform confirmed.
"""
COMMANDS: Mapping[str, Callable[..., None] | None] = {
    "init": local.init,
    "validate": local.validate,
    "plan": planning.plan,
    "apply": applying.apply,
    "status": status.status,
    "state": None,
    "schema": local.schema,
    "emulator": local.emulator,
    "demo": local.demo,
}
"""In the order of the help; None is a group of commands."""


def build(arguments: Sequence[str] = ()) -> typer.core.TyperGroup:
    """The whole command; with the arguments that it is to run, only what they may need of it, as
    typer takes a while to make each of its commands.
    """
    app = typer.Typer(
        help=_HELP,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_before)
    first = arguments[0] if arguments else ""
    needed = [first] if first in COMMANDS else [*COMMANDS]
    for name in needed:
        function = COMMANDS[name]
        if function:
            app.command(name)(function)
        else:
            app.add_typer(stored.build(), name=name)
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    command.commands = {name: command.commands[name] for name in needed}
    return command


def _before(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(
            "-f", "--file", metavar="PATH", help="The spec; may stand behind the command, too."
        ),
    ] = None,
    debug: Annotated[  # noqa: ARG001 — main() takes it out, wherever it stands: this is its help
        bool, typer.Option("--debug", help="Show where an unexpected error happened.")
    ] = False,
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
) -> None:
    session = session_of(context)
    session.file = file
    if version:
        typer.echo(f"segsync {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        typer.echo(context.get_help(), err=True)
        raise typer.Exit(1)
