"""The real command with something done to one of its system calls."""

from __future__ import annotations

import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from segsync.exits import Exit
from tests.support import tracer
from tests.support.canary import PERSON
from tests.support.cli import environment
from tests.support.hearing import assert_discreet
from tests.support.preloaded import SEGSYNC, Order, Preloaded, Traced
from tests.support.processes import heed_signals
from tests.support.world import TOKEN, World, assert_sound

FILES = ("fsync", "unlink", "link", "unlinkat", "rmdir", "ftruncate", "rename", "flock")
WIRE = ("connect", "sendto", "recvfrom", "write")
TIDY_EVERY = 10
"""Kills. What is watched for late executions since then costs one more request at each apply."""
Record = Callable[[str, object], None]
"""Pytest's `record_property`: how many there were stands in the file of --junitxml."""
PRELOADED = Preloaded()
KEPT = (PERSON, *(f"u{n}" for n in range(1, 6)))
APPLY = (*SEGSYNC, "apply", "--yes", "--allow", "vip")


def traced(world: World, call: str, injection: str, around: Sequence[str] = ()) -> Traced:
    """Run an apply with something injected into a system call; `around` is a command before it."""
    assert world.spec.path.exists()
    done = injected(call, injection, [*around, *APPLY], world.folder)
    assert_discreet(done.out + done.err)
    world.note_journal()
    return done


def injected(call: str, injection: str, command: Sequence[str], folder: Path) -> Traced:
    """Run a command with something injected into a system call, in the words of strace."""
    run = PRELOADED.run if platform.machine() == tracer.MACHINE else by_strace
    return run(Order(call, injection, command, folder, environment(TOKEN=TOKEN)))


def by_strace(order: Order) -> Traced:
    """The same on any machine, in three times the time."""
    found = shutil.which("strace")
    assert found, "where our tracer is at a loss the kills need strace: apt install strace"
    call = order.call
    inject = ("-e", f"trace={call}", "-e", f"inject={call}:{order.injection}")
    with tempfile.NamedTemporaryFile("r") as log:
        done = subprocess.run(
            [found, "-f", "-o", log.name, *inject, *order.command],
            cwd=order.folder,
            env=order.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=order.patience,
            check=False,
            preexec_fn=heed_signals,
        )
        counts = Counter(re.findall(rf"^([0-9]+) +{call}\(", log.read(), re.MULTILINE))
    reached = max(counts.values(), default=0) >= tracer.Injection.parse(call, order.injection).first
    return Traced(done.returncode, done.stdout, done.stderr, reached)


def killed_at(
    world: World, call: str, number: int, through: Collection[int] = (Exit.DONE,)
) -> bool:
    """Run an apply, to be killed at that call; False if it got through, with such a status."""
    done = traced(world, call, f"signal=SIGKILL:when={number}")
    assert done.status in ((-signal.SIGKILL,) if done.reached else through), done
    return done.reached


def fill(world: World) -> None:
    """Two segments to apply; an execution ends when it is asked for: nobody has to wait."""
    world.emulator.behave(polls_until_running=0, polls_until_finished=1)
    world.define("vip", "user_account_id", "total")
    world.define("mail", "email_hash", rows=["a", "b"])
    change(world, 0)


def change(world: World, number: int) -> None:
    """Two additions, two removals and some updates, differently each time."""
    kept = [(name, n + number % 2) for n, name in enumerate(KEPT)]
    world.fill("vip", [*kept, (f"new{number}", 1), (f"other{number}", 2)])


def assert_one_apply_is_enough(world: World, uploads: int, most: int = 4) -> None:
    """It recovers, nothing is left, and since then there were no more than `most` uploads: two
    of each run that was cut off, and of its own."""
    world.apply(allowed=("vip",))
    assert len(world.uploads) - uploads <= most
    assert_sound(world)
