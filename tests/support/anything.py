"""A value of a type, drawn by chance: Hypothesis takes long for a large one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import cache
from random import Random
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

LETTERS = "ab \"'\\/\n\r\t\0\x1b\x7f\x85é\u0301\u202e\u2028\ufeff\uffff😀"
NUMBERS = (0, 1, -1, 2**31, 2**53 + 1, 2**63 - 1, -(2**63), 10**30)
MOST = 3
"""How many there are of what there may be any number of."""


def anything(kind: Any, random: Random) -> Any:
    """A value of this type: a data class, a container, or a plain one."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        return random.choice(list(kind))
    if is_dataclass(kind):
        return _of_class(kind, random)
    origin, parameters = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return anything(random.choice(parameters), random)
    if origin is Literal:
        return random.choice(parameters)
    if origin is tuple:
        return _some(parameters, random)
    if origin is Mapping:
        keys, values = parameters
        count = random.randrange(MOST)
        return {anything(keys, random): anything(values, random) for _ in range(count)}
    return _plain(kind, random)


def _of_class(kind: Any, random: Random) -> Any:
    return kind(**{name: anything(each, random) for name, each in _fields(kind)})


@cache
def _fields(kind: Any) -> tuple[tuple[str, Any], ...]:
    hints = get_type_hints(kind)
    return tuple((field.name, hints[field.name]) for field in fields(kind) if field.init)


def _some(parameters: tuple[Any, ...], random: Random) -> tuple[Any, ...]:
    if parameters[1:] == (...,):
        return tuple(anything(parameters[0], random) for _ in range(random.randrange(MOST + 1)))
    return tuple(anything(each, random) for each in parameters)


def _plain(kind: Any, random: Random) -> Any:
    if kind is NoneType:
        return None
    if kind is bool:
        return random.random() < 0.5
    if kind is int:
        return random.choice((*NUMBERS, random.randrange(2**62)))
    if kind is float:
        return random.choice((0.0, 0.1, 1e300, random.random()))
    assert kind is str, f"no value of {kind} is known"
    return "".join(random.choices(LETTERS, k=random.randrange(9)))
