"""Runs of more members than are read or written at once anywhere: what few cannot show."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from segsync.emulator import ExecutionScript
from segsync.report import Exit
from segsync.state import PartStatus
from tests.support.crash import apply_until_killed
from tests.support.size import size
from tests.support.world import World, assert_sound

pytestmark = pytest.mark.many_rows

MANY = size(51_000, 300_000)
NEVER_BY_ITSELF = 10**6
Row = tuple[str, int]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        made.define("vip", "user_account_id", "total", rows=people(), expiration="30d")
        yield made


def people(first: int = 0, total: int = 1) -> list[Row]:
    return [(f"u{number}", total) for number in range(first, first + MANY)]


def killed(world: World) -> None:
    assert apply_until_killed(world, "before upload")
    world.fill("vip", people(MANY // 2))
    assert apply_until_killed(world, "before list_executions")


def of_unknown_outcome(world: World) -> None:
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    assert world.apply().exit is Exit.UNKNOWN
    world.fill("vip", people(MANY // 2, total=2))
    assert world.plan(allowed=("vip",)).totals.retry == MANY


def rejected(world: World) -> None:
    world.apply()
    world.emulator.reject([world.emulator.account(f"u{number}") for number in range(2 * MANY)])
    world.fill("vip", people(MANY // 2, total=2))
    report = world.apply(allowed=("vip",))
    assert report.run is not None
    assert report.run.outcome.rejected == MANY + MANY // 2
    assert world.plan(allowed=("vip",)).totals.reattempted == MANY + MANY // 2
    world.emulator.accept_all()


def in_parts(world: World) -> None:
    world.destination["max_upload_bytes"] = 1024 * 1024
    saved = world.folder.with_name("plan")
    assert len(world.save(saved).parts) > 5
    world.apply_saved(saved)
    world.fill("vip", people(MANY // 2, total=2))
    assert apply_until_killed(world, "before upload", nth=4, allowed=("vip",))


def sent_late(world: World) -> None:
    """Given up, undone, and then it acts all the same."""
    world.apply()
    world.fill("vip", people(MANY // 2, total=2))
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=NEVER_BY_ITSELF))
    assert apply_until_killed(world, "after upload", allowed=("vip",))
    world.emulator.behave(lists_until_seen=NEVER_BY_ITSELF)
    world.emulator.on_upload(lambda _: world.emulator.behave(lists_until_seen=0))
    world.fill("vip", people())
    report = world.apply(allowed=("vip",))
    assert report.recovered is not None
    assert report.recovered.parts[0].status is PartStatus.UNKNOWN
    world.emulator.run_all()


def renewed(world: World) -> None:
    world.apply()
    world.advance(days=29)
    assert world.plan().totals.renew == MANY
    assert apply_until_killed(world, "after list_executions")


SITUATIONS: tuple[Callable[[World], None], ...] = (
    killed, of_unknown_outcome, rejected, in_parts, sent_late, renewed,
)  # fmt: skip


@pytest.mark.timeout(size(240, 1800))
@pytest.mark.parametrize("situation", SITUATIONS[:: size(2, 1)])
def test_one_apply_sets_right_what_was_left_of_very_many(
    world: World, situation: Callable[[World], None]
) -> None:
    situation(world)
    world.settle(allowed=("vip",))
    world.emulator.refused.clear()
    in_flight = 2 if situation is sent_late else 1
    assert_sound(world, in_flight=in_flight)
    world.drop("vip", "delete")
    world.settle()
    assert not world.members("vip")
