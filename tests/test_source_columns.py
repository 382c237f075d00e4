"""Which columns a query may give, and what is said where they are wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from segsync.errors import SourceError
from segsync.source import check_columns
from tests.support.sources import PLACE, segment


def refusal(*names: str, bag: tuple[str, ...] = (), hash_email: Any = None) -> str:
    """What is said of these columns, with the hint."""
    wanted = replace(segment("SELECT 1", *bag), hash_email=hash_email)
    with pytest.raises(SourceError) as caught:
        check_columns(wanted, names)
    assert caught.value.place == PLACE
    return f"{caught.value.message} / {caught.value.hint}"


@pytest.mark.parametrize(
    ("names", "bag", "hash_email"),
    [
        (["user_account_id"], [], None),
        (["USER_ACCOUNT_ID", "Compartment_Id", "Expiration_TS"], [], None),
        (["email_hash", "data_bag"], [], None),
        (["user_agent_id", "LTV", "tier"], ["ltv", "Tier"], None),
        (["email"], [], "sha256"),
        (["email_hash", "user_agent_id", "user_account_id"], [], None),
    ],
)
def test_columns_that_have_a_meaning_pass_whatever_their_case(
    names: list[str], bag: list[str], hash_email: Any
) -> None:
    wanted = replace(segment("SELECT 1", *bag), hash_email=hash_email)
    check_columns(wanted, names)


def test_an_unknown_column_is_named_with_both_remedies() -> None:
    text = refusal("user_account_id", "customer_name")
    assert "`customer_name`" in text
    assert "alias it as one of" in text
    assert "list it under `data_bag:`" in text


def test_an_unknown_column_is_told_the_nearest_name() -> None:
    assert "did you mean `user_account_id`" in refusal("user_acount_id")
    assert "did you mean `expiration_ts`" in refusal("email_hash", "expiration")


def test_a_query_without_an_identifier_is_refused() -> None:
    assert "gives no identifier" in refusal("expiration_ts")


def test_an_address_is_not_sent_as_it_is() -> None:
    assert "hash_email: sha256" in refusal("email")


def test_hash_email_needs_the_address() -> None:
    assert "no column `email` (did you mean `e_mail`?)" in refusal(
        "user_account_id", "e_mail", bag=("e_mail",), hash_email="md5"
    )


def test_a_listed_column_must_be_there() -> None:
    text = refusal("user_account_id", "life_time_value", bag=("lifetime_value",))
    assert "`lifetime_value` is listed under `data_bag:`" in text
    assert "did you mean `life_time_value`?" in text


def test_the_bag_comes_from_one_place() -> None:
    assert "keep one of the two" in refusal("user_account_id", "data_bag", "x", bag=("x",))


@pytest.mark.parametrize("name", ["email_hash", "expiration_ts", "DATA_BAG"])
def test_a_column_with_a_meaning_is_not_for_the_bag(name: str) -> None:
    assert "cannot be listed" in refusal("user_account_id", name, bag=(name,))


def test_columns_of_one_name_are_counted() -> None:
    assert "2 columns named `user_account_id`" in refusal("user_account_id", "User_Account_Id")


def test_a_compartment_needs_an_account() -> None:
    assert "without `user_account_id`" in refusal("email_hash", "compartment_id")


def test_everything_wrong_is_said_at_once() -> None:
    text = refusal("x", "y", "email", bag=("z",))
    for part in ("`x`", "`y`", "`email`", "`z`"):
        assert part in text
