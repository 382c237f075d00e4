"""What `segsync status` tells of each segment."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from segsync.emulator import ExecutionScript
from segsync.model import DAY_MS
from segsync.render.status import StateStatus, read_status
from segsync.state import open_state
from tests.support.crash import apply_until_killed
from tests.support.world import World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def status_of(world: World, *, after_days: int = 0) -> StateStatus:
    with closing(open_state(world.state, read_only=True)) as state:
        now_ms = world.clock.now_ms() + after_days * DAY_MS
        return read_status(world.spec, state, now_ms, exists=True)


def outcomes(world: World) -> dict[str, str | None]:
    return {segment.name: segment.outcome for segment in status_of(world).segments}


def test_the_outcome_of_a_run_is_told_of_the_segments_that_it_is_about(world: World) -> None:
    world.define("good", rows=["a", "b"])
    world.define("bad", "user_account_id", rows=["a", "b"], segment_id="500")

    def refuse(command: Any) -> str | None:
        return "no" if command.target[1] == "500" and command.identifier.value == "b" else None

    world.emulator.reject_when(refuse)
    world.apply()
    assert outcomes(world) == {"good": "done", "bad": "partly rejected"}
    world.accounts("good", "a", "b", "c")
    world.advance(minutes=1)
    world.apply(targets=("good",))
    with closing(open_state(world.state, read_only=True)) as state:
        numbers = {segment.name: segment.number for segment in state.segments()}
        assert state.rejecting_runs() == {numbers["bad"]: {1}}
    assert outcomes(world) == {"good": "done", "bad": "partly rejected"}
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    world.accounts("good", "a")
    world.apply(targets=("good",), allowed=("good",))
    assert outcomes(world) == {"good": "unknown", "bad": "partly rejected"}
    world.settle(targets=("good",))
    world.accounts("good", "a", "d")
    assert apply_until_killed(world, "after upload", targets=("good",))
    # What is under way is told apart from what has ended.
    assert outcomes(world) == {"good": "done", "bad": "partly rejected"}
    assert status_of(world).open_run is not None


def test_members_that_never_expire_are_foretold_to_be_asserted_once_more(world: World) -> None:
    rows = [f"u{n}" for n in range(300)]
    world.define("vip", rows=rows, expiration="never", reassert="30d")
    world.define("still", rows=rows, expiration="never")
    world.apply()
    for days, renews in ((0, (10, 70, 300)), (15, (160, 220, 300)), (40, (300, 300, 300))):
        found = {
            segment.name: segment.renews for segment in status_of(world, after_days=days).segments
        }
        assert found == {"vip": renews, "still": (0, 0, 0)}
        assert not any(sum(segment.lapses) for segment in status_of(world).segments)
    world.advance(days=15)
    assert abs(world.plan().totals.renew - 150) < 40


def test_a_default_reassertion_changes_no_forecast_of_members_that_expire(world: World) -> None:
    world.define("vip", rows=["a", "b"], expiration="30d")
    world.apply()
    [vip] = world.spec.segments
    spec = replace(world.spec, segments=(replace(vip, reassert_minutes=60),))
    with closing(open_state(world.state, read_only=True)) as state:
        [found] = read_status(spec, state, world.clock.now_ms(), exists=True).segments
    assert found.renews == status_of(world).segments[0].renews == (0, 0, 2)
