"""Bytes of a YAML file to nodes, from parser events: nothing of the input is ever constructed.

What makes YAML dangerous (aliases, anchors, tags, merge keys, depth, size, repeated keys) is
refused here, and text whose line numbers editors would count differently.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Protocol

import yaml

from segsync.spec.nodes import BrokenNode, Entry, ListNode, MapNode, Node, ScalarNode
from segsync.spec.problems import Place, Problems, Wrong, shown
from segsync.spec.values import surprise

LARGEST_FILE = 1024 * 1024
DEEPEST = 20
MOST_NODES = 100_000
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNREADABLE = "[^\t\n\r -~\xa0-\u2027\u202a-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
"""To compile it takes a fiftieth of a small plan: only where a text is not all of the next."""
_PLAIN = re.compile("[\t\n\r -~]*")
_UNUSABLE = re.compile("[\0\ud800-\udfff]")
_BREAK = re.compile("\r\n|\r|\n")
_COMMENT = re.compile(r"\s+#")


class _Mark(Protocol):
    """A position of either of PyYAML's two parsers, counted from 0."""

    line: int
    column: int


class Unreadable(Exception):
    """The file cannot be read any further; why has been reported."""


def decode(raw: bytes, file: str) -> str:
    """The text of a file of the spec. Raises Wrong, its message naming the byte."""
    if len(raw) > LARGEST_FILE:
        raise Wrong(f"{file} is larger than 1 MiB", "split it, or move queries to `query_file`s")
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise Wrong(f"{file} is UTF-16", "save it as UTF-8")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start]
        line = before.count(b"\n") + 1
        raise Wrong(
            f"byte {error.start + 1} of the file (line {line}) is {raw[error.start]:#04x},"
            " which is not UTF-8",
            "save the file as UTF-8",
        ) from None


def parse(text: str, file: str, problems: Problems) -> Node | None:
    """The one document of `text`, or None where there is none.

    Raises Unreadable where no document can be made of it, once problems says why.
    """
    unreadable = None if _PLAIN.fullmatch(text) else re.search(_UNREADABLE, text)
    if unreadable:
        _report_unreadable(text, unreadable.start(), file, problems)
        raise Unreadable
    builder = _Builder(text, file, problems)
    try:
        return builder.document()
    except yaml.MarkedYAMLError as error:
        builder.report(error)
    except yaml.YAMLError:
        problems.add(Place(file, 1, 1), "the file is not YAML")
    raise Unreadable


def _report_unreadable(text: str, index: int, file: str, problems: Problems) -> None:
    before = _BREAK.split(text[:index])
    problems.add(
        Place(file, len(before), len(before[-1]) + 1),
        f"the character U+{ord(text[index]):04X} stands here",
        'remove it, or write it as an escape in a "double-quoted" text',
    )


class _Builder:
    """Makes nodes from the events of one file."""

    def __init__(self, text: str, file: str, problems: Problems) -> None:
        self._lines = _BREAK.split(text)
        self._file = file
        self._problems = problems
        self._nodes = 0
        self._events: Iterator[yaml.Event] = yaml.parse(text, Loader=_LOADER)

    def document(self) -> Node | None:
        """The one document of the file, or None where it is empty."""
        next(self._events)
        start = next(self._events)
        if not isinstance(start, yaml.DocumentStartEvent):
            return None
        if start.version or start.tags:
            hint = "remove the line"
            self._report(start, "YAML directives (`%…`) are not used here", hint)
        root = self._node(next(self._events), 0)
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._report(after, "a second document begins here", "keep one document in a file")
        return root

    def report(self, error: yaml.MarkedYAMLError) -> None:
        """Note a syntax error of the parser, in words and with the usual remedy."""
        place = self._at(error.problem_mark or error.context_mark)
        line = self._lines[place.line - 1] if place.line <= len(self._lines) else ""
        # The parser's own words may quote the file, and so a secret: only single characters stay.
        said = re.sub(r"'[^']{4,}'|\"[^\"]{4,}\"", "…", error.problem or "")
        context = f"{error.context}: " if error.context else ""
        message = f"this is not YAML: {context}{said}"
        self._problems.add(place, message, _remedy(line, place.column - 1, said))

    def _at(self, mark: _Mark | None) -> Place:
        return (
            Place(self._file, mark.line + 1, mark.column + 1) if mark else Place(self._file, 1, 1)
        )

    def _report(self, event: yaml.Event, message: str, hint: str) -> None:
        self._problems.add(self._at(event.start_mark), message, hint)

    def _node(self, event: yaml.Event, depth: int) -> Node:
        place = self._at(event.start_mark)
        self._nodes += 1
        if self._nodes > MOST_NODES:
            self._problems.add(place, f"more than {MOST_NODES:,} keys and values", "split the file")
            raise Unreadable
        if depth > DEEPEST:
            self._problems.add(place, f"nested more than {DEEPEST} levels deep")
            raise Unreadable
        match event:
            case yaml.ScalarEvent():
                self._refuse_properties(event)
                return self._scalar(event, place)
            case yaml.SequenceStartEvent():
                self._refuse_properties(event)
                return self._list(place, depth)
            case yaml.MappingStartEvent():
                self._refuse_properties(event)
                return self._map(place, depth)
        self._report(event, "YAML aliases (`*…`) are not used here", "write the value out")
        return BrokenNode(place)

    def _refuse_properties(self, event: yaml.ScalarEvent | yaml.CollectionStartEvent) -> None:
        if event.anchor is not None:
            hint = "use `defaults` for what segments share"
            self._report(event, "YAML anchors (`&…`) are not used here", hint)
        if event.tag is not None:
            hint = "remove it; put a text in quotes"
            self._report(event, "YAML tags (`!…`) are not used here", hint)

    def _scalar(self, event: yaml.ScalarEvent, place: Place) -> Node:
        # A pure-Python parser lets these escapes through; a database or a header would not.
        if bad := _UNUSABLE.search(event.value):
            self._problems.add(place, f"U+{ord(bad[0]):04X} cannot be part of any value")
            return BrokenNode(place)
        plain = not event.style
        end = self._at(event.end_mark)
        return ScalarNode(
            text=event.value,
            place=place,
            plain=plain,
            literal=event.style == "|",
            lines=end.line - place.line + 1,
            cut=plain and self._comment_at(end),
        )

    def _comment_at(self, place: Place) -> bool:
        line = self._lines[place.line - 1] if place.line <= len(self._lines) else ""
        return _COMMENT.match(line, place.column - 1) is not None

    def _list(self, place: Place, depth: int) -> ListNode:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return ListNode(tuple(items), place)

    def _map(self, place: Place, depth: int) -> MapNode:
        entries: dict[str, Entry] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            value = self._node(next(self._events), depth + 1)
            if self._usable(key, entries) and isinstance(key, ScalarNode):
                entries[key.text] = Entry(key, value)
        return MapNode(entries, place)

    def _usable(self, key: Node, entries: dict[str, Entry]) -> bool:
        if not isinstance(key, ScalarNode):
            if not isinstance(key, BrokenNode):
                self._problems.add(key.place, "a key must be a text, not a list or a mapping")
            return False
        if key.plain and key.text == "<<":
            hint = "use `defaults` for what segments share"
            self._problems.add(key.place, "merge keys (`<<`) are not used here", hint)
            return False
        if key.text in entries:
            first = entries[key.text].key.place
            message = f"{shown(key.text)} is already defined at {first}"
            self._problems.add(key.place, message, "keep one of the two")
            return False
        if made := surprise(key):
            message = f"a key must be a text, and {made}"
            self._problems.add(key.place, message, "put it in quotes")
        return True


def _remedy(line: str, column: int, said: str) -> str | None:
    if "\t" in line[: column + 1]:
        return "indent with spaces, not tabs"
    if "${" in line and re.search(r"[\[{].*\$\{", line):
        return 'inside [ ] and { } put quotes around "${NAME}"'
    if "mapping values are not allowed" in said:
        return "put a text with `: ` in it in quotes, or use a `|` block"
    if line[column : column + 1] in {"@", "`", "%", "*", "&", "!"}:
        return "put a text that begins with a special character in quotes"
    return None
