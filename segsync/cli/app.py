"""The commands by name."""

from __future__ import annotations

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
ORDER = (
    "init",
    "validate",
    "plan",
    "apply",
    "status",
    "state",
    "schema",
    "emulator",
    "demo",
)


def build() -> typer.core.TyperGroup:
    """The whole command."""
    app = typer.Typer(
        help=_HELP,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback(invoke_without_command=True)(_before)
    app.command()(local.init)
    app.command()(local.validate)
    app.command()(planning.plan)
    app.command()(applying.apply)
    app.command()(status.status)
    app.add_typer(stored.build(), name="state")
    app.command()(local.schema)
    app.command()(local.emulator)
    app.command()(local.demo)
    command = typer.main.get_command(app)
    assert isinstance(command, typer.core.TyperGroup)
    command.commands = {name: command.commands[name] for name in ORDER}
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
