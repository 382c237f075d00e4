"""The real command with something done to one of its system calls, by strace."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence

from tests.support.cli import environment
from tests.support.processes import heed_signals
from tests.support.world import TOKEN, World, assert_sound

PATIENCE = 60.0
FILES = ("fsync", "unlink", "link", "unlinkat", "rmdir", "ftruncate", "rename", "flock")
WIRE = ("connect", "sendto", "recvfrom", "write")
Record = Callable[[str, object], None]
"""Pytest's `record_property`: how many there were stands in the file of --junitxml."""
APPLY = (sys.executable, "-m", "segsync", "apply", "--yes", "--allow", "vip")


def strace(call: str, injection: str) -> list[str]:
    """What stands before a command so that something is injected into a system call of it."""
    found = shutil.which("strace")
    assert found, "the kills need strace: apt install strace"
    return [
        *(found, "-f", "-o", "/dev/null", "-e", f"trace={call}"),
        *("-e", f"inject={call}:{injection}"),
    ]


def traced(
    world: World, call: str, injection: str, around: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run an apply with something injected into a system call; `around` is a command before it."""
    assert world.spec.path.exists()
    return subprocess.run(
        [*strace(call, injection), *around, *APPLY],
        cwd=world.folder,
        env=environment(TOKEN=TOKEN),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
        preexec_fn=heed_signals,
    )


def killed_at(world: World, call: str, number: int) -> bool:
    """Run an apply, to be killed at that call; False if it got through."""
    done = traced(world, call, f"signal=SIGKILL:when={number}")
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    return done.returncode != 0


def fill(world: World) -> None:
    """Two segments to apply; an execution ends when it is asked for: nobody has to wait."""
    world.emulator.behave(polls_until_running=0, polls_until_finished=1)
    world.define("vip", "user_account_id", "total")
    world.define("mail", "email_hash", rows=["a", "b"])
    change(world, 0)


def change(world: World, number: int) -> None:
    """Two additions, two removals and some updates, differently each time."""
    kept = [(f"u{n}", n + number % 2) for n in range(6)]
    world.fill("vip", [*kept, (f"new{number}", 1), (f"other{number}", 2)])


def assert_one_apply_is_enough(world: World, uploads: int, most: int = 4) -> None:
    """It recovers, nothing is left, and since then there were no more than `most` uploads: two
    of each run that was cut off, and of its own."""
    world.settle(applies=1, allowed=("vip",))
    assert len(world.uploads) - uploads <= most
    assert_sound(world)
