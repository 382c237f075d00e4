"""One HTTP exchange as values: what is asked, what came back, and the limits of both."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal, Protocol

from segsync.errors import NotSent

MIB = 1024 * 1024
BLOCK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """What one exchange may cost: real seconds from its first step to its last byte, and bytes.

    An upload has `upload_seconds`, and a second more for each `upload_bytes_per_second` of its
    size; `stall_seconds` is the longest time in which the platform may take nothing of it.
    """

    connect_seconds: float = 10.0
    request_seconds: float = 30.0
    upload_seconds: float = 120.0
    upload_bytes_per_second: int = 100_000
    stall_seconds: float = 60.0
    error_file_seconds: float = 900.0
    answer_bytes: int = 2 * MIB
    error_file_bytes: int = 1024 * MIB

    def for_upload(self, size: int) -> float:
        """The seconds that an upload of `size` bytes may take, its answer included."""
        return self.upload_seconds + size / self.upload_bytes_per_second


class Untrusted(NotSent):
    """The platform's certificate does not prove who it is: to try again is of no use."""


class Sink(Protocol):
    """Where a body goes that is not kept in memory."""

    def write(self, block: bytes, /) -> object:
        """Take the whole of `block`."""
        ...


class FileBody:
    """A file as the body of a request: exactly the bytes it had when it was opened, in blocks.

    `sent` counts the bytes that were handed to the connection.
    """

    def __init__(self, path: Path, on_sent: Callable[[int], None] | None = None) -> None:
        """Raises NotSent where the file cannot be opened or is empty."""
        try:
            self._file: BinaryIO = path.open("rb")
            self._size = os.fstat(self._file.fileno()).st_size
        except OSError as error:
            reason = error.strerror
        else:
            reason = None if self._size else "it is empty"
        if reason is not None:
            raise NotSent(f"the payload {path} cannot be sent: {reason}")
        self._on_sent = on_sent
        self.sent = 0

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        while self.sent < self._size:
            block = self._file.read(min(BLOCK_BYTES, self._size - self.sent))
            if not block:
                raise OSError("the payload became shorter while it was sent")
            yield block
            self.sent += len(block)
            if self._on_sent is not None:
                self._on_sent(self.sent)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked. `purpose` completes the sentence "could not …"; `path` starts with a slash."""

    purpose: str
    method: Literal["GET", "POST"]
    path: str
    seconds: float
    params: Mapping[str, str] = field(default_factory=dict)
    body: bytes | FileBody | None = None
    content_type: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. The names of `headers` are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes
