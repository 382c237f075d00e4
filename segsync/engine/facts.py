"""What the engine is told and what it answers, as values."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from segsync.model import Address, IdentifierKind

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True, slots=True)
class Rows:
    """What a query returned: rows in all, and the invalid ones by reason.

    `expired` (part of `invalid`) counts rows whose own `expiration_ts` has passed.
    """

    queried: int = 0
    invalid_reasons: Mapping[str, int] = field(default_factory=dict)
    expired: int = 0

    @property
    def invalid(self) -> int:
        """Rows that cannot be members."""
        return sum(self.invalid_reasons.values())


@dataclass(frozen=True, slots=True)
class SnapshotFacts:
    """What was read of a segment's snapshot: its digest, its members that have not lapsed, all."""

    digest: int = 0
    live: int = 0
    members: int = 0

    def __add__(self, other: SnapshotFacts) -> SnapshotFacts:
        """Both together: a digest is a sum."""
        return SnapshotFacts(
            self.digest + other.digest, self.live + other.live, self.members + other.members
        )


@dataclass(frozen=True, slots=True)
class Policy:
    """When a segment's members are sent again.

    Times are epoch milliseconds. A lapse is certain `certain_after_ms` beyond an expiry.
    `reasserted_at_ms` is when members that never expire were last sent again, 0 for never.
    """

    now_ms: int
    certain_after_ms: int
    expiration_minutes: int
    renew_at: float
    reassert_minutes: int
    reasserted_at_ms: int


Opener = Callable[[], AbstractContextManager["pyarrow.RecordBatchReader"]]


@dataclass(frozen=True, slots=True)
class Asked:
    """How a segment is compared. `doubted` are its members of unknown outcome and its newcomers
    (keyspace, identifier, is_pending), `rejected` its rejects, where it has some. They are opened
    when they are read, and closed at once: one that stays open while another is opened would lock
    an apply out, and be locked out by it. With `spares_invalid` a member whose row is invalid is
    left as it is.
    """

    policy: Policy
    on_conflict: str = "error"
    doubted: Opener | None = None
    rejected: Opener | None = None
    spares_invalid: bool = False


@dataclass(frozen=True, slots=True)
class Deferred:
    """Commands that wait because they were rejected: in all, and those that would add or remove."""

    commands: int = 0
    add: int = 0
    remove: int = 0


@dataclass(frozen=True, slots=True)
class Difference:
    """How a segment's desired members differ from its snapshot; `conflicts` are identifiers.

    `settled` are rejects whose member needs no command any more, `spared` members that stay as they
    are because their row is invalid, `in_doubt` those of unknown outcome that were never confirmed,
    `reattempted` commands that were rejected earlier and are said once more.
    """

    desired: int
    duplicates: int
    conflicts: int
    add: int
    update: int
    renew: int
    remove: int
    forget: int
    settled: int
    spared: int
    retry: int
    reattempted: int
    deferred: Deferred
    in_doubt: int
    removed_live: int


@dataclass(frozen=True, slots=True)
class Target:
    """A segment whose commands are to be sent, and its members' duration in minutes."""

    number: int
    address: Address
    expiration_minutes: int


@dataclass(frozen=True, slots=True)
class Layout:
    """How commands are written: their format, when (epoch milliseconds), and the bytes that a part
    stays below.
    """

    wire: Literal["ndjson", "csv"]
    now_ms: int
    part_limit: int


@dataclass(frozen=True, slots=True)
class Example:
    """One row as the engine sees it, for a sample. Times are epoch milliseconds.

    `label` is a change's word (add, update, renew, remove), "conflict" or "invalid".
    """

    label: str
    kind: IdentifierKind | None
    compartment_id: str | None
    identifier: str | None
    row: int | None = None
    old_expires_at: int | None = None
    row_expires_at: int | None = None
    retry: bool = False
    reattempted: bool = False
    reason: str | None = None
    column: str | None = None
