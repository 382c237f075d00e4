"""Tables of names and numbers, fitted into the width there is."""

from __future__ import annotations

from collections.abc import Sequence

from segsync.render.lines import Line, Span, Style, left, line, right
from segsync.render.printable import shorten, width

GAP = "  "
NOTHING = "–"
SHORTEST_NAME = 12


def number(value: int) -> str:
    """1,234, and a dash for none: zeros would hide the figures that matter."""
    return f"{value:,}" if value else NOTHING


def columns_of(
    headings: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]], columns: int
) -> list[Line]:
    """A heading and rows: a name at the left, which is shortened first, and cells at the right."""
    cells = [width(heading) for heading in headings[1:]]
    for _, texts in rows:
        cells = [max(cell, width(text)) for cell, text in zip(cells, texts, strict=True)]
    longest = max(width(text) for text in (headings[0], *(name for name, _ in rows)))
    room = columns - sum(cells) - len(GAP) * len(cells)
    first = min(longest, max(room, SHORTEST_NAME))
    listed = [_row(headings[0], headings[1:], first, cells)]
    listed += [_row(name, texts, first, cells) for name, texts in rows]
    heading, *others = listed
    return [line(Span(heading, Style.STRONG)), *(line(item) for item in others)]


def _row(name: str, texts: Sequence[str], first: int, cells: Sequence[int]) -> str:
    padded = (GAP + right(text, cell) for text, cell in zip(texts, cells, strict=True))
    return left(shorten(name, first), first) + "".join(padded)
