"""The real command with something done to one of its system calls."""

from __future__ import annotations

import platform
import re
import shutil
import signal
import sqlite3
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from segsync.exits import Exit
from segsync.state import open_state
from tests.support import tracer
from tests.support.canary import PERSON
from tests.support.cli import environment
from tests.support.hearing import People, assert_discreet
from tests.support.preloaded import SEGSYNC, Order, Preloaded, Traced
from tests.support.processes import heed_signals
from tests.support.world import TOKEN, World, assert_sound

FILES = ("fsync", "unlink", "link", "unlinkat", "rmdir", "ftruncate", "rename", "flock")
WIRE = ("connect", "sendto", "recvfrom", "write")
TIDY_EVERY = 10
"""Kills. What is watched for late executions since then costs one more request at each apply."""
Record = Callable[[str, object], None]
"""Pytest's `record_property`: how many there were stands in the file of --junitxml."""
STEPS = (
    "nothing is staged",
    "the changes are staged",
    "the run is journalled",
    "the import is noted",
    "sending, waiting",
    "sent, waiting",
    "sent, sending",
    "sent, sent",
)
"""How far the journal of an apply with two parts has come before each commit that follows."""
IS_EVERY_THREAD_COUNTED = platform.machine() == tracer.MACHINE
PRELOADED = Preloaded()
KEPT = (PERSON, *(f"u{n}" for n in range(1, 6)))
APPLY = (*SEGSYNC, "apply", "--yes", "--allow", "vip")


def traced(world: World, call: str, injection: str, around: Sequence[str] = ()) -> Traced:
    """Run an apply with something injected into a system call; `around` is a command before it."""
    assert world.spec.path.exists()
    done = injected(call, injection, [*around, *APPLY], world.folder)
    assert_discreet(done.out + done.err, People())
    world.note_journal()
    return done


def injected(call: str, injection: str, command: Sequence[str], folder: Path) -> Traced:
    """Run a command with something injected into a system call, in the words of strace."""
    run = PRELOADED.run if IS_EVERY_THREAD_COUNTED else by_strace
    return run(Order(call, injection, command, folder, environment(TOKEN=TOKEN)))


def by_strace(order: Order) -> Traced:
    """The same on any machine, in three times the time, but for one hole: strace counts the calls
    of each thread by itself, so that of two threads only the one that makes the n-th first is
    struck. The calls of an apply's main thread that journal the run come after as many of the
    thread that stages the changes: on such a machine no kill strikes them.
    """
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


def assert_one_apply_is_enough(
    world: World, uploads: int, *, parts: int = 2, cut_off: int = 1
) -> None:
    """It recovers, nothing is left, and since then so many parts were uploaded, with one more for
    each apply that was cut off."""
    world.apply(allowed=("vip",))
    assert len(world.uploads) - uploads <= parts + cut_off
    assert_sound(world)


def step_of_the_commit(world: World) -> str | None:
    """Before which step the commit was that a killed apply has left cut short; None without one.

    A copy tells, in which SQLite undoes that commit as the next apply will.
    """
    if not _journal_of(world).exists():
        return None
    with undone(world) as database:
        return step_of(database)


@contextmanager
def undone(world: World) -> Iterator[sqlite3.Connection]:
    """A copy of the state, as the next apply will find it."""
    with tempfile.TemporaryDirectory() as folder:
        copy = shutil.copy2(world.state, folder)
        if _journal_of(world).exists():
            shutil.copy2(_journal_of(world), folder)
        with closing(sqlite3.connect(copy)) as database:
            yield database


def _journal_of(world: World) -> Path:
    return world.state.with_name("state.db-journal")


def step_of(database: sqlite3.Connection) -> str:
    run = database.execute("SELECT serial, import_id FROM runs WHERE status = 'open'").fetchone()
    if run is None:
        [staged] = database.execute("SELECT count(*) FROM changes").fetchone()
        return STEPS[bool(staged)]
    serial, import_id = run
    sql = "SELECT status FROM parts WHERE run = ? ORDER BY number"
    parts = ", ".join(status for (status,) in database.execute(sql, (serial,)))
    if parts != "waiting, waiting":
        return parts
    return STEPS[2 + (import_id is not None)]


def has_open_run(world: World) -> bool:
    """Whether the state says so, or cannot be opened for what a commit has left."""
    if world.state.with_name("state.db-journal").exists():
        return True
    state = open_state(world.state, read_only=True)
    try:
        return state.open_run() is not None
    finally:
        state.close()
