"""A file that is made anew, private, and gone again if its content does not come."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import ParamSpec, TypeVar

from segsync.errors import NotSent, OutcomeUnknown

P = ParamSpec("P")
T = TypeVar("T")


class NewFile:
    """A file of mode 0600 that did not exist. Its errors are those of a destination."""

    def __init__(self, path: Path) -> None:
        """Raises NotSent where the file exists or cannot be made."""
        self._path = path
        try:
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        except OSError as error:
            reason = error.strerror
        else:
            return
        raise NotSent(f"could not make the file {path}: {reason}")

    def write(self, block: bytes) -> int:
        """Append the whole of `block`. Raises OutcomeUnknown where the disk takes no more."""
        rest = memoryview(block)
        while rest:
            rest = rest[self._local(os.write, self._descriptor, rest) :]
        return len(block)

    def restart(self) -> None:
        """Forget what was written. Raises OutcomeUnknown."""
        self._local(os.ftruncate, self._descriptor, 0)
        self._local(os.lseek, self._descriptor, 0, os.SEEK_SET)

    def start(self, size: int) -> bytes:
        """The first bytes of what was written, at most `size`. Raises OutcomeUnknown."""
        return self._local(os.pread, self._descriptor, size, 0)

    def close(self) -> None:
        """Keep the file. Raises OutcomeUnknown where the disk had not taken it after all."""
        self._local(os.close, self._descriptor)

    def discard(self) -> None:
        """Remove the file."""
        with suppress(OSError):
            os.close(self._descriptor)
        with suppress(OSError):
            self._path.unlink()

    def _local(self, act: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return act(*args, **kwargs)
        except OSError as error:
            reason = error.strerror
        raise OutcomeUnknown(f"could not write the file {self._path}: {reason}")
