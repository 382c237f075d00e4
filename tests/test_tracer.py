"""Our tracer does what strace does: it injects at the same call, in the same way.

But strace counts the calls of each thread by itself, and ours those of all threads of a process.
"""

from __future__ import annotations

import os
import re
import select
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segsync.errors import StateError
from segsync.state import open_state
from tests.support.cli import environment
from tests.support.kills import APPLY, by_strace, change, fill
from tests.support.preloaded import PATIENCE, Order, Preloaded, Traced
from tests.support.world import TOKEN, World

SAYING = """
import os, threading
def say(word):
    try:
        os.write(1, word.encode())
    except (KeyboardInterrupt, OSError) as error:
        os.write(2, type(error).__name__.encode())
def say_twice(word):
    say(word); say(word)
def say_beside(word):
    thread = threading.Thread(target=say_twice, args=word); thread.start(); thread.join()
"""
PARENT = f"""{SAYING}
say_twice("a")
child = os.fork()
say_twice("b")
if child:
    say(str(os.waitpid(child, 0)[1]))
    say("c")
    os._exit(3)
"""
"""Writes of a process and of its child, each of which has its own count."""
THREADS = f"{SAYING}say_twice('a'); say_beside('b'); say_twice('c'); say_beside('d')"
"""Writes of three threads, which are one process."""
INJECTIONS = [
    *(f"signal=SIGKILL:when={number}" for number in range(1, 8)),
    *(f"signal=SIGINT:when={number}" for number in range(1, 8)),
    "signal=SIGINT:when=2+",
    "signal=SIGTERM:when=3",
    "error=ENOSPC:when=3",
    "error=EIO:when=2+",
]
Run = Callable[[Order], Traced]


@pytest.fixture(scope="module")
def preloaded() -> Any:
    made = Preloaded()
    yield made
    made.close()


@pytest.mark.parametrize("injection", INJECTIONS)
def test_children_are_counted_and_end_as_under_strace(
    tmp_path: Path, preloaded: Preloaded, injection: str
) -> None:
    ours, theirs = (run(writing(PARENT, injection, tmp_path)) for run in (preloaded.run, by_strace))
    assert tidy(ours) == tidy(theirs)


def writing(script: str, injection: str, folder: Path) -> Order:
    command = [sys.executable, "-I", "-S", "-c", script]
    return Order("write", injection, command, folder, environment())


def tidy(done: Traced) -> Traced:
    """Without where Python was when it was interrupted, and without addresses: they vary."""
    told = "\n".join(line for line in done.err.splitlines() if not line.startswith(" "))
    return replace(done, err=re.sub("0x[0-9a-f]+", "0x", told))


@pytest.mark.parametrize(
    ("injection", "error"),
    [("signal=SIGKILL:when={}", ""), ("error=EIO:when={}", "OSError")],
)
def test_all_threads_of_a_process_are_counted_together(
    tmp_path: Path, preloaded: Preloaded, injection: str, error: str
) -> None:
    whole = "aabbccdd"
    for number in range(1, len(whole) + 2):
        done = preloaded.run(writing(THREADS, injection.format(number), tmp_path))
        before, after = whole[: number - 1], whole[number:]
        assert done.reached == (number <= len(whole))
        assert done.out == (before + after if error else before)
        assert done.err == (error if done.reached else "")
        assert done.status == (-signal.SIGKILL if done.reached and not error else 0)


@pytest.mark.parametrize(
    ("call", "injection", "ours", "theirs"),
    [
        ("fsync", "signal=SIGKILL:when={}", 7, 7),
        ("fsync", "signal=SIGKILL:when={}", 10 + 14, 14),
        ("unlink", "signal=SIGKILL:when={}", 2 + 4, 4),
        ("sendto", "signal=SIGINT:when={}", 6, 6),
        ("pwrite64", "error=EIO:when={}", 20 + 25, 25),
    ],
)
def test_an_apply_that_is_loaded_already_ends_where_one_does_that_strace_starts(
    tmp_path: Path, preloaded: Preloaded, call: str, injection: str, ours: int, theirs: int
) -> None:
    """The thread that stages the changes makes so many calls before those of the main thread."""

    def place(run: Run, number: int, folder: Path) -> Any:
        with World(folder) as world:
            fill(world)
            world.apply()
            change(world, 1)
            assert world.spec.path.exists()
            env = environment(TOKEN=TOKEN)
            done = run(Order(call, injection.format(number), APPLY, world.folder, env))
            return done.status, done.reached, journal(world), len(world.emulator.request_log)

    left = place(preloaded.run, ours, tmp_path / "ours")
    assert left == place(by_strace, theirs, tmp_path / "theirs")


def journal(world: World) -> Any:
    """What the state says of the open run, and which files stand beside it.

    How many parts of the payload are written already is a race with the thread that stages.
    """
    files = {path.name.partition("payload-")[0] for path in world.state.parent.iterdir()}
    try:
        state = open_state(world.state, read_only=True)
    except StateError:
        return files, "a commit was cut short"
    run = state.open_run()
    state.close()
    return files, run and [(part.status, part.executions) for part in run.parts]


def test_who_is_stopped_stays_so_until_it_is_told_to_go_on(
    tmp_path: Path, preloaded: Preloaded
) -> None:
    line = "(sleep 0.3; echo awake; kill -CONT $$) & kill -STOP $$; echo on; wait"
    order = Order("mkdir", "signal=SIGKILL:when=1", ["sh", "-c", line], tmp_path, environment())
    for run in (preloaded.run, by_strace):
        done = run(order)
        assert (done.status, done.out) == (0, "awake\non\n")


def test_whom_nobody_waits_for_any_longer_is_killed(tmp_path: Path, preloaded: Preloaded) -> None:
    line = "echo $$ >parent; sleep 1000 & echo $! >child; wait"
    order = Order("mkdir", "signal=SIGKILL:when=1", ["true"], tmp_path, {})
    with pytest.raises(AssertionError, match="no answer within 1"):
        preloaded.run(replace(order, command=["sh", "-c", line], patience=1))
    for name in ("parent", "child"):
        assert ends(int((tmp_path / name).read_text()))
    assert preloaded.run(order).status == 0


def ends(process: int) -> bool:
    """Whether it ends soon, or has ended."""
    try:
        watch = os.pidfd_open(process)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([watch], [], [], PATIENCE)[0])
    finally:
        os.close(watch)
