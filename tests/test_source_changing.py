"""The source changes under segsync's feet: what was shown is sent, or the segment is an error."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from segsync.emulator.world import Upload
from segsync.errors import SourceError
from segsync.plan import Plan
from segsync.report import Exit
from tests.support.sources import database, opened, read, write_elsewhere
from tests.support.world import World, assert_sound


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@pytest.mark.parametrize("moment", ["while it is confirmed", "while it is uploaded"])
def test_what_was_shown_is_sent_though_the_source_changes(world: World, moment: str) -> None:
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 2)])
    shown = world.expected("vip")
    later = [("b", 3), ("c", 4)]

    def change(_: Plan | Upload) -> bool:
        with closing(sqlite3.connect(world.folder / "shop.db")) as shop, shop:
            shop.execute("DELETE FROM vip")
            shop.executemany("INSERT INTO vip VALUES (NULL, ?, ?)", later)
        world.tables["vip"].rows = list(later)
        return True

    def confirm(shown: Plan) -> bool:
        return moment != "while it is confirmed" or change(shown)

    if moment == "while it is uploaded":
        world.emulator.on_upload(change)
    assert world.apply(confirm=confirm).exit is Exit.DONE
    assert world.members("vip") == shown
    assert world.tables["vip"].rows == later
    world.settle()
    assert_sound(world)


@pytest.mark.parametrize("columns", [("total",), ("user_account_id", "surname")])
def test_a_table_that_loses_a_column_is_an_error_and_removes_nobody(
    world: World, columns: tuple[str, ...]
) -> None:
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 2)])
    world.define("mail", "email_hash", rows=["x"])
    world.apply()
    good = world.tables["vip"].columns
    query = {"query": f'SELECT {", ".join(good)} FROM "vip"'}
    world.tables["vip"].keys |= query
    world.tables["vip"].columns = columns
    rows: list[Any] = [("a", 1)] if len(columns) == 2 else [(1,)]
    world.fill("vip", rows)
    world.fill("mail", ["x", "y"])
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert len(world.members("vip")) == 2
    assert len(world.members("mail")) == 2
    world.tables["vip"].columns = good
    world.fill("vip", [("a", 1), ("b", 2)])
    world.settle()
    assert_sound(world)


CHANGES = {
    "a column less": "ALTER TABLE t DROP COLUMN score",
    "another name": "ALTER TABLE t RENAME COLUMN id TO number",
    "no table": "DROP TABLE t",
    "no rows": "DELETE FROM t",
    "a column more": "ALTER TABLE t ADD COLUMN other integer",
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("lane", ["sqlite-adbc", "postgresql-adbc", "mariadb-pymysql"])
def test_a_change_between_two_queries_is_not_seen_or_is_an_error(
    request: pytest.FixtureRequest, tmp_path: Path, lane: str, change: str
) -> None:
    """Never fewer rows: SQLite keeps the writer out or the snapshot, PostgreSQL its snapshot, and
    its locks on what was read; MariaDB its snapshot, or no reader of a table that was altered."""
    base = database(request, tmp_path, lane)
    if base.dialect == "sqlite":
        base.write("PRAGMA journal_mode = WAL")
    base.write("CREATE TABLE first (id integer)", "INSERT INTO first VALUES (7)")
    with opened(
        base, "CREATE TABLE t (id integer, score integer)", "INSERT INTO t VALUES (1, 2), (2, 3)"
    ) as source:
        assert read(source, "SELECT id AS user_account_id FROM first")
        write_elsewhere(base, CHANGES[change])
        found = None
        with suppress(SourceError):
            found = read(source, "SELECT id AS user_account_id, score FROM t", "score")
    assert found is None or sorted(row["user_account_id"] for row in found) == ["1", "2"]
    assert found is not None or change != "no rows"
