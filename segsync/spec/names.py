"""Names, ids, columns and the token: texts that must fit where they will stand."""

from __future__ import annotations

import re
import unicodedata

from segsync.source.columns import RESERVED
from segsync.spec.problems import Unfit, Wrong, shown

LONGEST_NAME = 255
LARGEST_TOKEN = 10 * 1024
_INVISIBLE = {"Cc", "Cf", "Cs", "Zl", "Zp"}


def name(value: object) -> str:
    """The technical name of a segment. Raises Wrong or Unfit."""
    return _visible(value, "a name")


def column(value: object) -> str:
    """The name of a column. Raises Wrong or Unfit."""
    text = _visible(value, "a column's name")
    if text.lower() in RESERVED:
        raise Wrong(
            f"{shown(text)} has a meaning of its own and cannot be a part of the data bag",
            "give the column another name in the query: … AS another_name",
        )
    return text


def source_name(value: object) -> str:
    """The name of a source. Raises Wrong."""
    if not isinstance(value, str):
        raise Unfit("the name of a source")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_-]{0,63}", value):
        # Not quoted: a URL that lost its key could stand here, password and all.
        raise Wrong(
            "the name of a source is made of letters, digits, `_` and `-`",
            "write it as NAME: ${NAME_URL}",
        )
    return value


def parameter_name(value: object) -> str:
    """The name of a query's parameter. Raises Wrong."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", value):
        raise Wrong(
            f"{shown(str(value))} cannot be a parameter's name",
            "use letters, digits and `_`, and no digit first",
        )
    return value


def identifier(value: object) -> str:
    """An id of the platform, written as a text or as an integer. Raises Wrong or Unfit."""
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise Unfit("an id: a text or an integer")
    text = value if isinstance(value, str) else str(value)
    _refuse_reference(text)
    if not re.fullmatch("0|[1-9][0-9]{0,18}", text):
        raise Wrong(f"{shown(text)} is not an id", "ids of the platform are digits, like 1509")
    return str(text)


def text(value: object) -> str:
    """Any text with something in it. Raises Wrong or Unfit."""
    if not isinstance(value, str):
        raise Unfit("a text")
    if not value.strip():
        raise Wrong("there is nothing in this text")
    return value


def token(value: str, variables: str) -> str:
    """An API token, stripped; `variables` names where it is from. Raises Wrong, not showing it."""
    stripped = value.strip()
    if not stripped:
        raise Wrong(f"the API token is empty: {variables}", "put the token in it")
    if len(stripped.encode("utf-8", "surrogatepass")) > LARGEST_TOKEN:
        raise Wrong(f"the API token is larger than 10 KB: {variables}", "is it the right variable?")
    if bad := re.search(r"[^\x21-\x7e]", stripped):
        raise Wrong(
            f"character {bad.start() + 1} of the API token is a space, a control character or not"
            f" ASCII: {variables}",
            "copy the token again, without quotes or line breaks",
        )
    return stripped


def _visible(value: object, what: str) -> str:
    if not isinstance(value, str):
        raise Unfit(what)
    if not value or value != value.strip():
        raise Wrong(f"{shown(value)} cannot be {what}", "no spaces at its ends, and not empty")
    if len(value) > LONGEST_NAME:
        raise Wrong(f"{shown(value)} is longer than {LONGEST_NAME} characters")
    for character in value:
        if unicodedata.category(character) in _INVISIBLE:
            code = f"U+{ord(character):04X}"
            raise Wrong(f"{what} has the invisible character {code} in it: {shown(value)}")
    _refuse_reference(value)
    return value


def _refuse_reference(value: str) -> None:
    if "${" in value:
        raise Wrong(
            f"{shown(value)}: variables are not replaced here",
            "${…} works in destination, sources, state and the values of params",
        )
