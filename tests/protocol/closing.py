"""What a run came to, carried into the state."""

from __future__ import annotations

from tests.protocol.platform import NOBODY, Member, expiry
from tests.protocol.records import Laws, Part, Reject, Run, State, Status, Watch

PAUSE = 1
"""Ticks until a reject is tried again that was refused twice. After the first time it is none."""


def close(
    laws: Laws,
    state: State,
    run: Run,
    parts: list[Part],
    now: int,
    duration: int,
    forgotten: set[int],
) -> bool:
    """End the run; whether newcomers came into doubt by a removal that acted late."""
    state.longest_run = max(state.longest_run, now - run.started)
    if laws.holds_later_steps:
        parts = _held(parts)
    removed_late = _removes_late(state, parts)
    expires = expiry(run.started if laws.counts_from_submission else now, duration)
    for part in parts:
        _settle(state, part, now, expires)
    if laws.notes_newcomers:
        _note_newcomers(state, parts)
    _watch(laws, state, run, parts)
    for identifier in forgotten:
        state.snapshot[identifier] = NOBODY
        state.rejects.pop(identifier, None)
    is_doubted = removed_late and _doubt_newcomers(state, parts)
    if not state.pending and not state.watched and not _stayed(state):
        state.newcomers.clear()
    state.serial, state.run = run.serial, None
    return is_doubted


def _held(parts: list[Part]) -> list[Part]:
    """Nothing is known to be done while removals before it are in doubt."""
    held: list[Part] = []
    for part in parts:
        is_held = part.status is Status.CONFIRMED and any(
            earlier.step < part.step and earlier.status is not Status.CONFIRMED for earlier in held
        )
        held.append(part._replace(status=Status.UNKNOWN) if is_held else part)
    return held


def _stayed(state: State) -> set[int]:
    """Whose removal was refused."""
    return {identifier for identifier, reject in state.rejects.items() if not reject.value}


def _removes_late(state: State, parts: list[Part]) -> bool:
    said_before = state.pending | _stayed(state)
    return any(
        part.status is not Status.UNSENT
        and not value
        and identifier in said_before
        and identifier not in part.rejected
        for part in parts
        for identifier, value in part.commands
    )


def _settle(state: State, part: Part, now: int, expires: int) -> None:
    for identifier, value in part.commands:
        if identifier in part.rejected:
            before = state.rejects.get(identifier)
            is_first = before is None or before.value != value
            state.rejects[identifier] = Reject(value, now if is_first else now + PAUSE)
        elif part.status is Status.CONFIRMED:
            state.snapshot[identifier] = Member(value, expires) if value else NOBODY
            state.pending.discard(identifier)
            state.rejects.pop(identifier, None)
        elif part.status is Status.UNKNOWN:
            state.pending.add(identifier)
            state.rejects.pop(identifier, None)


def _note_newcomers(state: State, parts: list[Part]) -> None:
    """Whoever is said while a removal may act later."""
    if _stayed(state) or state.watched:
        state.newcomers |= {n for part in parts for n, value in part.commands if value}


def _watch(laws: Laws, state: State, run: Run, parts: list[Part]) -> None:
    watched = [part for part in parts if part.is_watched]
    if watched and laws.watches_what_may_arrive:
        identifiers = frozenset(n for part in watched for n in part.identifiers)
        state.watched[run.serial] = Watch(identifiers, sum(part.executions for part in parts))


def _doubt_newcomers(state: State, parts: list[Part]) -> bool:
    """Make the newcomers pending, but for those that a later step has confirmed."""
    beyond_doubt = {
        n
        for part in parts
        if part.step > 1 and part.status is Status.CONFIRMED
        for n in part.identifiers - part.rejected
    }
    doubted = {n for n in state.newcomers - beyond_doubt - state.pending if state.snapshot[n].value}
    rejected = {n for part in parts for n in part.rejected}
    for identifier in doubted - rejected:
        state.rejects.pop(identifier, None)
    state.pending |= doubted
    return bool(doubted)
