"""The fingerprint of a member: the same for the same data and expiration, in every version."""

from __future__ import annotations

import hashlib

from segsync.model import NEVER


def fingerprint_sql(text_sql: str) -> str:
    """63 bits of the md5 of a text: never changes between versions, fits SQLite's integers."""
    return f"(md5_number({text_sql}) & 9223372036854775807)::BIGINT"


def fingerprint_of(text: str) -> int:
    """The same as `fingerprint_sql`, for a text that is the same for every member."""
    digest = hashlib.md5(text.encode(), usedforsecurity=False).digest()
    return int.from_bytes(digest[:8], "little") & (2**63 - 1)


def policy_text(expiration_minutes: int) -> str:
    """The part of the fingerprinted text that stands for a segment's expiration."""
    return "never|" if expiration_minutes == NEVER else f"minutes:{expiration_minutes}|"


def row_policy_sql(expires_at: str) -> str:
    """The same for a member with an expiry of its own."""
    return (
        f"CASE WHEN coalesce({expires_at}, 0) = 0 THEN 'never|' "
        f"ELSE concat('ts:', {expires_at}, '|') END"
    )
