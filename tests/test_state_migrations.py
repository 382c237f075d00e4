"""Older states are brought up to date step by step; a step that was killed has not happened."""

from __future__ import annotations

import hashlib
import signal
import subprocess
import sys
from itertools import count, pairwise
from pathlib import Path
from typing import Any

import pytest

from segsync.errors import StateError
from segsync.state import Identity, create, file, open_state, schema
from segsync.state.database import Database
from segsync.state.seal import check_seals
from tests.support.cli import environment
from tests.support.kills import Record, injected
from tests.support.world import World

IDENTITY = Identity("lineage", 0, "1509", "https://api.mediarithmics.com", 0)
RELEASED = ("0a66f9283709b69a",)
"""Digests of the migrations that have left the house: these are never edited again."""
TABLES = "SELECT sql FROM sqlite_schema ORDER BY name"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "state.db"
    create(made, IDENTITY)
    return made


def tables(path: Path) -> list[tuple[Any, ...]]:
    database = Database(path, read_only=True)
    try:
        return database.rows(TABLES)
    finally:
        database.close()


def test_a_new_state_has_all_migrations(path: Path) -> None:
    database = Database(path, read_only=True)
    assert file.schema_version(database) == schema.SCHEMA_VERSION == len(schema.MIGRATIONS)
    database.close()


def test_no_migration_that_was_released_is_edited() -> None:
    digests = [hashlib.sha256(repr(one).encode()).hexdigest()[:16] for one in schema.MIGRATIONS]
    assert tuple(digests[: len(RELEASED)]) == RELEASED


def test_a_state_of_any_older_version_is_brought_up_to_date(path: Path, tmp_path: Path) -> None:
    for version in range(schema.SCHEMA_VERSION):
        older = tmp_path / f"version-{version}.db"
        older.touch(0o600)
        database = Database(older, read_only=False)
        migrate(database, 0, version)
        assert file.schema_version(database) == version
        file.migrate(database)
        database.close()
        assert tables(older) == tables(path)


def migrate(database: Database, start: int, end: int) -> None:
    """The steps from one version to another, as a release did them then."""
    for version in range(start, end):
        for statement in schema.MIGRATIONS[version]:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {version + 1}")


def test_to_migrate_twice_changes_nothing(path: Path) -> None:
    before = path.read_bytes()
    database = Database(path, read_only=False)
    file.migrate(database)
    database.close()
    assert path.read_bytes() == before


def test_a_step_that_fails_half_way_has_not_happened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The list of migrations is what a release changes: here it gets one that fails."""
    path = tmp_path / "state.db"
    create(path, IDENTITY)
    before = tables(path)
    broken = (*schema.MIGRATIONS, ("CREATE TABLE half (way)", "CREATE TABLE half (way)"))
    monkeypatch.setattr(file, "MIGRATIONS", broken)
    monkeypatch.setattr(file, "SCHEMA_VERSION", len(broken))
    with pytest.raises(StateError):
        open_state(path, read_only=False)
    assert tables(path) == before


def test_a_new_step_is_done_at_the_next_opening_for_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.db"
    create(path, IDENTITY)
    longer = (*schema.MIGRATIONS, ("CREATE TABLE novelty (text)",))
    monkeypatch.setattr(file, "MIGRATIONS", longer)
    monkeypatch.setattr(file, "SCHEMA_VERSION", len(longer))
    with pytest.raises(StateError) as caught:
        open_state(path, read_only=True)
    assert "segsync apply" in (caught.value.hint or "")
    assert "novelty" not in str(tables(path))
    for _ in range(2):
        state = open_state(path, read_only=False)
        assert state.identity.lineage == "lineage"
        state.close()
        assert "novelty" in str(tables(path))


def test_a_plan_migrates_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with World(tmp_path) as world:
        world.define("vip", rows=["a"])
        world.apply()
        before = world.state.read_bytes()
        longer = [*schema.MIGRATIONS, ("CREATE TABLE more (one INTEGER)",)]
        monkeypatch.setattr(file, "MIGRATIONS", longer)
        monkeypatch.setattr(file, "SCHEMA_VERSION", len(longer))
        with pytest.raises(StateError, match="older segsync"):
            world.plan()
        assert world.state.read_bytes() == before


def test_versions_only_grow() -> None:
    assert all(earlier for earlier, _ in pairwise([*schema.MIGRATIONS, ()]))


MIGRATING = """
import sys
from pathlib import Path
from segsync.state import file, open_state, schema
step = (
    "ALTER TABLE segments ADD COLUMN novelty INTEGER NOT NULL DEFAULT 0",
    "CREATE TABLE copies AS SELECT * FROM members",
    "CREATE INDEX copies_by_identifier ON copies (identifier)",
)
file.MIGRATIONS = (*schema.MIGRATIONS, step)
file.SCHEMA_VERSION = len(file.MIGRATIONS)
open_state(Path(sys.argv[1]), read_only=False).close()
"""
"""What a release does that has one more step than this one."""


@pytest.mark.timeout(600)
def test_a_step_that_is_killed_at_any_system_call_has_not_happened_and_is_done_by_the_next(
    tmp_path: Path, record_property: Record
) -> None:
    with World(tmp_path) as world:
        world.define("vip", rows=[f"u{n}" for n in range(3_000)])
        world.apply()
    good = world.state.read_bytes()
    migration = [sys.executable, "-c", MIGRATING, str(world.state)]
    kills = 0
    for call in ("pwrite64", "fsync", "unlink"):
        for number in count(1):
            world.state.write_bytes(good)
            done = injected(call, f"signal=SIGKILL:when={number}", migration, tmp_path)
            if not done.reached:
                assert done.status == 0, done.err
                break
            kills += 1
            assert done.status == -signal.SIGKILL
            subprocess.run(migration, env=environment(), check=True)
            assert "copies" in str(tables(world.state))
            assert_same_members(world.state, 3_000)
    record_property("kills", kills)
    assert kills > 20


def assert_same_members(path: Path, members: int) -> None:
    """The digests are those of the members, and the copy that the step made is whole."""
    database = Database(path, read_only=True)
    try:
        for table in ("members", "copies"):
            assert database.rows(f"SELECT count(*) FROM {table}")[0][0] == members
        assert not database.rows("SELECT * FROM members EXCEPT SELECT * FROM copies")
        assert database.rows("PRAGMA integrity_check")[0][0] == "ok"
        check_seals(database)
    finally:
        database.close()
