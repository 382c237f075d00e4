"""What `segsync state …` shows."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any

from segsync.errors import UsageError
from segsync.render import figures
from segsync.render.lines import EMPTY, Line, Span, Style, line, wrapped
from segsync.render.printable import mask, printable
from segsync.render.status_text import outcome
from segsync.state import Keyspace, State, StateSegment

SHOWN_RUNS = 10
IN_ORDER = [("keyspace", "ascending"), ("identifier", "ascending")]


def identity_text(state: State, path: str, columns: int, *, exists: bool) -> list[Line]:
    """Identity, segments and runs."""
    if not exists:
        return [line(printable(f"There is no state at {path} yet: the first apply makes it."))]
    identity = state.identity
    counts = state.member_counts()
    rows = [
        _pair("state", path),
        _pair("lineage", identity.lineage),
        _pair("serial", str(identity.serial)),
        _pair("datamart", f"{identity.datamart_id} at {identity.api_origin}"),
        EMPTY,
        line(Span("Segments", Style.STRONG)),
    ]
    for item in state.segments():
        members = figures.plural(counts.get(item.number, 0), "member")
        rows.append(line(printable(f"  {item.number}  {item.name}  {item.address}  {members}")))
    rows += [EMPTY, line(Span("Runs", Style.STRONG))]
    for run in state.last_runs(SHOWN_RUNS):
        text = f"{run.serial}  {figures.moment(run.submitted_at_ms)}  {run.status.value}: "
        text += outcome(run) + (f"  (import {run.import_id})" if run.import_id else "")
        rows += wrapped(printable(text), columns, indent="     ", first="  ")
    return rows


def _pair(name: str, value: str) -> Line:
    return line(Span(f"{name:<9}", Style.DIM), printable(value))


def members_text(state: State, name: str, limit: int, *, show_ids: bool) -> Iterator[Line]:
    """Up to `limit` members of a segment. Raises UsageError for a name that is not there."""
    segment = _find(state, name)
    total = state.member_counts().get(segment.number, 0)
    if not total:
        yield line("No members.")
    places = {k.number: k for k in state.keyspaces()}
    left = limit
    with state.members(segment.number) as batches:
        for batch in batches:
            if left <= 0:
                break
            for member in batch.sort_by(IN_ORDER).slice(0, left).to_pylist():
                yield _member(member, places[member["keyspace"]], show_ids=show_ids)
            left -= batch.num_rows
    yield from _more(total - limit)


def _member(member: dict[str, Any], place: Keyspace, *, show_ids: bool) -> Line:
    shown = member["identifier"] if show_ids else mask(member["identifier"], place.kind)
    where = f" in compartment {place.compartment_id}" if place.compartment_id else ""
    expiry = member["expires_at"]
    until = f"until {figures.moment(expiry)}" if expiry else "never expires"
    return line(printable(f"{place.kind.value} {shown}{where}  {until}"))


def _find(state: State, name: str) -> StateSegment:
    segments = state.segments()
    found = [
        segment
        for segment in segments
        if name in (segment.name, segment.address.value, str(segment.address))
    ]
    if len(found) == 1:
        return found[0]
    if found:
        addresses = " or ".join(str(segment.address) for segment in found)
        raise UsageError(
            f"{len(found)} segments of the state have the name {name!r}",
            hint=f"say which by its address: {addresses}",
        )
    near = difflib.get_close_matches(name, [segment.name for segment in segments], n=1)
    raise UsageError(
        f"the state has no segment {name!r}",
        hint=f"did you mean {near[0]!r}?" if near else "`segsync state show` lists them",
    )


def rejects_text(state: State, limit: int, columns: int, *, show_ids: bool) -> list[Line]:
    """The reasons with their counts, then up to `limit` rejects."""
    reasons = state.reject_reasons(show_ids=show_ids)
    if not reasons:
        return [line("No rejects.")]
    rows = []
    for name, reason, count in reasons:
        rows += wrapped(printable(f"{name}: {count:,} × {reason}"), columns, indent="  ", first="")
    rows.append(EMPTY)
    for item in state.rejects(limit, show_ids=show_ids):
        shown = item.identifier if show_ids else mask(item.identifier, item.kind)
        where = f" in compartment {item.compartment_id}" if item.compartment_id else ""
        text = (
            f"{item.segment}: {item.operation} {item.kind.value} {shown}{where}, "
            f"rejected {figures.plural(item.attempts, 'time')} since "
            f"{figures.moment(item.first_at_ms)}, next attempt from "
            f"{figures.moment(item.next_attempt_at_ms)}: {item.reason}"
        )
        rows += wrapped(printable(text), columns, indent="    ", first="  ")
    return rows + _more(sum(state.reject_counts().values()) - limit)


def _more(left: int) -> list[Line]:
    return [line(Span(f"… {left:,} more: --limit N shows more of them", Style.DIM))] * (left > 0)
