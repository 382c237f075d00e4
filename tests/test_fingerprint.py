"""Fingerprints are kept in every state: a value that changes would send every member again."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segsync.engine.fingerprint import fingerprint_of, fingerprint_sql, policy_text
from segsync.engine.session import Session, quoted
from segsync.model import NEVER
from tests.support.comparing import NOW_MS, Bench, segment

NEVER_CHANGES = {
    "": 338333539836370388,
    "never|": 610362364328396164,
    "minutes:43200|": 2866019210885583099,
    'never|{"total":1}': 8937088011151656024,
    'ts:1790000000000|{"é":"\\n"}': 5022008331414565077,
}
"""Computed once, never to be computed again."""


def in_engine(*texts: str) -> list[int]:
    session = Session("100MB")
    try:
        with session.cursor() as cursor:
            return [cursor.row(f"SELECT {fingerprint_sql(quoted(text))}")[0] for text in texts]
    finally:
        session.close()


@pytest.mark.parametrize("text", NEVER_CHANGES)
def test_fingerprints_never_change(text: str) -> None:
    assert fingerprint_of(text) == NEVER_CHANGES[text]
    assert in_engine(text) == [NEVER_CHANGES[text]]


def test_a_fingerprint_is_the_first_63_bits_of_an_md5_in_little_endian() -> None:
    digest = hashlib.md5(b"never|").digest()
    assert fingerprint_of("never|") == int.from_bytes(digest[:8], "little") & (2**63 - 1)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"))))
def test_the_engine_and_python_agree(texts: list[str]) -> None:
    assert in_engine(*texts) == [fingerprint_of(text) for text in texts]


def fingerprints(columns: tuple[str, ...], row: Mapping[str, object], minutes: int = NEVER) -> int:
    with Bench() as bench:
        bag = ("total",) if "total" in columns else ()
        bench.compare([row], columns, of=segment(expiration_minutes=minutes, data_bag=bag))
        bench.arrange()
        return bench.changes()[1][0].fingerprint


def test_what_a_fingerprint_is_of_never_changes() -> None:
    account: dict[str, object] = {"user_account_id": "a"}
    plain = ("user_account_id",)
    assert fingerprints(plain, account) == fingerprint_of("never|")
    assert fingerprints(plain, account, 43_200) == fingerprint_of("minutes:43200|")
    total = (*plain, "total")
    assert fingerprints(total, account | {"total": 1}) == fingerprint_of('never|{"total":1}')
    assert fingerprints(total, account) == fingerprint_of('never|{"total":null}')
    own = (*plain, "expiration_ts")
    assert fingerprints(own, account | {"expiration_ts": NOW_MS + 1}) == fingerprint_of(
        f"ts:{NOW_MS + 1}|"
    )
    assert fingerprints(own, account) == fingerprint_of("never|")
    bag = (*plain, "data_bag")
    text = '{"b": [1, 2], "a": "é"}'
    assert fingerprints(bag, account | {"data_bag": text}) == fingerprint_of(
        'never|{"a":"é","b":[1,2]}'
    )
    assert fingerprints(bag, account) == fingerprint_of("never|")


def test_a_column_that_says_nothing_changes_no_fingerprint() -> None:
    """A query that gains a column `expiration_ts` or `data_bag` of NULLs updates nobody."""
    account = {"user_account_id": "a"}
    assert fingerprints(("user_account_id", "expiration_ts", "data_bag"), account) == (
        fingerprint_of(policy_text(NEVER))
    )
