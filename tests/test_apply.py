"""An apply, from the first to the hundredth, on a platform that does what its documentation says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync.report import Exit
from tests.support.world import World, assert_sound


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def test_the_first_apply_adds_every_member_and_the_second_does_nothing(world: World) -> None:
    world.define("vip", "user_account_id", "total", rows=[(f"u{n}", n) for n in range(50)])
    first = world.apply()
    assert first.exit is Exit.DONE
    assert first.run is not None
    assert first.run.outcome.confirmed == 50
    assert_sound(world)
    uploads = len(world.uploads)
    second = world.apply()
    assert second.run is None
    assert len(world.uploads) == uploads


def test_only_what_changed_is_sent(world: World) -> None:
    rows = {f"u{n}": n for n in range(50)}
    world.define("vip", "user_account_id", "total", rows=list(rows.items()))
    world.apply()
    rows["u1"] = -1
    del rows["u2"]
    rows["new"] = 7
    world.fill("vip", list(rows.items()))
    report = world.apply()
    assert report.plan is not None
    totals = report.plan.totals
    assert (totals.add, totals.update, totals.renew, totals.remove) == (1, 1, 0, 1)
    assert_sound(world)
