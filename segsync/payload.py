"""The bytes of a plan: one private file for each part, written and hashed as the lines come."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Protocol

from segsync.errors import SegsyncError
from segsync.model import Part

if TYPE_CHECKING:
    import pyarrow


class Lines(Protocol):
    """Where the lines of a part come from."""

    def lines(self, part: Part) -> AbstractContextManager[pyarrow.RecordBatchReader]:
        """One text column; each value is a line with its line end."""
        ...


@dataclass(frozen=True, slots=True)
class PayloadFile:
    """A part on disk; `sha256` is of its bytes, in hexadecimal."""

    part: Part
    path: Path
    sha256: str


def write_parts(
    source: Lines, parts: Iterable[Part], folder: Path, header: bytes
) -> tuple[PayloadFile, ...]:
    """Write every part to a new file (mode 0600) in `folder`.

    Raises SegsyncError where the disk is full, AssertionError where a file is not what was planned.
    """
    return tuple(
        _write_part(source, part, folder / f"part-{part.number}", header) for part in parts
    )


def _write_part(source: Lines, part: Part, path: Path, header: bytes) -> PayloadFile:
    digest = hashlib.sha256(header)
    try:
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "wb") as file, source.lines(part) as batches:
            file.write(header)
            for batch in batches:
                _write_column(batch.column(0), file, digest)
    except OSError as error:
        raise SegsyncError(
            f"the payload could not be written to {path.parent}: {error.strerror}",
            hint="nothing was sent; free some space there, or move `state:` to another disk",
        ) from None
    size = path.stat().st_size
    if size != part.size:
        raise AssertionError(f"part {part.number} has {size} bytes instead of {part.size}")
    return PayloadFile(part, path, digest.hexdigest())


def _write_column(column: pyarrow.Array, file: BinaryIO, digest: hashlib._Hash) -> None:
    """The values of a text column lie side by side in memory: that is the file's content."""
    import pyarrow

    _, offsets, data = column.buffers()
    if data is None or len(column) == 0:
        return
    assert pyarrow.types.is_large_string(column.type)
    view = memoryview(offsets).cast("q")
    assert len(view) > column.offset + len(column)
    first, last = view[column.offset], view[column.offset + len(column)]
    block = memoryview(data)[first:last]
    file.write(block)
    digest.update(block)
