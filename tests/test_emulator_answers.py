"""What is open about statuses, lists, filters and error files is a switch too."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from segsync.emulator import Emulator, LocalClient
from tests.support.api_client import (
    IMPORTS,
    NDJSON,
    carried_out,
    delete,
    error_file,
    ndjson,
    totals,
    update,
)
from tests.support.emulators import an_emulator

NOW_MS = 1_700_000_000_000
SEGMENTS = "/v1/audience_segments"
BAD = update("bad", expiration_duration=-1)


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with an_emulator(frozen_at_ms=NOW_MS) as made:
        yield made


@pytest.fixture
def client(emulator: Emulator) -> LocalClient:
    return LocalClient(emulator)


# ------------------------------------------------------------------------------ rejects


def test_chosen_identifiers_and_commands_are_rejected(emulator: Emulator) -> None:
    emulator.reject([emulator.account("u1")], "blocked", operations=("UPDATE",))
    emulator.reject_when(lambda command: "odd" if command.identifier.value == "u3" else None)
    execution = carried_out(emulator, update("u1"), update("u2"), update("u3"), delete("u1"))
    assert totals(execution) == (2, 2)
    assert set(emulator.members("vip")) == {emulator.account("u2")}
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
    document = {"document_type": "USER_SEGMENT", "mime_type": "TEXT_CSV", "name": "x"}
    assert client.request("POST", IMPORTS, json.dumps(document).encode()).status == 201
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
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
    assert client.request("GET", IMPORTS).status == 200


@pytest.mark.parametrize("when", ["early", "after_body"])
@pytest.mark.parametrize("status", [413, 400])
def test_a_file_beyond_the_limit_is_refused(
    emulator: Emulator, client: LocalClient, when: str, status: int
) -> None:
    body = ndjson(update())
    emulator.behave(max_upload_bytes=len(body), too_large_status=status, too_large_answer=when)
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
    assert client.request("POST", path, body + b"\n", NDJSON).status == status
    assert client.request("GET", path).json()["data"] == []
    assert client.request("POST", path, body, NDJSON).status == 200


def test_too_many_unfinished_executions_may_be_refused(
    emulator: Emulator, client: LocalClient
) -> None:
    emulator.behave(max_active_executions=1, retry_after="7")
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
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
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
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
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
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
    assert emulator.members("vip") == {}
