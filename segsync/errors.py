"""Everything that can go wrong, named by what the reader may do next.

SegsyncError                 one sentence, where it happened, what to do next
├── UsageError               the command line asks for something impossible
├── SpecError                the spec has problems; all of them at once, each with its place
├── SourceError              a query could not be read completely
├── StateError               the state file cannot be used as it is
│   ├── StateDamaged         … its content is not what was written
│   ├── StateForeign         … it belongs to another datamart or API
│   └── StateStale           … the platform has seen later runs of this lineage
├── PlanFileError            a saved plan is stale, used, edited or of another state
├── Locked                   another apply holds the state
└── DestinationError         the platform
    ├── NotSent              nothing of the request reached it: safe to try again
    ├── Refused              it answered, and the answer is no
    ├── OutcomeUnknown       it may or may not have acted
    └── ProtocolError        its answer makes no sense
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self


class SegsyncError(Exception):
    """An error whose text is fit for the user: what, where, and what to do next."""

    def __init__(self, message: str, *, hint: str | None = None, place: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


class UsageError(SegsyncError):
    """The command line asks for something impossible."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong in a spec: 1-based line and column of `file`."""

    file: str
    line: int
    column: int
    message: str
    hint: str | None = None

    def __str__(self) -> str:
        text = f"{self.file}:{self.line}:{self.column}: {self.message}"
        return f"{text} ({self.hint})" if self.hint else text


class SpecError(SegsyncError):
    """The spec has problems; `problems` holds all of them, in the order of their places."""

    def __init__(self, problems: list[Problem]) -> None:
        self.problems = tuple(sorted(problems, key=lambda p: (p.file, p.line, p.column)))
        super().__init__("\n".join(str(problem) for problem in self.problems))


class SourceError(SegsyncError):
    """A query could not be read completely; its segment must not be changed."""


class StateError(SegsyncError):
    """The state file cannot be used as it is."""


class StateDamaged(StateError):
    """The state's content is not what was written."""


class StateForeign(StateError):
    """The state belongs to another datamart or API origin."""


class StateStale(StateError):
    """The platform has seen runs of this state's lineage that the state has not: it is an old copy,
    or one of two that were both used."""


class PlanFileError(SegsyncError):
    """A saved plan is stale, already applied, edited, or made for another state."""


class Locked(SegsyncError):
    """Another process holds the state's lock."""


class DestinationError(SegsyncError):
    """Something went wrong between segsync and the platform.

    `said` is what the message has of the platform's own text, which may name members: the message
    shows it without whatever may be one's identifier.
    """

    said = ""
    _whole = ""

    def saying(self, text: str, hide: Callable[[str], str]) -> Self:
        """The same error, of whose message this is the platform's own part."""
        self.said, self._whole = text, self.message
        self.message = self.told(hide)
        self.args = (self.message,)
        return self

    def told(self, hide: Callable[[str], str]) -> str:
        """The message, with what `hide` leaves of the platform's own part."""
        return self._whole.replace(self.said, hide(self.said)) if self.said else self.message


class NotSent(DestinationError):
    """Nothing of the request reached the platform, so nothing can have happened."""


class Refused(DestinationError):
    """The platform answered, and the answer is no.

    `status` is the HTTP status, `error_id` the platform's own id of the error, if it gave one.
    """

    def __init__(
        self, message: str, *, status: int, error_id: str | None = None, hint: str | None = None
    ) -> None:
        super().__init__(message, hint=hint)
        self.status = status
        self.error_id = error_id


class OutcomeUnknown(DestinationError):
    """The platform may or may not have acted on the request."""


class ProtocolError(DestinationError):
    """The platform's answer makes no sense, so nothing may be concluded from it."""
