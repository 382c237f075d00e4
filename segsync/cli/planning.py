"""`segsync plan`."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from segsync.cli import options
from segsync.cli.session import Session, session_of
from segsync.errors import UsageError
from segsync.render.lines import Span, Style, line
from segsync.render.printable import printable

if TYPE_CHECKING:
    from segsync.clock import SystemClock
    from segsync.exits import Exit
    from segsync.model import Spec
    from segsync.plan import Plan
    from segsync.planning import Planned, PlanOptions
    from segsync.render.notes import Surroundings


def plan(
    context: typer.Context,
    file: options.File = None,
    target: options.Targets = None,
    exclude: options.Excluded = None,
    allow: options.Allowed = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="PATH", help="Save the plan for `segsync apply FILE`."),
    ] = None,
    commands: Annotated[
        Path | None,
        typer.Option(
            "--commands",
            metavar="PATH",
            help="Write what would be sent, byte for byte; PATH.1, PATH.2 … where it is in parts.",
        ),
    ] = None,
    format: Annotated[
        options.PlanFormat, typer.Option("--format", help="How it is shown, on standard output.")
    ] = "text",
    samples: options.Samples = 3,
    show_ids: options.ShowIds = False,
    detailed_exitcode: Annotated[
        bool, typer.Option("--detailed-exitcode", help="Exit with 2 where there are changes.")
    ] = False,
    parallelism: options.Parallelism = 4,
    memory_limit: options.MemoryLimit = "1GB",
    now: options.Now = None,
) -> None:
    """Show who would join and leave which segment, and why. Writes nothing anywhere.

    Exit status: 0 done, 1 error, 2 there are changes (with --detailed-exitcode), 3 a segment is
    blocked by a guard.
    """
    from segsync import planning
    from segsync.render.progress import make_progress

    session = session_of(context)
    chosen = plan_options(target, exclude, allow, samples, parallelism, memory_limit)
    clock = make_clock(now)
    _check_files(out, commands)
    if format == "json":
        _tell_idle(context, session)
    spec = session.load(file)
    progress = make_progress(session.terminal)
    try:
        with planning.plan(spec, chosen, clock, progress) as planned:
            progress.close()
            save(session, planned, out, commands, session.option(file))
            around = surroundings(spec)
            show_plan(session, planned.plan, around, format, show_ids=show_ids)
    finally:
        progress.close()
    raise typer.Exit(plan_exit(planned.plan, detailed=detailed_exitcode))


def _tell_idle(context: typer.Context, session: Session) -> None:
    """Say which options do nothing, as JSON names no member."""
    names = {"samples": "--samples", "show_ids": "--show-ids"}
    given = [
        option
        for name, option in names.items()
        if (source := context.get_parameter_source(name)) and source.name == "COMMANDLINE"
    ]
    if given:
        text = f"{' and '.join(given)} without effect: the JSON of a plan names no member"
        session.terminal.tell([line(Span(text, Style.WARNING))])


def _check_files(out: Path | None, commands: Path | None) -> None:
    from segsync.cli.files import (
        PLAN_BEGINNINGS,
        check_commands_replaceable,
        check_replaceable,
        is_part_of,
    )

    if out and commands and is_part_of(commands, out):
        raise UsageError("--out and --commands name the same file", hint="name two files")
    if out:
        check_replaceable(out, PLAN_BEGINNINGS)
    if commands:
        check_commands_replaceable(commands)


def plan_options(
    target: list[str] | None,
    exclude: list[str] | None,
    allow: list[str] | None,
    samples: int,
    parallelism: int,
    memory_limit: str,
) -> PlanOptions:
    """The options of a plan as given on the command line."""
    from segsync.planning import PlanOptions

    return PlanOptions(
        targets=tuple(target or ()),
        excluded=tuple(exclude or ()),
        allowed=tuple(allow or ()),
        samples=samples,
        parallelism=parallelism,
        memory_limit=options.check_memory_limit(memory_limit),
    )


def make_clock(now: str | None) -> SystemClock:
    """The real clock, or one that started at `now`."""
    from segsync.clock import SystemClock

    real = SystemClock()
    return real if now is None else SystemClock(options.moment_ms(now) - real.now_ms())


def save(
    session: Session, planned: Planned, out: Path | None, commands: Path | None, option: str
) -> None:
    """Write the files that were asked for; `option` is what names the spec."""
    from segsync.cli.files import write_commands

    if out:
        from segsync import planfile

        planfile.save(planned, out)
        session.terminal.tell(
            [line(printable(f"saved the plan: segsync apply{option} {shlex.quote(str(out))}"))]
        )
    if commands:
        for path in write_commands(planned, commands):
            session.terminal.tell([line(printable(f"wrote {path}"))])


def surroundings(spec: Spec) -> Surroundings:
    """What to tell beside a plan for which this process does not hold the lock."""
    from segsync.render.notes import Surroundings
    from segsync.state import apply_at_work

    return Surroundings.of(spec, apply_at_work(spec.state))


def show_plan(
    session: Session,
    plan: Plan,
    around: Surroundings,
    format: options.PlanFormat,
    *,
    show_ids: bool,
) -> None:
    """Print a plan on standard output; of a document notes and end on standard error, too."""
    terminal = session.terminal
    if format != "text":
        from segsync.render.plan_text import verdict_text

        terminal.tell(verdict_text(plan, around, columns=terminal.message_columns))
    match format:
        case "text":
            from segsync.render.plan_text import plan_text

            terminal.show(plan_text(plan, around, columns=terminal.columns, show_ids=show_ids))
        case "json":
            from segsync.render.plan_json import plan_json

            terminal.write_json(plan_json(plan))
        case "markdown":
            from segsync.render.markdown import plan_markdown

            terminal.write(plan_markdown(plan, around, show_ids=show_ids))
        case "html":
            from segsync.render.html import plan_html

            terminal.write(plan_html(plan, around, show_ids=show_ids))


def plan_exit(plan: Plan, *, detailed: bool) -> Exit:
    """0, or what stands in the way of the plan, or CHANGES where that was asked for: what an
    earlier run may have done, or do yet, is for an apply to find out, too.
    """
    from segsync.exits import Exit, first_of

    status = first_of(plan.exits)
    is_work = plan.changes_something or plan.open_run or plan.watched
    if status is Exit.DONE and detailed and is_work:
        return Exit.CHANGES
    return status
