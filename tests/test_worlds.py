"""Worlds that queries may ask for, one after the other: each is reached, and nothing is left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from segsync.model import DAY_MS
from segsync.report import Exit
from tests.support.world import START_MS, World, assert_sound

LATER = START_MS + 3000 * DAY_MS
ACCOUNT = ("user_account_id",)
TOTAL = ("user_account_id", "total")
MIXED = ("user_account_id", "compartment_id", "email_hash", "user_agent_id")
EXPIRING = ("user_account_id", "expiration_ts")
BAG = ("user_account_id", "data_bag")


@dataclass(frozen=True)
class Wanted:
    """What one segment's query returns, and its keys in the spec."""

    columns: tuple[str, ...]
    rows: Sequence[Any]
    keys: dict[str, Any] = field(default_factory=dict)


def people(*rows: Any, columns: tuple[str, ...] = ACCOUNT, **keys: Any) -> Wanted:
    return Wanted(columns, rows, keys)


def many(count: int, start: int = 0, **keys: Any) -> Wanted:
    return Wanted(ACCOUNT, [f"u{n}" for n in range(start, start + count)], keys)


def totals(*rows: tuple[str, int | None], **keys: Any) -> Wanted:
    return Wanted(TOTAL, rows, keys)


Place = tuple[str | None, str | None, str | None, str | None]


def mixed(*rows: Place, **keys: Any) -> Wanted:
    return Wanted(MIXED, rows, keys)


WORLDS: list[tuple[str, dict[str, Wanted]]] = [
    ("nobody", {"vip": people()}),
    ("one", {"vip": people("a")}),
    ("the same one", {"vip": people("a")}),
    ("two", {"vip": people("a", "b")}),
    ("another order", {"vip": people("b", "a")}),
    ("one of them twice", {"vip": people("b", "a", "b")}),
    ("one left", {"vip": people("b")}),
    ("one came", {"vip": people("b", "c")}),
    ("all others", {"vip": people("x", "y")}),
    ("nobody again", {"vip": people()}),
    ("many", {"vip": many(500)}),
    ("many and one", {"vip": many(501)}),
    ("some less, some more", {"vip": many(500, 250)}),
    ("another case", {"vip": people("A", "a", "Á", "á")}),
    ("spaces", {"vip": people("a", " a", "a ", "a b", "\ta")}),
    ("numbers", {"vip": people("1", "01", "1.0", "1e0", "+1")}),
    ("words of other languages", {"vip": people("null", "NULL", "true", "{}", "[]", "''", '""')}),
    ("signs", {"vip": people('"', "'", "\\", "\n", "\r\n", ",", ";", "\x01", "\u2028", "😀")}),
    ("long ones", {"vip": people("x" * 60_000, "y" * 60_000)}),
    ("two segments", {"vip": people("a"), "reader": people("a", "b")}),
    ("both changed", {"vip": people("b"), "reader": people("a")}),
    ("exchanged", {"vip": people("a"), "reader": people("b")}),
    ("only the other", {"reader": people("b")}),
    ("back again", {"vip": people("a"), "reader": people("b")}),
    ("a third, by its id", {"reader": people("b"), "third": people("a", segment_id="88123")}),
    ("the third under a new name", {"renamed": people("a", "c", segment_id="88123")}),
    ("data bags", {"vip": totals(("a", 1), ("b", 2))}),
    ("one of them changed", {"vip": totals(("a", 1), ("b", 3))}),
    ("nothing in one", {"vip": totals(("a", None), ("b", 3))}),
    ("large numbers", {"vip": totals(("a", 2**63 - 1), ("b", -(2**63)), ("c", 0))}),
    ("without data bags", {"vip": people("a", "b", "c")}),
    ("with them again", {"vip": totals(("a", 1), ("b", 2), ("c", 3))}),
    ("bags as texts", {"vip": people(("a", '{"total":1}'), ("b", "{}"), columns=BAG)}),
    ("bags with other spaces", {"vip": people(("a", '{ "total": 1 }'), ("b", "{}"), columns=BAG)}),
    ("bags with nulls", {"vip": people(("a", '{"x":null,"y":[{}]}'), ("b", None), columns=BAG)}),
    ("bags with signs", {"vip": people(("a", '{"é\\n\\"":"\\u0001😀"}'), columns=BAG)}),
    ("bags in another order", {"vip": people(("a", '{"b":1,"a":{"d":1,"c":2}}'), columns=BAG)}),
    ("thirty days", {"vip": people("a", "b", expiration="30d")}),
    ("sixty days", {"vip": people("a", "b", expiration="60d")}),
    ("sixty days, others", {"vip": people("b", "c", expiration="60d")}),
    ("ninety minutes", {"vip": people("b", "c", expiration="90m")}),
    ("for ever", {"vip": people("b", "c", expiration="never")}),
    ("each its own time", {"vip": people(("a", LATER), ("b", None), ("c", 0), columns=EXPIRING)}),
    ("other times", {"vip": people(("a", LATER + 1), ("b", LATER), columns=EXPIRING)}),
    ("times past", {"vip": people(("a", START_MS - 1), ("b", LATER), columns=EXPIRING)}),
    ("times and thirty days", {"vip": people(("b", LATER), columns=EXPIRING, expiration="30d")}),
    ("only thirty days", {"vip": people("b", expiration="30d")}),
    ("hashes", {"vip": people("h1", "h2", columns=("email_hash",))}),
    ("agents", {"vip": people("vec:1", "vec:2", columns=("user_agent_id",))}),
    ("accounts", {"vip": people("h1", "vec:1")}),
    ("a compartment", {"vip": people("h1", "vec:1", compartment_id="2000")}),
    ("another compartment", {"vip": people("h1", "vec:1", compartment_id="3000")}),
    ("the default compartment", {"vip": people("h1", "vec:1")}),
    (
        "all kinds",
        {
            "vip": mixed(
                ("a", None, None, None),
                ("a", "2000", None, None),
                (None, None, "a", None),
                (None, None, None, "a"),
            )
        },
    ),
    (
        "all kinds, moved on",
        {
            "vip": mixed(
                ("b", None, None, None),
                ("a", "3000", None, None),
                (None, None, "b", None),
                (None, "2000", None, "a"),
            )
        },
    ),
    ("all kinds, a compartment", {"vip": mixed(("a", None, None, None), compartment_id="2000")}),
    ("addresses", {"vip": people("A@b.C ", "d@e.f", columns=("email",), hash_email="sha256")}),
    ("normal ones", {"vip": people("a@b.c", "D@E.F", columns=("email",), hash_email="sha256")}),
    ("another hash", {"vip": people("a@b.c", "d@e.f", columns=("email",), hash_email="md5")}),
    ("skipped rows", {"vip": people("a", (None,), "", invalid_rows="skip")}),
    ("many segments", {f"s{n}": people("a", f"b{n}") for n in range(30)}),
    ("half as many", {f"s{n}": people("a", f"c{n}") for n in range(0, 30, 2)}),
    ("one in the end", {"vip": people("a")}),
]


def turn(world: World, wanted: dict[str, Wanted]) -> None:
    """Make the spec and the queries those of the next world."""
    for name in world.tables.keys() - wanted.keys():
        same = {w.keys.get("segment_id") for w in wanted.values()} - {None}
        moved = world.tables[name].keys.get("segment_id") in same
        world.drop(name, None if moved else "delete")
    for name, segment in wanted.items():
        world.removed.pop(name, None)
        world.define(name, *segment.columns, rows=segment.rows, **segment.keys)


def forget_invalid_rows(world: World) -> None:
    """What is skipped is no member that the platform should have."""
    for table in world.tables.values():
        if table.keys.get("invalid_rows") == "skip":
            table.rows = [row for row in table.rows if row[0]]


@pytest.mark.parametrize("wire", ["ndjson", "csv"])
def test_each_world_is_reached_and_then_nothing_is_left_to_do(tmp_path: Path, wire: str) -> None:
    assert len(WORLDS) >= 60
    with World(tmp_path) as world:
        world.destination["format"] = wire
        world.emulator.behave(data_bag_max_bytes=1_000_000)
        for name, wanted in WORLDS if wire == "ndjson" else WORLDS[::-3]:
            turn(world, wanted)
            assert world.apply(allowed=tuple(wanted)).exit is Exit.DONE, name
            second = world.apply(allowed=tuple(wanted))
            assert second.run is None, name
            assert second.plan is not None
            assert {segment.name for segment in second.plan.segments} == wanted.keys()
            forget_invalid_rows(world)
            assert_sound(world)
