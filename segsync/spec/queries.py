"""The query of a segment: where it stands, that YAML left it whole, that it can be one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from segsync.errors import SourceError
from segsync.model import ParamValue, Segment
from segsync.source.query import LEXES, STANDARD, Lexis, parse, refuse_unbound
from segsync.spec.files import Document, Folder, read_query
from segsync.spec.nodes import MapNode, Node, ScalarNode, find, key_place
from segsync.spec.problems import Place, Problems, Wrong, nearest, shown
from segsync.spec.schema import SegmentEntry

LONGEST_CHECKED = 64 * 1024
MOST_SEMICOLONS = 100
"""Beyond these a query is left to its source, so that no spec takes long to load."""


@dataclass(frozen=True, slots=True)
class Part:
    """The entry of a segment in its file."""

    document: Document
    name: str
    place: Place
    problems: Problems

    def node(self, *keys: str | int) -> Node | None:
        """What stands at `keys` in the entry."""
        return find(self.document.root, ("segments", self.name, *keys))

    def has(self, *keys: str) -> bool:
        """Whether the entry has one of the keys, even with a value that cannot be used."""
        node = self.node()
        return isinstance(node, MapNode) and not node.entries.keys().isdisjoint(keys)

    def add(self, keys: tuple[str | int, ...], message: str, hint: str | None = None) -> None:
        """Note a problem with what stands at `keys`, or with the segment where nothing does."""
        self.problems.add(self.at(*keys) if keys else self.place, message, hint)

    def at(self, *keys: str | int) -> Place:
        """The place of the value at `keys`, or of what is nearest to it."""
        node = self.node(*keys)
        return node.place if node else key_place(self.document.root, ("segments", self.name, *keys))


def query_of(entry: SegmentEntry, part: Part, folder: Folder) -> tuple[str, str]:
    """The text and the place of the query; empty where problems says why there is none."""
    if part.has("query") and part.has("query_file"):
        message = f"{shown(part.name)} has both a query and a query_file"
        part.add(("query_file",), message, "keep one of the two")
    elif not part.has("query", "query_file"):
        message = f"{shown(part.name)} has no query"
        part.add((), message, "give it `query: |` or `query_file: …`")
    if entry.query is not None:
        _refuse_mangled(part)
        return entry.query, str(part.at("query"))
    if entry.query_file is None:
        return "", str(part.place)
    try:
        query, label = read_query(entry.query_file, part.document, folder)
    except Wrong as wrong:
        part.add(("query_file",), wrong.message, wrong.hint)
        return "", str(part.place)
    return query, f"{label}:1:1"


def refuse_unreadable(segment: Segment, part: Part, dialect: str | None) -> None:
    """Report what `segsync.source` would refuse in the text of the query, and its wrong params.

    `dialect` is that of the source's URL, None where it is not known.
    """
    text = segment.query
    if not text or len(text) > LONGEST_CHECKED or text.count(";") > MOST_SEMICOLONS:
        return
    lexis = LEXES.get(dialect or "", STANDARD)
    if _refusal(segment, segment.params, lexis, whole=True) is None:
        return
    shape = _refusal(segment, None, lexis)
    unbound = None
    if shape is None and _refusal(segment, segment.params, lexis) is None:
        unbound = _refusal(segment, segment.params, lexis, whole=True)
    if found := shape or unbound:
        file, line, column = segment.query_place.rsplit(":", 2)
        part.problems.add(Place(file, int(line), int(column)), found.message, found.hint)
    for name, value in (segment.params or {}).items() if shape is None else ():
        if _refusal(segment, {name: value}, lexis) is not None:
            used = set(re.findall(r"(?<![\w:]):([A-Za-z_]\w*)", text)) - {name}
            hint = nearest(name, used) if used else "write :NAME where the value belongs"
            place = key_place(part.document.root, ("segments", part.name, "params", name))
            part.problems.add(place, f"the query has no {shown(':' + name)}", hint)


def _refusal(
    segment: Segment,
    params: Mapping[str, ParamValue] | None,
    lexis: Lexis,
    *,
    whole: bool = False,
) -> SourceError | None:
    """Why the query cannot be read with `params`; as a `whole` where these are all."""
    try:
        query = parse(replace(segment, params=params), lexis)
        if whole and lexis.marks:
            refuse_unbound(segment, query)
    except SourceError as error:
        return error
    return None


def _refuse_mangled(part: Part) -> None:
    """Refuse a query that YAML has cut off or joined into something else."""
    node = part.node("query")
    hint = "write the query as a block: `query: |`"
    if isinstance(node, ScalarNode) and node.cut:
        message = "YAML takes what follows ` #` for a comment: the query ends there"
        part.add(("query",), message, hint)
    elif isinstance(node, ScalarNode) and _joined(node) and "--" in node.text:
        message = "YAML joins these lines into one, and `--` would comment out the rest"
        part.add(("query",), message, hint)


def _joined(node: ScalarNode) -> bool:
    return node.lines > 1 and not node.literal
