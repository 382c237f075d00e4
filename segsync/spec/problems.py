"""Places, and the collection of everything that is wrong in a spec."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

from segsync.errors import Problem, SpecError
from segsync.printable import printable
from segsync.secret import Redactor

MOST_SHOWN = 100
"""More problems than this help nobody, and a hostile file could ask for a million of them."""
LONGEST_QUOTE = 60


@dataclass(frozen=True, slots=True)
class Place:
    """A character of a file; line and column count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class Hidden(str):
    """A text that came from the environment, at least in part: no message may quote it."""

    __slots__ = ()


class Wrong(ValueError):
    """A value that cannot be used: what is wrong with it, and what to do."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Unfit(ValueError):
    """A value of another kind than expected; its place knows how it was written."""

    def __init__(self, expected: str) -> None:
        super().__init__(expected)
        self.expected = expected


class Problems:
    """What is wrong so far, and the secrets that no message may show."""

    def __init__(self) -> None:
        self._found: list[Problem] = []
        self._secrets: set[str] = set()

    def __bool__(self) -> bool:
        return bool(self._found)

    def add(self, place: Place, message: str, hint: str | None = None) -> None:
        """Note a problem. Raises SpecError once there are too many to go on."""
        file = printable(place.file)
        hint = printable(hint) if hint else None
        problem = Problem(file, place.line, place.column, printable(message), hint)
        if problem in self._found:
            return
        self._found.append(problem)
        if len(self._found) >= MOST_SHOWN:
            self._found.append(
                Problem(place.file, place.line, place.column, "too many problems: stopped here")
            )
            self.fail()

    def hide(self, secrets: Iterable[str]) -> None:
        """Keep these texts out of every message, whoever wrote it."""
        self._secrets.update(secrets)

    def fail(self) -> NoReturn:
        """Raise SpecError with all problems."""
        redact = Redactor(self._secrets)
        raise SpecError(
            [
                Problem(p.file, p.line, p.column, redact(p.message), p.hint and redact(p.hint))
                for p in self._found
            ]
        )


def shown(text: str) -> str:
    """`text` in backticks, short and printable, without what looks like a URL's password.

    Not a text from the environment: any of them may be a secret.
    """
    if isinstance(text, Hidden):
        return "its value"
    text = re.sub(r":/+\S*@", "://***@", text)
    short = text if len(text) <= LONGEST_QUOTE else text[: LONGEST_QUOTE - 1] + "…"
    return f"`{printable(short)}`"


def nearest(word: str, names: Iterable[str], *, likeness: float = 0.6) -> str | None:
    """A hint that names the name that `word` was probably meant to be, or all of a few."""
    known = sorted(set(names))
    lowered = {name.lower(): name for name in known}
    close = difflib.get_close_matches(word[:LONGEST_QUOTE].lower(), lowered, n=1, cutoff=likeness)
    if close:
        return f"did you mean {shown(lowered[close[0]])}?"
    if 0 < len(known) <= 16:
        return "known: " + ", ".join(shown(name) for name in known)
    return None
