"""The summary table of a plan, fitted into the width there is."""

from __future__ import annotations

from collections.abc import Callable

from segsync.plan import SegmentStatus
from segsync.render import figures
from segsync.render.lines import Line, Span, Style, left, line, right
from segsync.render.outline import CHANGES, Outline, Row
from segsync.render.printable import shorten, width

SHORTEST_NAME = 12
GAP = "  "
NOTHING = "–"
_STYLES = (Style.ADD, Style.UPDATE, Style.RENEW, Style.REMOVE)
_HEADINGS = ("now", "after", *(symbol for symbol, _ in CHANGES), "unchanged")


def table(content: Outline, columns: int) -> list[Line]:
    """Heading, one row a segment, and the sums.

    Where it is too narrow, names lose their middle first, then `unchanged` goes, then the figures
    are rounded: the exact ones are in the last lines of the plan.
    """
    longest = max([width(row.name) for row in content.rows] + [width("segment")])
    for write, count in (
        (figures.count, 7),
        (figures.count, 6),
        (figures.short_count, 7),
        (figures.short_count, 6),
    ):
        cells = [_cells(row, write)[:count] for row in content.rows]
        total = ("", "", *map(write, content.total))[:count]
        widths = _widths([*cells, total], count)
        room = columns - sum(widths) - len(GAP) * count
        if room >= min(longest, SHORTEST_NAME):
            break
    name_width = max(min(longest, room), min(longest, SHORTEST_NAME))
    rows = [_heading(name_width, widths)]
    rows += [
        _row(row, entries, name_width, widths)
        for row, entries in zip(content.rows, cells, strict=True)
    ]
    return [*rows, _total(total, name_width, widths)] if len(content.rows) > 1 else rows


def _cells(row: Row, write: Callable[[int], str]) -> tuple[str, ...]:
    members = tuple(NOTHING if number is None else write(number) for number in (row.now, row.after))
    if row.changes is None:
        return members
    return (*members, *(write(n) if n else NOTHING for n in (*row.changes, row.unchanged)))


def _widths(rows: list[tuple[str, ...]], count: int) -> list[int]:
    widths = [width(heading) for heading in _HEADINGS[:count]]
    for row in rows:
        for index, cell in enumerate(row):
            widths[index] = max(widths[index], width(cell))
    return widths


def _heading(name_width: int, widths: list[int]) -> Line:
    cells = [GAP + right(text, cell) for text, cell in zip(_HEADINGS, widths, strict=False)]
    return line(Span(left("segment", name_width) + "".join(cells), Style.STRONG))


def _row(row: Row, cells: tuple[str, ...], name_width: int, widths: list[int]) -> Line:
    spans = [Span(left(shorten(row.name, name_width), name_width))]
    for index, text in enumerate(cells):
        style = _STYLES[index - 2] if 2 <= index < 6 and text != NOTHING else Style.PLAIN
        spans.append(Span(GAP + right(text, widths[index]), style))
    if row.note:
        held = row.status in (SegmentStatus.BLOCKED, SegmentStatus.ERROR)
        spans.append(Span(GAP + row.note, Style.ERROR if held else Style.WARNING))
    return Line(tuple(spans))


def _total(cells: tuple[str, ...], name_width: int, widths: list[int]) -> Line:
    padded = [GAP + right(text, cell) for text, cell in zip(cells, widths, strict=True)]
    return line(Span(left("total", name_width) + "".join(padded), Style.STRONG))
