"""A database's error may quote the value of a row: somebody's identifier. It is hidden."""

from __future__ import annotations

import re

from segsync.members import hide_members
from segsync.secret import MASK

_ABOUT_NAMES = re.compile(r"Candidate \w+:|Did you mean|Perhaps you", re.IGNORECASE)
"""What follows suggests names of columns and functions, never values."""
_QUOTED = re.compile(
    r"""(?P<before>\b(?:column|key|index|constraint)\s+)?
        (?P<quoted>'(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `[^`]*`)
        | (?P<word>[^\s"'`(),;:=<>\[\]{}]*\d[^\s"'`(),;:=<>\[\]{}]*)""",
    re.VERBOSE | re.DOTALL,
)
_HARMLESS_WORD = re.compile(r"\d{1,4}[.%]?|\d{1,3}\.\d%?|[A-Z]{2,}-?\d{1,3}|U\+[0-9A-F]{4,6}")
"""A place, a code of an error, a share, a type such as INT64."""


def hide_values(text: str, query: str) -> str:
    """`text` without what may be a value: what is quoted, and words with digits, that the query
    itself does not have. What is said to be a column or a constraint is one.
    """
    names = _ABOUT_NAMES.search(text)
    end = names.start() if names else len(text)

    def hidden(found: re.Match[str]) -> str:
        if word := found["word"]:
            return word if _HARMLESS_WORD.fullmatch(word) or _has(query, word) else MASK
        before, quoted = found["before"] or "", found["quoted"]
        name = quoted[1:-1].rpartition(".")[2]
        is_name = before or not name or _has(query, name)
        return before + (quoted if is_name else MASK)

    return hide_members(_QUOTED.sub(hidden, text[:end])) + text[end:]


def _has(query: str, word: str) -> bool:
    return bool(re.search(rf"(?<!\w){re.escape(word)}(?!\w)", query, re.IGNORECASE))
