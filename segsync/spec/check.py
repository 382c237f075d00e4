"""A part of the YAML against its pydantic model: each error becomes a Problem with its place."""

from __future__ import annotations

import re
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from segsync.spec.nodes import BrokenNode, MapNode, Node, ScalarNode, find, key_place
from segsync.spec.problems import LONGEST_QUOTE, Problems, Unfit, Wrong, nearest, shown
from segsync.spec.schema import (
    Defaults,
    DestinationEntry,
    GuardEntry,
    SegmentEntry,
    SpecFile,
)
from segsync.spec.values import Broken, kind_of, surprise

Path = tuple[str | int, ...]
T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)
_EXPECTED = {
    "string_type": "a text",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
    "list_type": "a list",
}
_HOMES: dict[str, type[BaseModel]] = {
    "destination": DestinationEntry,
    "defaults or a segment": Defaults,
    "a segment": SegmentEntry,
    "guard": GuardEntry,
    "the top level": SpecFile,
}
_SYNONYMS = {
    "sql": "query",
    "sql_file": "query_file",
    "id": "segment_id",
    "ttl": "expiration",
    "columns": "data_bag",
    "parameters": "params",
}
_SECRETS = {"api_token", "proxy", "sources"}


def check(
    kind: type[M] | TypeAdapter[T], value: object, root: Node, path: Path, problems: Problems
) -> M | T | None:
    """`value`, found at `path` below `root`, as a `kind`; problems says what is wrong with it.

    A mapping with wrong keys is returned without them where it can be, so that the rest is checked
    further: all problems shall be found at once. None where nothing is left.
    """
    validate = kind.validate_python if isinstance(kind, TypeAdapter) else kind.model_validate
    try:
        return validate(value, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False)
    for detail in details:
        _report(detail, kind, root, path, problems)
    wrong = {detail["loc"][0] for detail in details if detail["loc"]}
    if not isinstance(value, dict) or not wrong:
        return None
    try:
        return validate({key: value[key] for key in value if key not in wrong}, strict=True)
    except ValidationError:
        return None


def section(root: MapNode, key: str, problems: Problems) -> MapNode | None:
    """The mapping under `key`; None where there is none, or where problems says why."""
    node = root.get(key)
    if node is None or isinstance(node, MapNode | BrokenNode):
        return node if isinstance(node, MapNode) else None
    problems.add(node.place, *_unfit(shown(key), "a mapping", node, secret=True))
    return None


def check_keys(model: type[BaseModel], root: MapNode, problems: Problems) -> None:
    """Report the keys of a file that it may not have, and those that it lacks."""
    for key, entry in root.entries.items():
        if key not in model.model_fields:
            message, hint = _unknown(key, model)
            problems.add(entry.key.place, message, hint)
    for key, field in model.model_fields.items():
        if field.is_required() and key not in root.entries:
            problems.add(root.place, f"{shown(key)} is missing", field.description)


def _report(detail: ErrorDetails, kind: Any, root: Node, path: Path, problems: Problems) -> None:
    below = tuple(step for step in detail["loc"] if step != "[key]")
    whole = path + below
    node = find(root, whole)
    if isinstance(node, BrokenNode) or isinstance(detail["input"], Broken):
        return
    if detail["type"] == "extra_forbidden":
        message, hint = _unknown(str(below[-1]), _model_at(kind, below[:-1]))
        problems.add(key_place(root, whole), message, hint)
    elif detail["type"] == "missing":
        field = _model_at(kind, below[:-1]).model_fields[str(below[-1])]
        problems.add(
            key_place(root, whole[:-1]), f"{shown(str(below[-1]))} is missing", field.description
        )
    else:
        on_key = detail["loc"][-1:] == ("[key]",)
        place = node.place if node and not on_key else key_place(root, whole)
        message, hint = _wrong_value(detail, whole, node)
        problems.add(place, message, hint)


def _wrong_value(detail: ErrorDetails, path: Path, node: Node | None) -> tuple[str, str | None]:
    cause = detail.get("ctx", {}).get("error")
    secret = bool(_SECRETS.intersection(map(str, path)))
    label = shown(path[-1]) if isinstance(path[-1], str) else f"an item of {shown(str(path[-2]))}"
    if isinstance(cause, Wrong):
        return cause.message, cause.hint
    if isinstance(cause, Unfit):
        return _unfit(label, cause.expected, node, secret=secret)
    if detail["type"] == "literal_error":
        return _unfit_choice(
            label, re.findall("'([^']*)'|([0-9]+)", detail["ctx"]["expected"]), node
        )
    if detail["type"] == "too_long":
        return f"{label} has more than {detail['ctx']['max_length']} entries", None
    if detail["type"] == "too_short":
        return f"{label} is empty", "there must be at least one"
    return _unfit(label, _EXPECTED.get(detail["type"], "something else"), node, secret=secret)


def _unfit(label: str, expected: str, node: Node | None, *, secret: bool) -> tuple[str, str | None]:
    if isinstance(node, ScalarNode) and node.plain and not node.text:
        return f"{label} has no value: it must be {expected}", "write one, or remove the key"
    if secret or not isinstance(node, ScalarNode):
        found = f", and this is {kind_of(node)}" if node else ""
        return f"{label} must be {expected}{found}", None
    made = surprise(node) or f"{shown(node.text)} is a text to YAML"
    return f"{label} must be {expected}, and {made}", _rewrite(expected, node)


def _rewrite(expected: str, node: ScalarNode) -> str | None:
    if expected == "true or false":
        meant = {"yes": "true", "on": "true", "no": "false", "off": "false"}
        lowered = node.text.lower()
        word = meant.get(lowered, lowered if lowered in {"true", "false"} else None)
        return f"write {word}" if word else None
    if expected == "a list":
        return f"write [{node.text}]" if len(node.text) < LONGEST_QUOTE else None
    if expected.startswith(("a text", "a name", "a column", "an id")) and surprise(node):
        return (
            f'if the text is meant, put it in quotes: "{node.text}"'
            if len(node.text) < LONGEST_QUOTE
            else None
        )
    return None


def _unfit_choice(
    label: str, found: list[tuple[str, str]], node: Node | None
) -> tuple[str, str | None]:
    choices = [word or number for word, number in found]
    expected = (
        " or ".join(choices) if len(choices) < 3 else ", ".join(choices[:-1]) + " or " + choices[-1]
    )
    if isinstance(node, ScalarNode) and not surprise(node):
        return f"{label} must be {expected}, not {shown(node.text)}", None
    if label == "`version`":
        return f"{label} must be {expected}", "another one needs another segsync"
    return _unfit(label, expected, node, secret=False)


def _unknown(key: str, model: type[BaseModel]) -> tuple[str, str | None]:
    hint = nearest(key, model.model_fields)
    if (synonym := _SYNONYMS.get(key)) in model.model_fields:
        hint = f"did you mean {shown(synonym)}?"
    if not hint or not hint.startswith("did"):
        homes = [home for home, owner in _HOMES.items() if key in owner.model_fields]
        hint = f"it belongs under {homes[0]}" if homes else hint
    return f"{shown(key)} is not a key that is known here", hint


def _model_at(kind: Any, path: Path) -> type[BaseModel]:
    """The model that holds the keys at `path` below `kind`."""
    for step in path:
        fields = getattr(kind, "model_fields", {})
        kind = fields[step].annotation if step in fields else get_args(kind)[-1]
    model: type[BaseModel] = kind
    return model
