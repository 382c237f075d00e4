"""What apply asks of a destination, and the shapes of the answers."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Protocol

from segsync.model import Address


@dataclass(frozen=True, slots=True)
class DocumentImport:
    """A document import of the platform; `name` is the reference of the run that made it."""

    id: str
    name: str


class ExecutionState(Enum):
    """What is known of an execution. An unknown status of the platform counts as ACTIVE."""

    ACTIVE = "active"
    SUCCEEDED = "succeeded"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Execution:
    """An execution of the platform.

    `status` is the platform's own word. The counts are None where the platform did not give
    readable ones. `progress` is 0 to 1, or None where the platform does not say.
    """

    id: str
    state: ExecutionState
    status: str
    created_at_ms: int | None = None
    total_success: int | None = None
    total_failure: int | None = None
    error_file_uri: str | None = None
    error_message: str | None = None
    progress: float | None = None


class SegmentProblem(Enum):
    """Why a segment on the platform cannot take members."""

    MISSING = "missing"
    PAUSED = "paused"
    WRONG_TYPE = "wrong type"
    AMBIGUOUS = "ambiguous"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class SegmentLookup:
    """The answer to a segment's look-up; `problem` is None where it can take members.

    `detail` is a sentence for the user, `addresses` are what the platform calls the segment.
    """

    address: Address
    problem: SegmentProblem | None
    detail: str
    addresses: tuple[Address, ...] = ()


class Destination(Protocol):
    """A place that takes commands by bulk import.

    Each method raises the errors of segsync.errors: NotSent, Refused, OutcomeUnknown,
    ProtocolError, and nothing else. Every request that may be repeated without harm is retried
    inside; `upload` never is.
    """

    def look_up_segment(self, address: Address) -> SegmentLookup:
        """Ask for one segment. Raises Refused with status 403 where the token may not read it."""
        ...

    def create_import(self, reference: str) -> DocumentImport:
        """Create a document import named `reference`; found by its name after a lost answer."""
        ...

    def find_imports(self, *prefixes: str) -> list[DocumentImport]:
        """All imports of the datamart whose name starts with one of `prefixes`."""
        ...

    def upload(self, document_import: str, payload: Path) -> Execution:
        """Send one payload file as one execution. One attempt: NotSent, Refused, OutcomeUnknown."""
        ...

    def list_executions(self, document_import: str) -> list[Execution]:
        """All executions of an import, oldest first."""
        ...

    def fetch_error_file(self, uri: str, into: Path) -> None:
        """Download an execution's error file, at most 1 GiB, to a new file."""
        ...
