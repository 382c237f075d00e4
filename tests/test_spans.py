"""What does not fit into memory is compared one span of identifiers after the other."""

from __future__ import annotations

import random
from contextlib import AbstractContextManager, closing, nullcontext

import pyarrow as pa
import pytest

from segsync.engine import Asked, Difference, Engine, Keyspaces, Layout, Target, size_of
from segsync.engine.fingerprint import fingerprint_of, policy_text
from segsync.engine.normalising import DesiredColumn
from segsync.engine.session import Session
from segsync.engine.snapshot import Key, Snapshot
from segsync.errors import UsageError
from segsync.model import NEVER
from tests.support.comparing import (
    ACCOUNT,
    NOW_MS,
    desired_stream,
    doubted_stream,
    policy,
    reject_stream,
    segment,
)

pytestmark = pytest.mark.many_rows

MEMBERS = 800_000
SMALL, LARGE = "128MB", "2GB"
PLAIN = fingerprint_of(policy_text(NEVER))
Members = dict[str, int]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("7", 7),
        ("2kB", 2000),
        ("500MB", 500_000_000),
        (" 1.5 GiB ", 1_610_612_736),
        ("3T", 3 * 10**12),
        ("2ki", 2048),
    ],
)
def test_units_of_memory_are_powers_of_1000_or_with_an_i_of_1024(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "MB", "5 apples", "-1GB", "1GBB"])
def test_what_is_no_size_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="is not a size"):
        size_of(text)


@pytest.mark.parametrize(
    ("limit", "rows"), [("1GB", 4_000_000), ("300MB", 750_000), ("200MB", 500_000)]
)
def test_memory_is_shared_with_what_is_held_beside_the_engine(limit: str, rows: int) -> None:
    """At most the half is given to others; and nothing is fetched that would need more."""
    session = Session(limit, beside=200_000_000)
    with session.cursor() as cursor:
        assert cursor.rows_in_memory == rows
        settings = dict(
            cursor.rows("SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%known%'")
        )
    session.close()
    assert settings == {
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
    }


def name(number: int) -> str:
    """Identifiers whose order differs between bytes, characters and languages."""
    lead = ("", "é", "z'", "Z", "𝄞", "~", "\x01", "ｚ")[number % 8]
    return f"{lead}{number * 7919 % 1_000_003:07}"


def compared(
    memory_limit: str,
    desired: list[str],
    members: Members,
    *,
    pending: list[str],
    rejected: list[str],
) -> tuple[Difference, pa.Table, set[str | None]]:
    """The difference, the journal, and where the spans ended, of one segment of accounts."""
    names = sorted(members, key=str.encode)
    table = pa.table(
        {
            "identifier": names,
            "fingerprint": pa.array([members[one] for one in names], pa.int64()),
            "expires_at": pa.array([0] * len(names), pa.int64()),
        }
    )

    def behind(key: Key | None) -> nullcontext[pa.RecordBatchReader]:
        assert key is None, "the whole table fits into the read-ahead"
        return nullcontext(table.to_reader(max_chunksize=65_536))

    with Engine(Keyspaces([]), memory_limit) as engine:
        keyspace = engine.keyspaces.number((1, ACCOUNT, None))
        rows = [{"user_account_id": one} for one in desired]
        stream = desired_stream(rows, ["user_account_id"])
        column = DesiredColumn("user_account_id", "user_account_id")
        engine.load_desired(1, segment(), (column,), stream, NOW_MS)
        refused = [(one, "UPDATE", PLAIN, 0) for one in rejected]
        doubts = [(keyspace, one, 1) for one in pending]
        asked = Asked(
            policy(),
            "error",
            (lambda: nullcontext(doubted_stream(doubts))) if doubts else None,
            (lambda: nullcontext(reject_stream(refused, keyspace))) if rejected else None,
        )
        with closing(engine.open_snapshot(behind, keyspace, NOW_MS)) as snapshot:
            ends = watched(snapshot)
            difference = engine.compare(1, snapshot, asked)
            assert snapshot.facts.members == len(members)
        engine.arrange([Target(1, segment().address, NEVER)], Layout("ndjson", NOW_MS, 10**9))
        with engine.journal(NOW_MS) as journal:
            return difference, journal.read_all(), ends


def watched(snapshot: Snapshot) -> set[str | None]:
    """How far the snapshot is read, each time that it is; None is its end."""
    ends: set[str | None] = set()
    stream = snapshot.stream

    def noted(until: str | None = None) -> AbstractContextManager[pa.RecordBatchReader]:
        ends.add(until)
        return stream(until)

    # The method of this one object: it goes on, and tells where each span ends.
    snapshot.stream = noted  # type: ignore[method-assign]
    return ends


@pytest.mark.parametrize("repeated", [False, True])
def test_spans_make_no_difference(repeated: bool) -> None:
    chance = random.Random(repeated)
    everybody = [name(number) for number in range(MEMBERS)]
    members = dict.fromkeys(everybody[: MEMBERS * 9 // 10], PLAIN)
    for one in chance.sample(list(members), 500):
        members[one] += 1
    desired = everybody[MEMBERS // 10 :]
    chance.shuffle(desired)
    if repeated:
        desired += desired[:100]
    doubted = {
        "pending": [*chance.sample(everybody, 300), "never confirmed"],
        "rejected": [*everybody[-50:], "no longer wanted"],
    }
    small, small_journal, small_ends = compared(SMALL, desired, members, **doubted)
    large, large_journal, large_ends = compared(LARGE, desired, members, **doubted)
    assert len(small_ends) > 2
    assert large_ends == {None}
    assert small == large
    assert small_journal.equals(large_journal)
    assert small.add > MEMBERS // 20
    assert small.update >= 400
    assert small.retry > 200
    assert small.duplicates == (100 if repeated else 0)


@pytest.mark.parametrize("desired", [0, 1, MEMBERS])
@pytest.mark.parametrize("members", [0, 1, MEMBERS])
def test_either_side_may_be_empty(desired: int, members: int) -> None:
    """All who are desired come behind all members, so that some spans have none of them."""
    wanted = [f"z{number:07}" for number in range(desired)]
    known = dict.fromkeys((f"a{number:07}" for number in range(members)), PLAIN)
    difference, journal, _ = compared(SMALL, wanted, known, pending=[], rejected=[])
    assert (difference.add, difference.remove) == (desired, members)
    assert journal.num_rows == desired + members


def test_members_of_several_compartments_are_not_cut_into_spans() -> None:
    """They come one compartment after the other, and not in the order of identifiers."""
    names = [f"{number:07}" for number in range(MEMBERS)]
    half = MEMBERS // 2
    with Engine(Keyspaces([]), SMALL) as engine:
        places = [engine.keyspaces.number((1, ACCOUNT, one)) for one in (None, "2000")]
        table = pa.table(
            {
                "keyspace": pa.array([places[0]] * half + [places[1]] * half, pa.int64()),
                "identifier": names[half:] + names[:half],
                "fingerprint": pa.array([PLAIN] * MEMBERS, pa.int64()),
                "expires_at": pa.array([0] * MEMBERS, pa.int64()),
            }
        )
        stream = desired_stream([{"user_account_id": one} for one in names], ["user_account_id"])
        column = DesiredColumn("user_account_id", "user_account_id")
        engine.load_desired(1, segment(), (column,), stream, NOW_MS)
        with closing(
            engine.open_snapshot(
                lambda _: nullcontext(table.to_reader(max_chunksize=65_536)), None, NOW_MS
            )
        ) as snapshot:
            difference = engine.compare(1, snapshot, Asked(policy(), "error"))
    assert (difference.add, difference.remove) == (half, half)
