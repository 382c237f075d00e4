"""Texts made harmless in HTML and Markdown. They are printable already."""

from __future__ import annotations

import html
import re

_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#!|~@&:$]")
_LINKED = frozenset("@#")


def as_html(text: str) -> str:
    """`text` as the content of an element, or of a quoted attribute."""
    return html.escape(text, quote=True)


def markdown_prose(text: str) -> str:
    """`text` without a meaning to Markdown, and without mentions of people and issues."""
    return _MARKDOWN.sub(_prose_entity, text)


def markdown_code(text: str) -> str:
    """`text` as inline code, in which GitHub mentions nobody.

    An HTML element, and not backticks, because entities work in it: so the text may have backticks
    and bars in it, in a table too.
    """
    return f"<code>{_MARKDOWN.sub(_entity, text)}</code>"


def _entity(match: re.Match[str]) -> str:
    return f"&#{ord(match.group())};"


def _prose_entity(match: re.Match[str]) -> str:
    """GitHub looks for mentions after the entities are read: there the character stands alone."""
    entity = _entity(match)
    return f"<code>{entity}</code>" if match.group() in _LINKED else entity
