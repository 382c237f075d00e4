"""What the state remembers, as values."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum

from segsync.model import Address, IdentifierKind


@dataclass(frozen=True, slots=True)
class Identity:
    """Which state this is: its lineage, how often it was written, and whom it describes.

    `digest_probe` is the digest of a fixed value by the engine that made the segments' digests.
    """

    lineage: str
    serial: int
    datamart_id: str
    api_origin: str
    digest_probe: int

    def reference(self, serial: int) -> str:
        """The name of the document import of the run that leads to `serial`."""
        return f"{self.reference_prefix}{serial:08d}"

    @property
    def reference_prefix(self) -> str:
        """What the names of all imports of this lineage start with."""
        return f"segsync-{self.lineage}-"

    @property
    def recent_references(self) -> tuple[str, ...]:
        """What the names of the imports of this serial and of at least fifty later ones start with.

        Names are asked for by the hundred: the list of all would become longer with every run.
        """
        hundreds = sorted({self.serial // 100, (self.serial + 50) // 100})
        return tuple(f"{self.reference_prefix}{hundred:06d}" for hundred in hundreds)


@dataclass(frozen=True, slots=True)
class StateSegment:
    """A segment that has, or may have, members. Times are epoch milliseconds, 0 for not yet.

    `platform_id` is that of the segment which was filled, as far as the platform told it.
    """

    number: int
    address: Address
    name: str
    digest: int
    reasserted_at: int
    last_run: int | None
    platform_id: str | None = None


@dataclass(frozen=True, slots=True)
class Keyspace:
    """Where identifiers are told apart: a kind, and for accounts a compartment, in a segment."""

    number: int
    segment: int
    kind: IdentifierKind
    compartment_id: str | None


class RunStatus(str, Enum):
    """`open` until the outcome of all its commands is decided or given up."""

    OPEN = "open"
    DONE = "done"
    PARTLY_REJECTED = "partly rejected"
    UNKNOWN = "unknown"
    UNSENT = "unsent"


class PartStatus(str, Enum):
    """How far a part of the payload has come, as far as the state knows."""

    WAITING = "waiting"
    SENDING = "sending"
    SENT = "sent"
    CONFIRMED = "confirmed"
    UNATTRIBUTED = "unattributed"
    UNKNOWN = "unknown"
    UNSENT = "unsent"


@dataclass(frozen=True, slots=True)
class PartRecord:
    """A part as journalled. Lines are 1-based and inclusive; `size` is in bytes.

    `executions` are known to carry it; `is_watched` where one more may come of an earlier attempt
    to upload it.
    """

    number: int
    step: int
    first: int
    last: int
    size: int
    sha256: str
    status: PartStatus = PartStatus.WAITING
    execution_id: str | None = None
    total_success: int | None = None
    total_failure: int | None = None
    executions: int = 0
    is_watched: bool = False


def merged(parts: Iterable[PartRecord]) -> list[PartRecord]:
    """Neighbours with one fate as one: a statement for all of them is cheaper than one for each."""
    found: list[PartRecord] = []
    for part in parts:
        if found and found[-1].status is part.status and found[-1].last + 1 == part.first:
            found[-1] = replace(found[-1], last=part.last)
        else:
            found.append(part)
    return found


@dataclass(frozen=True, slots=True)
class Run:
    """One journalled attempt to carry out a plan."""

    serial: int
    reference: str
    status: RunStatus
    submitted_at_ms: int
    spec_sha256: str
    commands: int
    changes_seal: str
    parts: tuple[PartRecord, ...] = ()
    import_id: str | None = None
    closed_at_ms: int | None = None
    confirmed: int = 0
    rejected: int = 0
    unknown: int = 0
    unsent: int = 0

    @property
    def sent(self) -> int:
        """Commands that have, or may have, left."""
        parts = (part for part in self.parts if part.status is not PartStatus.WAITING)
        return sum(part.last - part.first + 1 for part in parts)

    @property
    def executions(self) -> int:
        """Those that were known when the run was closed."""
        return sum(part.executions for part in self.parts)


@dataclass(frozen=True, slots=True)
class Reject:
    """A command that the platform refused, and when it is tried again."""

    segment: str
    kind: IdentifierKind
    compartment_id: str | None
    identifier: str
    operation: str
    reason: str
    attempts: int
    first_at_ms: int
    next_attempt_at_ms: int
