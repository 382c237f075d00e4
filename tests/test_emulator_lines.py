"""The emulator takes the documented lines, and names the reason for which it refuses others."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any

import pytest

from segsync.emulator import Behaviour, Emulator, Member
from tests.support.api_client import CSV, carried_out, delete, error_file, update
from tests.support.emulators import an_emulator

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with an_emulator(frozen_at_ms=NOW_MS) as made:
        yield made


ACCEPTED: dict[str, dict[str, Any]] = {
    "the documentation's example": {"compartment_id": "1000"},
    "an e-mail hash": {"user_account_id": None, "email_hash": "abc"},
    "a user agent": {"user_account_id": None, "user_agent_id": "vec:89998434"},
    "a segment by id": {"segment_technical_name": None, "segment_id": "10001"},
    "both expirations": {"expiration_duration": 1, "expiration_ts": NOW_MS + 1},
    "a fractional timestamp": {"expiration_ts": NOW_MS + 1.5},
    "a data bag": {"data_bag": '{"a":{"b":[1,null]}}'},
    "an empty data bag": {"data_bag": "{}"},
    "any text in an identifier": {"user_account_id": "x\n\u2028\x00'\"é😀"},
    "spaces that are part of an identifier": {"user_account_id": " u1 "},
    "the longest duration": {"expiration_duration": 2**31 - 1},
}

REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "no operation": ("bad_operation", {"operation": None}),
    "another operation": ("bad_operation", {"operation": "UPSERT"}),
    "an operation in lower case": ("bad_operation", {"operation": "update"}),
    "no identifier": ("no_identifier", {"user_account_id": None}),
    "an empty identifier": ("empty_field", {"user_account_id": ""}),
    "a number as an identifier": ("not_a_string", {"user_account_id": 17}),
    "a number as a compartment": ("not_a_string", {"compartment_id": 1000}),
    "two identifiers": ("two_identifiers", {"email_hash": "abc"}),
    "half a surrogate pair": ("bad_unicode", {"user_account_id": "\ud800"}),
    "a compartment without an account": (
        "stray_compartment",
        {"user_account_id": None, "email_hash": "abc", "compartment_id": "1000"},
    ),
    "no segment": ("no_segment", {"segment_technical_name": None}),
    "two segment fields": ("both_segment_fields", {"segment_id": "10001"}),
    "an unknown segment": ("unknown_segment", {"segment_technical_name": "nobody"}),
    "a number as a segment": (
        "not_a_string",
        {"segment_technical_name": None, "segment_id": 10001},
    ),
    "no duration": ("missing_duration", {"expiration_duration": None}),
    "a timestamp and no duration": (
        "missing_duration",
        {"expiration_duration": None, "expiration_ts": NOW_MS + 1},
    ),
    "a duration as text": ("bad_duration", {"expiration_duration": "60"}),
    "a fractional duration": ("bad_duration", {"expiration_duration": 1.5}),
    "a truth value as a duration": ("bad_duration", {"expiration_duration": True}),
    "a negative duration": ("bad_duration", {"expiration_duration": -1}),
    "a duration beyond 32 bits": ("bad_duration", {"expiration_duration": 2**31}),
    "a timestamp as text": ("bad_timestamp", {"expiration_ts": "2026-01-01"}),
    "a negative timestamp": ("bad_timestamp", {"expiration_ts": -1}),
    "a truth value as a timestamp": ("bad_timestamp", {"expiration_ts": True}),
    "a data bag that is an object": ("not_a_string", {"data_bag": {"a": 1}}),
    "a data bag that is no JSON": ("bad_data_bag", {"data_bag": "{'a': 1}"}),
    "a data bag that holds a list": ("bad_data_bag", {"data_bag": "[1]"}),
    "a data bag that holds NaN": ("bad_data_bag", {"data_bag": '{"a":NaN}'}),
    "a data bag of the template's stray brace": ("bad_data_bag", {"data_bag": '{"a":1}}'}),
    "a data bag with a key twice": ("repeated_field", {"data_bag": '{"a":1,"a":2}'}),
    "a large data bag": ("large_data_bag", {"data_bag": json.dumps({"a": "x" * 65_536})}),
    "an unknown field": ("unknown_field", {"op": "UPDATE"}),
}

REFUSED_LINES: dict[str, tuple[str, str | bytes]] = {
    "no JSON": ("bad_json", "operation=UPDATE"),
    "two objects": ("bad_json", "{}{}"),
    "a trailing comma": ("bad_json", "{},"),
    "a list": ("no_object", "[]"),
    "a text": ("no_object", '"UPDATE"'),
    "NaN": ("bad_json", '{"operation":"UPDATE","expiration_duration":NaN}'),
    "a field twice": ("repeated_field", '{"operation":"UPDATE","operation":"DELETE"}'),
    "a null field": ("null_field", '{"operation":"UPDATE","email_hash":null}'),
    "no UTF-8": ("bad_utf8", b'{"operation":"\xe9"}'),
    "a byte order mark": ("bad_json", b"\xef\xbb\xbf{}"),
    "deep nesting": ("bad_json", "[" * 100_000),
}


@pytest.mark.parametrize("fields", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_a_documented_line_is_accepted(emulator: Emulator, fields: dict[str, Any]) -> None:
    execution = carried_out(emulator, update(**fields))
    assert execution["result"]["total_success"] == 1
    assert len(emulator.members("vip")) == 1
    assert not emulator.refused
    assert carried_out(emulator, delete(**fields))["result"]["total_success"] == 1
    assert emulator.members("vip") == {}


@pytest.mark.parametrize(("code", "fields"), REFUSED.values(), ids=REFUSED.keys())
def test_a_wrong_line_fails_for_a_named_reason_and_the_others_count(
    emulator: Emulator, code: str, fields: dict[str, Any]
) -> None:
    execution = carried_out(emulator, update("good"), update(**fields))
    assert execution["status"] == "SUCCEEDED"
    assert execution["result"]["total_success"] == 1
    assert execution["result"]["total_failure"] == 1
    assert dict(emulator.refused) == {code: 1}
    assert set(emulator.members("vip")) == {emulator.account("good")}


@pytest.mark.parametrize(("code", "line"), REFUSED_LINES.values(), ids=REFUSED_LINES.keys())
def test_a_line_that_is_no_command_fails_for_a_named_reason(
    emulator: Emulator, code: str, line: str | bytes
) -> None:
    carried_out(emulator, line, update("good"))
    assert dict(emulator.refused) == {code: 1}


def test_blank_lines_and_a_missing_last_line_end_are_no_lines(emulator: Emulator) -> None:
    execution = carried_out(emulator, update("u1"), "", "  ", update("u2"))
    assert execution["result"]["total_success"] == 2


def test_separators_that_only_look_like_line_ends_stay_inside_a_line(emulator: Emulator) -> None:
    line = json.dumps(update("a\u2028b\u0085c"), ensure_ascii=False)
    assert carried_out(emulator, line)["result"]["total_success"] == 1
    assert set(emulator.members("vip")) == {emulator.account("a\u2028b\u0085c")}


def test_an_account_without_a_compartment_is_in_the_default_one(emulator: Emulator) -> None:
    carried_out(emulator, update("u1"), update("u1", compartment_id="2000"))
    assert set(emulator.members("vip")) == {
        emulator.account("u1", "1000"),
        emulator.account("u1", "2000"),
    }
    carried_out(emulator, delete("u1", compartment_id="1000"))
    assert set(emulator.members("vip")) == {emulator.account("u1", "2000")}


def test_membership_is_kept_per_person(emulator: Emulator) -> None:
    account, email = emulator.account("u1"), emulator.email("abc")
    emulator.declare_person([account, email])
    carried_out(emulator, update("u1", data_bag='{"a":1}'))
    assert set(emulator.members("vip")) == {account, email}
    carried_out(emulator, delete(user_account_id=None, email_hash="abc"))
    assert emulator.members("vip") == {}


def test_persons_that_turn_out_to_be_one_share_their_memberships(emulator: Emulator) -> None:
    emulator.add_segment("other")
    carried_out(emulator, update("u1"), update("u2", "other"))
    emulator.declare_person([emulator.account("u1"), emulator.account("u2")])
    both = {emulator.account("u1"), emulator.account("u2")}
    assert (set(emulator.members("vip")), set(emulator.members("other"))) == (both, both)


def test_a_quarantined_person_is_silently_not_added(emulator: Emulator) -> None:
    carried_out(emulator, update("in"))
    for name in ("in", "out"):
        emulator.quarantine(emulator.account(name))
    execution = carried_out(emulator, update("in"), update("out"))
    assert execution["result"]["total_success"] == 2
    assert set(emulator.members("vip")) == {emulator.account("in")}


def test_a_person_of_whom_one_half_was_quarantined_is_quarantined(emulator: Emulator) -> None:
    emulator.declare_person([emulator.account("u1")])
    emulator.quarantine(emulator.account("u2"))
    emulator.declare_person([emulator.account("u1"), emulator.account("u2")])
    carried_out(emulator, update("u1"))
    assert emulator.members("vip") == {}


def test_a_person_has_an_identifier(emulator: Emulator) -> None:
    with pytest.raises(ValueError, match="at least one"):
        emulator.declare_person([])


def test_lines_take_effect_in_an_order_that_the_seed_decides() -> None:
    winners = set()
    for seed in range(10):
        emulator = Emulator(seed=seed)
        emulator.add_segment("vip")
        again = Emulator(seed=seed)
        again.add_segment("vip")
        for one in (emulator, again):
            carried_out(one, *(update(data_bag=json.dumps({"n": n})) for n in range(4)))
            one.close()
        bag = emulator.members("vip")[emulator.account("u1")].data_bag
        assert again.members("vip")[emulator.account("u1")].data_bag == bag
        winners.add(bag)
    assert len(winners) > 1


def test_a_payload_of_many_chunks_loses_no_line(emulator: Emulator) -> None:
    names = [f"{'x' * 200}{number}" for number in range(30_000)]
    execution = carried_out(emulator, *map(update, names), "{}")
    assert execution["result"]["total_success"] == len(names)
    assert set(emulator.members("vip")) == {emulator.account(name) for name in names}
    emulator.behave(error_file="json_line_number")
    failed = error_file(emulator, carried_out(emulator, *map(update, names), "{}"))
    assert json.loads(failed)["line"] == len(names) + 1


def test_membership_equals_that_of_a_plain_model() -> None:
    chance = random.Random(11)
    emulator = Emulator(frozen_at_ms=NOW_MS, behaviour=Behaviour(line_order="file"))
    emulator.add_segment("vip")
    model: dict[str, Member] = {}
    for _ in range(60):
        commands = []
        for _ in range(chance.randrange(6)):
            name, minutes = f"u{chance.randrange(5)}", chance.choice([0, 1, 7])
            if chance.random() < 0.4:
                commands.append(delete(name))
                model.pop(name, None)
            else:
                commands.append(update(name, expiration_duration=minutes))
                expiry = emulator.now_ms() + minutes * MINUTE_MS if minutes else 0
                model[name] = Member(expiry, None)
        carried_out(emulator, *commands)
        now_ms = emulator.advance(minutes=chance.choice([0, 1, 3]))
        for name in [name for name, one in model.items() if 0 < one.expires_at_ms <= now_ms]:
            del model[name]
        expected = {emulator.account(name): member for name, member in model.items()}
        assert emulator.members("vip") == expected
    emulator.close()


HEADER = (
    "operation,user_account_id,segment_technical_name,expiration_duration,expiration_ts,data_bag"
)


def test_csv_rows_are_the_same_commands(emulator: Emulator) -> None:
    execution = carried_out(
        emulator,
        HEADER,
        'UPDATE,"a ""b"", c",vip,60,,"{""n"":1}"',
        'UPDATE,"two\nlines",vip,0,0,',
        "DELETE,u3,vip,0,,",
        mime=CSV,
    )
    assert execution["result"]["total_success"] == 3
    assert emulator.members("vip") == {
        emulator.account('a "b", c'): (NOW_MS + 60 * MINUTE_MS, '{"n":1}'),
        emulator.account("two\nlines"): (0, None),
    }


def test_wrong_csv_rows_fail_for_a_named_reason(emulator: Emulator) -> None:
    carried_out(
        emulator,
        HEADER,
        "UPDATE,u1,vip,60,",
        "UPDATE,u1,vip,1.5,,",
        "UPDATE,,vip,60,,",
        "UPDATE,u1,vip,,,",
        mime=CSV,
    )
    codes = ("bad_csv", "bad_duration", "no_identifier", "missing_duration")
    assert dict(emulator.refused) == dict.fromkeys(codes, 1)


def test_failed_csv_rows_stand_in_the_error_file(emulator: Emulator) -> None:
    rows = HEADER, 'UPDATE,"a ""b""",vip,,,'
    failed = error_file(emulator, carried_out(emulator, *rows, mime=CSV))
    assert json.loads(failed) == {
        "operation": "UPDATE",
        "user_account_id": 'a "b"',
        "segment_technical_name": "vip",
        "error": "expiration_duration is mandatory",
    }
    emulator.behave(error_file="input_lines")
    failed = error_file(emulator, carried_out(emulator, *rows, mime=CSV))
    assert failed == '"UPDATE","a ""b""","vip"\n'


def test_a_csv_payload_of_many_chunks_loses_no_row(emulator: Emulator) -> None:
    rows = [f"UPDATE,u{number},vip,60,," for number in range(20_001)]
    execution = carried_out(emulator, HEADER, *rows, mime=CSV)
    assert execution["result"]["total_success"] == len(emulator.members("vip")) == len(rows)


@pytest.mark.parametrize(
    "lines",
    [
        ("OPERATION,USER_ACCOUNT_ID", "UPDATE,u1"),
        ("operation,operation", "UPDATE,UPDATE"),
        ("user_account_id,expiration_duration", "u1,60"),
        (HEADER, 'UPDATE,"u1'),
        (HEADER, b"UPDATE,\xe9,vip,60,,"),
    ],
)
def test_a_file_that_is_no_such_csv_fails_as_a_whole(
    emulator: Emulator, lines: tuple[str | bytes, ...]
) -> None:
    execution = carried_out(emulator, *lines, mime=CSV)
    assert (execution["status"], execution["result"]) == ("FAILED", None)
    assert execution["error"]["message"]


def test_csv_headers_in_another_case_are_a_switch(emulator: Emulator) -> None:
    emulator.behave(csv_header_case="any")
    carried_out(emulator, HEADER.upper(), "UPDATE,u1,vip,60,,", mime=CSV)
    assert emulator.is_member("vip", emulator.account("u1"))
