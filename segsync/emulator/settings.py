"""Settings by name, from JSON or a command line, checked against the types of a dataclass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

Decided = TypeVar("Decided")


class WrongOption(ValueError):
    """A switch, fault or other setting that does not exist or cannot take this value."""


def with_settings(current: Decided, settings: Mapping[str, Any]) -> Decided:
    """`current`, a dataclass, with `settings` applied; names and types are checked.

    Raises WrongOption.
    """
    hints = get_type_hints(type(current))
    names = {field.name for field in fields(current)}  # type: ignore[arg-type]  # any dataclass
    for name, value in settings.items():
        if name not in names:
            raise WrongOption(f"{name}: no such setting; there are {', '.join(sorted(names))}")
        if not fits(value, hints[name]):
            raise WrongOption(f"{name}: {value!r} does not fit {describe(hints[name])}")
    return replace(current, **settings)  # type: ignore[type-var]  # checked by fields() above


def with_words(current: Decided, words: Iterable[str]) -> Decided:
    """`current` with settings from a command line, each `name=value`. Raises WrongOption."""
    hints = get_type_hints(type(current))
    settings = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise WrongOption(f"{word!r} is not of the form name=value")
        readings = [value for value in meanings(text) if fits(value, hints.get(name, Any))]
        settings[name] = readings[0] if readings else text
    return with_settings(current, settings)


def described(current: Any) -> list[str]:
    """Each setting of a dataclass with its values, for a help text."""
    hints = get_type_hints(type(current))
    return [
        f"{field.name}={getattr(current, field.name)}  ({describe(hints[field.name])})"
        for field in fields(current)
    ]


def meanings(text: str) -> list[Any]:
    """What a word of a command line may mean, plain text last."""
    number = [int(text)] if text.removeprefix("-").isdecimal() else []
    words: dict[str, list[Any]] = {"true": [True], "false": [False], "none": [None]}
    return [*number, *words.get(text.lower(), []), text]


def fits(value: Any, kind: Any) -> bool:
    """Whether a JSON value may stand for a field of type `kind`."""
    origin = get_origin(kind)
    if origin is Literal:
        return any(value == word and type(value) is type(word) for word in get_args(kind))
    if origin is tuple:
        return isinstance(value, (list, tuple)) and all(
            fits(item, get_args(kind)[0]) for item in value
        )
    if origin is not None and issubclass_safe(origin, Mapping):
        return isinstance(value, dict)
    if get_args(kind):
        return any(fits(value, one) for one in get_args(kind))
    if kind is float:
        return type(value) in (int, float)
    return kind is Any or type(value) is kind


def issubclass_safe(kind: Any, parent: type) -> bool:
    """issubclass for what may be no class at all, such as a union."""
    return isinstance(kind, type) and issubclass(kind, parent)


def describe(kind: Any) -> str:
    """A type as the texts for the user name it."""
    if get_origin(kind) is Literal:
        return " | ".join(repr(word) for word in get_args(kind))
    if get_args(kind):
        return " | ".join(describe(one) for one in get_args(kind))
    return "none" if kind is type(None) else str(getattr(kind, "__name__", kind))
