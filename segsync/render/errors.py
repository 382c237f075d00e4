"""An error as the lines that a user sees: what, where, what to do next."""

from __future__ import annotations

from segsync.errors import SegsyncError, SpecError
from segsync.render import figures
from segsync.render.lines import Line, Span, Style, line, wrapped
from segsync.render.printable import printable


def error_lines(error: SegsyncError, columns: int) -> list[Line]:
    """`Error: …` with its place, and a `hint:` line. Of a spec every problem has a line."""
    if isinstance(error, SpecError):
        return _problems(error)
    return message_lines(str(error), error.hint, columns)


def message_lines(message: str, hint: str | None, columns: int) -> list[Line]:
    """An error and its hint."""
    first, *others = [text for text in message.splitlines() if text.strip()] or ["unknown error"]
    rows = _labelled("Error: ", printable(first), columns, Style.ERROR)
    for text in others:
        rows += wrapped(printable(text), columns, indent="  ")
    return rows + (_labelled("hint: ", printable(hint), columns, Style.STRONG) if hint else [])


def _labelled(label: str, text: str, columns: int, style: Style) -> list[Line]:
    first, *others = wrapped(text, columns, indent="  ", first=" " * len(label))
    head = first.plain.strip() if first.spans else ""
    return [line(Span(label, style), head), *others]


def _problems(error: SpecError) -> list[Line]:
    rows = []
    for problem in error.problems:
        place = printable(f"{problem.file}:{problem.line}:{problem.column}: ")
        rows.append(line(Span(place, Style.STRONG), printable(problem.message)))
        if problem.hint:
            rows.append(line("  ", Span("hint: ", Style.STRONG), printable(problem.hint)))
    total = figures.plural(len(error.problems), "problem")
    return [*rows, line(Span("Error: ", Style.ERROR), f"the spec has {total}")]
