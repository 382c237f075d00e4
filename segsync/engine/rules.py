"""Every rule of what becomes which change stands here."""

from __future__ import annotations

from segsync.engine.facts import Policy
from segsync.engine.fingerprint import fingerprint_sql
from segsync.engine.normalising import NO_ROW_EXPIRY, Shape
from segsync.model import DAY_MS, FIRST_REASSERTED, MINUTE_MS, NEVER, renewal_shares

ADD, UPDATE, RENEW, REMOVE, FORGET = 1, 2, 3, 4, 5
WORDS = {ADD: "add", UPDATE: "update", RENEW: "renew", REMOVE: "remove", FORGET: "forget"}


def change_sql(shape: Shape, policy: Policy, beside: str) -> str:
    """The change that a desired member `d` beside a member `s` of the snapshot needs, or 0.

    `beside` is true for members who are said once more as a removal beside them is.
    """
    now = policy.now_ms
    certain = now - policy.certain_after_ms
    return f"""(CASE
        WHEN d.identifier IS NULL THEN CASE
            WHEN s.fingerprint IS NULL AND NOT s.pending THEN 0
            WHEN s.pending THEN {REMOVE}
            WHEN s.expires_at <> 0 AND s.expires_at <= {certain} THEN {FORGET}
            ELSE {REMOVE} END
        WHEN s.fingerprint IS NULL THEN {ADD}
        WHEN s.expires_at <> 0 AND s.expires_at <= {now} THEN {ADD}
        WHEN {shape.fingerprint_sql} <> s.fingerprint OR s.pending OR s.stayed OR {beside}
            THEN {UPDATE}
        WHEN s.refused = s.fingerprint OR {_due_sql(shape, policy)} THEN {RENEW}
        ELSE 0 END)::UTINYINT"""


def _due_sql(shape: Shape, policy: Policy) -> str:
    """True for an unchanged member that is sent again: before it lapses, or to assert it."""
    if shape.row_expires_sql != NO_ROW_EXPIRY:
        return _reassert_sql(policy)
    return _renewal_sql(policy) if policy.expiration_minutes != NEVER else _reassert_sql(policy)


def _renewal_sql(policy: Policy) -> str:
    """True for a member of whose expiration little is left.

    More left than the whole duration, and a little: it was sent while the clock was ahead, and may
    lapse at any time.
    """
    duration = policy.expiration_minutes * MINUTE_MS
    longest = duration + min(DAY_MS, duration // 10)
    lowest, highest = renewal_shares(policy.renew_at)
    left = f"(s.expires_at - {policy.now_ms})"
    member = fingerprint_sql("concat(s.identifier, ':', s.expires_at)")
    spread = f"({member} % 1000003) / 1000003.0"
    share = f"({lowest!r} + {highest - lowest!r} * {spread})"
    return (
        f"(CASE WHEN {left} >= {int(highest * duration)} THEN {left} > {longest} "
        f"ELSE {left} < {share} * {duration} END)"
    )


def _reassert_sql(policy: Policy) -> str:
    """True where a member's turn, spread over the period by a hash, came since the last time."""
    if policy.reassert_minutes == NEVER:
        return "false"
    period = policy.reassert_minutes * MINUTE_MS
    since = policy.reasserted_at_ms
    if not since or since > policy.now_ms + period:  # never, or the clock was ahead then
        since = policy.now_ms - period // FIRST_REASSERTED
    turn = f"({fingerprint_sql('s.identifier')} % {period})"
    return f"((({policy.now_ms} - {turn}) // {period}) > (({since} - {turn}) // {period}))"
