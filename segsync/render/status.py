"""What the state knows, as a value and as JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from segsync.model import DAY_MS, FIRST_REASSERTED, MINUTE_MS, NEVER, Segment, Spec, renewal_shares
from segsync.render import figures
from segsync.render.plan_json import FORMAT_VERSION
from segsync.state import Run, RunStatus, State, StateSegment

HORIZONS = (1, 7, 30)
"""Days ahead."""
NONE = (0,) * len(HORIZONS)
MOST_RUNS = 50
MAYBE_UNSENT = "perhaps unsent"
"""Some commands of the run were not sent, and the state does not tell which."""


@dataclass(frozen=True, slots=True)
class SegmentState:
    """One segment of the state or the spec. `renews` and `lapses` are members by horizon.

    `outcome` is what the last run with this segment came to here. `lapsed` (part of `members`) have
    left the platform, as no apply came in time; `lapses` would leave if none came; `renews` is an
    estimate, of members that are asserted once more as well.
    """

    name: str
    where: str
    members: int
    lapsed: int
    pending: int
    rejects: int
    last_run: int | None
    outcome: str | None
    in_spec: bool
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
    return StateStatus(
        path=str(spec.state),
        exists=exists,
        lineage=state.identity.lineage,
        serial=state.identity.serial,
        now_ms=now_ms,
        segments=(*_known(spec, state, now_ms), *_unknown(spec, state)),
        open_run=state.open_run(),
        runs=tuple(state.last_runs(MOST_RUNS)),
        reasons=tuple(state.reject_reasons()),
    )


def _known(spec: Spec, state: State, now_ms: int) -> list[SegmentState]:
    """The segments of the state."""
    members, pending = state.member_counts(), state.pending_counts()
    rejects = state.reject_counts()
    outcomes = _outcomes(state)
    by_address = {segment.address: segment for segment in spec.segments}
    removed = {entry.name for entry in spec.removed}
    found = []
    for item in state.segments():
        segment, count = by_address.get(item.address), members.get(item.number, 0)
        forecast = _forecast(state, item, segment, count, now_ms)
        found.append(
            SegmentState(
                name=item.name,
                where=str(item.address),
                members=count,
                lapsed=forecast.lapsed,
                pending=pending.get(item.number, 0),
                rejects=rejects.get(item.number, 0),
                last_run=item.last_run,
                outcome=outcomes.get(item.number),
                in_spec=segment is not None
                or not removed.isdisjoint((item.name, str(item.address), item.address.value)),
                renews=forecast.renews,
                lapses=forecast.lapses,
            )
        )
    return found


def _unknown(spec: Spec, state: State) -> list[SegmentState]:
    """The segments of the spec that no apply has seen yet."""
    known = {item.address for item in state.segments()}
    return [
        SegmentState(
            name=segment.name,
            where=str(segment.address),
            members=0,
            lapsed=0,
            pending=0,
            rejects=0,
            last_run=None,
            outcome=None,
            in_spec=True,
            renews=NONE,
            lapses=NONE,
        )
        for segment in spec.segments
        if segment.address not in known
    ]


@dataclass(frozen=True, slots=True)
class _Forecast:
    lapsed: int
    lapses: tuple[int, ...]
    renews: tuple[int, ...]


def _forecast(
    state: State, item: StateSegment, segment: Segment | None, members: int, now_ms: int
) -> _Forecast:
    """What time brings to a segment's members: of renewals, the middle of their spread."""
    lead = _lead_ms(segment) if segment else 0
    ahead = [now_ms + days * DAY_MS for days in HORIZONS]
    lapsed, *counts = state.expiring(
        item.number, [now_ms, *ahead, *(moment + lead for moment in ahead)]
    )
    due = tuple(count - lapsed for count in counts)
    renews = NONE
    if segment and _is_renewed(segment):
        renews = due[len(HORIZONS) :]
    elif segment and segment.reassert_minutes != NEVER:
        renews = _reassertions(segment, item.reasserted_at, members - lapsed, now_ms)
    return _Forecast(lapsed, due[: len(HORIZONS)], renews)


def _reassertions(
    segment: Segment, reasserted_at: int, members: int, now_ms: int
) -> tuple[int, ...]:
    """Of so many members, those whose turn comes: it is spread evenly."""
    period = segment.reassert_minutes * MINUTE_MS
    since = reasserted_at or now_ms - period // FIRST_REASSERTED
    shares = (min(1.0, (now_ms - since + days * DAY_MS) / period) for days in HORIZONS)
    return tuple(round(max(0.0, share) * members) for share in shares)


def _outcomes(state: State) -> dict[int, str]:
    """What the last run of each segment came to there, as far as the state tells.

    It keeps what is in doubt and what was rejected by member, but of what was not sent the sum.
    """
    runs = {run.serial: run for run in state.last_runs(MOST_RUNS)}
    rejected, pending = state.rejecting_runs(), state.pending_counts(of_open_run=False)
    found = {}
    for item in state.segments():
        run = runs.get(item.last_run or 0)
        if run is None:
            continue
        if pending.get(item.number):
            found[item.number] = RunStatus.UNKNOWN.value
        elif run.serial in rejected.get(item.number, ()):
            found[item.number] = RunStatus.PARTLY_REJECTED.value
        elif run.unsent == run.commands and run.unsent:
            found[item.number] = RunStatus.UNSENT.value
        else:
            found[item.number] = MAYBE_UNSENT if run.unsent else RunStatus.DONE.value
    return found


def _is_renewed(segment: Segment) -> bool:
    return segment.expiration_minutes != NEVER and not _has_row_expiry(segment)


def _has_row_expiry(segment: Segment) -> bool:
    """Whether rows bring an expiry of their own, as far as the query's text tells: such members
    are not renewed."""
    return "expiration_ts" in segment.query.lower()


def _lead_ms(segment: Segment) -> int:
    """How long before its expiry a member is renewed, on average."""
    share = sum(renewal_shares(segment.renew_at)) / 2
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
                "lapsed": item.lapsed,
                "pending": item.pending,
                "rejects": item.rejects,
                "last_run": item.last_run,
                "last_outcome": item.outcome,
                "in_spec": item.in_spec,
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
