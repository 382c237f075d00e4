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
    error_file,
    ndjson,
    update,
)

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000
SEGMENTS = "/v1/audience_segments"
BAD = update("bad", expiration_duration=-1)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    made = Emulator(frozen_at_ms=NOW_MS)
    made.add_segment("vip")
    yield made
    assert made.crashes == []
    made.close()


@pytest.fixture
def client(emulator: Emulator) -> LocalClient:
    return LocalClient(emulator)


def names(emulator: Emulator) -> set[str]:
    return {identifier.value for identifier in emulator.members("vip")}


def totals(execution: dict[str, Any]) -> tuple[int, int]:
    return execution["result"]["total_success"], execution["result"]["total_failure"]


def create_import(client: LocalClient, name: str = "x") -> str:
    document = {"document_type": "USER_SEGMENT", "mime_type": "APPLICATION_X_NDJSON", "name": name}
    made: str = client.request("POST", IMPORTS, json.dumps(document).encode()).json()["data"]["id"]
    return made


# ------------------------------------------------------------------------------ bad lines


def test_a_bad_line_may_refuse_the_upload(emulator: Emulator, client: LocalClient) -> None:
    emulator.behave(bad_line="refuses_upload")
    path = f"{IMPORTS}/{create_import(client)}/executions"
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
    path = f"{IMPORTS}/{create_import(client)}/executions"
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


# ------------------------------------------------------------------------------ rejects


def test_chosen_identifiers_and_commands_are_rejected(emulator: Emulator) -> None:
    emulator.reject([emulator.account("u1")], "blocked", operations=("UPDATE",))
    emulator.reject_when(lambda command: "odd" if command.identifier.value == "u3" else None)
    execution = carried_out(emulator, update("u1"), update("u2"), update("u3"), delete("u1"))
    assert totals(execution) == (2, 2)
    assert names(emulator) == {"u2"}
    reasons = {json.loads(line)["error"] for line in error_file(emulator, execution).splitlines()}
    assert reasons == {"blocked", "odd"}
    emulator.accept_all()
    assert totals(carried_out(emulator, update("u1"), update("u3"))) == (2, 0)


# ------------------------------------------------------------------------------ error files


@pytest.mark.parametrize(
    ("shape", "text"),
    [
        (
            "json_flat",
            '{"email_hash": "e", "error": "R"}\n{"user_account_id": "a", "error": "R"}\n',
        ),
        (
            "json_nested",
            '{"input": {"email_hash": "e"}, "error": {"code": "REJECTED", "message": "R"}}\n'
            '{"input": {"user_account_id": "a"}, "error": {"code": "REJECTED", "message": "R"}}\n',
        ),
        ("json_line_number", '{"line": 2, "error": "R"}\n{"line": 3, "error": "R"}\n'),
        ("csv", 'line,identifier,error\n2,"e","R"\n3,"a","R"\n'),
        ("text", "Line 2: R\nLine 3: R\n"),
        ("input_lines", '{"email_hash": "e"}\n{"user_account_id": "a"}\n'),
        ("identifiers", "e\na\n"),
        ("empty", ""),
        ("half", '{"email_hash": "e", "error": "R"}\n'),
    ],
)
def test_the_error_file_has_the_shape_that_the_switch_says(
    emulator: Emulator, shape: str, text: str
) -> None:
    emulator.behave(error_file=shape)
    bad = [emulator.email("e"), emulator.account("a")]
    emulator.reject(bad, "R")
    lines = update("ok"), update(user_account_id=None, email_hash="e"), update("a")
    execution = carried_out(emulator, *lines)
    common = ("operation", "segment_technical_name", "expiration_duration")
    found = error_file(emulator, execution)
    for name in common:
        value = json.dumps(lines[0][name])
        found = found.replace(f'"{name}": {value}, ', "").replace(f', "{name}": {value}', "")
    assert found == text


def test_line_numbers_may_count_from_zero(emulator: Emulator) -> None:
    emulator.behave(error_file="json_line_number", error_line_base=0)
    assert json.loads(error_file(emulator, carried_out(emulator, update(), BAD)))["line"] == 1


def test_an_error_file_may_be_missing_expired_or_garbage(
    emulator: Emulator, client: LocalClient
) -> None:
    emulator.behave(error_file="missing")
    assert carried_out(emulator, BAD)["result"]["error_file_uri"] is None
    emulator.behave(error_file="expired")
    uri = carried_out(emulator, BAD)["result"]["error_file_uri"]
    assert client.request("GET", f"/v1/data_file/data?uri={uri}").status == 404
    emulator.behave(error_file="garbage")
    uri = carried_out(emulator, BAD)["result"]["error_file_uri"]
    with pytest.raises(UnicodeDecodeError):
        client.request("GET", f"/v1/data_file/data?uri={uri}").content.decode()


def test_an_error_file_of_what_is_no_object_still_has_the_line(emulator: Emulator) -> None:
    failed = error_file(emulator, carried_out(emulator, "no json"))
    assert json.loads(failed) == {"line": "no json", "error": "the line is not JSON"}


# ------------------------------------------------------------------------------ HTTP


def test_statuses_of_answers_are_switches(emulator: Emulator, client: LocalClient) -> None:
    emulator.behave(create_status=201, bad_token_status=403, get_execution=False)
    path = f"{IMPORTS}/{create_import(client)}/executions"
    created = client.request("POST", path, ndjson(update()), NDJSON)
    assert created.status == 201
    assert client.request("GET", f"{path}/{created.json()['data']['id']}").status == 404
    assert client.request("GET", path, headers={"Authorization": "x"}).status == 403


def test_a_token_without_rights_on_segments_is_told_so(
    emulator: Emulator, client: LocalClient
) -> None:
    emulator.behave(segment_rights=False)
    for method, path in (("GET", SEGMENTS), ("GET", f"{SEGMENTS}/10001"), ("POST", SEGMENTS)):
        assert client.request(method, path).status == 403
    assert create_import(client)


@pytest.mark.parametrize("when", ["early", "after_body"])
@pytest.mark.parametrize("status", [413, 400])
def test_a_file_beyond_the_limit_is_refused(
    emulator: Emulator, client: LocalClient, when: str, status: int
) -> None:
    body = ndjson(update())
    emulator.behave(max_upload_bytes=len(body), too_large_status=status, too_large_answer=when)
    path = f"{IMPORTS}/{create_import(client)}/executions"
    assert client.request("POST", path, body + b"\n", NDJSON).status == status
    assert client.request("GET", path).json()["data"] == []
    assert client.request("POST", path, body, NDJSON).status == 200


def test_too_many_unfinished_executions_may_be_refused(
    emulator: Emulator, client: LocalClient
) -> None:
    emulator.behave(max_active_executions=1, retry_after="7")
    path = f"{IMPORTS}/{create_import(client)}/executions"
    assert client.request("POST", path, ndjson(update()), NDJSON).status == 200
    refused = client.request("POST", path, ndjson(update()), NDJSON)
    assert (refused.status, refused.headers["Retry-After"]) == (429, "7")
    emulator.run_all()
    assert client.request("POST", path, ndjson(update()), NDJSON).status == 200


@pytest.mark.parametrize(
    ("switch", "found"),
    [
        ("contains", ["run 1", "rerun 1", "RUN 12"]),
        ("exact", ["run 1"]),
        ("prefix", ["run 1"]),
        ("ignored", ["run 1", "rerun 1", "RUN 12", "other"]),
        ("nothing", []),
    ],
)
def test_the_filter_of_imports_is_a_switch(
    emulator: Emulator, client: LocalClient, switch: str, found: list[str]
) -> None:
    emulator.behave(import_keywords=switch, list_order="oldest")
    for name in ("run 1", "rerun 1", "RUN 12", "other"):
        emulator.add_import(name)
    data = client.request("GET", f"{IMPORTS}?keywords=run%201").json()["data"]
    assert [one["name"] for one in data] == found


@pytest.mark.parametrize(
    ("switch", "found"),
    [
        ("exact", ["vip"]),
        ("contains", ["vip", "vip_2"]),
        ("any_case", ["vip", "VIP"]),
        ("ignored", ["vip", "vip_2", "VIP", "other"]),
    ],
)
def test_the_filter_of_segments_is_a_switch(
    emulator: Emulator, client: LocalClient, switch: str, found: list[str]
) -> None:
    emulator.behave(segment_name_filter=switch, list_order="oldest")
    for name in ("vip_2", "VIP", "other"):
        emulator.add_segment(name)
    data = client.request("GET", f"{SEGMENTS}?technical_name=vip").json()["data"]
    assert [one["technical_name"] for one in data] == found


def test_pages_and_their_totals_are_switches(emulator: Emulator, client: LocalClient) -> None:
    for number in range(5):
        emulator.add_import(str(number))
    emulator.behave(default_page_size=2, max_page_size=3, list_total=False)
    page = client.request("GET", IMPORTS).json()
    assert (page["count"], "total" in page) == (2, False)
    assert client.request("GET", f"{IMPORTS}?max_results=4").json()["count"] == 3
    emulator.behave(oversized_page="refused")
    assert client.request("GET", f"{IMPORTS}?max_results=4").status == 400


def test_the_order_of_lists_is_a_switch(emulator: Emulator, client: LocalClient) -> None:
    made = [emulator.add_import(str(number)).id for number in range(20)]
    orders = {}
    for order in ("newest", "oldest", "random"):
        emulator.behave(list_order=order)
        pages = [
            client.request("GET", f"{IMPORTS}?first_result={first}&max_results=10").json()["data"]
            for first in (0, 10)
        ]
        orders[order] = [one["id"] for page in pages for one in page]
    assert orders["oldest"] == made
    assert orders["newest"] == made[::-1]
    assert orders["random"] not in (made, made[::-1])
    assert sorted(orders["random"]) == sorted(made)


def test_a_new_import_or_execution_may_be_missing_from_the_first_lists(
    emulator: Emulator, client: LocalClient
) -> None:
    emulator.behave(lists_until_seen=2)
    path = f"{IMPORTS}/{create_import(client)}/executions"
    client.request("POST", path, ndjson(update()), NDJSON)
    for listed in (IMPORTS, path):
        counts = [client.request("GET", listed).json()["count"] for _ in range(4)]
        assert counts == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("switch", "value"), [("number", 4), ("string", "4"), ("null", None), ("absent", "absent")]
)
def test_the_type_of_task_counts_is_a_switch(emulator: Emulator, switch: str, value: Any) -> None:
    emulator.behave(num_tasks=switch)
    execution = carried_out(emulator, update())
    assert execution.get("num_tasks", "absent") == value
    assert execution.get("completed_tasks", "absent") == value


def test_statuses_may_come_in_the_wider_words(emulator: Emulator, client: LocalClient) -> None:
    emulator.behave(status_words="wide", polls_until_running=3, polls_until_finished=4)
    path = f"{IMPORTS}/{create_import(client)}/executions"
    shown = [client.request("POST", path, ndjson(update()), NDJSON).json()["data"]["status"]]
    shown += [client.request("GET", path).json()["data"][0]["status"] for _ in range(4)]
    assert shown == ["WAITING_DEPENDENT_JOB", "SCHEDULED", "PENDING", "RUNNING", "SUCCESS"]


def test_answers_may_carry_fields_that_no_document_names(
    emulator: Emulator, client: LocalClient
) -> None:
    emulator.behave(extra_fields=True)
    execution = carried_out(emulator, update())
    assert "possible_issue_on_identifiers" in execution["result"]
    for path in (IMPORTS, SEGMENTS):
        page = client.request("GET", path).json()
        assert page["max_result"] == page["max_results"]
        assert "x_unknown" in page["data"][0]


def test_unknown_segments_may_be_made_when_they_are_first_asked_for(
    emulator: Emulator, client: LocalClient
) -> None:
    emulator.behave(create_segments=True)
    assert client.request("GET", f"{SEGMENTS}?technical_name=a").json()["count"] == 1
    assert client.request("GET", f"{SEGMENTS}/88123").json()["data"]["id"] == "88123"
    carried_out(emulator, update("u1", "b"))
    for segment in ("a", "88123", "b"):
        assert len(emulator.members(segment)) == (segment == "b")


def test_a_sink_counts_lines_and_applies_nothing(emulator: Emulator) -> None:
    emulator.behave(sink=True)
    assert totals(carried_out(emulator, update("u1"), "whatever")) == (2, 0)
    assert names(emulator) == set()


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
