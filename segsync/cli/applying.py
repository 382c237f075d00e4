"""`segsync apply`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segsync.cli import options
from segsync.cli.planning import make_clock, plan_options, show_plan
from segsync.cli.session import Session, session_of
from segsync.errors import UsageError
from segsync.render.errors import error_lines
from segsync.render.terminal import OutputError, is_terminal

if TYPE_CHECKING:
    from segsync.clock import SystemClock
    from segsync.exits import Exit
    from segsync.model import Spec
    from segsync.plan import Plan
    from segsync.planning import PlanOptions
    from segsync.render.notes import Surroundings
    from segsync.render.progress import Shown
    from segsync.report import Report
    from segsync.runs import Applying
    from segsync.state import State


@dataclass(frozen=True, slots=True)
class Request:
    """What was asked for on the command line."""

    plan_file: Path | None
    chosen: PlanOptions
    yes: bool
    assume_finished: bool
    format: options.Format
    show_ids: bool


def apply(
    context: typer.Context,
    plan_file: Annotated[
        Path | None, typer.Argument(metavar="PLANFILE", help="A plan that `plan --out` saved.")
    ] = None,
    file: options.File = None,
    target: options.Targets = None,
    exclude: options.Excluded = None,
    allow: options.Allowed = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    assume_finished: Annotated[
        bool,
        typer.Option(
            "--assume-finished",
            help="Give up on an execution of an earlier run that is lost or does not end.",
        ),
    ] = False,
    format: options.JsonFormat = "text",
    samples: options.Samples = 3,
    show_ids: options.ShowIds = False,
    parallelism: options.Parallelism = 4,
    memory_limit: options.MemoryLimit = "1GB",
    now: options.Now = None,
) -> None:
    """Plan, ask, and send exactly that; or send a saved plan.

    Exit status: 0 done, 1 error, 3 a segment is blocked by a guard, 4 some commands were rejected,
    5 the outcome of some is unknown (run it again), 6 another apply holds the state.
    """
    session = session_of(context)
    if plan_file and (target or exclude or allow):
        raise UsageError(
            "a saved plan is applied as it is", hint="give --target, --exclude, --allow to `plan`"
        )
    chosen = plan_options(target, exclude, allow, samples, parallelism, memory_limit)
    request = Request(plan_file, chosen, yes, assume_finished, format, show_ids)
    if plan_file:
        from segsync.planfile import check_there

        check_there(plan_file)
    if not yes and not session.terminal.can_ask:
        raise UsageError(
            "there is no terminal to ask for a confirmation", hint="add --yes to go on without one"
        )
    clock = make_clock(now)
    spec = session.load(file)
    if now is not None and not _is_rehearsal(spec):
        raise UsageError(
            "--now is for rehearsals on the emulator: api_url must be on this machine",
            hint="`segsync emulator` starts one; `segsync plan --now` works everywhere",
        )
    report = _apply(session, spec, request, clock)
    raise typer.Exit(_finish(session, report, request))


def _is_rehearsal(spec: Spec) -> bool:
    """Whether this is an emulator: another time than now would put wrong expiries elsewhere."""
    from urllib.parse import urlsplit

    return urlsplit(spec.destination.api_url).hostname in ("127.0.0.1", "localhost", "::1")


def _check_order(spec: Spec, state: State, now_ms: int) -> None:
    """Raise UsageError in a rehearsal that goes back in time: its expiries would make no sense."""
    from segsync.model import MINUTE_MS
    from segsync.render.figures import iso_moment

    last = state.last_runs(1)
    if last and last[0].submitted_at_ms > now_ms + MINUTE_MS and _is_rehearsal(spec):
        raise UsageError(
            f"this apply would be at {iso_moment(now_ms)}, before the last one, which was at "
            f"{iso_moment(last[0].submitted_at_ms)}",
            hint="give --now a later time: that of the emulator's clock is at "
            f"{spec.destination.api_url}/_emulator/clock; or begin anew: stop the emulator, and "
            f"move {spec.state} away",
        )


def _apply(session: Session, spec: Spec, request: Request, clock: SystemClock) -> Report:
    import random

    from segsync.mediarithmics import Mediarithmics
    from segsync.own_state import writing_state
    from segsync.planfile import lineage_of
    from segsync.render.progress import make_progress
    from segsync.runs import Applying
    from segsync.sending import Timing
    from segsync.state import hold

    lineage = lineage_of(request.plan_file, spec.state) if request.plan_file else None
    progress = make_progress(session.terminal)
    with (
        closing(progress),
        hold(spec.state, "apply"),
        session.apply_of(spec),
        writing_state(spec, lineage) as state,
        Mediarithmics(
            spec.destination,
            clock,
            random.random,
            on_sent=progress.uploaded,
            notify=progress.say,
        ) as destination,
    ):
        _check_order(spec, state, clock.now_ms())
        applying = Applying(
            destination=destination,
            clock=clock,
            confirm=_confirm(session, spec, request, progress),
            progress=progress,
            timing=Timing(),
            assume_finished=request.assume_finished,
        )
        return _carry_out(spec, state, request, applying)


def _carry_out(spec: Spec, state: State, request: Request, applying: Applying) -> Report:
    from segsync import reconcile

    if request.plan_file is None:
        return reconcile.apply(spec, state, request.chosen, applying)
    return reconcile.apply_saved(spec, state, request.plan_file, request.chosen, applying)


def _confirm(
    session: Session, spec: Spec, request: Request, progress: Shown
) -> Callable[[Plan], bool]:
    """Shows the plan, and asks where that was not declined."""
    from segsync.render.notes import Surroundings

    around = Surroundings.of(spec)

    def confirm(plan: Plan) -> bool:
        progress.close()
        _show_before(session, plan, around, request)
        if request.yes or not plan.changes_something:
            return True
        answer = session.terminal.ask("\nSend these commands? Only `yes` is taken as one: ")
        return answer.strip() == "yes"

    return confirm


def _show_before(session: Session, plan: Plan, around: Surroundings, request: Request) -> None:
    """The plan, where the one who is asked sees it; standard output may be a file or JSON."""
    terminal = session.terminal
    if request.format == "text" and (request.yes or is_terminal(terminal.out)):
        show_plan(session, plan, around, "text", show_ids=request.show_ids)
        return
    from segsync.render.plan_text import plan_text

    columns = terminal.message_columns
    terminal.tell(plan_text(plan, around, columns=columns, show_ids=request.show_ids))


def _finish(session: Session, report: Report, request: Request) -> Exit:
    from segsync.exits import Exit

    status = report.exit
    try:
        _show(session, report, request, status)
    except OutputError as error:
        error.hint = "what was done stands in the state: see `segsync status`"
        session.terminal.try_to_tell(error_lines(error, session.terminal.message_columns))
        return Exit.UNKNOWN if status is Exit.UNKNOWN else Exit.ERROR
    return status


def _show(session: Session, report: Report, request: Request, status: Exit) -> None:
    terminal = session.terminal
    if request.format == "json":
        from segsync.render.report_json import report_json

        terminal.write_json(report_json(report, status))
        return
    from segsync.render.report_text import report_text

    terminal.show(report_text(report, columns=terminal.columns))
