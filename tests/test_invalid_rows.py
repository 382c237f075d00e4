"""With `invalid_rows: skip`: whom an invalid row keeps as a member, and whom it does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync.emulator import ExecutionScript
from tests.support.world import World

LEFT_AS_THEY_ARE = {"invalid_rows": "skip", "guard": {"allow_empty": True, "max_removed": "100%"}}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def members_after(world: World, query: str) -> set[str]:
    """Of a segment with the members 1, 2 and 3, when its query gives something else."""
    kind = "email_hash" if "email_hash" in query else "user_account_id"
    world.define("vip", kind, rows=["1", "2", "3"], **LEFT_AS_THEY_ARE)
    world.settle()
    world.tables["vip"].keys["query"] = query
    world.apply()
    found = {identifier.value for identifier in world.members("vip")}
    assert not world.plan().changes_something
    return found


@pytest.mark.parametrize(
    "unreadable",
    ["1.0 AS user_account_id", "x'31' AS user_account_id", "'a@b.org' AS email_hash"],
)
def test_a_row_whose_identifier_cannot_be_read_may_be_anybodys(
    world: World, unreadable: str
) -> None:
    """A column that became another type must not remove those whose rows it is in."""
    assert members_after(world, f"SELECT {unreadable} UNION ALL SELECT '3'") == {"1", "2", "3"}


@pytest.mark.parametrize("nobody", ["NULL", "''", "'1' || char(0) || '2'"])
def test_a_row_that_names_nobody_keeps_nobody(world: World, nobody: str) -> None:
    query = f"SELECT {nobody} AS user_account_id UNION ALL SELECT '3'"
    assert members_after(world, query) == {"3"}


def test_a_value_that_cannot_be_sent_keeps_only_whom_its_row_names(world: World) -> None:
    world.define("vip", "user_account_id", "total", **LEFT_AS_THEY_ARE)
    world.fill("vip", [("1", 1), ("2", 1), ("3", 1)])
    world.settle()
    world.fill("vip", [("1", float("inf")), ("3", 1)])
    world.apply()
    assert {identifier.value for identifier in world.members("vip")} == {"1", "3"}


def test_who_removes_again_spares_whom_an_unreadable_row_may_be(world: World) -> None:
    """A removal whose outcome is unknown is not said once more while the row may be theirs."""
    world.define("vip", rows=["1", "2", "3"], **LEFT_AS_THEY_ARE)
    world.settle()
    world.accounts("vip", "1", "2")
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    world.apply()
    world.tables["vip"].keys["query"] = "SELECT 3.0 AS user_account_id UNION ALL SELECT '1'"
    plan = world.plan()
    assert (plan.totals.remove, plan.segments[0].counts.spared) == (0, 2)
    del world.tables["vip"].keys["query"]
    world.settle()
    assert {identifier.value for identifier in world.members("vip")} == {"1", "2"}
