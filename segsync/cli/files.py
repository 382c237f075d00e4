"""Files that are made on request: the commands of a plan, a copy of the state."""

from __future__ import annotations

import glob
import os
import re
import secrets
import shlex
import shutil
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from segsync.errors import SegsyncError, UsageError

PLAN_BEGINNINGS = (b"PK\x03\x04",)
COMMAND_BEGINNINGS = (b'{"operation":', b"operation,")
LONGEST_BEGINNING = 16

if TYPE_CHECKING:
    from segsync.planning import Planned


def check_replaceable(path: Path, beginnings: tuple[bytes, ...]) -> None:
    """Raise UsageError unless there is nothing at `path`, or a file that an earlier plan left.

    A slip of the hand must not cost somebody the spec, a database or a device; and that nothing can
    be written there should be known before the queries are read.
    """
    check_folder(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            raise UsageError(f"{path} is not a regular file", hint="name a file")
        with path.open("rb") as file:
            found = file.read(LONGEST_BEGINNING)
    except FileNotFoundError:
        return
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", hint="name another file") from None
    if found and not found.startswith(beginnings):
        raise UsageError(
            f"{path} exists, and no earlier plan has left it", hint="name another file"
        )


def check_commands_replaceable(path: Path) -> None:
    """The same of where commands go: a plan of several parts writes several files."""
    for file in (path, *_numbered(path)):
        check_replaceable(file, COMMAND_BEGINNINGS)


def is_part_of(path: Path, file: Path) -> bool:
    """Whether commands that are written to `path` may have a part that is called like `file`."""
    numbered = rf"{re.escape(path.name)}(\.[1-9][0-9]*)?"
    same_folder = file.parent.resolve() == path.parent.resolve()
    return same_folder and re.fullmatch(numbered, file.name) is not None


def _numbered(path: Path) -> list[Path]:
    """The files beside `path` that its parts have, or an earlier plan's had."""
    beside = path.parent.glob(f"{glob.escape(path.name)}.*")
    return [file for file in beside if is_part_of(path, file)]


def check_folder(path: Path) -> None:
    """Raise UsageError unless a file can be made at `path`, as far as its folder can tell."""
    folder = path.parent
    if str(path) == "-":
        raise UsageError("- is not a file: standard output has the result", hint="name a file")
    if not folder.is_dir():
        hint = f"make it first (mkdir -p {shlex.quote(str(folder))}), or name another file"
        raise UsageError(f"{path}: there is no folder {folder}", hint=hint)
    if not os.access(folder, os.W_OK):
        hint = "name a file in a folder that is writable"
        raise UsageError(f"{path}: the folder {folder} cannot be written to", hint=hint)


def write_commands(planned: Planned, path: Path) -> list[Path]:
    """The payload at `path`; of several parts each at `path.1`, `path.2` … All are private.

    Files of these names are replaced, each at once: none is ever half written. Those of an earlier
    plan that had more parts are taken away.
    """
    from segsync.engine import header_for
    from segsync.payload import write_parts

    header = header_for(planned.spec.destination.format)
    try:
        folder = Path(tempfile.mkdtemp(prefix=".segsync-", dir=path.parent))
    except OSError as error:
        raise _failed(path, error) from None
    try:
        files = write_parts(planned.engine, planned.plan.parts, folder, header)
        drafts = [file.path for file in files] or [_empty(folder)]
        return _place(drafts, path)
    except OSError as error:
        raise _failed(path, error) from None
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _empty(folder: Path) -> Path:
    path = folder / "nothing"
    path.touch(mode=0o600)
    return path


def _place(drafts: list[Path], path: Path) -> list[Path]:
    names = [path.with_name(f"{path.name}.{number}") for number in range(1, len(drafts) + 1)]
    names = names if len(drafts) > 1 else [path]
    for old in {path, *_numbered(path)}.difference(names):
        old.unlink(missing_ok=True)
    return [draft.replace(name) for draft, name in zip(drafts, names, strict=True)]


def _failed(path: Path, error: OSError) -> SegsyncError:
    return SegsyncError(
        f"the commands could not be written to {path}: {error.strerror}",
        hint="name a file in a folder that exists and is writable",
    )


def copy_state(state: Path, to: Path) -> int:
    """A checked copy of the state at `to`, which must not exist; returns its serial.

    The caller holds the state's lock. The state is closed while its bytes are read: closing any
    other descriptor of an open SQLite file would drop SQLite's own locks.
    """
    from segsync.state import open_state

    if os.path.lexists(to):
        raise _exists(to)
    check_folder(to)
    _check(state)
    draft = to.with_name(f"{to.name}.{secrets.token_hex(4)}")
    try:
        _copy(state, draft)
        try:
            copied = open_state(draft, read_only=True, is_copied=True)
            copied.close()
            os.link(draft, to)
        finally:
            draft.unlink()
    except FileExistsError:
        raise _exists(to) from None
    except OSError as error:
        raise SegsyncError(
            f"the state could not be copied to {to}: {error.strerror}",
            hint="name a file on a disk with space left",
        ) from None
    return copied.identity.serial


def _exists(path: Path) -> UsageError:
    return UsageError(f"{path} exists", hint="name a file that does not")


def _check(state: Path) -> None:
    """Look at the whole state; what an apply began that was killed in a commit is undone first.

    Without its journal the file would be of no use: whoever keeps one file must keep a whole one.
    """
    from segsync.state import open_state

    is_cut_short = Path(f"{state.resolve()}-journal").exists()
    opened = open_state(state, read_only=not is_cut_short, is_copied=True)
    try:
        opened.check_whole()
    finally:
        opened.close()


def _copy(source: Path, target: Path) -> None:
    descriptor = os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with source.open("rb") as reading, os.fdopen(descriptor, "wb") as writing:
        shutil.copyfileobj(reading, writing, 1 << 20)
        writing.flush()
        os.fsync(writing.fileno())
