"""The real command is killed, and its recovery too; killed at any time while the source changes;
and told to end by every signal at every step. Then one apply sets it right.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import pytest

from segsync.state import open_state
from tests.support.cli import environment
from tests.support.kills import (
    APPLY,
    FILES,
    PATIENCE,
    WIRE,
    Record,
    assert_one_apply_is_enough,
    change,
    fill,
    killed_at,
    traced,
)
from tests.support.processes import started
from tests.support.size import size
from tests.support.world import TOKEN, World, assert_sound

CALLS = ("pwrite64", *FILES, *WIRE)
HIGHEST = {"pwrite64": 60, "recvfrom": 12, "sendto": 8, "fsync": 12, "write": 10}
"""About how often an apply makes such a call; all others are rare."""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        fill(made)
        made.apply()
        yield made


def drawn(chance: random.Random) -> tuple[str, int]:
    """A system call, and which of its kind."""
    [call] = chance.choices(CALLS, [HIGHEST.get(call, 3) for call in CALLS])
    return call, chance.randint(1, HIGHEST.get(call, 3))


@pytest.mark.timeout(3600)
def test_the_apply_that_recovers_may_be_killed_at_any_system_call_as_well(
    world: World, record_property: Record
) -> None:
    chance = random.Random("pairs")
    twice = 0
    for number in range(1, size(8, 300)):
        change(world, number)
        uploads = len(world.uploads)
        first, second = drawn(chance), drawn(chance)
        if killed_at(world, *first):
            twice += killed_at(world, *second)
        try:
            assert_one_apply_is_enough(world, uploads, most=6)
        except AssertionError as error:
            raise AssertionError(f"killed at {first}, then at {second}") from error
    record_property("killed twice", twice)
    assert twice


@pytest.mark.timeout(3600)
def test_an_apply_may_be_killed_at_any_time_while_the_source_changes(
    world: World, record_property: Record
) -> None:
    chance = random.Random("times")
    change(world, 1)
    begun = time.monotonic()
    with started_apply(world) as process:
        assert process.wait(PATIENCE) == 0
    usual = time.monotonic() - begun
    kills = 0
    for number in range(2, size(12, 1_000) + 2):
        change(world, number)
        changed, killed = sorted(chance.uniform(usual / 3, usual) for _ in range(2))
        with started_apply(world) as process:
            let_run(process, changed)
            change(world, number + 1_000_000)
            let_run(process, killed - changed)
            process.kill()
            kills += process.wait(PATIENCE) == -signal.SIGKILL
        if number % 3 == 0:
            world.settle(applies=1, allowed=("vip",))
            assert_sound(world)
    record_property("kills", kills)
    assert kills


def started_apply(world: World) -> AbstractContextManager[subprocess.Popen[bytes]]:
    assert world.spec.path.exists()
    return started(
        APPLY,
        cwd=world.folder,
        env=environment(TOKEN=TOKEN),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def let_run(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Let the process run so long, or to its end."""
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        return


MOST_CALLS = 500
"""Of one kind: an apply makes fewer."""
SIGNALS = {
    "SIGINT": "signal=SIGINT:when={}",
    "SIGTERM": "signal=SIGTERM:when={}",
    "SIGHUP": "signal=SIGHUP:when={}",
    "SIGINT again and again": "signal=SIGINT:when={}+",
}


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.timeout(3600)
def test_a_signal_at_any_step_of_the_journal_ends_with_a_status_that_is_true(
    world: World, record_property: Record, name: str
) -> None:
    """5 says that a run was left open, 1 that none was, and 0 that the signal came too late."""
    statuses = []
    for call in ("fsync", "sendto", "unlink")[: size(1, 3)]:
        for number in count(size(1 + 2 * list(SIGNALS).index(name), 1), size(11, 1)):
            change(world, number)
            uploads = len(world.uploads)
            done = traced(world, call, SIGNALS[name].format(number))
            place = f"{name} at {call} {number}: {done.returncode} {done.stderr}"
            assert "Traceback" not in done.stderr, place
            assert done.returncode in (0, 1, 5), place
            assert number < MOST_CALLS, place
            assert has_open_run(world) == (done.returncode == 5), place
            assert_one_apply_is_enough(world, uploads)
            statuses.append(done.returncode)
            if done.returncode == 0:
                break
    record_property("signals", len(statuses))
    assert 5 in statuses


def has_open_run(world: World) -> bool:
    """Whether the state says so, or cannot be opened for what a commit has left."""
    if world.state.with_name("state.db-journal").exists():
        return True
    state = open_state(world.state, read_only=True)
    try:
        return state.open_run() is not None
    finally:
        state.close()
