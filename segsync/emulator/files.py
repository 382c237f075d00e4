"""The platform's files: payloads as they were uploaded, and error files."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from types import TracebackType

URI_PREFIX = "mics://data_file/"


@dataclass(frozen=True, slots=True)
class UploadedFile:
    """A request body on disk."""

    path: Path
    size: int
    sha256: str


class Files:
    """A private folder of files; a temporary one unless told where."""

    def __init__(self, folder: Path | None = None) -> None:
        self._remove: Callable[[], object] = lambda: None
        if folder is None:
            folder = Path(tempfile.mkdtemp(prefix="segsync-emulator-"))
            self._remove = weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)
        else:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self._numbers = count(1 + max((int(_number(path)) for path in folder.iterdir()), default=0))

    def new(self, suffix: str) -> Path:
        """A path that no file has."""
        return self.folder / f"{next(self._numbers):08d}.{suffix}"

    def uri(self, path: Path) -> str:
        """The address under which the API gives the file."""
        return URI_PREFIX + path.name

    def at(self, uri: str) -> Path | None:
        """The file of an address, if there is one."""
        name = uri.removeprefix(URI_PREFIX)
        path = self.folder / name
        known = uri.startswith(URI_PREFIX) and "/" not in name and path.is_file()
        return path if known else None

    def remove(self) -> None:
        """Delete a temporary folder, which otherwise goes with this object."""
        self._remove()


def files_folder(data: Path) -> Path:
    """Where the payloads and error files of a data file are."""
    return data.with_name(data.name + ".files")


class Receiving:
    """Writes a body to a file while it arrives, and hashes it; the file goes if it is given up."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hash = hashlib.sha256()
        self._size = 0
        self._complete = False

    def __enter__(self) -> Receiving:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._file.close()
        if not self._complete:
            self._path.unlink(missing_ok=True)

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._file.write(data)
        self._hash.update(data)
        self._size += len(data)

    def complete(self) -> UploadedFile:
        """The finished file."""
        self._file.flush()
        self._complete = True
        return UploadedFile(self._path, self._size, self._hash.hexdigest())


def received(path: Path, parts: Iterable[bytes]) -> UploadedFile:
    """A body that is at hand, as an uploaded file."""
    with Receiving(path) as receiving:
        for part in parts:
            receiving.write(part)
        return receiving.complete()


def _number(path: Path) -> str:
    stem = path.name.partition(".")[0]
    return stem if stem.isdecimal() else "0"
