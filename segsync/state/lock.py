"""The lock that keeps a second apply out, says who holds it, and dies with its holder."""

from __future__ import annotations

import fcntl
import getpass
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from segsync.errors import Locked, StateError


@contextmanager
def hold(state: Path, command: str) -> Iterator[None]:
    """Hold the state's lock. Raises Locked, naming the holder, if another process has it.

    The kernel holds the lock (`flock`), so it ends with its process however that ends. The holder's
    description stands in a file of its own, because opening a lock file empties it.
    """
    import filelock

    state = state.resolve()
    path = Path(f"{state}.lock")
    holder = Path(f"{state}.holder")
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = filelock.FileLock(path, timeout=0, mode=0o600, is_singleton=False)
        lock.acquire()
    except filelock.Timeout:
        raise _locked(state, holder) from None
    except OSError as error:
        raise StateError(
            f"the lock {path} cannot be taken: {error.strerror}",
            hint="the state's folder must be writable",
        ) from None
    try:
        with suppress(OSError):
            _describe(holder, command)
        yield
    finally:
        # A disk that fails here must hide neither what was done nor why that failed.
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _describe(holder: Path, command: str) -> None:
    text = json.dumps(
        {
            "pid": os.getpid(),
            "host": socket.gethostname(),
            "user": _user(),
            "command": command,
            "since": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    holder.unlink(missing_ok=True)
    descriptor = os.open(holder, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return str(os.getuid())


def _locked(state: Path, holder: Path) -> Locked:
    hint = "wait until it has finished; the lock ends by itself when its process does"
    who = _read(holder)
    text = f"by {who['command']} of {_process(who)}" if who else "by another process"
    return Locked(f"the state {state} is locked {text}", hint=hint)


def _read(holder: Path) -> dict[str, str] | None:
    """The holder's description, where there is one that says everything."""
    try:
        who = json.loads(holder.read_text())
        return {key: str(who[key]) for key in ("pid", "host", "user", "command", "since")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _process(who: dict[str, str]) -> str:
    return f"{who['user']}, process {who['pid']} on {who['host']}, since {who['since']}"


def apply_at_work(state: Path) -> str | None:
    """Whose apply holds the lock now; None where none does."""
    state = state.resolve()
    who = _read(Path(f"{state}.holder"))
    if who is None or who["command"] != "apply" or _has_died(who):
        return None
    return _process(who) if _is_locked(Path(f"{state}.lock")) else None


def _has_died(who: dict[str, str]) -> bool:
    """Whether the holder is surely no more.

    To look at the lock is to take it for an instant, where it is free: an apply that starts just
    then would be turned away.
    """
    if who["host"] != socket.gethostname() or not who["pid"].isdecimal():
        return False
    try:
        os.kill(int(who["pid"]), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except OSError:
        return False
    return False


def _is_locked(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return False
