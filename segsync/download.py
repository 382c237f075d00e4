"""A file that is made anew, private, and gone again if its content does not come."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from segsync.errors import NotSent, OutcomeUnknown


class NewFile:
    """A file of mode 0600 that did not exist. Its errors are those of a destination."""

    def __init__(self, path: Path) -> None:
        """Raises NotSent where the file exists or cannot be made."""
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            reason = error.strerror
        else:
            return
        raise NotSent(f"could not make the file {path}: {reason}")

    def write(self, block: bytes) -> int:
        """Append the whole of `block`. Raises OutcomeUnknown where the disk takes no more."""
        with self._local():
            rest = memoryview(block)
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        return len(block)

    def restart(self) -> None:
        """Forget what was written."""
        with self._local():
            os.ftruncate(self._descriptor, 0)
            os.lseek(self._descriptor, 0, os.SEEK_SET)

    def start(self, size: int) -> bytes:
        """The first bytes of what was written, at most `size`; b"" where they cannot be read."""
        try:
            with self._path.open("rb") as written:
                return written.read(size)
        except OSError:
            return b""

    def close(self) -> None:
        """Keep the file."""
        with self._local():
            os.close(self._descriptor)

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            os.close(self._descriptor)
        with suppress(OSError):
            self._path.unlink()

    @contextmanager
    def _local(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            reason = error.strerror
        else:
            return
        raise OutcomeUnknown(f"could not write the file {self._path}: {reason}")
