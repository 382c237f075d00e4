"""A plan as Markdown for a pull request's comment: never longer than GitHub takes."""

from __future__ import annotations

from collections.abc import Sequence

from segsync.plan import Plan
from segsync.render.escaping import markdown_code, markdown_prose
from segsync.render.explain import Examples, Trouble
from segsync.render.notes import Surroundings
from segsync.render.outline import CHANGES, Detail, Outline, Row, outline

LONGEST = 60_000
"""Characters; GitHub refuses a comment of more than 65,536."""
_TROUBLE_SHARE = 0.5
_ROWS_SHARE = 0.6
_LONGEST_BLOCK = 4_000


def plan_markdown(plan: Plan, around: Surroundings, *, show_ids: bool) -> str:
    """The plan in at most LONGEST characters: what does not fit is counted.

    What the reader must not miss is allotted its room first: the verdict, then the troubles, then
    the summary, then the examples.
    """
    content = outline(plan, around, show_ids=show_ids)
    head, end = _head(content), _end(content)
    room = LONGEST - len(head) - len(end) - 500
    troubles = _fit([_trouble(item) for item in content.troubles], int(room * _TROUBLE_SHARE))
    room -= len(troubles)
    table = _table(content, int(room * _ROWS_SHARE))
    room -= len(table)
    details = _fit([_detail(item) for item in content.details], room)
    folded = f"<details><summary>Examples</summary>\n\n{details}\n</details>\n" if details else ""
    return "\n".join(filter(None, (head, table, folded, troubles, end)))


def _head(content: Outline) -> str:
    notes = "".join(f"\n> **{markdown_prose(note)}**\n" for note in content.notes)
    return f"### {markdown_prose(content.title)}\n{notes}"


def _end(content: Outline) -> str:
    effort = f" {markdown_prose(content.effort)}" if content.effort else ""
    return f"**{markdown_prose(content.verdict)}**{effort}\n"


def _fit(blocks: Sequence[str], room: int) -> str:
    """As many blocks as there is room for, and how many there are besides."""
    taken, used = 0, 0
    for block in blocks:
        if used + len(block) > room:
            break
        used += len(block)
        taken += 1
    return "".join(blocks[:taken]) + _more(len(blocks) - taken)


def _more(left: int) -> str:
    return f"\n… {left:,} more segment{'s' if left > 1 else ''}\n" if left else ""


def _table(content: Outline, room: int) -> str:
    symbols = "".join(f" {symbol} |" for symbol, _ in CHANGES)
    heading = f"| segment | now | after |{symbols} unchanged |\n|:--|--:|--:|--:|--:|--:|--:|--:|\n"
    total = "".join(f" {number:,} |" for number in content.total)
    footer = f"| **total** | | |{total}\n" if len(content.rows) > 1 else ""
    rows = _fit([_row(row) for row in content.rows], room - len(heading) - len(footer) - 100)
    inside, more, rest = rows.partition("\n…")
    inside += "\n" if more else ""
    return heading + inside + footer + (f"\n…{rest}" if more else "")


def _row(row: Row) -> str:
    name = markdown_prose(row.name) if row.status is None else markdown_code(row.name)
    members = "".join("  |" if n is None else f" {n:,} |" for n in (row.now, row.after))
    if row.changes is None:
        return f"| {name} |{members} **{markdown_prose(row.note or '')}** | | | | |\n"
    numbers = (*row.changes, row.unchanged)
    return f"| {name} |{members}" + "".join(f" {n:,} |" if n else "  |" for n in numbers) + "\n"


def _detail(detail: Detail) -> str:
    facts = "".join(f"- {markdown_prose(fact)}\n" for fact in detail.facts)
    return _cut(f"\n**{markdown_code(detail.name)}**\n\n{facts}{_examples(detail.examples)}")


def _examples(groups: tuple[Examples, ...]) -> str:
    return "".join(
        f"- {markdown_code(group.symbol)} {markdown_prose(group.reason)}: {group.kind} "
        + ", ".join(markdown_code(subject) for subject in group.subjects if subject)
        + "\n"
        for group in groups
    )


def _trouble(trouble: Trouble) -> str:
    place = f" ({markdown_code(trouble.place)})" if trouble.place else ""
    messages = "".join(f"- {markdown_code(text)}\n" for text in trouble.messages)
    remedies = "".join(f"- → **{markdown_prose(text)}**\n" for text in trouble.remedies)
    title = f"\n#### ⚠ {markdown_code(trouble.name)} {markdown_prose(trouble.title)}{place}\n\n"
    return _cut(f"{title}{messages}{_examples(trouble.examples)}{remedies}")


def _cut(block: str) -> str:
    """A block of whole lines; one segment alone must not use up the comment."""
    if len(block) <= _LONGEST_BLOCK:
        return block
    kept, used = [], 0
    for row in block.splitlines(keepends=True):
        if used + len(row) > _LONGEST_BLOCK:
            continue
        kept.append(row)
        used += len(row)
    return "".join(kept) + "- … shortened\n"
