"""What may go wrong in one apply of the model."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple


class At(Enum):
    """Where an apply is killed."""

    NEVER = "never"
    BEFORE_JOURNAL = "before the journal"
    AFTER_JOURNAL = "after the journal"
    AFTER_IMPORT = "before the import's id is noted"
    UPLOAD = "before the upload's answer is noted"
    AFTER_PART = "after a part"
    BEFORE_COMMIT = "before the commit"


class Upload(Enum):
    """What becomes of an upload. Of one that shows late, no list tells until it acts."""

    DONE = "done"
    LATE = "late"
    NOT_SENT = "not sent"
    LOST = "lost"
    ANSWER_LOST = "answer lost"
    ANSWER_LOST_AND_LATE = "answer lost, and late"
    SHOWS_LATE = "shows late"
    SHOWS_LATE_AND_IS_SENT_AGAIN = "shows late, and is sent again"


class Fault(NamedTuple):
    """Where an apply is killed, what becomes of an upload, and who is refused, by name or not."""

    killed: At = At.NEVER
    killed_in: int = 0
    upload: Upload = Upload.DONE
    part: int = 0
    refused: frozenset[int] = frozenset()
    are_named: bool = True


NONE = Fault()
_KILLED_WHILE_SENDING = (Upload.DONE, Upload.LATE, Upload.LOST, Upload.SHOWS_LATE)
_UPLOADS = tuple(upload for upload in Upload if upload is not Upload.DONE)
_AGAIN = Upload.SHOWS_LATE_AND_IS_SENT_AGAIN


def faults(parts: int) -> Iterator[Fault]:
    """All of them, of an apply with so many parts at most and two identifiers."""
    for at in (At.NEVER, At.BEFORE_JOURNAL, At.AFTER_JOURNAL, At.AFTER_IMPORT, At.BEFORE_COMMIT):
        yield Fault(at)
    for part in range(parts):
        yield Fault(At.AFTER_PART, part)
        yield from (Fault(At.UPLOAD, part, upload, part) for upload in _KILLED_WHILE_SENDING)
        yield from (Fault(upload=upload, part=part) for upload in _UPLOADS)
        for killed_in in range(part, parts):
            yield Fault(At.AFTER_PART, killed_in, _AGAIN, part)
    for refused in (frozenset({0}), frozenset({1})):
        yield Fault(refused=refused)
        yield Fault(refused=refused, are_named=False)
        for part in range(parts):
            yield Fault(At.UPLOAD, part, refused=refused)
            yield Fault(At.AFTER_PART, part, refused=refused)
            yield Fault(upload=_AGAIN, part=part, refused=refused)
