"""The real command is killed at every system call that matters, or the disk fails it there; then
one apply sets it right.

`strace` does it on entering the n-th call of one kind in any thread, n = 1, 2, … until the command
gets through.
"""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from tests.support.kills import (
    FILES,
    WIRE,
    Record,
    assert_one_apply_is_enough,
    change,
    fill,
    killed_at,
    traced,
)
from tests.support.size import size
from tests.support.world import World, assert_sound


@pytest.mark.parametrize(
    ("calls", "first", "step"),
    [(("pwrite64",), 1, 2), (("pwrite64",), 2, 2), (FILES, 1, 1), (WIRE, 1, 1)],
    ids=["odd writes", "even writes", "files", "wire"],
)
@pytest.mark.timeout(600)
def test_an_apply_may_be_killed_at_any_system_call(
    tmp_path: Path, record_property: Record, calls: tuple[str, ...], first: int, step: int
) -> None:
    kills = 0
    with World(tmp_path) as world:
        fill(world)
        world.apply()
        for call in calls:
            for number in count(first, step):
                kills += 1
                change(world, kills)
                uploads = len(world.uploads)
                if not killed_at(world, call, number):
                    break
                assert_one_apply_is_enough(world, uploads)
                # What is watched for late executions would cost one more request at every kill.
                world.apply(assume_finished=True)
            assert_sound(world)
    record_property("kills", kills)
    assert kills > 20


@pytest.mark.timeout(600)
def test_a_first_apply_may_be_killed_while_it_makes_the_state(
    tmp_path: Path, record_property: Record
) -> None:
    kills = 0
    for call in ("fsync", "unlink", "rename", "mkdir"):
        for number in count(1):
            kills += 1
            with World(tmp_path / f"{call}-{number}") as world:
                fill(world)
                if not killed_at(world, call, number):
                    break
                assert_one_apply_is_enough(world, 0)
    record_property("kills", kills)
    assert kills > 20


@pytest.mark.parametrize("error", ["ENOSPC", "EIO"])
@pytest.mark.parametrize("lasting", ["", "+"], ids=["once", "for ever"])
@pytest.mark.timeout(3600)
def test_a_disk_that_fails_is_told_and_nothing_is_lost(
    tmp_path: Path, record_property: Record, error: str, lasting: str
) -> None:
    failures = 0
    with World(tmp_path) as world:
        fill(world)
        world.apply()
        for call in ("pwrite64", "fsync", "unlink", "ftruncate"):
            for number in count(1, size(13, 1)):
                change(world, failures + 1)
                uploads = len(world.uploads)
                done = traced(world, call, f"error={error}:when={number}{lasting}")
                assert "Traceback" not in done.stderr
                if done.returncode == 0:
                    break
                failures += 1
                assert done.returncode in (1, 5), done.stderr
                if "No usable temporary directory" not in done.stderr:
                    assert str(world.state) in done.stderr or "payload" in done.stderr
                    assert "disk" in done.stderr or "space" in done.stderr, done.stderr
                assert_one_apply_is_enough(world, uploads)
    record_property("failures", failures)
    assert failures > 5
