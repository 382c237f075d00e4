"""What `segsync status` tells of each segment."""

from __future__ import annotations

import cProfile
import pstats
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
from segsync.state.database import Database
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


@pytest.mark.parametrize("removed", ["vip", "77", "segment_id=77"])
def test_a_segment_that_is_to_be_removed_is_in_the_spec_however_it_is_named(
    world: World, removed: str
) -> None:
    world.define("vip", rows=["a"], segment_id="77")
    world.define("reader", rows=["a"])
    world.apply()
    world.drop("vip")
    assert [one.in_spec for one in status_of(world).segments] == [False, True]
    world.removed = {removed: "delete"}
    assert [one.in_spec for one in status_of(world).segments] == [True, True]


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


def test_what_lapses_and_renews_is_foretold_by_each_segments_own_expiry(world: World) -> None:
    """Expiries lie at noon, 5, 20 and 40 days away; half of it remains when they are renewed."""
    for days in (5, 20, 40):
        world.define(f"of{days}", rows=["a"] * days, expiration=f"{days}d", renew_at="50%")
        world.accounts(f"of{days}", *(f"u{n}" for n in range(days)))
    world.apply()
    found = {s.name: (s.lapsed, s.lapses, s.renews) for s in status_of(world).segments}
    assert found == {
        "of5": (0, (0, 5, 5), (0, 5, 5)),
        "of20": (0, (0, 0, 20), (0, 0, 20)),
        "of40": (0, (0, 0, 0), (0, 0, 40)),
    }
    later = {s.name: (s.lapsed, s.lapses) for s in status_of(world, after_days=19).segments}
    assert later == {"of5": (5, (0, 0, 0)), "of20": (0, (20, 20, 20)), "of40": (0, (0, 0, 40))}


def test_a_report_asks_the_state_as_often_however_many_rejects_there_are(world: World) -> None:
    """And of each segment, and each run, once or twice more, whatever is foretold of it."""
    asked = {}
    for many in (2, 30):
        for number in range(many):
            world.define(f"s{number}", rows=["a", "b"], expiration=f"{number + 1}d")
        world.emulator.reject_when(
            lambda command: f"no {command.target[1]}" if command.identifier.value == "b" else None
        )
        world.apply()
        with closing(open_state(world.state, read_only=True)) as state:
            with cProfile.Profile() as of_rejects:
                assert len(state.reject_reasons()) == len(state.rejects(100)) == many
            with cProfile.Profile() as of_all:
                read_status(world.spec, state, world.clock.now_ms(), exists=True)
        asked[many] = (questions(of_rejects), questions(of_all))
    assert asked[2][0] == asked[30][0] > 0
    assert 28 <= asked[30][1] - asked[2][1] <= 30


def questions(profile: cProfile.Profile) -> int:
    """How many statements that profile saw."""
    wanted = Database.rows.__code__
    return sum(
        figures[0]
        for (file, line, _), figures in pstats.Stats(profile).stats.items()  # type: ignore[attr-defined]
        if (file, line) == (wanted.co_filename, wanted.co_firstlineno)
    )
