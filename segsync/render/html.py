"""A plan as one HTML page: no script, nothing from elsewhere, readable in a mail or an artifact."""

from __future__ import annotations

from segsync.plan import Plan
from segsync.render.escaping import as_html
from segsync.render.explain import Examples, Trouble
from segsync.render.notes import Surroundings
from segsync.render.outline import CHANGES, Detail, Outline, Row, outline

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #8884; }
th:first-child, td:first-child, td.note { text-align: left; overflow-wrap: anywhere; }
td { font-variant-numeric: tabular-nums; }
td.note, .blocked, .error { color: #c00; font-weight: 600; }
section { border-left: 3px solid #8886; padding-left: 1rem; margin: 1.2rem 0; }
section.blocked, section.error { border-color: #c00; color: inherit; font-weight: inherit; }
code { overflow-wrap: anywhere; }
.verdict { font-size: 1.15rem; }
"""
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def plan_html(plan: Plan, around: Surroundings, *, show_ids: bool) -> str:
    """The plan as a whole document."""
    content = outline(plan, around, show_ids=show_ids)
    title = as_html(content.title)
    body = "\n".join(
        (
            f"<h1>{title}</h1>",
            *(f"<p><strong>{as_html(note)}</strong></p>" for note in content.notes),
            _table(content),
            *(_detail(item) for item in content.details),
            *(_trouble(item) for item in content.troubles),
            f'<p class="verdict"><strong>{as_html(content.verdict)}</strong> '
            f"{as_html(content.effort)}</p>",
        )
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{as_html(_POLICY)}">\n'
        '<meta name="viewport" content="width=device-width">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n{body}\n"
        "</body>\n</html>\n"
    )


def _table(content: Outline) -> str:
    symbols = "".join(f'<th title="{word}">{symbol}</th>' for symbol, word in CHANGES)
    rows = "\n".join(_row(row) for row in content.rows)
    total = "".join(f"<td>{number:,}</td>" for number in content.total)
    return (
        f"<table>\n<thead><tr><th>segment</th><th>now</th><th>after</th>{symbols}"
        f"<th>unchanged</th></tr></thead>\n<tbody>\n{rows}\n</tbody>\n"
        f"<tfoot><tr><th>total</th><td></td><td></td>{total}</tr></tfoot>\n</table>"
    )


def _row(row: Row) -> str:
    members = "".join(f"<td>{'–' if n is None else f'{n:,}'}</td>" for n in (row.now, row.after))
    if row.changes is None:
        cells = f'<td class="note" colspan="5">{as_html(row.note or "")}</td>'
    else:
        numbers = (*row.changes, row.unchanged)
        cells = "".join(f"<td>{f'{n:,}' if n else '–'}</td>" for n in numbers)
    return f"<tr><td>{as_html(row.name)}</td>{members}{cells}</tr>"


def _detail(detail: Detail) -> str:
    facts = [f"<li>{as_html(fact)}</li>" for fact in detail.facts]
    return _section(as_html(detail.name), "", facts + _examples(detail.examples))


def _trouble(trouble: Trouble) -> str:
    title = f"{as_html(trouble.name)} {as_html(trouble.title)}"
    items = [f"<li>{as_html(text)}</li>" for text in trouble.messages]
    items += _examples(trouble.examples)
    items += [f"<li><strong>→ {as_html(text)}</strong></li>" for text in trouble.remedies]
    place = f"<p>at <code>{as_html(trouble.place)}</code></p>" if trouble.place else ""
    return _section(title, place, items, trouble.status.value)


def _examples(groups: tuple[Examples, ...]) -> list[str]:
    return [
        f"<li><code>{as_html(group.symbol)}</code> {as_html(group.reason)}: {as_html(group.kind)} "
        + ", ".join(f"<code>{as_html(subject)}</code>" for subject in group.subjects if subject)
        + "</li>"
        for group in groups
    ]


def _section(title: str, place: str, items: list[str], kind: str = "ok") -> str:
    listed = "\n".join(items)
    return f'<section class="{kind}">\n<h2>{title}</h2>\n{place}<ul>\n{listed}\n</ul>\n</section>'
