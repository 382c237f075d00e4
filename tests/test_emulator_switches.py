"""What the documentation leaves open is a switch, and each switch does something."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from segsync.emulator import Behaviour, Emulator, LocalClient, WrongOption, described, with_words
from tests.support.api_client import (
    IMPORTS,
    NDJSON,
    carried_out,
    delete,
    ndjson,
    totals,
    update,
)
from tests.support.emulators import an_emulator

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000
BAD = update("bad", expiration_duration=-1)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with an_emulator(frozen_at_ms=NOW_MS) as made:
        yield made


@pytest.fixture
def client(emulator: Emulator) -> LocalClient:
    return LocalClient(emulator)


def names(emulator: Emulator) -> set[str]:
    return {identifier.value for identifier in emulator.members("vip")}


# ------------------------------------------------------------------------------ bad lines


def test_a_bad_line_may_refuse_the_upload(emulator: Emulator, client: LocalClient) -> None:
    emulator.behave(bad_line="refuses_upload")
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
    refused = client.request("POST", path, ndjson(update(), BAD), NDJSON)
    assert refused.status == 400
    assert "Line 2" in refused.json()["error"]
    assert client.request("GET", path).json()["data"] == []
    assert client.request("POST", path, ndjson(update()), NDJSON).status == 200


@pytest.mark.parametrize(
    ("applies", "members"), [("nothing", set[str]()), ("good_lines", {"good"})]
)
def test_a_bad_line_may_fail_the_execution(
    emulator: Emulator, applies: str, members: set[str]
) -> None:
    emulator.behave(bad_line="fails_execution", failed_execution_applies=applies)
    execution = carried_out(emulator, update("good"), BAD)
    assert (execution["status"], execution["result"]) == ("FAILED", None)
    assert execution["error"]["message"]
    assert names(emulator) == members


# ------------------------------------------------------------------------------ one line

LINE_SWITCHES: dict[str, tuple[dict[str, Any], dict[str, Any], tuple[int, int], set[str]]] = {
    "unknown identifiers are skipped": (
        {"unknown_identifier": "skipped"},
        update("u1"),
        (1, 0),
        set(),
    ),
    "unknown identifiers fail": ({"unknown_identifier": "failed"}, update("u1"), (0, 1), set()),
    "known identifiers do not": (
        {"unknown_identifier": "failed"},
        update("known"),
        (1, 0),
        {"known"},
    ),
    "a DELETE of an unknown one is passed over": ({}, delete("u1"), (1, 0), set()),
    "a DELETE of an unknown one fails": (
        {"unknown_identifier_on_delete": "failed"},
        delete("u1"),
        (0, 1),
        set(),
    ),
    "an unknown segment is passed over": (
        {"unknown_segment": "skipped"},
        update("u1", "none"),
        (1, 0),
        set(),
    ),
    "a paused segment is passed over": ({}, update("u1", "paused"), (1, 0), set()),
    "a paused segment fails": ({"paused_segment": "failed"}, update("u1", "paused"), (0, 1), set()),
    "a segment of another type fails": ({}, update("u1", "query"), (0, 1), set()),
    "a segment of another feed fails": ({}, update("u1", "tag"), (0, 1), set()),
    "a segment of another type is passed over": (
        {"wrong_type_segment": "skipped"},
        update("u1", "query"),
        (1, 0),
        set(),
    ),
    "of two identifiers the first counts": (
        {"two_identifiers": "first"},
        update("u1", email_hash="abc"),
        (1, 0),
        {"u1"},
    ),
    "no identifier is passed over": (
        {"no_identifier": "skipped"},
        update(user_account_id=None),
        (1, 0),
        set(),
    ),
    "of two segment fields the id wins": (
        {"both_segment_fields": "id_wins"},
        update("u1", "none", segment_id="10001"),
        (1, 0),
        {"u1"},
    ),
    "of two segment fields the name wins": (
        {"both_segment_fields": "name_wins"},
        update("u1", segment_id="none"),
        (1, 0),
        {"u1"},
    ),
    "two expirations fail": (
        {"both_expirations": "failed"},
        update("u1", expiration_ts=NOW_MS + 1),
        (0, 1),
        set(),
    ),
    "a past timestamp fails": (
        {"past_expiration": "failed"},
        update("u1", expiration_ts=NOW_MS - 1),
        (0, 1),
        set(),
    ),
    "a past timestamp lapses at once": ({}, update("u1", expiration_ts=NOW_MS - 1), (1, 0), set()),
    "a timestamp alone is enough": (
        {"duration_optional_with_ts": True},
        update("u1", expiration_duration=None, expiration_ts=0),
        (1, 0),
        {"u1"},
    ),
    "a DELETE needs no duration": (
        {"missing_duration_on_delete": "accepted"},
        delete("u1", expiration_duration=None),
        (1, 0),
        set(),
    ),
    "a DELETE needs a duration": ({}, delete("u1", expiration_duration=None), (0, 1), set()),
    "a data bag is limited": (
        {"data_bag_max_bytes": 8},
        update("u1", data_bag='{"a":123}'),
        (0, 1),
        set(),
    ),
    "unknown fields are ignored": (
        {"unknown_fields": "ignored"},
        update("u1", x=1),
        (1, 0),
        {"u1"},
    ),
}


@pytest.mark.parametrize(
    ("switches", "line", "counts", "members"), LINE_SWITCHES.values(), ids=LINE_SWITCHES.keys()
)
def test_what_becomes_of_a_line_is_a_switch(
    emulator: Emulator,
    switches: dict[str, Any],
    line: dict[str, Any],
    counts: tuple[int, int],
    members: set[str],
) -> None:
    emulator.declare_person([emulator.account("known")])
    emulator.add_segment("paused", paused=True)
    emulator.add_segment("query", type="USER_QUERY")
    emulator.add_segment("tag", feed_type="TAG")
    emulator.behave(**switches)
    assert totals(carried_out(emulator, line)) == counts
    assert names(emulator) == members
    for other in ("paused", "query", "tag"):
        assert emulator.members(other) == {}


@pytest.mark.parametrize("switch", ["unknown_segment", "paused_segment", "wrong_type_segment"])
def test_one_line_for_an_unfit_segment_may_refuse_the_file(emulator: Emulator, switch: str) -> None:
    emulator.add_segment("paused_segment", paused=True)
    emulator.add_segment("wrong_type_segment", type="USER_PIXEL")
    emulator.behave(**{switch: "refuses_file"})
    execution = carried_out(emulator, update("u1"), update("u1", switch))
    assert execution["status"] == "FAILED"
    assert names(emulator) == set()


def test_null_fields_and_blank_lines_are_switches(emulator: Emulator) -> None:
    emulator.behave(null_fields="absent", blank_lines="failed")
    line = json.dumps({**update("u1"), "email_hash": None})
    assert totals(carried_out(emulator, line, "")) == (1, 1)


@pytest.mark.parametrize(
    ("switches", "fields", "expires_at_ms"),
    [
        ({}, {"expiration_ts": NOW_MS + 5}, NOW_MS + 5),
        ({}, {"expiration_ts": 0}, 0),
        ({"both_expirations": "duration_wins"}, {"expiration_ts": 0}, NOW_MS + 60 * MINUTE_MS),
        ({"expiration_ts_unit": "s"}, {"expiration_ts": NOW_MS // 1000 + 5}, NOW_MS + 5_000),
        ({"missing_duration_on_update": "never"}, {"expiration_duration": None}, 0),
        (
            {"missing_duration_on_update": "default_ttl"},
            {"expiration_duration": None},
            NOW_MS + 86_400_000,
        ),
    ],
)
def test_when_a_member_leaves_is_a_switch(
    emulator: Emulator, switches: dict[str, Any], fields: dict[str, Any], expires_at_ms: int
) -> None:
    emulator.change_segment("vip", default_ttl=86_400_000)
    emulator.behave(**switches)
    carried_out(emulator, update("u1", **fields))
    assert emulator.members("vip")[emulator.account("u1")].expires_at_ms == expires_at_ms


@pytest.mark.parametrize(("switch", "start"), [("upload", NOW_MS), ("processing", NOW_MS + 90_000)])
def test_a_duration_counts_from_the_upload_or_from_processing(
    emulator: Emulator, client: LocalClient, switch: str, start: int
) -> None:
    emulator.behave(expiration_starts=switch)
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
    client.request("POST", path, ndjson(update("u1")), NDJSON)
    emulator.advance(seconds=90)
    emulator.run_all()
    expiry = emulator.members("vip")[emulator.account("u1")].expires_at_ms
    assert expiry == start + 60 * MINUTE_MS


@pytest.mark.parametrize(
    ("switches", "second", "bag"),
    [
        ({}, '{"b":2}', '{"b":2}'),
        ({"data_bag_on_update": "merged"}, '{"b":2}', '{"a": 1, "b": 2}'),
        ({}, None, None),
        ({"absent_data_bag": "kept"}, None, '{"a":1}'),
    ],
)
def test_a_second_data_bag_replaces_or_merges(
    emulator: Emulator, switches: dict[str, Any], second: str | None, bag: str | None
) -> None:
    emulator.behave(**switches)
    carried_out(emulator, update("u1", data_bag='{"a":1}'))
    carried_out(emulator, update("u1", data_bag=second))
    assert emulator.members("vip")[emulator.account("u1")].data_bag == bag


def test_a_lapsed_members_data_bag_is_not_merged_into(emulator: Emulator) -> None:
    emulator.behave(data_bag_on_update="merged")
    carried_out(emulator, update("u1", data_bag='{"a":1}'))
    emulator.advance(minutes=61)
    carried_out(emulator, update("u1", data_bag='{"b":2}'))
    assert emulator.members("vip")[emulator.account("u1")].data_bag == '{"b":2}'


@pytest.mark.parametrize(("order", "winner"), [("file", "last"), ("reversed", "first")])
def test_the_order_of_lines_can_be_fixed(emulator: Emulator, order: str, winner: str) -> None:
    emulator.behave(line_order=order)
    bags = [update("u1", data_bag=json.dumps({"n": n})) for n in ("first", "middle", "last")]
    carried_out(emulator, *bags)
    bag = emulator.members("vip")[emulator.account("u1")].data_bag
    assert json.loads(str(bag)) == {"n": winner}


# ------------------------------------------------------------------------------ settings


@pytest.mark.parametrize(
    "settings",
    [
        {"nonsense": 1},
        {"sink": 1},
        {"bad_line": "maybe"},
        {"create_status": 204},
        {"retry_after": 5},
    ],
)
def test_a_switch_that_does_not_exist_or_fit_is_refused(
    emulator: Emulator, settings: dict[str, Any]
) -> None:
    before = emulator.behaviour
    with pytest.raises(WrongOption):
        emulator.behave(**settings)
    assert emulator.behaviour == before


def test_switches_can_be_set_from_the_words_of_a_command_line() -> None:
    words = ["sink=true", "retry_after=5", "create_status=201", "max_active_executions=none"]
    assert with_words(Behaviour(max_active_executions=3), words) == Behaviour(
        sink=True, retry_after="5", create_status=201
    )
    for wrong in ("sink", "sink=maybe", "nonsense=1"):
        with pytest.raises(WrongOption):
            with_words(Behaviour(), [wrong])


def test_switches_are_described_for_a_help_text() -> None:
    texts = described(Behaviour())
    assert len(texts) == len(fields(Behaviour))
    assert "create_status=200  (200 | 201)" in texts
    assert "retry_after=None  (str | none)" in texts


def test_every_default_is_one_of_its_switchs_values() -> None:
    hints = get_type_hints(Behaviour)
    for switch in fields(Behaviour):
        if get_origin(hints[switch.name]) is Literal:
            assert switch.default in get_args(hints[switch.name])
