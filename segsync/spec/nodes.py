"""The parsed YAML as a tree in which every key and value knows its place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segsync.spec.problems import Place


@dataclass(frozen=True, slots=True)
class ScalarNode:
    """A text as YAML gives it, before anyone decides what type it has.

    `literal` is a `|` block. `lines` is how many lines of the file it spans. `cut` says that a
    plain text ends where a comment begins on the same line.
    """

    text: str
    place: Place
    plain: bool
    literal: bool = False
    lines: int = 1
    cut: bool = False


@dataclass(frozen=True, slots=True)
class ListNode:
    """A sequence."""

    items: tuple[Node, ...]
    place: Place


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a mapping with its value."""

    key: ScalarNode
    value: Node


@dataclass(frozen=True, slots=True)
class MapNode:
    """A mapping, its keys unique."""

    entries: Mapping[str, Entry]
    place: Place

    def get(self, key: str) -> Node | None:
        """The value of `key`, if it is there."""
        entry = self.entries.get(key)
        return entry.value if entry else None


@dataclass(frozen=True, slots=True)
class BrokenNode:
    """Something that has been reported already, so that nobody reports it again."""

    place: Place


Node = ScalarNode | ListNode | MapNode | BrokenNode


def find(node: Node, path: tuple[str | int, ...]) -> Node | None:
    """The node at `path` (keys and indices) below `node`, or None."""
    for step in path:
        match node:
            case MapNode(entries=entries) if step in entries:
                node = entries[str(step)].value
            case ListNode(items=items) if isinstance(step, int) and step < len(items):
                node = items[step]
            case _:
                return None
    return node


def key_place(node: Node, path: tuple[str | int, ...]) -> Place:
    """The place of the last key in `path`; of its value in a list, and of `node` without either."""
    parent = find(node, path[:-1])
    if isinstance(parent, MapNode) and path[-1] in parent.entries:
        return parent.entries[str(path[-1])].key.place
    return (find(node, path) or node).place
