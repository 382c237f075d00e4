"""Texts that are not ours, without what a terminal would act on."""

from __future__ import annotations


def printable(text: str) -> str:
    """`text` with everything invisible as an escape: `\\x1b`, `\\u202e`, `\\U000e0041`.

    Control, format (bidi, zero width) and unassigned characters, surrogates, and all separators but
    the plain space: what Python's `str.isprintable` says no to.
    """
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)
