"""`segsync state …`: look into the state, and copy it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segsync.cli import options
from segsync.cli.session import session_of
from segsync.errors import UsageError

if TYPE_CHECKING:
    from segsync.model import Spec

Limit = Annotated[
    int, typer.Option("--limit", metavar="N", min=1, max=10**9, help="At most so many.")
]


def build() -> typer.Typer:
    """The group of commands."""
    app = typer.Typer(help="Look into the state, and copy it.", rich_markup_mode=None)
    app.command()(show)
    app.command()(members)
    app.command()(rejects)
    app.command()(backup)
    return app


def show(context: typer.Context, file: options.File = None) -> None:
    """Its identity, its segments, and the last runs."""
    from segsync.own_state import reading_state
    from segsync.render.state_text import identity_text

    session = session_of(context)
    spec = session.load(file, connecting=False)
    with reading_state(spec) as state:
        known, columns = spec.state.exists(), session.terminal.columns
        session.terminal.show(identity_text(state, str(spec.state), columns, exists=known))


def members(
    context: typer.Context,
    segment: Annotated[
        str,
        typer.Argument(metavar="NAME", help="Its name in the spec, or its address: segment_id=71."),
    ],
    file: options.File = None,
    show_ids: options.ShowIds = False,
    limit: Limit = 20,
) -> None:
    """Some confirmed members of a segment, with their expiry."""
    from segsync.own_state import reading_state
    from segsync.render.state_text import members_text

    session = session_of(context)
    spec = session.load(file, connecting=False)
    _refuse_missing(spec)
    with reading_state(spec) as state:
        session.terminal.show(members_text(state, segment, limit, show_ids=show_ids))


def rejects(
    context: typer.Context,
    file: options.File = None,
    show_ids: options.ShowIds = False,
    limit: Limit = 20,
) -> None:
    """Commands that the platform refused, why, and when each is next."""
    from segsync.own_state import reading_state
    from segsync.render.state_text import rejects_text

    session = session_of(context)
    spec = session.load(file, connecting=False)
    _refuse_missing(spec)
    with reading_state(spec) as state:
        session.terminal.show(
            rejects_text(state, limit, session.terminal.columns, show_ids=show_ids)
        )


def _refuse_missing(spec: Spec) -> None:
    """Raise UsageError where there is no state: "none" would be no answer."""
    from segsync.state import is_there

    if not is_there(spec.state):
        hint = "the first apply makes it"
        raise UsageError(f"there is no state at {spec.state} yet", hint=hint)


def backup(
    context: typer.Context,
    to: Annotated[Path, typer.Argument(metavar="FILE", help="A file that does not exist yet.")],
    file: options.File = None,
) -> None:
    """Copy the state, whole and private, while no apply is running.

    To restore it, copy the file to where the spec's `state:` points, with mode 600.
    """
    from segsync.cli.files import copy_state
    from segsync.render.lines import Span, Style, line
    from segsync.render.printable import printable
    from segsync.state import hold

    session = session_of(context)
    spec = session.load(file, connecting=False)
    with hold(spec.state, "state backup"):
        _refuse_missing(spec)
        serial = copy_state(spec.state, to)
    session.show(line(Span(printable(f"Copied serial {serial} to {to}."), Style.GOOD)))
