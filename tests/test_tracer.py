"""Our tracer does what strace does: it injects at the same call, in the same way."""

from __future__ import annotations

import os
import re
import select
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

WRITER = """
import os, threading
def say(word):
    try:
        os.write(1, word.encode())
    except (KeyboardInterrupt, OSError) as error:
        os.write(2, type(error).__name__.encode())
def say_twice(word):
    say(word); say(word)
say_twice("a")
thread = threading.Thread(target=say_twice, args="b"); thread.start(); thread.join()
child = os.fork()
say_twice("c")
if child:
    say(str(os.waitpid(child, 0)[1]))
    say("d")
    os._exit(3)
"""
"""Writes by two threads and a child, each of which has its own count."""
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
def test_threads_and_children_are_counted_and_end_as_under_strace(
    tmp_path: Path, preloaded: Preloaded, injection: str
) -> None:
    command = [sys.executable, "-I", "-S", "-c", WRITER]
    ours, theirs = (
        run(Order("write", injection, command, tmp_path, environment()))
        for run in (preloaded.run, by_strace)
    )
    assert tidy(ours) == tidy(theirs)


def tidy(done: Traced) -> Traced:
    """Without the addresses that Python tells when it is interrupted at a wrong moment."""
    return replace(done, err=re.sub("0x[0-9a-f]+", "0x", done.err))


@pytest.mark.parametrize(
    ("call", "injection"),
    [
        ("fsync", "signal=SIGKILL:when=7"),
        ("unlink", "signal=SIGKILL:when=4"),
        ("sendto", "signal=SIGINT:when=6"),
        ("pwrite64", "error=EIO:when=20"),
    ],
)
def test_an_apply_that_is_loaded_already_ends_where_one_does_that_strace_starts(
    tmp_path: Path, preloaded: Preloaded, call: str, injection: str
) -> None:
    def place(run: Run, folder: Path) -> Any:
        with World(folder) as world:
            fill(world)
            world.apply()
            change(world, 1)
            assert world.spec.path.exists()
            env = environment(TOKEN=TOKEN)
            done = run(Order(call, injection, APPLY, world.folder, env))
            return done.status, done.reached, journal(world), len(world.emulator.request_log)

    assert place(preloaded.run, tmp_path / "ours") == place(by_strace, tmp_path / "theirs")


def journal(world: World) -> Any:
    """What the state says of the open run, and which files stand beside it."""
    files = sorted(path.name.partition("payload-")[0] for path in world.state.parent.rglob("*"))
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
