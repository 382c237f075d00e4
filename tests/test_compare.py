"""Desired members against the snapshot: every rule of what becomes which change."""

from __future__ import annotations

import json
import random
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsync.engine.facts import Deferred, Example
from segsync.engine.fingerprint import fingerprint_of, policy_text
from segsync.engine.json_sql import LARGEST_DATA_BAG
from segsync.engine.normalising import REASONS
from segsync.model import DAY_MS, MINUTE_MS, NEVER, IdentifierKind, Segment
from tests.simulation.speed import in_one_thread
from tests.support.comparing import (
    NOW_MS,
    Bench,
    Change,
    Compared,
    accounts,
    one,
    policy,
    segment,
)
from tests.support.size import size

MONTH = 30 * 24 * 60
COLUMNS = ("user_account_id", "total")
PLAIN = fingerprint_of(policy_text(NEVER))
MONTHLY = fingerprint_of(policy_text(MONTH))
BAG = segment(data_bag=("total",))


def print_of(total: int, minutes: int = NEVER) -> int:
    return fingerprint_of(f'{policy_text(minutes)}{{"total":{total}}}')


def ts_print(row: dict[str, Any]) -> int:
    policy = f"ts:{row['expiration_ts']}|" if row["expiration_ts"] else "never|"
    return fingerprint_of(f'{policy}{{"total":{row["total"]}}}')


def row(name: str, total: int) -> dict[str, Any]:
    return {"user_account_id": name, "total": total}


# -------------------------------------------------------------------- small worlds, all of them


def applied(snapshot: dict[str, int], changes: dict[str, tuple[str, int]]) -> dict[str, int]:
    """The members after these changes."""
    after = dict(snapshot)
    for name, (word, total) in changes.items():
        if word == "remove":
            after.pop(name, None)
        else:
            after[name] = total
    return after


def test_in_every_small_world_the_changes_lead_from_the_snapshot_to_the_desired_members() -> None:
    values = (None, 1, 2)
    one_identifier = list(product(values, values, (False, True)))
    worlds = list(product(one_identifier, repeat=2))
    assert len(worlds) == 324
    totals = {print_of(total): total for total in (1, 2)}
    with Bench() as bench:
        for world in worlds:
            named = dict(zip("ab", world, strict=True))
            bench.compare(
                [row(name, want) for name, (want, _, _) in named.items() if want],
                COLUMNS,
                of=BAG,
                snapshot={name: (print_of(had), 0) for name, (_, had, _) in named.items() if had},
                pending=[name for name, (_, _, pending) in named.items() if pending],
            )
        bench.arrange()
        for world, changes in zip(worlds, bench.changes().values(), strict=True):
            named = dict(zip("ab", world, strict=True))
            sent = {c.identifier: (c.word, totals.get(c.fingerprint, 0)) for c in changes}
            assert len(sent) == len(changes)
            assert_in_order(changes)
            snapshot = {name: had for name, (_, had, _) in named.items() if had}
            desired = {name: want for name, (want, _, _) in named.items() if want}
            assert applied(snapshot, sent) == desired
            for name, (want, had, pending) in named.items():
                assert (name in sent) == (pending or want != had)
                if name in sent:
                    assert (sent[name][0] == "remove") == (want is None)


COMPARED_AGAIN = 4
"""One world in so many is compared once more as it is after its changes: nothing changes then."""
HOSTILE = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=8)
NAMES = st.one_of(st.sampled_from(["a", "A", "á", "a\u0301", " a", "a ", "'", '"', "\n"]), HOSTILE)
MEMBERS = st.dictionaries(NAMES, st.integers(1, 3), max_size=200)
ROWS = st.dictionaries(st.one_of(NAMES, NAMES.map("{}\0".format)), st.integers(1, 3), max_size=200)
"""What a query gives; no command can carry a NUL character."""


@dataclass
class RandomWorld:
    """Members by identifier, and what of them is compared: queried, confirmed, in doubt."""

    queried: dict[str, int]
    snapshot: dict[str, int]
    pending: set[str]
    repeated: int = 0

    @property
    def desired(self) -> dict[str, int]:
        return {name: total for name, total in self.queried.items() if "\0" not in name}

    def compare(self, bench: Bench) -> Compared:
        """With what is confirmed."""
        rows = [row(name, total) for name, total in self.queried.items()]
        before = {name: (print_of(total), 0) for name, total in self.snapshot.items()}
        twice = [*rows, *rows[: self.repeated]]
        return bench.compare(twice, COLUMNS, of=BAG, snapshot=before, pending=self.pending)

    def after(self) -> RandomWorld:
        """The same once its changes are confirmed."""
        return RandomWorld(self.queried, self.desired, set())

    def check(self, changes: list[Change], compared: Compared) -> None:
        """Exactly the changes that lead from the snapshot to the desired members."""
        desired, snapshot = self.desired, self.snapshot
        totals = {print_of(total): total for total in (1, 2, 3)}
        sent = {c.identifier: (c.word, totals.get(c.fingerprint, 0)) for c in changes}
        assert len(sent) == len(changes)
        assert_in_order(changes)
        assert applied(snapshot, sent) == desired
        both = desired.keys() | snapshot.keys()
        assert sent.keys() == {n for n in both if desired.get(n) != snapshot.get(n)} | self.pending
        twice = list(self.queried)[: self.repeated]
        difference = compared.difference
        assert difference.duplicates == len([name for name in twice if name in desired])
        assert difference.desired == len(desired)
        assert difference.retry == len(self.pending)
        queried = [*self.queried, *twice]
        assert compared.rows.queried == len(queried)
        assert compared.rows.invalid == len([name for name in queried if "\0" in name])


def assert_in_order(changes: list[Change]) -> None:
    """As the payload has them: removals first, then by keyspace and identifier."""
    order = [(change.word != "remove", change.keyspace, change.identifier) for change in changes]
    assert order == sorted(order)


def check_all(worlds: list[RandomWorld]) -> None:
    with Bench() as bench:
        compared = [world.compare(bench) for world in worlds]
        again = [world.after().compare(bench) for world in worlds[::COMPARED_AGAIN]]
        bench.arrange()
        changes = bench.changes()
    for world, found in zip(worlds, compared, strict=True):
        world.check(changes[found.number], found)
    assert not any(changes[found.number] for found in again)


@settings(max_examples=size(40, 2000), deadline=None, suppress_health_check=list(HealthCheck))
@given(queried=ROWS, snapshot=MEMBERS, pending=st.sets(NAMES, max_size=20), twice=st.integers())
def test_any_changes_lead_from_the_snapshot_to_the_desired_members(
    queried: dict[str, int], snapshot: dict[str, int], pending: set[str], twice: int
) -> None:
    check_all([RandomWorld(queried, snapshot, pending, twice % (len(queried) + 1))])


def random_world(chance: random.Random) -> RandomWorld:
    """Up to 200 members with names that are easily taken for each other."""
    alphabet = "aAbé\u0301 '\"\\\n{}\u2028😀0\x01\x7f\u00ad\u202e\u3000\ufeff\uffff\U0010ffff%;--"
    most = chance.choice([20, 60, 200])
    names = {"".join(chance.choices(alphabet, k=chance.randint(1, 4))) for _ in range(most)}

    def some(share: float) -> dict[str, int]:
        return {name: chance.randint(1, 2) for name in sorted(names) if chance.random() < share}

    queried = some(0.6) | {f"{name}\0": 1 for name in some(0.05)}
    return RandomWorld(queried, some(0.6), set(some(0.1)), chance.choice([0, 0, 3]))


@pytest.mark.parametrize("seed", range(8))
def test_the_changes_of_many_random_worlds_lead_to_their_desired_members(seed: int) -> None:
    """Most of them in one thread, without DuckDB's optimizer."""
    chance = random.Random(seed)
    with in_one_thread() if seed % size(4, 2) else nullcontext():
        for _ in range(size(1, 50)):
            check_all([random_world(chance) for _ in range(250)])


# -------------------------------------------------------------------- the rules, one by one


def test_a_new_member_is_added() -> None:
    compared, words = one(accounts("a"))
    assert words == {"a": "add"}
    assert compared.difference.add == 1
    assert compared.difference.forget == 0


def test_a_member_that_stays_the_same_is_left_alone() -> None:
    compared, words = one(accounts("a"), snapshot={"a": (PLAIN, 0)})
    assert words == {}
    assert compared.difference.desired == 1
    assert compared.difference.deferred == Deferred()


@pytest.mark.parametrize("doubled", [False, True])
def test_duplicates_are_looked_for_only_where_there_may_be_some(doubled: bool) -> None:
    with Bench() as bench:
        names = ["a", "b", "n", *(["b"] if doubled else [])]
        bench.compare(accounts(*names), snapshot={"a": (1, 0), "b": (PLAIN, 0), "c": (PLAIN, 0)})
        with bench.engine._session.cursor() as cursor:
            tables = {row[0] for row in cursor.rows("SELECT table_name FROM duckdb_tables()")}
    assert any(name.startswith("repeated") for name in tables) is doubled


def test_a_member_that_lapsed_is_added_again() -> None:
    monthly = segment(expiration_minutes=MONTH)
    for expires, word in ((NOW_MS, "add"), (NOW_MS - 1, "add"), (NOW_MS + 1, "renew")):
        _, words = one(accounts("a"), of=monthly, snapshot={"a": (MONTHLY, expires)})
        assert words == {"a": word}


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (print_of(1), segment(data_bag=("total",))),
        (print_of(2), segment(data_bag=("total",), expiration_minutes=MONTH)),
        (PLAIN, segment(data_bag=("total",))),
    ],
    ids=["data bag", "expiration", "a data bag where there was none"],
)
def test_a_member_that_differs_is_updated(before: int, after: Segment) -> None:
    _, words = one([row("a", 2)], *COLUMNS, of=after, snapshot={"a": (before, 0)})
    assert words == {"a": "update"}


def test_a_changed_expiry_of_a_row_is_an_update() -> None:
    then = NOW_MS + 5 * DAY_MS
    columns = ("user_account_id", "expiration_ts")
    for old, new, word in (
        (then, then, None),
        (then, then + 1, "update"),
        (then, None, "update"),
        (None, 0, None),
        (None, then, "update"),
    ):
        text = f"ts:{old}|" if old else "never|"
        rows = [{"user_account_id": "a", "expiration_ts": new}]
        _, words = one(rows, *columns, snapshot={"a": (fingerprint_of(text), old or 0)})
        assert words == ({"a": word} if word else {}), (old, new)


def test_members_with_an_expiry_of_their_own_are_not_renewed() -> None:
    rows = [{"user_account_id": "a", "expiration_ts": NOW_MS + 1}]
    print_ = fingerprint_of(f"ts:{NOW_MS + 1}|")
    _, words = one(
        rows,
        "user_account_id",
        "expiration_ts",
        of=segment(expiration_minutes=MONTH),
        snapshot={"a": (print_, NOW_MS + 1)},
    )
    assert words == {}


def test_who_is_not_desired_any_more_is_removed() -> None:
    compared, words = one(accounts("b"), snapshot={"a": (PLAIN, 0), "b": (PLAIN, 0)})
    assert words == {"a": "remove"}
    assert compared.difference.removed_live == 1


@pytest.mark.parametrize(
    ("expired_for", "word", "live"),
    [(-1, "remove", 1), (0, "remove", 0), (DAY_MS - 1, "remove", 0), (DAY_MS, "forget", 0)],
)
def test_only_who_has_surely_lapsed_is_forgotten(expired_for: int, word: str, live: int) -> None:
    compared, words = one(
        [],
        of=segment(expiration_minutes=MONTH),
        snapshot={"a": (MONTHLY, NOW_MS - expired_for)},
    )
    assert words == {"a": word}
    assert compared.difference.removed_live == compared.live == live
    assert compared.difference.forget == (word == "forget")
    assert compared.difference.remove == (word == "remove")


@pytest.mark.parametrize("desired", [True, False])
@pytest.mark.parametrize("known", ["absent", "the same", "another", "lapsed", "surely lapsed"])
def test_a_pending_member_always_gets_a_command(desired: bool, known: str) -> None:
    snapshots: dict[str, Any] = {
        "absent": {},
        "the same": {"a": (MONTHLY, NOW_MS + 29 * DAY_MS)},
        "another": {"a": (1, 0)},
        "lapsed": {"a": (MONTHLY, NOW_MS - 1)},
        "surely lapsed": {"a": (MONTHLY, NOW_MS - 9 * DAY_MS)},
    }
    compared, words = one(
        accounts("a") if desired else [],
        of=segment(expiration_minutes=MONTH),
        snapshot=snapshots[known],
        pending=["a"],
    )
    assert words.keys() == {"a"}
    assert (words["a"] == "remove") == (not desired)
    assert words["a"] in ("add", "update", "remove")
    assert compared.difference.retry == 1


def test_members_are_renewed_between_a_half_and_three_quarters_of_their_time() -> None:
    names = [f"u{n}" for n in range(400)]
    monthly = segment(expiration_minutes=MONTH)

    def renewed(left: float, of: Segment = monthly) -> int:
        expires = NOW_MS + int(left * MONTH * MINUTE_MS)
        under = policy(expiration_minutes=MONTH, renew_at=of.renew_at)
        snapshot = dict.fromkeys(names, (MONTHLY, expires))
        compared, _ = one(accounts(*names), of=of, snapshot=snapshot, under=under)
        return compared.difference.renew

    assert renewed(0.7501) == 0
    assert renewed(0.4999) == len(names)
    assert 60 < renewed(0.6875) < 140
    assert 160 < renewed(0.625) < 240
    early = replace(monthly, renew_at=0.4)
    assert (renewed(0.6001, early), renewed(0.3999, early)) == (0, 400)
    always = replace(monthly, renew_at=0.9)
    assert (renewed(0.9501, always), renewed(0.8999, always)) == (0, 400)


@pytest.mark.parametrize(("minutes", "more"), [(MONTH, DAY_MS), (100, 10 * MINUTE_MS)])
def test_more_time_left_than_a_command_gives_is_a_renewal(minutes: int, more: int) -> None:
    """The clock was ahead when it was sent: a day of that does no harm, or a tenth of the time."""
    for left, words in ((more, {}), (more + 1, {"a": "renew"})):
        expires = NOW_MS + minutes * MINUTE_MS + left
        known = (fingerprint_of(policy_text(minutes)), expires)
        of = segment(expiration_minutes=minutes)
        assert one(accounts("a"), of=of, snapshot={"a": known})[1] == words


def test_the_moment_of_renewal_depends_on_the_expiry_so_that_cycles_do_not_line_up() -> None:
    names = [f"u{n}" for n in range(400)]
    monthly = segment(expiration_minutes=MONTH)

    def renewed(expires: int, now: int) -> set[str]:
        under = policy(expiration_minutes=MONTH, now_ms=now)
        snapshot = dict.fromkeys(names, (MONTHLY, expires))
        return set(one(accounts(*names), of=monthly, snapshot=snapshot, under=under)[1])

    left = int(0.625 * MONTH * MINUTE_MS)
    first = renewed(NOW_MS + left, NOW_MS)
    second = renewed(NOW_MS + left + MINUTE_MS, NOW_MS + MINUTE_MS)
    assert 120 < len(first ^ second) < 280


def test_members_that_never_expire_are_reasserted_once_in_a_period() -> None:
    names = [f"u{n}" for n in range(300)]
    sent: list[str] = []
    last = NOW_MS
    for day in range(1, 31):
        now = NOW_MS + day * DAY_MS
        under = policy(now_ms=now, reassert_minutes=MONTH, reasserted_at_ms=last)
        snapshot = dict.fromkeys(names, (PLAIN, 0))
        compared, words = one(accounts(*names), snapshot=snapshot, under=under)
        assert set(words.values()) <= {"renew"}
        assert compared.difference.renew < 30
        sent += words
        last = now
    assert sorted(sent) == sorted(names)
    under = policy(now_ms=NOW_MS, reassert_minutes=NEVER)
    assert one(accounts("a"), snapshot={"a": (PLAIN, 0)}, under=under)[1] == {}


@pytest.mark.parametrize(
    ("last", "least", "most"),
    [
        (0, 70, 130),
        (NOW_MS + MONTH * MINUTE_MS + 1, 70, 130),
        (NOW_MS + MONTH * MINUTE_MS, 0, 0),
        (NOW_MS + 1, 0, 0),
        (NOW_MS, 0, 0),
        (NOW_MS - MONTH * MINUTE_MS // 2, 430, 570),
        (NOW_MS - MONTH * MINUTE_MS, 1000, 1000),
        (NOW_MS - 2 * MONTH * MINUTE_MS, 1000, 1000),
    ],
)
def test_as_many_are_reasserted_as_had_their_turn_since(last: int, least: int, most: int) -> None:
    """Nobody has been yet where the period is set later: a tenth makes a start, not millions."""
    names = [f"u{n}" for n in range(1000)]
    under = policy(reassert_minutes=MONTH, reasserted_at_ms=last)
    compared, _ = one(accounts(*names), snapshot=dict.fromkeys(names, (PLAIN, 0)), under=under)
    assert least <= compared.difference.renew <= most


def test_rows_that_bring_their_own_expiry_are_reasserted_and_never_renewed() -> None:
    """The segment's duration says nothing of them, and nothing else would heal them."""
    soon = NOW_MS + DAY_MS
    rows = [
        {"user_account_id": f"{kind}{n}", "expiration_ts": expiry}
        for n in range(50)
        for kind, expiry in (("never", 0), ("none", None), ("soon", soon))
    ]
    columns = ("user_account_id", "expiration_ts")
    snapshot = {
        row["user_account_id"]: (
            fingerprint_of(f"ts:{soon}|" if row["expiration_ts"] else "never|"),
            row["expiration_ts"] or 0,
        )
        for row in rows
    }
    nearly = NOW_MS - MONTH * MINUTE_MS + 1
    under = policy(reassert_minutes=MONTH, reasserted_at_ms=nearly, expiration_minutes=MONTH)
    compared, words = one(rows, *columns, snapshot=snapshot, under=under)
    assert compared.difference.renew == len(words) == 150
    assert set(words.values()) == {"renew"}
    never = replace(under, reassert_minutes=NEVER)
    assert one(rows, *columns, snapshot=snapshot, under=never)[1] == {}


def test_the_digests_of_the_changes_lead_from_that_of_the_snapshot_to_the_next() -> None:
    """The state adds them up: a digest that is off would make a sound state look damaged."""
    monthly = segment(expiration_minutes=MONTH)
    in_time, soon = NOW_MS + 29 * DAY_MS, NOW_MS + DAY_MS
    snapshot = {
        "changed": (1, 0),
        "gone": (MONTHLY, soon),
        "lapsed": (MONTHLY, NOW_MS - 9 * DAY_MS),
        "renewed": (MONTHLY, soon),
        "the same": (MONTHLY, in_time),
    }
    with Bench() as bench:
        before = bench.compare(
            accounts("changed", "new", "renewed", "the same"), of=monthly, snapshot=snapshot
        )
        bench.arrange()
        changes = bench.changes()[1]
    assert {change.word for change in changes} == {"add", "update", "renew", "remove", "forget"}
    counts = asdict(before.difference)
    assert {word: counts[word] for word in counts if counts[word] == 1} == dict.fromkeys(
        ("add", "update", "renew", "remove", "forget", "removed_live"), 1
    )
    for change in changes:
        if change.word in ("remove", "forget"):
            del snapshot[change.identifier]
        else:
            snapshot[change.identifier] = (change.fingerprint, change.expires_at)
    with Bench() as bench:
        after = bench.compare([], of=monthly, snapshot=snapshot)
    assert before.digest + sum(change.digest for change in changes) == after.digest


def test_examples_tell_what_was_known_of_a_member_and_come_in_order() -> None:
    monthly = segment(expiration_minutes=MONTH, compartment_id="1000")
    past, soon = NOW_MS - DAY_MS, NOW_MS + DAY_MS
    with Bench() as bench:
        compared = bench.compare(
            accounts("new 2", "new 1", "lapsed", "doubted", "renewed"),
            of=monthly,
            snapshot={
                "doubted": (MONTHLY, soon),
                "gone": (MONTHLY, 0),
                "lapsed": (MONTHLY, past),
                "long gone": (MONTHLY, past - DAY_MS),
                "renewed": (MONTHLY, soon),
            },
            pending=["doubted"],
        )
        few = bench.engine.examples(compared.number, 2, reattempts=False)
        many = bench.engine.examples(compared.number, 9, reattempts=False)
    assert [(item.label, item.identifier, item.old_expires_at, item.retry) for item in many] == [
        ("add", "lapsed", past, False),
        ("add", "new 1", 0, False),
        ("add", "new 2", 0, False),
        ("update", "doubted", soon, True),
        ("renew", "renewed", soon, False),
        ("remove", "gone", 0, False),
    ]
    assert few == [item for item in many if item.identifier != "new 2"]
    assert {(item.kind, item.compartment_id) for item in many} == {
        (IdentifierKind.USER_ACCOUNT_ID, "1000")
    }


# -------------------------------------------------------------------- rows


@pytest.mark.parametrize("names", ["aab", "abaa"])
@pytest.mark.parametrize(
    "snapshot",
    [{}, {"a": 1}, {"b": 2}, {"c": 1}, dict.fromkeys("abc", 1), dict.fromkeys("abcd", 1)],
)
def test_equal_rows_are_one_member(names: str, snapshot: dict[str, int]) -> None:
    """Whoever comes and goes beside them: repeated rows are found by counting."""
    known = {name: (print_of(total), 0) for name, total in snapshot.items()}
    compared, words = one([row(name, 1) for name in names], *COLUMNS, of=BAG, snapshot=known)
    difference = compared.difference
    assert (difference.desired, difference.conflicts) == (2, 0)
    assert difference.duplicates == len(names) - 2
    assert difference.add == len({"a", "b"} - snapshot.keys())
    assert words.keys() == {name for name in "abcd" if (name in "ab") != (snapshot.get(name) == 1)}


def test_rows_of_one_identifier_that_differ_are_a_conflict() -> None:
    compared, _ = one([row("a", 1), row("a", 2), row("b", 1), row("b", 1)], *COLUMNS, of=BAG)
    assert compared.difference.conflicts == 1
    assert compared.difference.duplicates == 2


def test_examples_of_conflicts_come_in_order_and_tell_whose_they_are() -> None:
    rows = [row(name, total) for name, total in zip("bbaacc", (1, 2, 1, 2, 1, 1), strict=True)]
    with Bench() as bench:
        of = segment(data_bag=("total",), compartment_id="1000")
        number = bench.compare(rows, COLUMNS, of=of).number
        found = [bench.engine.conflict_examples(number, limit) for limit in (1, 9)]
    a, b = (Example("conflict", IdentifierKind.USER_ACCOUNT_ID, "1000", name) for name in "ab")
    assert found == [[a], [a, b]]


@pytest.mark.parametrize("choice", ["latest_expiry", "any"])
def test_a_conflict_is_resolved_the_same_way_in_any_order_of_the_rows(choice: Any) -> None:
    columns = ("user_account_id", "total", "expiration_ts")
    rows: list[dict[str, Any]] = [
        {**row("a", total), "expiration_ts": expires}
        for total in (1, 2, 3)
        for expires in (NOW_MS + DAY_MS, NOW_MS + 2 * DAY_MS)
    ]
    rows += [{**row("b", total), "expiration_ts": None} for total in (1, 2)]
    rows += [{**row("b", 3), "expiration_ts": NOW_MS + DAY_MS}]
    chosen = segment(data_bag=("total",), on_conflict=choice)
    found = set()
    for seed in range(8):
        random.Random(seed).shuffle(rows)
        with Bench() as bench:
            compared = bench.compare(rows, columns, of=chosen)
            assert compared.difference.conflicts == 2
            assert compared.difference.desired == 2
            bench.arrange()
            found.add(tuple(bench.changes()[1]))
    [changes] = found
    left = [row for row in rows if choice == "any" or row["expiration_ts"] != NOW_MS + DAY_MS]
    prints = {name: [ts_print(r) for r in left if r["user_account_id"] == name] for name in "ab"}
    assert [change.fingerprint for change in changes] == [min(prints["a"]), min(prints["b"])]
    if choice == "latest_expiry":
        assert [change.expires_at for change in changes] == [NOW_MS + 2 * DAY_MS, 0]


INVALID: dict[int, tuple[str, dict[str, Any]]] = {
    2: ("user_account_id expiration_ts", {"user_account_id": "a", "expiration_ts": NOW_MS}),
    3: ("user_account_id email_hash", {}),
    4: ("user_account_id email_hash", {"user_account_id": "a", "email_hash": "b"}),
    5: ("user_account_id", {"user_account_id": ""}),
    6: ("user_agent_id", {"user_agent_id": "a\0b"}),
    7: ("user_account_id", {"user_account_id": "a" * 65_537}),
    8: ("user_account_id compartment_id", {"user_account_id": "a", "compartment_id": ""}),
    9: ("email", {"email": "not an address"}),
    10: ("user_account_id expiration_ts", {"user_account_id": "a", "expiration_ts": 10**15}),
    11: ("user_account_id expiration_ts", {"user_account_id": "a", "expiration_ts": 1_790_000_000}),
    12: ("user_account_id data_bag", {"user_account_id": "a", "data_bag": "[1]"}),
    13: (
        "user_account_id data_bag",
        {"user_account_id": "a", "data_bag": f'{{"a":"{"b" * LARGEST_DATA_BAG}"}}'},
    ),
    15: ("email_hash", {"email_hash": "peter@example.com"}),
    14: ("user_account_id data_bag", {"user_account_id": "a", "data_bag": f'{{"a":{"9" * 20}}}'}),
}
GOOD: dict[str, Any] = {
    "user_account_id": "good",
    "email_hash": "good",
    "user_agent_id": "good",
    "email": "good@example.org",
}


def test_every_reason_has_a_row_here() -> None:
    assert INVALID.keys() == REASONS.keys()


@pytest.mark.parametrize("code", INVALID)
def test_an_invalid_row_is_counted_with_its_reason_and_never_a_member(code: int) -> None:
    names, bad = INVALID[code]
    columns = tuple(names.split())
    good = {columns[0]: GOOD[columns[0]]}
    with Bench() as bench:
        chosen = segment(hash_email="sha256" if "email" in columns else None)
        compared = bench.compare([bad, good, bad], columns, of=chosen)
        assert compared.rows.invalid_reasons == {REASONS[code]: 2}
        assert compared.rows.queried == 3
        assert compared.rows.expired == (2 if code == 2 else 0)
        assert compared.difference.desired == compared.difference.add == 1
        examples = bench.engine.invalid_examples(compared.number, 5)
        assert bench.engine.invalid_examples(compared.number, 1) == examples[:1]
    [shown] = {e.identifier for e in examples}
    if "email" in bad:
        assert shown is None
    else:
        assert shown == next((value.partition("\0")[0] for value in bad.values()), shown)
    kinds = [name for name in columns if name in GOOD]
    only = kinds[0] if len(kinds) == 1 else None
    assert examples == [
        Example("invalid", None, None, shown, row=row, reason=REASONS[code], column=only)
        for row in (1, 3)
    ]


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("user_agent_id", "a" * 65_536, None),
        ("user_agent_id", "é" * 32_768, None),
        ("user_agent_id", "é" * 32_769, 7),
        ("email", "a@b", None),
        ("email", "@b", 9),
        ("email", "a@", 9),
        ("email", " @b", 9),
        ("email", "a@\t", 9),
        ("data_bag", f'{{"a":"{"b" * (LARGEST_DATA_BAG - 8)}"}}', None),
        ("data_bag", f'{{"a":"{"b" * (LARGEST_DATA_BAG - 7)}"}}', 13),
        ("data_bag", '{"a":[9223372036854775807,-9223372036854775808]}', None),
        ("data_bag", '{"a":-9223372036854775809}', 14),
        ("data_bag", '{"a":{"b":12345678.123456789012}}', 14),
        ("data_bag", '{"a":10000000000000000000}', 14),
        ("data_bag", '{"a":1234567.1234567890}', None),
        ("data_bag", '{"a":12345678.1234567890}', 14),
        ("data_bag", '{"a":100000000.0000000001}', 14),
        ("data_bag", '{"a":"12345678.123456789012345678,}"}', None),
        ("expiration_ts", -1, 10),
        ("expiration_ts", 0, None),
        ("expiration_ts", 1, 11),
        ("expiration_ts", 99_999_999_999, 11),
        ("expiration_ts", 100_000_000_000, 2),
        ("expiration_ts", NOW_MS, 2),
        ("expiration_ts", NOW_MS + 1, None),
        ("expiration_ts", 253_402_300_799_999, None),
        ("expiration_ts", 253_402_300_800_000, 10),
    ],
    ids=lambda value: str(value)[:20],
)
def test_a_limit_is_where_it_is_said_to_be(column: str, value: Any, code: int | None) -> None:
    row = {column: value}
    if column in ("data_bag", "expiration_ts"):
        row["user_account_id"] = "a"
    chosen = segment(hash_email="sha256" if column == "email" else None)
    compared, words = one([row], *sorted(row, reverse=True), of=chosen)
    assert compared.rows.invalid_reasons == ({REASONS[code]: 1} if code else {})
    assert list(words.values()) == ([] if code else ["add"])


def test_a_compartment_with_a_nul_character_is_invalid() -> None:
    rows = [{"user_account_id": "a", "compartment_id": "1\x000"}, {"user_account_id": "b"}]
    compared, words = one(rows, "user_account_id", "compartment_id")
    assert compared.rows.invalid_reasons == {REASONS[8]: 1}
    assert words == {"b": "add"}


@pytest.mark.parametrize("column", ["data_bag", "name"])
@pytest.mark.parametrize("more", [0, 1])
def test_a_data_bag_of_exactly_a_mebibyte_is_sent(column: str, more: int) -> None:
    """Whether it comes as a whole, or is made of columns."""
    frame = f'{{"name":"{"x" * (LARGEST_DATA_BAG - 11 + more)}"}}'
    assert len(frame) == LARGEST_DATA_BAG + more
    value = frame if column == "data_bag" else frame.removeprefix('{"name":').removesuffix("}")
    with Bench() as bench:
        of = segment(data_bag=("name",) if column == "name" else ())
        rows = [{"user_account_id": "a", column: value}]
        compared = bench.compare(rows, ("user_account_id", column), of=of)
        lines = [json.loads(line) for line in bench.lines(bench.arrange()).splitlines()]
    assert [line["data_bag"] for line in lines] == [frame] * (1 - more)
    assert compared.rows.invalid_reasons == ({REASONS[13]: 1} if more else {})


def test_the_most_frequent_reasons_of_the_source_come_first() -> None:
    rows = [{"__invalid": reason} for reason in ("c", "b", "a", "b")]
    compared, _ = one([*rows, {"user_account_id": ""}])
    assert list(compared.rows.invalid_reasons.items()) == [
        (REASONS[5], 1),
        ("b", 2),
        ("a", 1),
        ("c", 1),
    ]


def test_what_the_source_says_of_a_row_is_its_reason() -> None:
    reason = "user_account_id is bytes: cast it"
    rows = [{"user_account_id": None, "__invalid": reason}]
    with Bench() as bench:
        compared = bench.compare([*rows, *accounts("a")])
        examples = bench.engine.invalid_examples(compared.number, 5)
    assert compared.rows.invalid_reasons == {reason: 1}
    told = Example("invalid", None, None, None, row=1, reason=reason, column="user_account_id")
    assert examples == [told]
    assert compared.difference.add == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"a":1,"a":2}',
        '{"a":1,}',
        '{"a":[1, ]}',
        "{",
        "null",
        '"{}"',
        '{"a":NaN}',
        '{"a":Infinity}',
        "{}x",
        "",
        " ",
    ],
)
def test_a_data_bag_that_is_no_json_object_is_invalid(text: str) -> None:
    rows = [{"user_account_id": "a", "data_bag": text}]
    compared, words = one(rows, "user_account_id", "data_bag")
    assert compared.rows.invalid_reasons == {REASONS[12]: 1}
    assert words == {}


@pytest.mark.parametrize("text", ["{}", '{"b":1,"a":"NaN"}', '{"Infinity":[1,{"x":null}]}', None])
def test_a_data_bag_that_is_a_json_object_is_taken(text: str | None) -> None:
    compared, words = one(
        [{"user_account_id": "a", "data_bag": text}], "user_account_id", "data_bag"
    )
    assert compared.rows.invalid == 0
    assert words == {"a": "add"}


def test_data_bags_that_mean_the_same_are_the_same() -> None:
    texts = ['{"a":1,"b":2}', '{ "b" : 2,\n"a": 1 }']
    with Bench() as bench:
        for text in texts:
            rows = [{"user_account_id": "a", "data_bag": text}]
            bench.compare(rows, ("user_account_id", "data_bag"))
        bench.arrange()
        [first], [second] = bench.changes().values()
    assert first.fingerprint == second.fingerprint


# -------------------------------------------------------------------- keyspaces


def test_kinds_and_compartments_are_told_apart() -> None:
    columns = ("user_account_id", "compartment_id", "email_hash", "user_agent_id")
    rows = [
        {"user_account_id": "x"},
        {"user_account_id": "x", "compartment_id": "2000"},
        {"user_account_id": "x", "compartment_id": "1000"},
        {"email_hash": "x", "compartment_id": "2000"},
        {"user_agent_id": "x"},
    ]
    with Bench() as bench:
        compared = bench.compare(rows, columns, of=segment(compartment_id="1000"))
        assert (compared.difference.desired, compared.difference.duplicates) == (4, 1)
        bench.arrange()
        places = dict(bench.engine.keyspaces.all())
        found = {places[change.keyspace][1:] for change in bench.changes()[1]}
    assert found == {
        (IdentifierKind.USER_ACCOUNT_ID, "1000"),
        (IdentifierKind.USER_ACCOUNT_ID, "2000"),
        (IdentifierKind.EMAIL_HASH, None),
        (IdentifierKind.USER_AGENT_ID, None),
    }


def test_identifiers_compare_as_exact_texts() -> None:
    names = ["a", "A", "a ", " a", "á", "a\u0301", "01", "1", "1.0", "null", "NULL"]
    compared, words = one(accounts(*names), snapshot={"1": (PLAIN, 0)})
    assert compared.difference.desired == len(names)
    assert words == dict.fromkeys((n for n in names if n != "1"), "add")


@pytest.mark.parametrize(
    ("compartments", "known", "expected"),
    [
        (["2000"], {"snapshot": {"x": (PLAIN, 0)}}, {"1000": "remove", "2000": "add"}),
        (["1000", "2000"], {"snapshot": {"x": (PLAIN, 0)}, "pending": ["x"]}, {"2000": "add"}),
        (["1000", "2000"], {"rejects": [("x", "UPDATE", PLAIN, NOW_MS + 1)]}, {"1000": "add"}),
        (["1000"], {"rejects": [("x", "UPDATE", 1, 0)]}, {"1000": "add", "2000": "forget"}),
    ],
    ids=["confirmed", "pending", "rejected", "rejected and not desired"],
)
def test_what_is_known_of_an_identifier_holds_in_its_own_compartment_only(
    compartments: list[str], known: dict[str, Any], expected: dict[str, str]
) -> None:
    """Confirmed in compartment 1000; pending or rejected in 2000."""
    with Bench() as bench:
        bench.keyspace(1, compartment="1000")
        other = bench.keyspace(1, compartment="2000")
        bench.compare(
            [{"user_account_id": "x", "compartment_id": name} for name in compartments],
            ("user_account_id", "compartment_id"),
            of=segment(compartment_id="1000"),
            doubted_in=other,
            **known,
        )
        bench.arrange()
        places = dict(bench.engine.keyspaces.all())
        changes = bench.changes()[1]
    assert {places[change.keyspace][2]: change.word for change in changes} == expected


def test_a_member_whose_row_is_there_but_invalid_is_left_as_it_is() -> None:
    rows = [
        {"user_account_id": "bad", "data_bag": "{"},
        {"user_account_id": "good", "data_bag": None},
    ]
    snapshot = dict.fromkeys(("bad", "good", "gone"), (PLAIN, 0))
    with Bench() as bench:
        columns = ("user_account_id", "data_bag")
        compared = bench.compare(rows, columns, snapshot=snapshot, spares_invalid=True)
        bench.arrange()
        words = {change.identifier: change.word for change in bench.changes()[1]}
    assert words.pop("gone") == "remove"
    assert "bad" not in words
    assert compared.difference.spared == 1
    assert compared.difference.remove == 1


def test_an_invalid_row_spares_nobody_from_what_a_valid_one_says() -> None:
    rows = [
        {"user_account_id": "new"},
        {"user_account_id": "new", "email_hash": "h"},
        {"user_account_id": "there", "email_hash": "h"},
    ]
    with Bench() as bench:
        columns = ("user_account_id", "email_hash")
        bench.compare(rows, columns, snapshot={"there": (PLAIN, 0)}, spares_invalid=True)
        bench.arrange()
        assert {change.identifier: change.word for change in bench.changes()[1]} == {"new": "add"}


def test_a_member_whose_own_expiry_has_passed_goes() -> None:
    rows = [{"user_account_id": "late", "expiration_ts": NOW_MS - 1}]
    with Bench() as bench:
        columns = ("user_account_id", "expiration_ts")
        snapshot = {"late": (1, 0)}
        compared = bench.compare(rows, columns, snapshot=snapshot, spares_invalid=True)
    assert (compared.difference.remove, compared.difference.spared) == (1, 0)


@pytest.mark.parametrize("kind", [IdentifierKind.EMAIL_HASH, IdentifierKind.USER_ACCOUNT_ID])
def test_beside_a_removal_in_doubt_a_newcomer_is_said_again(kind: IdentifierKind) -> None:
    """The removal that is said again may be of the same person."""
    with Bench() as bench:
        bench.keyspace(1)
        compared = bench.compare(
            accounts("new", "old"),
            snapshot=dict.fromkeys(("new", "old"), (PLAIN, 0)),
            pending=["h"],
            newcomers=["new"],
            doubted_in=bench.keyspace(1, kind),
        )
        bench.arrange()
        words = {change.identifier: change.word for change in bench.changes()[1]}
    assert words == {"new": "update", "h": "remove"}
    assert compared.difference.retry == 2


def test_a_newcomer_is_not_said_again_where_no_removal_is() -> None:
    for pending, rejects in (
        (["b"], []),
        (["gone"], [("gone", "DELETE", 0, NOW_MS)]),
        (["gone"], [("gone", "DELETE", 0, NOW_MS + DAY_MS)]),
    ):
        _, words = one(
            accounts("new", "b"),
            snapshot=dict.fromkeys(("new", "b"), (PLAIN, 0)),
            pending=pending,
            newcomers=["new"],
            rejects=rejects,
        )
        assert "new" not in words


def test_who_was_refused_is_no_newcomer() -> None:
    """What it was refused is wanted no more, and a removal in doubt is said again beside it."""
    _, words = one(
        accounts("b"),
        snapshot={"b": (PLAIN, 0)},
        pending=["gone"],
        rejects=[("b", "UPDATE", PLAIN + 1, NOW_MS)],
    )
    assert words == {"gone": "remove", "b": "forget"}


def test_members_in_doubt_count_for_the_guard() -> None:
    compared, words = one([], pending=["a", "b"], snapshot={"c": (PLAIN, 0)})
    assert words == dict.fromkeys("abc", "remove")
    assert (compared.difference.in_doubt, compared.difference.removed_live) == (2, 3)


# -------------------------------------------------------------------- rejects


def test_a_reject_of_a_clock_that_was_ahead_does_not_wait_for_it() -> None:
    for days, words in ((7, {}), (8, {"a": "add"})):
        rejects = [("a", "UPDATE", PLAIN, NOW_MS + days * DAY_MS)]
        assert one(accounts("a"), rejects=rejects)[1] == words


def test_a_reassertion_of_a_clock_that_was_ahead_is_forgotten() -> None:
    names = [f"u{n}" for n in range(300)]
    under = policy(reassert_minutes=MONTH, reasserted_at_ms=NOW_MS + 365 * DAY_MS)
    snapshot = dict.fromkeys(names, (PLAIN, 0))
    compared, _ = one(accounts(*names), snapshot=snapshot, under=under)
    assert compared.difference.renew > 10


@pytest.mark.parametrize("operation", ["UPDATE", "DELETE"])
@pytest.mark.parametrize("due", [True, False])
def test_a_rejected_command_waits_for_its_next_attempt(operation: str, due: bool) -> None:
    update = operation == "UPDATE"
    compared, words = one(
        accounts("a", "b") if update else accounts("b"),
        snapshot={"b": (PLAIN, 0)} | ({} if update else {"a": (PLAIN, 0)}),
        rejects=[("a", operation, PLAIN if update else 0, NOW_MS if due else NOW_MS + 1)],
    )
    assert words == ({"a": "add" if update else "remove"} if due else {})
    assert compared.difference.deferred == (Deferred() if due else Deferred(1, update, not update))


def test_a_reject_of_another_command_does_not_wait() -> None:
    later = NOW_MS + DAY_MS
    for rows, snapshot, reject in (
        (accounts("a"), {}, ("a", "UPDATE", 1, later)),
        (accounts("a"), {}, ("a", "DELETE", 0, later)),
        ([], {"a": (PLAIN, 0)}, ("a", "UPDATE", PLAIN, later)),
    ):
        compared, words = one(rows, snapshot=snapshot, rejects=[reject])
        assert words.keys() == {"a"}
        assert compared.difference.deferred == Deferred()


def test_a_reject_whose_member_needs_no_command_is_forgotten() -> None:
    for rows, snapshot in ((accounts("a"), {"a": (PLAIN, 0)}), ([], {})):
        compared, words = one(rows, snapshot=snapshot, rejects=[("a", "UPDATE", 1, NOW_MS)])
        assert words == {"a": "forget"}
        assert (compared.difference.forget, compared.difference.settled) == (0, 1)


@pytest.mark.parametrize("due", [True, False])
def test_a_rejected_command_that_asserted_the_snapshot_is_said_again(due: bool) -> None:
    """A reassertion has its turn only once in a period: what was rejected has had it."""
    rejects = [("a", "UPDATE", PLAIN, NOW_MS if due else NOW_MS + 1)]
    snapshot = dict.fromkeys("ab", (PLAIN, 0))
    compared, words = one(accounts("a", "b"), snapshot=snapshot, rejects=rejects)
    assert words == ({"a": "renew"} if due else {})
    assert compared.difference.deferred == (Deferred() if due else Deferred(1))
    assert compared.difference.retry == 0
