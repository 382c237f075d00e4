"""The real command is killed, and its recovery too; killed at any time while the source changes;
and told to end by every signal at every step. Then one apply sets it right.
"""

from __future__ import annotations

import random
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import count
from pathlib import Path

import pytest

from tests.support.cli import environment
from tests.support.kills import (
    APPLY,
    FILES,
    TIDY_EVERY,
    WIRE,
    Record,
    assert_one_apply_is_enough,
    change,
    fill,
    has_open_run,
    killed_at,
    step_of,
    traced,
    undone,
)
from tests.support.preloaded import PATIENCE
from tests.support.processes import started
from tests.support.size import FULL, size
from tests.support.world import TOKEN, World, assert_sound

PAIR_SHARDS, TIME_SHARDS = 8, 4
CALLS = ("pwrite64", *FILES, *WIRE)
HIGHEST = {
    "pwrite64": 156,
    "fsync": 50,
    "unlink": 13,
    "sendto": 11,
    "write": 10,
    "recvfrom": 9,
    "connect": 5,
}
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


@pytest.mark.parametrize("shard", range(PAIR_SHARDS))
@pytest.mark.timeout(7200)
def test_the_apply_that_recovers_may_be_killed_at_any_system_call_as_well(
    world: World, record_property: Record, shard: int
) -> None:
    chance = random.Random(f"pairs {shard}")
    twice = 0
    for number in range(1, size(200, 2_000) // PAIR_SHARDS + 1):
        change(world, number)
        uploads = len(world.uploads)
        first, second = drawn(chance), drawn(chance)
        if killed_at(world, *first):
            twice += killed_at(world, *second)
        try:
            assert_one_apply_is_enough(world, uploads, cut_off=2)
        except AssertionError as error:
            raise AssertionError(f"killed at {first}, then at {second}") from error
        if number % TIDY_EVERY == 0:
            world.apply(assume_finished=True)
    record_property("killed twice", twice)
    assert twice >= number // 2


@pytest.mark.parametrize("shard", range(TIME_SHARDS))
@pytest.mark.timeout(7200)
def test_an_apply_may_be_killed_at_any_time_while_the_source_changes(
    world: World, record_property: Record, shard: int
) -> None:
    """How long an apply takes is measured anew by each that was not killed in time."""
    chance = random.Random(f"times {shard}")
    change(world, 1)
    usual = seconds_of_an_apply(world)
    kills = 0
    for number in count(2):
        change(world, number)
        changed, killed = sorted(chance.uniform(usual / 3, usual) for _ in range(2))
        begun = time.monotonic()
        with started_apply(world) as process:
            let_run(process, changed)
            change(world, number + 1_000_000)
            let_run(process, killed - changed)
            usual = usual if process.poll() is None else time.monotonic() - begun
            process.kill()
            kills += process.wait(PATIENCE) == -signal.SIGKILL
        world.note_journal()
        if number % 5 == 0:
            world.settle(allowed=("vip",))
            assert_sound(world)
        if kills == size(100, 1_000) // TIME_SHARDS:
            break
    world.settle(allowed=("vip",))
    assert_sound(world)
    record_property("kills", kills)


def seconds_of_an_apply(world: World) -> float:
    begun = time.monotonic()
    with started_apply(world) as process:
        assert process.wait(PATIENCE) == 0
    return time.monotonic() - begun


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


STEPS = {
    "changes are written": ("fsync", 1),
    "the run is committed": ("unlink", 5),
    "an import is made": ("sendto", 3),
    "the import is noted": ("unlink", 6),
    "a part is uploaded": ("sendto", 6),
    "its execution is noted": ("unlink", 8),
    "the run is closed": ("unlink", 12),
}
"""A call at each step of the journal: a commit is an `unlink`, the fifth is that of the run.

So it is where nothing is watched of earlier runs, for which more is asked.
"""
BEFORE = {
    "changes are written": ("nothing is staged", 0, 0),
    "the run is committed": ("the changes are staged", 0, 0),
    "an import is made": ("the run is journalled", 0, 0),
    "the import is noted": ("the run is journalled", 1, 0),
    "a part is uploaded": ("sending, waiting", 1, 0),
    "its execution is noted": ("sending, waiting", 1, 1),
    "the run is closed": ("sent, sent", 1, 2),
}
"""What is journalled then, how many imports there are, and how many uploads."""
MOST_CALLS = 500
"""Of one kind: an apply makes fewer."""
CLOSED = ("sh", "-c", 'exec "$@" >&- 2>&-', "sh")
SIGNALS: dict[str, tuple[str, Sequence[str]]] = {
    "SIGINT": ("signal=SIGINT:when={}", ()),
    "SIGTERM": ("signal=SIGTERM:when={}", ()),
    "SIGHUP": ("signal=SIGHUP:when={}", ()),
    "SIGINT again and again": ("signal=SIGINT:when={}+", ()),
    "SIGTERM, and the output is closed": ("signal=SIGTERM:when={}", CLOSED),
}


def moments() -> Iterator[Iterable[tuple[str, int]]]:
    """Where a signal comes: at each step, or at each call until it comes too late."""
    if FULL:
        for call in ("fsync", "sendto", "unlink"):
            yield ((call, number) for number in count(1))
    else:
        yield from ([step] for step in STEPS.values())


@pytest.mark.timeout(600)
def test_the_steps_of_the_journal_are_where_they_are_said_to_be(world: World) -> None:
    found = {}
    for number, (name, step) in enumerate(STEPS.items(), start=1):
        change(world, number)
        imports, uploads = len(world.emulator.imports), len(world.uploads)
        assert killed_at(world, *step)
        with undone(world) as database:
            found[name] = (
                step_of(database),
                len(world.emulator.imports) - imports,
                len(world.uploads) - uploads,
            )
        assert_one_apply_is_enough(world, uploads)
        world.apply(assume_finished=True)
    assert found == BEFORE


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.timeout(7200)
def test_a_signal_at_any_step_of_the_journal_ends_with_a_status_that_is_true(
    world: World, record_property: Record, name: str
) -> None:
    """5 says that a run was left open, 1 that none was, and 0 that the signal came too late."""
    injection, around = SIGNALS[name]
    statuses = []
    for series in moments():
        for call, number in series:
            change(world, len(statuses) + 1)
            uploads = len(world.uploads)
            done = traced(world, call, injection.format(number), around)
            place = f"{name} at {call} {number}: {done.status} {done.err}"
            assert "Traceback" not in done.err, place
            assert done.status in (0, 1, 5), place
            assert number < MOST_CALLS, place
            assert has_open_run(world) == (done.status == 5), place
            assert_one_apply_is_enough(world, uploads)
            world.apply(assume_finished=True)
            statuses.append(done.status)
            if done.status == 0:
                assert not done.reached, place
                break
    record_property("signals", len(statuses))
    assert {1, 5} <= set(statuses)
    assert len(statuses) >= size(len(STEPS), 70)


@pytest.mark.timeout(600)
def test_a_reader_who_goes_away_at_any_step_of_the_journal_stops_nothing(world: World) -> None:
    """`| head` closes the pipe while the apply runs: what is written to it then raises SIGPIPE."""
    for number, (call, nth) in enumerate(STEPS.values(), start=1):
        change(world, number)
        uploads = len(world.uploads)
        nobody = ("bash", "-c", '"$@" > >(exec head -c 1)', "bash")
        done = traced(world, call, f"signal=SIGPIPE:when={nth}", nobody)
        assert (done.status, len(done.out)) == (0, 1), (call, nth, done.err)
        assert len(world.uploads) > uploads
        assert_sound(world)
