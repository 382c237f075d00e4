"""What a database's error says to the user: its message, without what must not be shown."""

from __future__ import annotations

import re
from collections.abc import Iterable

from segsync.errors import SourceError
from segsync.model import Segment
from segsync.secret import MASK, SHORTEST_REDACTED, Redactor
from segsync.source.hiding import hide_values
from segsync.source.query import STANDARD, Lexis, parse, values_hint

_NOISE = (
    # The query as sent, with an arrow under the place: it may hold parameter values.
    r"^\s*LINE \d+:.*(?:\n.*)?",
    # DuckDB shows a text that it could not read in the same way.
    r"^.*\n\s*\^+\s*$",
    r"^(?:query: |Query was: )[\s\S]*",
    r"^\[SQL: [\s\S]*",
    r"^\(Background on this error at: .*",
    # The values of a row.
    r"^\s*DETAIL:.*",
    r"^\s*CONTEXT:.*(?:\n\t.*)*",
)
_NOISE_PATTERN = re.compile("|".join(_NOISE), re.MULTILINE)
_DRIVER_PREFIX = re.compile(
    r"^(?:[A-Z_]{2,}: )?(?:\[\w+\] )?(?:\(\w+(?:\.\w+)+\) )?"
    r"(?:Failed to (?:prepare|step|execute) query: )?(?:[^\n]*\bERROR: +)?"
)
_DRIVER_SUFFIX = re.compile(r"\s*\.?\s*SQLSTATE: \w+\s*$")
LONGEST_MESSAGE = 500


class Translator:
    """Turns what a driver raised into a SourceError that hides `secrets`.

    `where` the source is: its server, if it has one, and the `place` of its URL in the spec.
    """

    def __init__(
        self,
        source: str,
        secrets: Iterable[str],
        lexis: Lexis = STANDARD,
        *,
        server: str | None = None,
        place: str | None = None,
    ) -> None:
        self._source = source
        self._secrets = tuple(secrets)
        self._lexis = lexis
        self._server = server
        self._place = place

    def query_failed(self, segment: Segment, error: BaseException, rows: int) -> SourceError:
        """The query of `segment` failed after `rows` rows."""
        when = f" after {rows:,} rows" if rows else ""
        return SourceError(
            f"the query failed in source `{self._source}`{when}: " + self.text(error, segment),
            hint=self._query_hint(segment, error),
            place=segment.query_place,
        )

    def _query_hint(self, segment: Segment, error: BaseException) -> str | None:
        try:
            unbound = parse(segment, self._lexis).unbound
        except SourceError:
            unbound = ()
        if unbound:
            return f"Is a value meant by {', '.join(unbound)}? {values_hint(unbound)}"
        if re.search(r"permission denied|command denied|access denied", _message(error), re.I):
            return f"Let the user of source `{self._source}` read what the query names."
        if re.search(r"syntax", _message(error), re.I):
            return "Does it run by itself? It is read as a subquery: SELECT * FROM (…)."
        return None

    def not_opened(self, error: BaseException) -> SourceError:
        """There is no connection."""
        at = f" at {self._server}" if self._server else ""
        where = f"at {self._place}" if self._place else "under `sources:`"
        return SourceError(
            f"source `{self._source}` cannot be opened: {self.text(error)}",
            hint=f"Is the database{at} running, and can it be reached from here with what its URL "
            f"says? That stands {where}.",
        )

    def text(self, error: BaseException, segment: Segment | None = None) -> str:
        """The message of `error`, on one line, without secrets.

        And without what may be of a row of the segment whose query failed, or of its `params`.
        """
        original = getattr(error, "orig", None) or error
        text = _NOISE_PATTERN.sub("", _message(original))
        text = _DRIVER_SUFFIX.sub("", _DRIVER_PREFIX.sub("", text.strip(), count=1))
        text = " ".join(text.split())
        if segment:
            text = hide_values(text, segment.query)
        params = (segment.params if segment else None) or {}
        values = [str(value) for value in params.values() if value is not None]
        text = Redactor([*self._secrets, *values])(text)
        for value in values:
            if len(value) < SHORTEST_REDACTED:
                text = re.sub(rf"(['\"`]){re.escape(value)}\1", rf"\1{MASK}\1", text)
        return text[:LONGEST_MESSAGE] or type(original).__name__


def _message(error: BaseException) -> str:
    # MySQL's drivers carry (number, message).
    texts = [arg for arg in error.args if isinstance(arg, str)]
    if len(error.args) > 1 and texts:
        return texts[-1]
    return str(error)
