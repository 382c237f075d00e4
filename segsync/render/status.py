"""What the state knows, as a value, as text and as JSON."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import Any

from segsync.model import DAY_MS, MINUTE_MS, NEVER, Segment, Spec
from segsync.render import figures
from segsync.render.lines import EMPTY, Line, Span, Style, left, line, right, wrapped
from segsync.render.printable import printable, shorten, width
from segsync.render.plan_json import FORMAT_VERSION
from segsync.state import Run, RunStatus, State

HORIZONS = (1, 7, 30)
"""Days ahead."""
MOST_RUNS = 50
_UPPER = 1.5
"""Renewals are spread from `renew_at` to half as much again."""


@dataclass(frozen=True, slots=True)
class SegmentState:
    """One segment. `renews` and `lapses` are members by horizon (1, 7, 30 days).

    `lapses` is what would leave if no apply were run; `renews` is an estimate of the renewals.
    """

    name: str
    where: str
    members: int
    pending: int
    rejects: int
    last_run: int | None
    renews: tuple[int, ...]
    lapses: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StateStatus:
    """All that `segsync status` shows; `exists` is False where no apply has been yet."""

    path: str
    exists: bool
    lineage: str
    serial: int
    now_ms: int
    segments: tuple[SegmentState, ...]
    open_run: Run | None
    runs: tuple[Run, ...]
    reasons: tuple[tuple[str, str, int], ...]


def read_status(spec: Spec, state: State, now_ms: int, *, exists: bool) -> StateStatus:
    """Ask the state; neither a source nor the platform is touched."""
    members, pending = state.member_counts(), state.pending_counts()
    lapses = [state.lapsing(now_ms, now_ms + days * DAY_MS) for days in HORIZONS]
    renews = _renewals(spec, state, now_ms)
    reasons = state.reject_reasons()
    rejects: dict[str, int] = defaultdict(int)
    for name, _, count in reasons:
        rejects[name] += count
    segments = tuple(
        SegmentState(
            name=item.name,
            where=str(item.address),
            members=members.get(item.number, 0),
            pending=pending.get(item.number, 0),
            rejects=rejects.get(item.name, 0),
            last_run=item.last_run,
            renews=renews.get(item.number, (0,) * len(HORIZONS)),
            lapses=tuple(found.get(item.number, 0) for found in lapses),
        )
        for item in state.segments()
    )
    return StateStatus(
        path=str(spec.state),
        exists=exists,
        lineage=state.identity.lineage,
        serial=state.identity.serial,
        now_ms=now_ms,
        segments=segments,
        open_run=state.open_run(),
        runs=tuple(state.last_runs(MOST_RUNS)),
        reasons=tuple(reasons),
    )


def _renewals(spec: Spec, state: State, now_ms: int) -> dict[int, tuple[int, ...]]:
    """Members by segment number that renew within each horizon, taken at the middle of the spread."""
    by_address = {segment.address: segment for segment in spec.segments}
    leads: dict[int, list[int]] = defaultdict(list)
    for item in state.segments():
        segment = by_address.get(item.address)
        if segment and segment.expiration_minutes != NEVER:
            leads[_lead_ms(segment)].append(item.number)
    found: dict[int, tuple[int, ...]] = {}
    for lead, numbers in leads.items():
        ahead = [state.lapsing(now_ms, now_ms + lead + days * DAY_MS) for days in HORIZONS]
        for number in numbers:
            found[number] = tuple(counts.get(number, 0) for counts in ahead)
    return found


def _lead_ms(segment: Segment) -> int:
    """How long before its expiry a member is renewed, on average."""
    share = (segment.renew_at + min(segment.renew_at * _UPPER, 0.95)) / 2
    return int(share * segment.expiration_minutes * MINUTE_MS)


def status_json(status: StateStatus) -> dict[str, Any]:
    """The document that `status --format json` writes."""
    return {
        "format_version": FORMAT_VERSION,
        "state": status.path,
        "exists": status.exists,
        "lineage": status.lineage if status.exists else None,
        "serial": status.serial,
        "open_run": _run_json(status.open_run) if status.open_run else None,
        "segments": [
            {
                "name": item.name,
                "address": item.where,
                "members": item.members,
                "pending": item.pending,
                "rejects": item.rejects,
                "last_run": item.last_run,
                "renews_within_days": _by_horizon(item.renews),
                "lapses_within_days": _by_horizon(item.lapses),
            }
            for item in status.segments
        ],
        "runs": [_run_json(run) for run in status.runs],
        "rejects": [
            {"segment": name, "reason": reason, "count": count}
            for name, reason, count in status.reasons
        ],
    }


def _by_horizon(counts: tuple[int, ...]) -> dict[str, int]:
    return {str(days): count for days, count in zip(HORIZONS, counts, strict=True)}


def _run_json(run: Run) -> dict[str, Any]:
    return {
        "serial": run.serial,
        "reference": run.reference,
        "status": run.status.value,
        "submitted_at": figures.iso_moment(run.submitted_at_ms),
        "closed_at": figures.iso_moment(run.closed_at_ms) if run.closed_at_ms else None,
        "import_id": run.import_id,
        "execution_ids": [part.execution_id for part in run.parts if part.execution_id],
        "commands": run.commands,
        "confirmed": run.confirmed,
        "rejected": run.rejected,
        "unknown": run.unknown,
        "unsent": run.unsent,
    }


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
    return rows


def _segments(status: StateStatus, columns: int) -> list[Line]:
    headings = ["members", "pending", "rejects"]
    headings += [f"renew {days}d" for days in HORIZONS] + [f"lapse {days}d" for days in HORIZONS]
    table = [
        (printable(s.name), [s.members, s.pending, s.rejects, *s.renews, *s.lapses])
        for s in status.segments
    ]
    if not table:
        return [line("No segment has members yet.")]
    cells = [[f"{n:,}" if n else "–" for n in numbers] for _, numbers in table]
    widths = [
        max([width(heading), *(width(row[i]) for row in cells)])
        for i, heading in enumerate(headings)
    ]
    longest = max([width("segment"), *(width(name) for name, _ in table)])
    room = max(min(longest, columns - sum(widths) - 2 * len(widths)), min(longest, 12))
    heading = left("segment", room) + "".join(
        "  " + right(text, cell) for text, cell in zip(headings, widths, strict=True)
    )
    rows = [line(Span(heading, Style.STRONG))]
    for (name, _), entries in zip(table, cells, strict=True):
        padded = ["  " + right(text, cell) for text, cell in zip(entries, widths, strict=True)]
        rows.append(line(left(shorten(name, room), room), *padded))
    return rows


def _last_run(status: StateStatus, columns: int) -> list[Line]:
    if status.open_run:
        run = status.open_run
        text = (
            f"Run {run.serial} of {figures.moment(run.submitted_at_ms)} is not finished: the "
            f"outcome of its {figures.plural(run.commands, 'command')} is unknown. "
            "`segsync apply` finds out."
        )
        return wrapped(text, columns, indent="  ", first="! ", style=Style.WARNING)
    if not status.runs:
        return [line("No run yet.")]
    run = status.runs[0]
    style = Style.PLAIN if run.status is RunStatus.DONE else Style.WARNING
    when = f"{figures.moment(run.submitted_at_ms)} ({figures.ago(run.submitted_at_ms, status.now_ms)})"
    text = f"Last run: {run.serial} at {when}, {run.status.value}: {outcome(run)}."
    return wrapped(text, columns, style=style)


def outcome(run: Run) -> str:
    """What became of a run's commands."""
    figures_of = (
        (run.confirmed, "confirmed"),
        (run.rejected, "rejected"),
        (run.unknown, "of unknown outcome"),
        (run.unsent, "not sent"),
    )
    found = [f"{number:,} {word}" for number, word in figures_of if number]
    return ", ".join(found) or "no commands"
