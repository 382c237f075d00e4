"""What the long steps tell while they run. The terminal draws it; everywhere else it is lines."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told from several threads; must return at once."""

    def reading(self, segment: str) -> None:
        """A segment's query has begun."""
        ...

    def read(self, segment: str, rows: int) -> None:
        """A segment's query was read to its end."""
        ...

    def say(self, sentence: str) -> None:
        """Something that the user should know now."""
        ...

    def uploading(self, part: int, parts: int, size: int) -> None:
        """A part's upload has begun; sizes are in bytes."""
        ...

    def uploaded(self, size: int) -> None:
        """So many bytes of the present upload were handed over."""
        ...

    def waiting(self, execution: str, status: str, share: float | None) -> None:
        """An execution was asked for; `share` of it is done, 0 to 1, where the platform says so."""
        ...
