"""`segsync status`."""

from __future__ import annotations

import typer

from segsync.cli import options
from segsync.cli.session import session_of


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
    if format == "json":
        session.terminal.write_json(status_json(found))
    else:
        session.terminal.show(status_text(found, columns=session.terminal.columns))
