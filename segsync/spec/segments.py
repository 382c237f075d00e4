"""Entries under `segments` and `removed` of all files, with defaults, to the words of the model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from segsync.model import NEVER, Address, Guard, RemovedSegment, Segment
from segsync.spec import names
from segsync.spec.check import check, section
from segsync.spec.files import Document, Folder
from segsync.spec.interpolate import Expander
from segsync.spec.nodes import MapNode, find
from segsync.spec.problems import Place, Problems, Wrong, nearest, shown
from segsync.spec.queries import Part, query_of, refuse_unreadable
from segsync.spec.schema import MEMBERS, Defaults, GuardEntry, SegmentEntry
from segsync.spec.values import to_value

MOST_SEGMENTS = 10_000


@dataclass(frozen=True, slots=True)
class Shared:
    """What every segment may need: the sources' names, the defaults, and where queries are.

    `dialects` are of the sources whose URL can be used; without `connecting` it may be unset, and
    how a query is to be read is not known then. `default_source` says that the defaults name a
    source, even if they do it wrongly.
    """

    sources: tuple[str, ...]
    dialects: Mapping[str, str]
    connecting: bool
    defaults: Defaults
    default_source: bool
    folder: Folder
    expander: Expander


class Collector:
    """Gathers segments and removed names from one file after another."""

    def __init__(self, shared: Shared, problems: Problems) -> None:
        self.segments: list[Segment] = []
        self.removed: list[RemovedSegment] = []
        self._shared = shared
        self._problems = problems
        self._names: dict[str, Place] = {}
        self._removed_names: dict[str, Place] = {}
        self._ids: dict[str, Place] = {}

    def add_file(self, document: Document) -> None:
        """Take what `document` has under `segments` and `removed`."""
        for name, place in self._new_names(document, "segments", self._names):
            segment = read_segment(Part(document, name, place, self._problems), self._shared)
            if segment is not None:
                self._refuse_same_id(document, segment, place)
                self.segments.append(segment)
        for name, place in self._new_names(document, "removed", self._removed_names):
            self._remove(document, name, place)

    def finish(self) -> None:
        """Report the names that are both under `segments` and under `removed`."""
        for name, place in self._removed_names.items():
            if name in self._names:
                message = f"{shown(name)} is removed here, and defined at {self._names[name]}"
                self._problems.add(place, message, "remove one of the two")

    def _new_names(
        self, document: Document, key: str, seen: dict[str, Place]
    ) -> Iterable[tuple[str, Place]]:
        node = section(document.root, key, self._problems)
        for name, entry in (node.entries if node else {}).items():
            place = entry.key.place
            if len(seen) >= MOST_SEGMENTS:
                self._problems.add(place, f"more than {MOST_SEGMENTS} segments")
                return
            if name in seen:
                message = f"{shown(name)} is already defined at {seen[name]}"
                self._problems.add(place, message, "keep one of the two")
                continue
            seen[name] = place
            try:
                names.name(name)
            except Wrong as wrong:
                self._problems.add(place, wrong.message, wrong.hint)
            yield name, place

    def _refuse_same_id(self, document: Document, segment: Segment, place: Place) -> None:
        if segment.address.field != "segment_id":
            return
        node = find(document.root, ("segments", segment.name, "segment_id"))
        place = node.place if node else place
        first = self._ids.setdefault(segment.address.value, place)
        if first != place:
            message = f"segment_id {segment.address.value} is already used at {first}"
            self._problems.add(place, message, "two queries cannot decide over one segment")

    def _remove(self, document: Document, name: str, place: Place) -> None:
        path = ("removed", name)
        node = find(document.root, path)
        value = to_value(node) if node else None
        members = check(MEMBERS, value, document.root, path, self._problems)
        if members:
            self.removed.append(RemovedSegment(name, members, str(place)))


def read_segment(part: Part, shared: Shared) -> Segment | None:
    """The segment, or None where problems says what is wrong with its entry."""
    entry = check(
        SegmentEntry,
        _value(part, shared.expander if shared.connecting else None),
        part.document.root,
        ("segments", part.name),
        part.problems,
    )
    if entry is None:
        return None
    query, query_place = query_of(entry, part, shared.folder)
    _refuse_repeated(entry.data_bag, part)
    chosen = _chosen(entry, shared.defaults)
    _refuse_idle_reassertion(entry, chosen, part)
    address = Address("segment_technical_name", part.name)
    if entry.segment_id is not None:
        address = Address("segment_id", entry.segment_id)
    segment = Segment(
        name=part.name,
        address=address,
        source=_source(entry, part, shared),
        query=query,
        place=str(part.place),
        query_place=query_place,
        params=entry.params or None,
        description=entry.description,
        data_bag=tuple(entry.data_bag),
        compartment_id=chosen.compartment_id,
        expiration_minutes=chosen.expiration,
        renew_at=chosen.renew_at,
        reassert_minutes=chosen.reassert,
        hash_email=chosen.hash_email,
        on_conflict=chosen.on_conflict,
        invalid_rows=chosen.invalid_rows,
        guard=_guard(entry, shared.defaults),
    )
    if shared.connecting or segment.source in shared.dialects:
        refuse_unreadable(segment, part, shared.dialects.get(segment.source))
    return segment


def _value(part: Part, expander: Expander | None) -> object:
    """The entry; without an expander, as no query will be run, the variables in `params` stay."""
    node = part.node()
    if not isinstance(node, MapNode):
        return to_value(node) if node else None
    value = {key: to_value(entry.value) for key, entry in node.entries.items()}
    if "params" in node.entries:
        value["params"] = to_value(node.entries["params"].value, expander)
    return value


def _refuse_repeated(columns: list[str], part: Part) -> None:
    seen: set[str] = set()
    for index, name in enumerate(columns):
        if name.lower() in seen:
            message = f"the column {shown(name)} is listed twice"
            part.add(("data_bag", index), message, "columns are matched without case")
        seen.add(name.lower())


def _refuse_idle_reassertion(entry: SegmentEntry, chosen: Defaults, part: Part) -> None:
    """Members that expire are renewed: to assert them as well would do nothing."""
    if entry.reassert == NEVER or chosen.expiration == NEVER:
        return
    part.add(
        ("reassert",),
        "`reassert` is for members that never expire, and these are renewed as they expire",
        "remove it, or set `expiration: never` (a row's own `expiration_ts` counts all the same)",
    )


def _source(entry: SegmentEntry, part: Part, shared: Shared) -> str:
    """The source's name; empty where it is not known, which is a problem."""
    sources = shared.sources
    if entry.source is not None:
        if entry.source not in sources:
            message = f"there is no source {shown(entry.source)}"
            part.add(("source",), message, nearest(entry.source, sources))
        return entry.source
    if shared.defaults.source is not None:
        return shared.defaults.source
    if len(sources) == 1:
        return sources[0]
    if sources and not shared.default_source and not part.has("source"):
        known = ", ".join(shown(name) for name in sources[:10])
        message = f"{shown(part.name)} has no source, and there are several"
        part.add((), message, f"add `source:`, one of {known}")
    return ""


def _chosen(entry: SegmentEntry, defaults: Defaults) -> Defaults:
    """The segment's own keys where it has them, the defaults elsewhere."""
    own = {key: getattr(entry, key) for key in entry.model_fields_set & set(Defaults.model_fields)}
    return defaults.model_copy(update=own)


def _guard(entry: SegmentEntry, defaults: Defaults) -> Guard:
    own: GuardEntry = entry.guard
    merged = defaults.guard.model_copy(
        update={key: getattr(own, key) for key in own.model_fields_set}
    )
    return Guard(merged.max_removed, merged.allow_empty, merged.max_members)
