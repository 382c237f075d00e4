"""Texts that are not ours, made fit to be shown: no control characters, no identities."""

from __future__ import annotations

import unicodedata

from segsync.model import IdentifierKind

ELLIPSIS = "…"
SHORTEST_HASH = 32
_SHORT_FORMS = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def printable(text: str) -> str:
    """`text` with everything invisible as an escape: `\\x1b`, `\\u202e`, `\\U000e0041`.

    Control, format (bidi, zero width) and unassigned characters, surrogates, and all separators but
    the plain space: what Python's `str.isprintable` says no to.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else _escaped(char) for char in text)


def _escaped(char: str) -> str:
    if char in _SHORT_FORMS:
        return _SHORT_FORMS[char]
    code = ord(char)
    if code <= 0xFF:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


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
