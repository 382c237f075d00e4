"""`segsync status`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import typer

from segsync.cli import options
from segsync.cli.session import session_of
from segsync.render.lines import EMPTY, Line, Style, wrapped

if TYPE_CHECKING:
    from segsync.model import Spec
    from segsync.render.terminal import Terminal


def status(
    context: typer.Context,
    file: options.File = None,
    format: options.JsonFormat = "text",
    now: options.Now = None,
) -> None:
    """Show members, runs and rejects, and what renews or lapses soon. Asks the state only."""
    from segsync.cli.planning import make_clock
    from segsync.reconcile import reading_state
    from segsync.render.status import read_status, status_json
    from segsync.render.status_text import status_text

    session = session_of(context)
    spec = session.load(file, connecting=False)
    with reading_state(spec) as state:
        found = read_status(spec, state, make_clock(now).now_ms(), exists=spec.state.exists())
    note = _at_work(spec, session.terminal)
    if format == "json":
        session.terminal.tell(note)
        session.terminal.write_json(status_json(found))
        return
    if note:
        found = replace(found, open_run=None, runs=tuple(r for r in found.runs if r.closed_at_ms))
        session.show(*note, EMPTY)
    session.terminal.show(status_text(found, columns=session.terminal.columns))


def _at_work(spec: Spec, terminal: Terminal) -> list[Line]:
    """What is told while an apply holds the state: its run is open, and nothing is wrong."""
    from segsync.render.printable import printable
    from segsync.state import apply_at_work

    who = apply_at_work(spec.state)
    if who is None:
        return []
    text = printable(f"An apply is at work now, of {who}. What it does is not below yet.")
    return wrapped(text, terminal.columns, indent="  ", first="! ", style=Style.WARNING)
