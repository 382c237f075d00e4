"""What the state knows, as text."""

from __future__ import annotations

from collections.abc import Iterator

from segsync.render import figures
from segsync.render.columns import columns_of, number
from segsync.render.lines import EMPTY, Line, Span, Style, line, wrapped
from segsync.render.printable import printable
from segsync.render.status import HORIZONS, SegmentState, StateStatus
from segsync.state import Run, RunStatus

ELSEWHERE = (
    "This is what the state has. `segsync plan` tells whether the queries work, and what would "
    "change now."
)


def status_text(status: StateStatus, *, columns: int) -> list[Line]:
    """The state for the terminal."""
    if not status.exists:
        return wrapped(
            printable(f"There is no state at {status.path} yet: the first apply makes it."), columns
        )
    rows = [line(Span(printable(f"State {status.path}, serial {status.serial}"), Style.STRONG))]
    rows += [EMPTY, *_segments(status, columns)]
    if status.reasons:
        rows += [EMPTY, line(Span("Rejects, to be tried again", Style.STRONG))]
        rows += [
            item
            for name, reason, count in status.reasons
            for item in wrapped(
                printable(f"{name}: {count:,} × {reason}"), columns, indent="    ", first="  "
            )
        ]
    rows += [EMPTY, *_last_run(status, columns)]
    rows += wrapped(ELSEWHERE, columns, style=Style.DIM)
    return rows


def _segments(status: StateStatus, columns: int) -> list[Line]:
    runs = {run.serial: run for run in status.runs}
    known = [
        (
            printable(item.name),
            (*map(number, (item.members, item.pending, item.rejects)), _when(item, runs, status)),
        )
        for item in status.segments
    ]
    ahead = [
        (printable(item.name), tuple(map(number, (*item.renews, *item.lapses))))
        for item in status.segments
        if any((*item.renews, *item.lapses))
    ]
    rows = columns_of(("segment", "members", "pending", "rejects", "last run"), known, columns)
    for item in status.segments:
        for text in _warnings(item):
            rows += wrapped(printable(text), columns, indent="  ", first="! ", style=Style.WARNING)
    if ahead:
        days = [f"{days}d" for days in HORIZONS]
        headings = ("segment", f"renew {days[0]}", *days[1:], f"lapse {days[0]}", *days[1:])
        rows += [EMPTY, *columns_of(headings, ahead, columns)]
        rows += wrapped(
            "Members to renew or to reassert (an estimate), and members that lapse if no apply "
            "comes, within so many days.",
            columns,
            style=Style.DIM,
        )
    return rows


def _warnings(item: SegmentState) -> Iterator[str]:
    if not item.in_spec:
        yield f"{item.name} is not in the spec: `segsync plan` names the remedies."
    if item.lapsed:
        yield (
            f"{item.name}: {item.lapsed:,} of {item.members:,} members have lapsed, as no apply "
            "came in time: `segsync apply` adds those that are still in the query."
        )


def _when(item: SegmentState, runs: dict[int, Run], status: StateStatus) -> str:
    if item.last_run is None:
        return "never"
    run = runs.get(item.last_run)
    if run is None:
        return f"run {item.last_run}"
    return f"{figures.ago(run.submitted_at_ms, status.now_ms)}, {item.outcome}"


def _last_run(status: StateStatus, columns: int) -> list[Line]:
    if status.open_run:
        run = status.open_run
        text = f"Run {run.serial} of {figures.moment(run.submitted_at_ms)} is not finished: "
        text += f"{outcome(run)}. `segsync apply` finds out what became of it."
        return wrapped(text, columns, indent="  ", first="! ", style=Style.WARNING)
    if not status.runs:
        return [line("No run yet.")]
    run = status.runs[0]
    style = Style.PLAIN if run.status is RunStatus.DONE else Style.WARNING
    when = (
        f"{figures.moment(run.submitted_at_ms)} ({figures.ago(run.submitted_at_ms, status.now_ms)})"
    )
    text = f"Last run: {run.serial} at {when}, {run.status.value}: {outcome(run)}."
    return wrapped(text, columns, style=style)


def outcome(run: Run) -> str:
    """What became of a run's commands; of an open run, what is known so far."""
    is_open = run.status is RunStatus.OPEN
    counts = (
        (run.confirmed, "confirmed"),
        (run.rejected, "rejected"),
        (run.sent if is_open else run.unknown, "of unknown outcome"),
        (run.unsent, "not sent"),
        (run.commands - run.sent if is_open else 0, "not sent yet"),
    )
    return ", ".join(f"{count:,} {word}" for count, word in counts if count) or "no commands"
