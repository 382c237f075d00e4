"""A plan as text for a terminal: the summary, what stands out, the troubles, the verdict."""

from __future__ import annotations

from segsync.plan import Plan, SegmentStatus
from segsync.render.lines import EMPTY, Line, Span, Style, line, wrapped
from segsync.render.outline import Detail, Example, Outline, Trouble, outline
from segsync.render.plan_table import table

SYMBOL_STYLES = {
    "+": Style.ADD,
    "~": Style.UPDATE,
    "↻": Style.RENEW,
    "−": Style.REMOVE,
    "invalid": Style.WARNING,
    "conflict": Style.WARNING,
}
_HEADLINES = {
    SegmentStatus.BLOCKED: Style.ERROR,
    SegmentStatus.ERROR: Style.ERROR,
    SegmentStatus.ORPHANED: Style.WARNING,
    SegmentStatus.REMOVED: Style.REMOVE,
}


def plan_text(plan: Plan, *, columns: int, show_ids: bool) -> list[Line]:
    """The whole of a plan for the terminal."""
    content = outline(plan, show_ids=show_ids)
    return [
        line(Span(content.title, Style.STRONG)),
        *_notes(content, columns),
        EMPTY,
        *table(content, columns),
        *(item for detail in content.details for item in _detail(detail, columns)),
        *(item for trouble in content.troubles for item in _trouble(trouble, columns)),
        EMPTY,
        *_verdict(content, columns),
    ]


def _notes(content: Outline, columns: int) -> list[Line]:
    return [
        item
        for note in content.notes
        for item in wrapped(note, columns, indent="  ", first="! ", style=Style.WARNING)
    ]


def _detail(detail: Detail, columns: int) -> list[Line]:
    return [
        EMPTY,
        line(Span(detail.name, Style.STRONG)),
        *(row for fact in detail.facts for row in wrapped(fact, columns, indent="    ", first="  • ")),
        *_examples(detail.examples),
    ]


def _examples(examples: tuple[Example, ...]) -> list[Line]:
    longest = max((len(item.symbol) for item in examples), default=0)
    return [
        line(
            "  ",
            Span(item.symbol.ljust(longest), SYMBOL_STYLES.get(item.symbol, Style.DIM)),
            f" {item.subject}  " if item.subject else " ",
            Span(item.reason, Style.DIM),
        )
        for item in examples
    ]


def _trouble(trouble: Trouble, columns: int) -> list[Line]:
    style = _HEADLINES[trouble.status]
    rows = [EMPTY, line(Span(f"✗ {trouble.name} ", style), Span(trouble.title, style))]
    if trouble.place:
        rows.append(line("  ", Span(f"at {trouble.place}", Style.DIM)))
    for message in trouble.messages:
        rows += wrapped(message, columns, indent="  ")
    rows += _examples(trouble.examples)
    for remedy in trouble.remedies:
        rows += wrapped(remedy, columns, indent="    ", first="  → ", style=Style.STRONG)
    return rows


def _verdict(content: Outline, columns: int) -> list[Line]:
    good = content.quiet and not content.troubles
    style = Style.GOOD if good else Style.STRONG
    rows = wrapped(content.verdict, columns, style=style)
    return rows + (wrapped(content.effort, columns) if content.effort else [])
