"""A plan as text for a terminal: the summary, what stands out, the troubles, the verdict."""

from __future__ import annotations

from segsync.plan import Plan, SegmentStatus
from segsync.render.explain import Examples, Trouble
from segsync.render.lines import EMPTY, Line, Span, Style, line, wrapped
from segsync.render.notes import Surroundings
from segsync.render.outline import Detail, Outline, outline
from segsync.render.plan_table import table

SYMBOL_STYLES = {
    "+": Style.ADD,
    "~": Style.UPDATE,
    "↻": Style.RENEW,
    "−": Style.REMOVE,
    "invalid": Style.WARNING,
    "conflict": Style.WARNING,
}
STATUS_STYLES = {
    SegmentStatus.BLOCKED: Style.ERROR,
    SegmentStatus.ERROR: Style.ERROR,
    SegmentStatus.ORPHANED: Style.WARNING,
    SegmentStatus.REMOVED: Style.REMOVE,
}


def plan_text(plan: Plan, around: Surroundings, *, columns: int, show_ids: bool) -> list[Line]:
    """The whole of a plan for the terminal."""
    content = outline(plan, around, show_ids=show_ids)
    rows = [line(Span(content.title, Style.STRONG))]
    for note in content.notes:
        rows += [EMPTY, *_note(note, columns)]
    if content.rows:
        rows += [EMPTY, *table(content, columns)]
    for detail in content.details:
        rows += _detail(detail, columns)
    for trouble in content.troubles:
        rows += _trouble(trouble, columns)
    return [*rows, EMPTY, *_verdict(content, columns)]


def verdict_text(plan: Plan, around: Surroundings, *, columns: int) -> list[Line]:
    """The notes and the last lines of a plan alone."""
    content = outline(plan, around, show_ids=False)
    notes = [row for note in content.notes for row in _note(note, columns)]
    return [*notes, *_verdict(content, columns)]


def _note(note: str, columns: int) -> list[Line]:
    return wrapped(note, columns, indent="  ", first="! ", style=Style.WARNING)


def _detail(detail: Detail, columns: int) -> list[Line]:
    rows = [EMPTY, line(Span(detail.name, Style.STRONG))]
    for fact in detail.facts:
        rows += wrapped(fact, columns, indent="    ", first="  • ")
    return rows + _examples(detail.examples, columns)


def _examples(groups: tuple[Examples, ...], columns: int) -> list[Line]:
    rows = []
    for group in groups:
        style = SYMBOL_STYLES.get(group.symbol, Style.DIM)
        subjects = ", ".join(filter(None, group.subjects))
        text = " ".join(filter(None, (f"{group.reason}:", group.kind, subjects)))
        first, *others = wrapped(text, columns - len(group.symbol) - 1, indent="  ", first="")
        rows.append(line("  ", Span(group.symbol, style), " ", *first.spans))
        rows += [line("    ", *item.spans[1:]) for item in others]
    return rows


def _trouble(trouble: Trouble, columns: int) -> list[Line]:
    style = STATUS_STYLES[trouble.status]
    mark = "✗" if style is Style.ERROR else "!"
    rows = [EMPTY, *wrapped(f"{trouble.name} {trouble.title}", columns, indent="  ",
                            first=f"{mark} ", style=style)]  # fmt: skip
    if trouble.place:
        rows.append(line("  ", Span(f"at {trouble.place}", Style.DIM)))
    for message in trouble.messages:
        rows += wrapped(message, columns, indent="  ")
    rows += _examples(trouble.examples, columns)
    for remedy in trouble.remedies:
        rows += wrapped(remedy, columns, indent="    ", first="  → ", style=Style.STRONG)
    return rows


def _verdict(content: Outline, columns: int) -> list[Line]:
    good = content.quiet and not content.troubles
    rows = wrapped(content.verdict, columns, style=Style.GOOD if good else Style.STRONG)
    return rows + (wrapped(content.effort, columns) if content.effort else [])
