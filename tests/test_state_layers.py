"""The two layers of the snapshot: whoever reads them together finds what one would have."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from segsync.errors import StateDamaged
from segsync.state import Closing, PartRecord, PartStatus, State, confirmed, database, layers
from segsync.state.database import Database
from segsync.state.layers import fold_when_full, prepare_layer
from tests.support.layering import MODES, layered
from tests.support.rows import Row, confirmed_in, rows_in, run_row, state_of
from tests.support.size import size

SEGMENTS = [
    (1, "segment_id", "71", "vip", 0, 0, None, None),
    (2, "segment_id", "72", "mail", 0, 0, None, None),
]
KEYSPACES = [
    (1, 1, "user_account_id", None), (2, 2, "email_hash", None), (3, 2, "user_account_id", "9"),
]  # fmt: skip
NAMES = ("", "B", "a", "aa", "b", "z" * 300, "é", "\U0001f600")
MOMENTS = (0, 1, 1_790_000_000_000, 2**62)


def some_members(random: Random, share: float) -> list[Row]:
    return [
        (keyspace, name, random.randrange(-9, 9), random.choice(MOMENTS))
        for keyspace, *_ in KEYSPACES
        for name in NAMES
        if random.random() < share
    ]


@pytest.fixture(params=range(size(40, 2_000)))
def state(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[State]:
    """Few or many rows in each layer; some override, some are gone who never were there."""
    random = Random(request.param)
    members, recent = (some_members(random, random.choice([0, 0.2, 0.6, 1])) for _ in range(2))
    gone = random.choice([0, 0.3, 1])
    tables = {
        "segments": SEGMENTS, "keyspaces": KEYSPACES, "members": members,
        "recent": [(*row, int(random.random() >= gone)) for row in recent],
    }  # fmt: skip
    with state_of(tmp_path / "state.db", tables) as opened:
        yield opened


def keys(rows: list[Row]) -> list[Row]:
    return [row[:2] for row in rows]


def expected(path: Path, keyspaces: tuple[int, ...]) -> list[Row]:
    """By the tables' meaning, said once more: what is recent counts, else the other layer."""
    tables = rows_in(path)
    found = {row[:2]: row[2:] for row in tables.get("members", [])}
    for *row, is_member in tables.get("recent", []):
        found.pop(tuple(row[:2]), None)
        if is_member:
            found[tuple(row[:2])] = tuple(row[2:])
    ordered = sorted(found, key=lambda key: (key[0], key[1].encode()))
    return [(*key, *found[key]) for key in ordered if key[0] in keyspaces]


def test_a_segment_has_the_members_of_both_layers_batches_in_the_order_of_their_keys(
    state: State,
) -> None:
    assert confirmed_in(state.path) == expected(state.path, (1, 2, 3))
    for segment, only, keyspaces in ((1, 1, (1,)), (1, None, (1,)), (2, None, (2, 3))):
        wanted = expected(state.path, keyspaces)
        columns = 3 if only else 4
        key = ("identifier",) if only else ("keyspace", "identifier")
        for behind in (None, *keys(wanted), (keyspaces[0], "ab"), (keyspaces[-1], "\U0001f601")):
            with state.members(segment, only, behind) as rows:
                batches = [batch.sort_by([(name, "ascending") for name in key]) for batch in rows]
            found = [tuple(row.values()) for batch in batches for row in batch.to_pylist()]
            left = [row[-columns:] for row in wanted if behind is None or _is_behind(row, behind)]
            assert found == left, behind


def _is_behind(row: Row, key: Row) -> bool:
    return bool((row[0], row[1].encode()) > (key[0], key[1].encode()))


def test_each_is_counted_once(state: State) -> None:
    of_vip, of_mail = expected(state.path, (1,)), expected(state.path, (2, 3))
    assert state.member_counts() == {1: len(of_vip), 2: len(of_mail)}
    for segment, rows in ((1, of_vip), (2, of_mail)):
        for moment in MOMENTS:
            live = [row for row in rows if row[3] == 0 or row[3] > moment]
            assert state.live_members(segment, moment) == len(live)
        before = [len([row for row in rows if 0 < row[3] < moment]) for moment in MOMENTS]
        assert state.expiring(segment, MOMENTS) == before


@pytest.mark.parametrize("mode", range(len(MODES)))
def test_a_run_means_the_same_in_one_layer_and_in_two(state: State, mode: int) -> None:
    """Whoever it names, wherever they are."""
    random = Random(mode)
    before = {row[:2]: row[2:] for row in expected(state.path, (1, 2, 3))}
    changes, after = [], dict(before)
    for line, key in enumerate([(k, name) for k, *_ in KEYSPACES for name in NAMES], start=1):
        change = random.choice(["add", "update", "renew", "remove", "forget"])
        changes.append((line, *key, change, line, line, 1))
        after.pop(key, None)
        if change in ("add", "update", "renew"):
            after[key] = (line, line)
    with closing(sqlite3.connect(state.path)) as database, database:
        database.executemany("INSERT INTO changes VALUES (?, ?, ?, ?, ?, ?, ?)", changes)
        database.execute(f"INSERT INTO runs VALUES ({', '.join('?' * 13)})", run_row(1, "open"))
        # Who is forgotten stands behind the lines of all parts.
        database.execute("UPDATE changes SET line = line + 1000 WHERE change = 'forget'")
    with layered(mode):
        state.close_run(Closing(1, 5, (PartRecord(1, 1, 1, 999, 9, "", PartStatus.CONFIRMED),)))
    found = {row[:2]: row[2:] for row in confirmed_in(state.path)}
    assert found == after


def changes_of(size: int) -> list[Row]:
    return [(line, 1, f"{line:030}", "add", 1, 0, 0) for line in range(1, size + 1)]


def layer_for(path: Path, size: int, recent: list[Row]) -> tuple[str, int]:
    """Where so many changes of 50 bytes go, and how many bytes the file uses."""
    path.unlink(missing_ok=True)
    tables = {"changes": changes_of(size), "recent": recent, "members": [(1, "gone", 1, 0)]}
    with state_of(path, tables), closing(Database(path, read_only=False)) as database:
        used = bytes_used(database)
        with database.transaction():
            layer = prepare_layer(database)
    return layer, used


def bytes_used(database: Database) -> int:
    [[used]] = database.rows(
        "SELECT (page_count - freelist_count) * page_size "
        "FROM pragma_page_count, pragma_freelist_count, pragma_page_size"
    )
    return int(used)


def test_changes_go_to_the_recent_layer_where_they_are_a_small_part(tmp_path: Path) -> None:
    found = {many: layer_for(tmp_path / "state.db", many, []) for many in range(300, 500, 5)}
    for many, (layer, used) in found.items():
        is_small = many * 50 * layers.SHARE <= used
        assert layer == ("recent" if is_small else "members"), many
    assert {layer for layer, _ in found.values()} == {"members", "recent"}


def test_what_is_recent_is_folded_when_it_is_no_small_part_any_more(tmp_path: Path) -> None:
    seen = set()
    for many in range(300, 500, 5):
        path = tmp_path / f"{many}.db"
        rows: list[Row] = [(1, f"{n:030}", 1, 0, 1) for n in range(many)]
        with state_of(path, {"recent": rows}), closing(Database(path, read_only=False)) as database:
            is_small = many * 50 * layers.SHARE <= bytes_used(database)
            with database.transaction():
                fold_when_full(database)
        seen.add(is_small)
        tables = rows_in(path)
        assert tables.keys() & {"members", "recent"} == {"recent" if is_small else "members"}
        assert confirmed_in(path) == [row[:4] for row in rows]
    assert seen == {True, False}


@pytest.mark.parametrize("many", [10, 500], ids=["some", "too many"])
def test_a_run_folds_what_has_become_too_much(tmp_path: Path, many: int) -> None:
    recent: list[Row] = [(1, f"{n:030}", 1, 0, 1) for n in range(1_000, 1_000 + many)]
    tables = {
        "segments": SEGMENTS, "keyspaces": KEYSPACES, "changes": changes_of(10), "recent": recent,
        "runs": [run_row(1, "open")],
    }  # fmt: skip
    with state_of(tmp_path / "state.db", tables) as state:
        state.close_run(Closing(1, 5, (PartRecord(1, 1, 1, 10, 9, "", PartStatus.CONFIRMED),)))
    tables = rows_in(state.path)
    assert tables.keys() & {"members", "recent"} == {"members" if many == 500 else "recent"}
    assert len(confirmed_in(state.path)) == many + 10


def test_a_small_state_has_one_layer(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    _, used = layer_for(path, 1, [])
    layers.LARGE_BYTES = used
    assert layer_for(path, 1, [])[0] == "recent"
    layers.LARGE_BYTES = used + 1
    assert layer_for(path, 1, [])[0] == "members"


def test_to_go_to_the_lower_layer_is_to_fold_the_other_one(tmp_path: Path) -> None:
    recent = [(1, "come", 2, 9, 1), (1, "gone", 0, 0, 0), (1, "never there", 0, 0, 0)]
    path = tmp_path / "state.db"
    assert layer_for(path, 1, recent)[0] == "recent"
    assert rows_in(path)["recent"] == recent
    with layered(0):
        assert layer_for(path, 1, recent)[0] == "members"
    tables = rows_in(path)
    assert tables["members"] == [(1, "come", 2, 9)]
    assert "recent" not in tables


def test_no_batch_is_larger_than_one_of_each_layer(tmp_path: Path) -> None:
    """However few members of the lower layer stand before how many of the other one."""
    for few, many in (("members", "recent"), ("recent", "members")):
        rows: list[Row] = [(1, f"{n:04}", 1, 0) for n in range(500)]
        ends = [rows[0], rows[250], rows[-1]]
        layers_of = {few: ends, many: rows}
        tables = {
            "segments": SEGMENTS, "keyspaces": KEYSPACES, "members": layers_of["members"],
            "recent": [(*row, 1) for row in layers_of["recent"]],
        }  # fmt: skip
        path = tmp_path / f"{few}.db"
        with state_of(path, tables) as state, state.members(1, 1) as read:
            batches = list(read)
        assert max(batch.num_rows for batch in batches) <= 2 * database.BATCH_ROWS
        assert sum(batch.num_rows for batch in batches) == 500


def test_batches_that_are_large_are_merged_by_halves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The texts of both together would be more than one column can have."""
    monkeypatch.setattr(database, "BATCH_ROWS", 8)
    rows: list[Row] = [(1, f"{n:0100}", 1, 0) for n in range(40)]
    tables = {
        "segments": SEGMENTS, "keyspaces": KEYSPACES, "members": rows,
        "recent": [(*row, 1) for row in rows],
    }  # fmt: skip
    largest = []
    for most in (2**30, 500):
        monkeypatch.setattr(confirmed, "MOST_BYTES", most)
        path = tmp_path / f"{most}.db"
        with state_of(path, tables) as state, state.members(1, 1) as read:
            batches = list(read)
        assert [name for batch in batches for name in batch.column(0).to_pylist()] == [
            row[1] for row in rows
        ]
        largest.append(max(batch.num_rows for batch in batches))
    assert largest == [8, 4]


def test_the_view_in_the_file_is_for_people_only(tmp_path: Path) -> None:
    """SQL that stands in the file is under no checksum: a bit of it may have flipped."""
    tables = {
        "segments": SEGMENTS, "keyspaces": KEYSPACES, "members": [(1, "a", 1, 0)],
        "newcomers": [(1, "a"), (1, "b")], "recent": [(1, "b", 1, 9, 1), (1, "c", 0, 0, 0)],
        "rejects": [(2, "d", "UPDATE", 1, "b was not found", 1, 1, 1, 1)],
    }  # fmt: skip
    with state_of(tmp_path / "state.db", tables) as state:
        before = answers(state)
        with closing(sqlite3.connect(state.path)) as opened, opened:
            opened.execute("DROP VIEW membership")
            opened.execute("DROP VIEW confirmed")
            opened.execute("CREATE VIEW confirmed AS SELECT 'nonsense' AS identifier")
        assert answers(state) == before


def answers(state: State) -> tuple[object, ...]:
    with state.doubted(1) as rows:
        doubted = rows.read_all().to_pylist()
    return doubted, state.member_counts(), state.live_members(1, 5), state.reject_reasons()


def test_damage_to_either_layer_is_told_as_that(tmp_path: Path) -> None:
    """Whatever stands in a column, and wherever: nothing is taken for what it is not."""
    for table in ("members", "recent"):
        for column, value in (
            ("identifier", "x'ff00'"), ("fingerprint", "'x'"), ("expires_at", "'x'"),
            ("expires_at", "1.5"), ("fingerprint", "x'00'"),
        ):  # fmt: skip
            for which in ("a", "z"):
                path = tmp_path / "state.db"
                path.unlink(missing_ok=True)
                rows: list[Row] = [(1, name, 1, 5) for name in "abz"]
                tables = {
                    "segments": SEGMENTS, "keyspaces": KEYSPACES, "members": rows,
                    "recent": [(*row, 1) for row in rows],
                }  # fmt: skip
                with state_of(path, tables) as state:
                    with closing(sqlite3.connect(path)) as database, database:
                        sql = f"UPDATE {table} SET {column} = {value} WHERE identifier = '{which}'"
                        database.execute(sql)
                    place = f"{column} {value} of {which} in {table}"
                    assert told(state) in ("damaged", "bytes that are no text"), place


HEADERS = {"members": b"\x05\x09\x0d\x09\x08", "recent": b"\x06\x09\x0d\x09\x08\x09"}
"""Of a row below: its length, 1, an empty text, 1, 0, and 1."""


@pytest.mark.parametrize("table", HEADERS)
@pytest.mark.parametrize("empty", [b"\x0d", b"\x08"], ids=["no identifier", "no expiry"])
def test_a_missing_value_is_damage(tmp_path: Path, table: str, empty: bytes) -> None:
    """No column may be NULL, but a bit that was flipped in a row's header says so."""
    rows: list[Row] = [(1, "", 1, 0)]
    tables = {
        "segments": SEGMENTS, "keyspaces": KEYSPACES, "members": rows,
        "recent": [(*row, 1) for row in rows],
    }  # fmt: skip
    with state_of(tmp_path / "state.db", tables) as state:
        content, header = state.path.read_bytes(), HEADERS[table]
        assert content.count(header) == 1
        state.path.write_bytes(content.replace(header, header.replace(empty, b"\0")))
        assert told(state) == "damaged"


def told(state: State) -> str:
    """How the members of a segment are read."""
    try:
        with state.members(1, 1) as rows:
            found = pa.Table.from_batches(rows)
            found.validate(full=True)
    except StateDamaged:
        return "damaged"
    except pa.ArrowInvalid as error:
        return "bytes that are no text" if "UTF8" in str(error) else str(error)
    return str(found.to_pylist())
