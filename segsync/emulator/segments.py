"""The datamart's audience segments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from segsync.emulator.options import Behaviour
from segsync.emulator.settings import with_settings

FIRST_SEGMENT_ID = 10_001


@dataclass(frozen=True, slots=True)
class Segment:
    """An audience segment. `default_ttl` is milliseconds, None for no expiry."""

    id: str
    technical_name: str | None
    name: str
    datamart_id: str
    organisation_id: str = "1"
    type: str = "USER_LIST"
    feed_type: str | None = "FILE_IMPORT"
    subtype: str | None = "STANDARD"
    paused: bool = False
    persisted: bool = True
    default_ttl: int | None = None
    short_description: str | None = None
    creation_ts: int = 0

    @property
    def takes_imports(self) -> bool:
        """Whether members may come by bulk import."""
        return self.type == "USER_LIST" and self.feed_type in (None, "FILE_IMPORT")

    def resource(self) -> dict[str, Any]:
        """The segment as the API shows it; absent values are left out."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class TakenName(ValueError):
    """Another segment of the datamart has the id or the technical name."""


class UnknownSegment(KeyError):
    """There is no such segment."""


class Segments:
    """All segments, by id and by technical name."""

    def __init__(self) -> None:
        self.by_id: dict[str, Segment] = {}
        self._by_name: dict[str, str] = {}
        self._last_id = FIRST_SEGMENT_ID - 1

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.by_id.values())

    def new_id(self) -> str:
        """An id that no segment has."""
        self._last_id += 1
        while str(self._last_id) in self.by_id:
            self._last_id += 1
        return str(self._last_id)

    def named(self, technical_name: str) -> Segment | None:
        """The segment of that technical name."""
        segment_id = self._by_name.get(technical_name)
        return None if segment_id is None else self.by_id[segment_id]

    def put(self, segment: Segment) -> None:
        """Add a segment, or replace the one of the same id. Raises TakenName."""
        if segment.technical_name is not None:
            holder = self._by_name.get(segment.technical_name)
            if holder not in (None, segment.id):
                raise TakenName(f"technical_name {segment.technical_name} is taken by {holder}")
        self.remove(segment.id)
        self.by_id[segment.id] = segment
        if segment.technical_name is not None:
            self._by_name[segment.technical_name] = segment.id

    def remove(self, segment_id: str) -> Segment | None:
        """Take a segment out; gives what was there."""
        segment = self.by_id.pop(segment_id, None)
        if segment is not None and segment.technical_name is not None:
            del self._by_name[segment.technical_name]
        return segment


def checked(fields: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fields of a segment, their names and types checked. Raises WrongOption."""
    with_settings(Segment(id="", technical_name=None, name="", datamart_id=""), fields)
    return fields


def matches(segment: Segment, filters: dict[str, str], behaviour: Behaviour) -> bool:
    """Whether a segment is in the list that these query parameters ask for."""
    for name in ("technical_name", "name"):
        if name in filters and not _name_matches(
            getattr(segment, name) or "", filters[name], behaviour
        ):
            return False
    if "keywords" in filters and filters["keywords"].lower() not in segment.name.lower():
        return False
    for name in ("type", "feed_type", "subtype"):
        if name in filters and getattr(segment, name) not in filters[name].split(","):
            return False
    for name in ("datamart_id", "organisation_id"):
        if name in filters and getattr(segment, name) != filters[name]:
            return False
    return True


def _name_matches(value: str, asked: str, behaviour: Behaviour) -> bool:
    match behaviour.segment_name_filter:
        case "exact":
            return value == asked
        case "contains":
            return asked in value
        case "any_case":
            return value.lower() == asked.lower()
        case "ignored":
            return True
