"""The words of segsync as types. No I/O, no third-party library."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Literal, Protocol

from segsync.secret import Secret, secrets_of

MINUTE_MS = 60_000
DAY_MS = 24 * 60 * MINUTE_MS
LONGEST_PAUSE_MS = 7 * DAY_MS
"""After a rejected command, until it is tried again."""
FIRST_REASSERTED = 10
"""Where `reassert` was set later, one member in so many is due at once, instead of all."""
NEVER = 0
"""The expiration, in minutes or as a timestamp, of a member that never leaves by itself."""
LARGEST_UPLOAD = 100_000_000
"""Bytes; a part stays below. The platform takes "100 Mo" (API documentation, requirements)."""


class IdentifierKind(str, Enum):
    """The three identifiers of the platform, by their names on the wire."""

    USER_ACCOUNT_ID = "user_account_id"
    EMAIL_HASH = "email_hash"
    USER_AGENT_ID = "user_agent_id"


def renewal_shares(renew_at: float) -> tuple[float, float]:
    """Of the expiration, what is left when a member is renewed: spread over these two shares."""
    return renew_at, min(1.5 * renew_at, 0.95)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a segment is on the platform: by its id or by its technical name."""

    field: Literal["segment_id", "segment_technical_name"]
    value: str

    def __str__(self) -> str:
        return f"{self.field}={self.value}"


@dataclass(frozen=True, slots=True)
class Guard:
    """Limits beyond which a segment is blocked.

    `max_removed` is a share of the live members (0.3 is 30 %) or, as an int, a number of members.
    """

    max_removed: float | int = 0.3
    allow_empty: bool = False
    max_members: int | None = None


ParamValue = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment of the spec, its defaults filled in.

    `expiration_minutes` and `reassert_minutes` are minutes, 0 for never; `renew_at` is the lower
    bound of the share of the expiration that is left when a member is renewed (0.5 is 50 %).
    `place` is the file:line:column of the segment's key, `query_place` that of its query.
    `params` is None where the query is to be sent as it stands.
    """

    name: str
    address: Address
    source: str
    query: str
    place: str
    query_place: str
    params: Mapping[str, ParamValue] | None = None
    description: str | None = None
    data_bag: tuple[str, ...] = ()
    compartment_id: str | None = None
    expiration_minutes: int = NEVER
    renew_at: float = 0.5
    reassert_minutes: int = NEVER
    hash_email: Literal["sha256", "sha1", "md5"] | None = None
    on_conflict: Literal["error", "latest_expiry", "any"] = "error"
    invalid_rows: Literal["error", "skip"] = "error"
    guard: Guard = field(default_factory=Guard)


@dataclass(frozen=True, slots=True)
class RemovedSegment:
    """A segment that was in the spec once: its members are deleted, or it is only forgotten."""

    name: str
    members: Literal["delete", "keep"]
    place: str


@dataclass(frozen=True, slots=True)
class DestinationSettings:
    """The platform's datamart, and how to reach it. `api_url` has no trailing slash."""

    datamart_id: str
    api_token: Secret
    api_url: str = "https://api.mediarithmics.com"
    format: Literal["ndjson", "csv"] = "ndjson"
    ca_file: Path | None = None
    proxy: Secret | None = None
    insecure_http: bool = False
    execution_max_age_minutes: int = 24 * 60
    max_upload_bytes: int = LARGEST_UPLOAD


@dataclass(frozen=True, slots=True)
class Spec:
    """A checked spec: what should be true.

    `sha256` is of its meaning: the datamart, the names of the sources, the segments with their
    queries; not of comments, secrets or places. `source_places` say where the URL of a source
    stands, and from which variables it is.
    """

    path: Path
    destination: DestinationSettings
    sources: Mapping[str, Secret]
    state: Path
    segments: tuple[Segment, ...]
    removed: tuple[RemovedSegment, ...]
    sha256: str
    source_places: Mapping[str, str] = field(default_factory=dict)

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every value that no text may show."""
        proxy = (self.destination.proxy,) if self.destination.proxy else ()
        urls = [secret.reveal() for secret in (*proxy, *self.sources.values())]
        parts = [text for url in urls for text in secrets_of(url)]
        return (self.destination.api_token.reveal(), *parts)


@dataclass(frozen=True, slots=True)
class Part:
    """One file of the payload, sent as one execution: lines `first`..`last`, 1-based, inclusive.

    Parts of step 2 are sent when those of step 1 are finished. `size` is in bytes.
    """

    number: int
    step: int
    first: int
    last: int
    size: int

    @property
    def lines(self) -> int:
        """How many commands the part holds."""
        return self.last - self.first + 1


@dataclass(frozen=True, slots=True)
class LineRange:
    """Consecutive lines of the payload, 1-based and inclusive, that belong to one segment."""

    segment: int
    first: int
    last: int


class Clock(Protocol):
    """Time as an argument, so that a test, a demo or a simulation can own it."""

    def now_ms(self) -> int:
        """Wall-clock time, epoch milliseconds. Never used for a deadline."""
        ...

    def monotonic(self) -> float:
        """Seconds that only grow, for deadlines."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
