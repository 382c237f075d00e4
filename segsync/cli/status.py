"""`segsync status`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from segsync.cli import options
from segsync.cli.session import session_of
from segsync.errors import StateForeign
from segsync.render.lines import EMPTY, Line, Style, wrapped
from segsync.render.printable import printable

if TYPE_CHECKING:
    from segsync.model import Spec
    from segsync.state import State


def status(
    context: typer.Context,
    file: options.File = None,
    format: options.JsonFormat = "text",
    now: options.Now = None,
) -> None:
    """Show members, runs and rejects, and what renews or lapses soon. Asks the state only."""
    from segsync.cli.planning import make_clock
    from segsync.own_state import reading_state
    from segsync.render.status import read_status, status_json
    from segsync.render.status_text import status_text
    from segsync.state import apply_at_work

    session = session_of(context)
    spec = session.load(file, connecting=False)
    with reading_state(spec) as state:
        found = read_status(spec, state, make_clock(now).now_ms(), exists=spec.state.exists())
        foreign = _foreign(spec, state)
    at_work = apply_at_work(spec.state)
    columns = session.terminal.columns
    notes = [row for text in _notes(foreign, at_work) for row in _note(text, columns)]
    if format == "json":
        session.terminal.tell(notes)
        session.terminal.write_json(status_json(found))
        return
    if at_work:
        found = replace(found, open_run=None, runs=tuple(r for r in found.runs if r.closed_at_ms))
    session.show(*notes, *status_text(found, columns=columns))


def _foreign(spec: Spec, state: State) -> str | None:
    """Why plan and apply would refuse the state."""
    try:
        state.check_belongs(spec.destination.datamart_id, spec.destination.api_url)
    except StateForeign as error:
        return error.message
    return None


def _notes(foreign: str | None, at_work: str | None) -> Iterator[str]:
    if foreign:
        yield f"{foreign[0].upper()}{foreign[1:]}: plan and apply refuse it."
    if at_work:
        yield f"An apply is at work now, of {at_work}. What it does is not below yet."


def _note(text: str, columns: int) -> list[Line]:
    rows = wrapped(printable(text), columns, indent="  ", first="! ", style=Style.WARNING)
    return [*rows, EMPTY]
