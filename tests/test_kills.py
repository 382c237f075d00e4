"""The real command is killed at every system call that matters, or the disk fails it there; then
one apply sets it right.

`strace` does it on entering the n-th call of one kind in any thread, n = 1, 2, … until the command
gets through.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest

from tests.support.cli import environment
from tests.support.size import size
from tests.support.world import TOKEN, World, assert_sound

PATIENCE = 60.0
FILES = ("fsync", "unlink", "link", "unlinkat", "rmdir", "ftruncate", "rename", "flock")
WIRE = ("connect", "sendto", "recvfrom", "write")


def traced(world: World, call: str, injection: str) -> subprocess.CompletedProcess[str]:
    """Run the command with something injected into a system call."""
    strace = shutil.which("strace")
    assert strace, "the kills need strace: apt install strace"
    assert world.spec.path.exists()
    return subprocess.run(
        [
            *(strace, "-f", "-o", "/dev/null", "-e", f"trace={call}"),
            *("-e", f"inject={call}:{injection}"),
            *(sys.executable, "-m", "segsync", "apply", "--yes", "--allow", "vip"),
        ],
        cwd=world.folder,
        env=environment(TOKEN=TOKEN),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def killed_at(world: World, call: str, number: int) -> bool:
    """Run the command, to be killed at that call; False if it got through."""
    done = traced(world, call, f"signal=SIGKILL:when={number}")
    assert done.returncode in (0, -signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    return done.returncode != 0


def quick(world: World) -> None:
    """An execution ends when it is asked for: nobody has to wait."""
    world.emulator.behave(polls_until_running=0, polls_until_finished=1)


def change(world: World, number: int) -> None:
    """Two additions, two removals and some updates, differently each time."""
    kept = [(f"u{n}", n + number % 2) for n in range(6)]
    world.fill("vip", [*kept, (f"new{number}", 1), (f"other{number}", 2)])


def assert_one_apply_is_enough(world: World, uploads: int) -> None:
    world.settle(applies=1, allowed=("vip",))
    assert len(world.uploads) - uploads <= 2
    assert_sound(world)


@pytest.mark.parametrize(
    ("calls", "first", "step"),
    [(("pwrite64",), 1, 2), (("pwrite64",), 2, 2), (FILES, 1, 1), (WIRE, 1, 1)],
    ids=["odd writes", "even writes", "files", "wire"],
)
@pytest.mark.timeout(600)
def test_an_apply_may_be_killed_at_any_system_call(
    tmp_path: Path, calls: tuple[str, ...], first: int, step: int
) -> None:
    kills = 0
    with World(tmp_path) as world:
        quick(world)
        world.define("vip", "user_account_id", "total")
        world.define("mail", "email_hash", rows=["a", "b"])
        change(world, 0)
        world.apply()
        for call in calls:
            for number in count(first, step):
                kills += 1
                change(world, kills)
                uploads = len(world.uploads)
                if not killed_at(world, call, number):
                    break
                assert_one_apply_is_enough(world, uploads)
            assert_sound(world)
    assert kills > 20


@pytest.mark.timeout(600)
def test_a_first_apply_may_be_killed_while_it_makes_the_state(tmp_path: Path) -> None:
    kills = 0
    for call in ("fsync", "unlink", "rename", "mkdir"):
        for number in count(1):
            kills += 1
            with World(tmp_path / f"{call}-{number}") as world:
                quick(world)
                world.define("vip", "user_account_id", "total")
                world.define("mail", "email_hash", rows=["a", "b"])
                change(world, 0)
                if not killed_at(world, call, number):
                    break
                assert_one_apply_is_enough(world, 0)
    assert kills > 20


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("lasting", ["", "+"], ids=["once", "for ever"])
@pytest.mark.timeout(600)
def test_a_disk_that_fails_is_told_and_nothing_is_lost(
    tmp_path: Path, error: str, lasting: str
) -> None:
    failures = 0
    with World(tmp_path) as world:
        quick(world)
        world.define("vip", "user_account_id", "total")
        world.define("mail", "email_hash", rows=["a", "b"])
        change(world, 0)
        world.apply()
        for call in ("pwrite64", "fsync"):
            for number in count(1, size(13, 1)):
                change(world, failures + 1)
                uploads = len(world.uploads)
                done = traced(world, call, f"error={error}:when={number}{lasting}")
                assert "Traceback" not in done.stderr
                if done.returncode == 0:
                    break
                failures += 1
                assert done.returncode in (1, 5), done.stderr
                assert str(world.state) in done.stderr or "payload" in done.stderr
                assert "disk" in done.stderr or "space" in done.stderr, done.stderr
                assert_one_apply_is_enough(world, uploads)
    assert failures > 5
