"""Columns of every kind of type, from the database to the platform; and types that change."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from segsync.plan import SegmentStatus
from segsync.report import Exit
from tests.support.sources import Database, database
from tests.support.world import World, assert_sound

USUAL = {
    "sqlite": "sqlite-adbc",
    "postgresql": "postgresql-adbc",
    "mariadb": "mariadb-pymysql",
    "duckdb": "duckdb",
}
TYPED = ("postgresql", "mariadb", "duckdb")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        yield made


@pytest.fixture(params=TYPED)
def typed(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A database whose columns have types."""
    return database(request, tmp_path, USUAL[request.param])


COLUMNS = {
    "id": ("bigint", "9223372036854775807"),
    "price": ("decimal(12,2)", "1234567890.10"),
    "huge": ("decimal(38,0)", "12345678901234567890123456789012345678"),
    "whole": ("bigint", "-9223372036854775808"),
    "small": ("smallint", "0"),
    "ratio": ("double precision", "'0.1'"),
    "zero": ("double precision", "'-0.0'"),
    "flag": ("boolean", "true"),
    "absent": ("boolean", "NULL"),
    "day": ("date", "'2024-02-29'"),
    "local": ("timestamp", "'2026-03-29 02:30:00.25'"),
    "seen": ("timestamptz", "'2026-11-24 09:30:00.25+01:30'"),
}
IN_MARIADB = {
    "local": ("datetime(6)", "'2026-03-29 02:30:00.25'"),
    # It has no literal of a time with a zone: the session's is +01:30.
    "seen": ("timestamp(6)", "'2026-11-24 09:30:00.25'"),
}
BAG = (
    '{"absent":null,"day":"2024-02-29","flag":true,'
    '"huge":12345678901234567890123456789012345678,"local":"2026-03-29T02:30:00.250000",'
    '"price":1234567890.10,"ratio":0.1,"seen":"2026-11-24T08:00:00.250000Z","small":0,'
    '"whole":-9223372036854775808,"zero":-0.0}'
)


def test_every_type_arrives_at_the_platform_as_it_is(world: World, typed: Database) -> None:
    columns = COLUMNS | (IN_MARIADB if typed.dialect == "mariadb" else {})
    types = ", ".join(f"{name} {type_}" for name, (type_, _) in columns.items())
    values = ", ".join(value for _, value in columns.values())
    zone = ["SET time_zone = '+01:30'"] if typed.dialect == "mariadb" else []
    typed.write(f"CREATE TABLE t ({types})", *zone, f"INSERT INTO t VALUES ({values})")
    bag = sorted(columns.keys() - {"id"})
    query = f"SELECT id AS user_account_id, {', '.join(bag)} FROM t"
    world.sources["warehouse"] = typed.url.replace(" ", "%20")
    world.define("vip", source="warehouse", query=query, data_bag=bag)
    assert world.apply().exit is Exit.DONE
    found = world.emulator.members("vip")
    del found[world.stranger]
    [(who, member)] = found.items()
    assert who == world.emulator.account("9223372036854775807", None)
    wanted = BAG
    if typed.dialect == "mariadb":
        # To it a boolean is a number, and it keeps no sign of a zero.
        wanted = BAG.replace('"flag":true', '"flag":1').replace("-0.0", "0.0")
    assert member.data_bag == wanted
    assert not world.plan().changes_something
    assert state_identifiers(world) == ["9223372036854775807"]


def state_identifiers(world: World) -> list[str]:
    """Whom the state has, in the form in which it keeps them."""
    with closing(sqlite3.connect(f"file:{world.state}?mode=ro", uri=True)) as state:
        return [row[0] for row in state.execute("SELECT identifier FROM confirmed ORDER BY 1")]


WHOLE = {
    "sqlite": ("INTEGER", "TEXT", "NUMERIC"),
    "postgresql": ("integer", "bigint", "numeric(20,0)", "text", "varchar(20)"),
    "mariadb": ("integer", "bigint", "decimal(20,0)", "varchar(20)"),
    "duckdb": ("integer", "bigint", "decimal(20,0)", "text"),
}
UNFIT = {
    "sqlite": "REAL",
    "postgresql": "double precision",
    "mariadb": "double",
    "duckdb": "double",
}


@pytest.fixture(params=USUAL)
def accounts(request: pytest.FixtureRequest, tmp_path: Path) -> Database:
    """A database whose table `t` has the type of its column `id` changed again and again."""
    return database(request, tmp_path, USUAL[request.param])


def give(base: Database, type_: str, *identifiers: str) -> None:
    """The table anew, with a column of this type."""
    base.write(
        "DROP TABLE IF EXISTS t",
        f"CREATE TABLE t (id {type_})",
        *(f"INSERT INTO t VALUES ('{identifier}')" for identifier in identifiers),
    )


def test_a_column_that_becomes_another_type_changes_nobody_or_is_an_error(
    world: World, accounts: Database
) -> None:
    rows = [str(number) for number in range(1, 21)]
    world.sources["warehouse"] = accounts.url.replace(" ", "%20")
    query = "SELECT id AS user_account_id FROM t"
    world.define("vip", rows=rows, source="warehouse", query=query)
    first, *others = WHOLE[accounts.dialect]
    give(accounts, first, *rows)
    assert world.apply().exit is Exit.DONE
    shown = world.expected("vip")
    assert world.members("vip") == shown
    for type_ in others:
        give(accounts, type_, *rows)
        assert not world.plan().changes_something, type_
    give(accounts, UNFIT[accounts.dialect], *rows)
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert [segment.status for segment in report.plan.segments] == [SegmentStatus.ERROR]
    assert world.members("vip") == shown
    give(accounts, first, *rows)
    world.settle()
    assert_sound(world)


def test_a_type_that_changes_between_plan_and_apply_changes_nothing_of_what_is_sent(
    world: World, accounts: Database
) -> None:
    world.sources["warehouse"] = accounts.url.replace(" ", "%20")
    query = "SELECT id AS user_account_id FROM t"
    world.define("vip", rows=["1", "2"], source="warehouse", query=query)
    give(accounts, WHOLE[accounts.dialect][0], "1", "2")
    world.save(world.folder / "a.plan")
    give(accounts, UNFIT[accounts.dialect], "1", "2")
    assert world.apply_saved(world.folder / "a.plan").exit is Exit.DONE
    assert world.members("vip") == world.expected("vip")
    give(accounts, WHOLE[accounts.dialect][0], "1", "2")
    world.settle()
    assert_sound(world)


def test_a_value_of_the_bag_that_becomes_another_type_is_an_update(world: World) -> None:
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 2)])
    assert world.apply().exit is Exit.DONE
    world.tables["vip"].keys["query"] = "SELECT user_account_id, total || '' AS total FROM \"vip\""
    world.tables["vip"].rows = [("a", "1"), ("b", "2")]
    report = world.apply()
    assert (report.exit, report.plan.totals.update) == (Exit.DONE, 2)
    assert_sound(world)


def test_the_order_of_columns_means_nothing(world: World) -> None:
    columns = ("user_account_id", "total", "expiration_ts")
    later = world.clock.now_ms() + 10**10
    world.define("vip", *columns, rows=[("1", 2, later), ("3", 4, later)])
    assert world.apply().exit is Exit.DONE
    for order in (columns[::-1], (columns[1], columns[2], columns[0])):
        world.tables["vip"].keys["query"] = f'SELECT {", ".join(order)} FROM "vip"'
        assert not world.plan().changes_something
    assert_sound(world)


def test_a_query_without_columns_is_an_error_that_removes_nobody(
    world: World, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    base = database(request, tmp_path, USUAL["postgresql"])
    rows = [str(number) for number in range(1, 21)]
    give(base, "integer", *rows)
    world.sources["warehouse"] = base.url.replace(" ", "%20")
    query = "SELECT id AS user_account_id FROM t"
    world.define("vip", rows=rows, source="warehouse", query=query)
    assert world.apply().exit is Exit.DONE
    world.tables["vip"].keys["query"] = "SELECT FROM t"
    report = world.apply(allowed=("vip",))
    assert report.exit is Exit.ERROR
    [segment] = report.plan.segments
    assert segment.error
    assert "no identifier" in segment.error
    assert world.members("vip") == world.expected("vip")
    world.tables["vip"].keys["query"] = query
    world.settle()
    assert_sound(world)


def test_a_bag_of_a_hundred_thousand_keys_arrives_whole_or_is_refused(world: World) -> None:
    world.emulator.behave(data_bag_max_bytes=1024 * 1024)
    fits = {f"{number:x}": 0 for number in range(100_000)}
    too_large = {f"a longer key {number}": 0 for number in range(100_000)}
    rows = [("a", json.dumps(fits, separators=(",", ":")))]
    world.define("vip", "user_account_id", "data_bag", rows=rows)
    assert world.apply().exit is Exit.DONE
    member = world.emulator.members("vip")[world.emulator.account("a")]
    assert member.data_bag is not None
    assert json.loads(member.data_bag) == fits
    assert_sound(world)
    world.fill("vip", [*rows, ("b", json.dumps(too_large))])
    [segment] = world.plan().segments
    assert segment.status is SegmentStatus.ERROR
    assert "1 × data bag larger than 1048576 bytes" in (segment.error or "")
