"""Texts that are not ours, made fit to be shown: no control characters, no identities."""

from __future__ import annotations

import unicodedata

from segsync.model import IdentifierKind
from segsync.printable import printable

__all__ = ["mask", "printable", "shorten", "width"]

ELLIPSIS = "…"
SHORTEST_HASH = 32


def mask(identifier: str, kind: IdentifierKind | None = None) -> str:
    """Enough of an identifier to recognise one that is known, too little to find one that is not.

    Two characters of each end, where eight or more are there; one from five on, the first alone
    below, nothing of fewer than three. Of an e-mail hash the first six.
    """
    length = len(identifier)
    if kind is IdentifierKind.EMAIL_HASH and length >= SHORTEST_HASH:
        return identifier[:6] + ELLIPSIS
    if length < 3:
        return ELLIPSIS
    ends = 2 if length >= 8 else 1
    return identifier[:ends] + ELLIPSIS + (identifier[-ends:] if length >= 5 else "")


def width(text: str) -> int:
    """The terminal cells that `text` takes."""
    return len(text) if text.isascii() else sum(map(_cells, text))


def _cells(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def shorten(text: str, most: int) -> str:
    """`text` in at most `most` cells, with … in its middle: names differ at both ends."""
    if width(text) <= most:
        return text
    if most < 2:
        return ELLIPSIS[:most]
    head = _cut(text, most // 2)
    tail = _cut(text[::-1], most - 1 - width(head))[::-1]
    return head + ELLIPSIS + tail


def _cut(text: str, most: int) -> str:
    used = 0
    for index, char in enumerate(text):
        used += _cells(char)
        if used > most:
            return text[:index]
    return text
