"""Nodes to Python values, and what YAML makes of texts that do not look like what they are.

YAML 1.1 reads `no` as false, `010` as 8 and `12:30` as 750; YAML 1.2, which editors use, reads some
of them as texts, and `1e3` as a number. What the two read differently, and what no reader of a spec
would guess, is a Surprise: a value that fits nowhere, so that its place can say how YAML reads it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import yaml

from segsync.spec.nodes import BrokenNode, ListNode, MapNode, Node, ScalarNode
from segsync.spec.problems import shown

_INTEGER = re.compile(r"0|-?[1-9][0-9]*")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+(?:[eE][-+][0-9]+)?")
_NUMBER_OF_YAML_1_2 = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|0o[0-7]+"
)
_KINDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "null": "null",
    "timestamp": "a date",
    "merge": "a merge key",
    "value": "a default key",
}
LONGEST_INTEGER = 19
_SAFE = 40
"""Longer texts are not converted: a 5,000-digit integer is an error of Python."""


@dataclass(frozen=True, slots=True)
class Surprise:
    """Stands for a value that is not what its text looks like."""


@dataclass(frozen=True, slots=True)
class Empty:
    """Stands for a key without a value."""


@dataclass(frozen=True, slots=True)
class Broken:
    """Stands for a value that has been reported already."""


Expand = Callable[[ScalarNode], object]


def to_value(node: Node, expand: Expand | None = None) -> object:
    """`node` as str, int, float, bool, None, list and dict, or one of the stand-ins above.

    `expand` makes the value of texts that contain `${`.
    """
    match node:
        case ScalarNode():
            if expand is not None and "${" in node.text:
                return expand(node)
            return _scalar_value(node)
        case ListNode(items=items):
            return [to_value(item, expand) for item in items]
        case MapNode(entries=entries):
            return {key: to_value(entry.value, expand) for key, entry in entries.items()}
        case BrokenNode():
            return Broken()


def _scalar_value(node: ScalarNode) -> object:
    text = node.text
    if not node.plain:
        return text
    if not text:
        return Empty()
    kind = _kind(text)
    if kind == "str":
        return Surprise() if _NUMBER_OF_YAML_1_2.fullmatch(text) else text
    if text in {"true", "false"}:
        return text == "true"
    if text in {"null", "~"}:
        return None
    if _INTEGER.fullmatch(text) and len(text.lstrip("-")) <= LONGEST_INTEGER:
        return int(text)
    if _NUMBER.fullmatch(text) and math.isfinite(float(text)):
        return float(text)
    return Surprise()


def surprise(node: ScalarNode) -> str | None:
    """How YAML reads a plain text that is no text to it ("`no` is the boolean false to YAML")."""
    text = node.text
    if not node.plain:
        return None
    kind = _kind(text)
    if kind != "str":
        return f"{shown(text)} is {_reading(kind, text)} to YAML" if text else "it is empty"
    if _NUMBER_OF_YAML_1_2.fullmatch(text):
        return f"{shown(text)} is a text to YAML 1.1 and a number to YAML 1.2"
    return None


def kind_of(node: Node) -> str:
    """What `node` is, without quoting it: fit for places where secrets stand."""
    if isinstance(node, ScalarNode):
        return _name(_kind(node.text)) if node.plain else "a text"
    return "a list" if isinstance(node, ListNode) else "a mapping"


def _kind(text: str) -> str:
    """The type that YAML 1.1 gives a plain text: str, int, float, bool, null, timestamp, …"""
    resolvers = yaml.SafeLoader.yaml_implicit_resolvers
    for tag, pattern in resolvers.get(text[:1], ()):
        if pattern.match(text):
            return str(tag).rpartition(":")[2]
    return "str"


def _reading(kind: str, text: str) -> str:
    if kind in {"null", "merge", "value"} or len(text) > _SAFE:
        return _name(kind)
    try:
        node = yaml.ScalarNode(f"tag:yaml.org,2002:{kind}", text)
        value = yaml.constructor.SafeConstructor().construct_object(node)
    except (ValueError, OverflowError, yaml.YAMLError):
        return _name(kind)
    return (
        f"the {_KINDS[kind].split()[-1]} {str(value).lower() if isinstance(value, bool) else value}"
    )


def _name(kind: str) -> str:
    return _KINDS.get(kind, "a text")
