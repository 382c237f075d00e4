"""What a plan says of a segment whose rows are bad, and which members stand for many, and why."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from segsync.model import DAY_MS
from segsync.plan import Plan, SegmentPlan, SegmentStatus
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.plans import reasons
from tests.support.world import START_MS, World


@pytest.fixture
def world() -> Iterator[World]:
    with in_one_thread() as folder, LeanWorld(folder / "world") as made:
        yield made


def samples(plan: Plan) -> list[tuple[str, str | None]]:
    return [(sample.label, sample.identifier) for one in plan.segments for sample in one.samples]


def date(epoch_ms: int) -> str:
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).date().isoformat()


def test_of_each_kind_as_many_are_shown_as_are_asked_for(world: World) -> None:
    columns = ("user_account_id", "total")
    world.define("vip", *columns, rows=[(f"u{n}", 1) for n in range(8)], expiration="30d")
    world.apply()
    world.advance(days=20)
    conflicts = [(f"c{n}", total) for n in range(3) for total in (1, 2)]
    renewed = [(f"u{n}", 1) for n in range(3)]
    updated = [(f"u{n}", 2) for n in range(3, 6)]
    new = [(f"n{n}", 1) for n in range(3)]
    world.fill("vip", [*renewed, *updated, *new, *conflicts, ("", 1), (None, 1)])
    found = samples(world.plan(samples=2, allowed=("vip",)))
    assert found == [
        ("invalid", ""), ("invalid", None), ("conflict", "c0"), ("conflict", "c1"),
        ("+", "c0"), ("+", "c1"), ("~", "u3"), ("~", "u4"), ("↻", "u0"), ("↻", "u1"),
        ("-", "u6"), ("-", "u7"),
    ]  # fmt: skip
    assert len(samples(world.plan(samples=1))) == 6
    assert samples(world.plan(samples=0)) == []
    world.define("other", rows=["x"])
    world.drop("vip", "delete")
    assert samples(world.plan(samples=1)) == [("+", "x"), ("-", "u0")]
    assert samples(world.plan(samples=0)) == []


def test_each_reason_is_told_in_words(world: World) -> None:
    """Without a data bag of columns it is rather the expiry that has changed."""
    columns = ("user_account_id", "expiration_ts")
    soon, later = START_MS + 2 * DAY_MS, START_MS + 9 * DAY_MS
    world.define("vip", *columns, rows=[("changed", later), ("lapsed", soon), ("gone", 0)])
    world.define("fans", rows=["a"], reassert="30d")
    world.apply()
    world.advance(days=31)
    world.fill("vip", [("changed", 0), ("lapsed", 0), ("new", 0)])
    assert reasons(world.plan()) == {
        ("+", "changed"): f"lapsed on {date(later)}",
        ("+", "lapsed"): f"lapsed on {date(soon)}",
        ("+", "new"): "new in the query",
        ("-", "gone"): "no longer in the query",
        ("↻", "a"): "asserted once more",
    }


def test_an_update_is_told_by_what_is_likely_to_have_changed(world: World) -> None:
    world.define("plain", rows=["a"], expiration="30d")
    world.define("bags", "user_account_id", "total", rows=[("b", 1)])
    world.define("clash", "user_account_id", "total", rows=[("c", 1)])
    world.apply()
    world.tables["plain"].keys["expiration"] = "60d"
    world.fill("bags", [("b", 2)])
    world.fill("clash", [("c", 1), ("c", 2)])
    found = reasons(world.plan())
    assert found["~", "a"] == "expiry or data bag changed"
    assert found["~", "b"] == "data bag or expiry changed"
    assert found["conflict", "c"] == "returned with different data bag or expiry"


def test_what_was_refused_once_is_told_though_it_is_the_only_one(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.emulator.reject([world.emulator.account("b")])
    world.apply()
    world.advance(days=7)
    world.accounts("vip", "a", "b", "c")
    assert reasons(world.plan()) == {
        ("+", "b"): "rejected earlier, tried again",
        ("+", "c"): "new in the query",
    }


# -------------------------------------------------------------------- segments that are errors


def only(world: World) -> SegmentPlan:
    [segment] = world.plan().segments
    return segment


HALF_WAY = (
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 9) "
    "SELECT 'u' || CASE n WHEN 9 THEN abs(-9223372036854775807 - 1) ELSE n END "
    "AS user_account_id FROM numbers"
)


@pytest.mark.parametrize("query", ["SELECT user_account_id FROM nowhere", HALF_WAY])
def test_a_query_that_fails_is_told_with_its_place(tmp_path: Path, query: str) -> None:
    with World(tmp_path) as world:
        world.define("vip", rows=["a", "b"])
        world.apply()
        world.define("vip", rows=["a", "b"], query=query)
        vip = only(world)
        place = world.spec.segments[0].query_place
    assert vip.status is SegmentStatus.ERROR
    assert (vip.error or "").startswith(f"{place}: ")
    assert vip.counts.snapshot == 2
    assert vip.counts.queried == 0
    assert vip.samples == ()


def test_bad_rows_are_told_with_their_number_and_the_remedy(world: World) -> None:
    columns = ("user_account_id", "expiration_ts")
    past = START_MS - 1
    rows = [("a", 0), ("b", past), ("c", past), ("", 0), ("", past), (None, 0)]
    world.define("vip", *columns, rows=rows)
    place = world.spec.segments[0].query_place
    vip = only(world)
    assert vip.status is SegmentStatus.ERROR
    assert vip.error is not None
    assert vip.error.startswith(f"{place}: 3 of 6 rows are invalid: ")
    assert set(vip.error.partition("invalid: ")[2].split("; ")) == {
        "2 × empty identifier",
        "2 × its expiration_ts has passed",
        "1 × no identifier: every identifier column is NULL",
    }
    assert vip.hint == "mend the query, or let the other rows through with `invalid_rows: skip`"
    world.fill("vip", [("", 0)])
    assert only(world).error == f"{place}: 1 of 1 row is invalid: 1 × empty identifier"
    world.fill("vip", rows[:3])
    assert only(world).status is SegmentStatus.OK
    world.fill("vip", rows)
    world.tables["vip"].keys["invalid_rows"] = "skip"
    vip = only(world)
    assert vip.status is SegmentStatus.OK
    assert (vip.counts.queried, vip.counts.invalid, vip.counts.desired) == (6, 5, 1)


def test_conflicts_are_told_with_their_number_and_the_remedy(world: World) -> None:
    columns = ("user_account_id", "total")
    world.define("vip", *columns, rows=[("a", 1), ("a", 2), ("b", 1)])
    place = world.spec.segments[0].query_place
    several = "more than once, with different data bag or expiry"
    vip = only(world)
    assert vip.status is SegmentStatus.ERROR
    assert vip.error == f"{place}: the query returns 1 identifier {several}"
    assert vip.hint == "mend the query, or choose with `on_conflict: latest_expiry` or `any`"
    world.fill("vip", [("a", 1), ("a", 2), ("b", 1), ("b", 2)])
    assert only(world).error == f"{place}: the query returns 2 identifiers {several}"
    for choice in ("any", "latest_expiry"):
        world.tables["vip"].keys["on_conflict"] = choice
        vip = only(world)
        assert vip.status is SegmentStatus.OK
        assert (vip.counts.duplicates, vip.counts.desired) == (2, 2)


SECONDS = 1_900_000_000
"""No expiry in milliseconds."""


@pytest.mark.parametrize(
    ("rows", "spared"),
    [
        ([("a", 0), ("b", SECONDS)], 1),
        ([("a", 0), ("b", START_MS - 1)], 0),
        ([("a", 0), ("b", START_MS - 1), ("c", SECONDS)], 0),
        ([("a", 0), ("b", SECONDS), ("c", START_MS - 1)], 1),
    ],
)
def test_whose_row_is_invalid_stays_and_whose_expiry_has_passed_does_not(
    world: World, rows: list[tuple[str, int]], spared: int
) -> None:
    columns = ("user_account_id", "expiration_ts")
    world.define("vip", *columns, rows=[("a", 0), ("b", 0)], invalid_rows="skip")
    world.apply()
    world.fill("vip", rows)
    assert (only(world).counts.remove, only(world).counts.spared) == (1 - spared, spared)
