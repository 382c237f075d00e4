"""Which commands lead from the snapshot to the desired members."""

from __future__ import annotations

from tests.protocol.platform import Commands, Member
from tests.protocol.records import Laws, State


def difference(laws: Laws, state: State, desired: tuple[int, ...], now: int, half: int) -> Commands:
    """The commands; `half` is how many ticks a member has left at most when it is renewed."""
    again = _said_again(laws, state, desired)
    return tuple(
        (identifier, value)
        for identifier, value in enumerate(desired)
        if identifier in again or _is_needed(laws, state, identifier, value, now, half)
    )


def _said_again(laws: Laws, state: State, desired: tuple[int, ...]) -> set[int]:
    """Whoever is in doubt; and beside a removal that is said again, whom it may take along."""
    again = {*state.pending} if laws.says_pending_again else set()
    if any(not desired[identifier] for identifier in again):
        again |= {n for n in state.newcomers if desired[n] and state.snapshot[n].value}
    if laws.says_again_who_stayed:
        again |= {n for n, reject in state.rejects.items() if not reject.value and desired[n]}
    return again


def _is_needed(laws: Laws, state: State, identifier: int, value: int, now: int, half: int) -> bool:
    known, reject = state.snapshot[identifier], state.rejects.get(identifier)
    if reject and reject.value == value:
        if now < reject.again or not laws.tries_rejects_again:
            return False
        if value:
            return True
    if not value:
        return bool(known.value) and not _has_surely_lapsed(laws, state, known, now)
    before = known.at(now) if laws.adds_who_lapsed else known.value
    differs = before != value if laws.compares_data_bags else not before
    return differs or (laws.renews and 0 < known.expires - now <= half)


def _has_surely_lapsed(laws: Laws, state: State, known: Member, now: int) -> bool:
    margin = state.longest_run if laws.forgets_after_the_longest_run else 0
    return known.expires + margin <= now


def forgotten(laws: Laws, state: State, desired: tuple[int, ...], now: int) -> set[int]:
    """Who is forgotten without a command: who has surely lapsed, and rejects of nobody."""
    return {
        identifier
        for identifier, known in enumerate(state.snapshot)
        if not desired[identifier]
        and identifier not in state.pending
        and (known.value or identifier in state.rejects)
        and (not known.value or _has_surely_lapsed(laws, state, known, now))
    }
