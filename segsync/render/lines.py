"""Lines of styled spans: what the text renderers make and the terminal prints."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable
from enum import Enum
from typing import NamedTuple

from segsync.render.printable import width


class Style(Enum):
    """What a span is; the terminal decides on its colour."""

    PLAIN = "plain"
    STRONG = "strong"
    DIM = "dim"
    ADD = "add"
    UPDATE = "update"
    RENEW = "renew"
    REMOVE = "remove"
    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


class Span(NamedTuple):
    """A piece of a line."""

    text: str
    style: Style = Style.PLAIN


class Line(NamedTuple):
    """One line of output, without its end."""

    spans: tuple[Span, ...] = ()

    @property
    def plain(self) -> str:
        """The line without styles."""
        return "".join(span.text for span in self.spans)


EMPTY = Line()
_BINDING = "\0"
_FLAG = re.compile(r"(--[a-z][a-z-]*) (?=\S)")


def line(*parts: str | Span) -> Line:
    """A line from spans and plain texts."""
    return Line(tuple(part if isinstance(part, Span) else Span(part) for part in parts if part))


def wrapped(
    text: str,
    columns: int,
    *,
    indent: str = "",
    first: str | None = None,
    style: Style = Style.PLAIN,
) -> list[Line]:
    """A paragraph within `columns` cells; names, paths, and flags with their value stay whole."""
    room = max(columns - width(indent), 20)
    bound = _FLAG.sub(lambda match: f"{match.group(1)}{_BINDING}", text)
    rows = [
        row.replace(_BINDING, " ")
        for row in textwrap.wrap(bound, room, break_long_words=False, break_on_hyphens=False)
    ] or [""]
    heads = [indent if first is None else first] + [indent] * (len(rows) - 1)
    return [line(head, Span(row, style)) for head, row in zip(heads, rows, strict=True)]


def right(text: str, cells: int) -> str:
    """`text` pushed to the right of a column."""
    return " " * (cells - width(text)) + text


def left(text: str, cells: int) -> str:
    """`text` at the left of a column."""
    return text + " " * (cells - width(text))


def plain(lines: Iterable[Line]) -> str:
    """Lines as one text without styles; the spaces at line ends are dropped."""
    return "".join(item.plain.rstrip() + "\n" for item in lines)
