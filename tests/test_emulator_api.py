"""The emulator over sockets does what the platform's documentation says."""

from __future__ import annotations

import json
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync.emulator import Emulator, EmulatorServer, Upload
from segsync.emulator.api import Api
from segsync.emulator.messages import Request
from tests.support.api_client import (
    CSV,
    IMPORTS,
    NDJSON,
    TOKEN,
    ApiClient,
    delete,
    ndjson,
    update,
)
from tests.support.emulators import an_emulator
from tests.support.tls import Authority

NOW_MS = 1_700_000_000_000
MINUTE_MS = 60_000


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with an_emulator(token=TOKEN, frozen_at_ms=NOW_MS) as made:
        yield made


@pytest.fixture
def client(emulator: Emulator) -> Iterator[ApiClient]:
    with EmulatorServer(emulator) as server:
        yield ApiClient(server.url)


def test_an_upload_goes_from_pending_over_running_to_succeeded(
    emulator: Emulator, client: ApiClient
) -> None:
    import_id = client.create_import().data["id"]
    created = client.upload(import_id, ndjson(update("u1"), update("u2")))
    assert created.status == 200
    assert created.data["status"] == "PENDING"
    assert created.data["result"] is None
    assert emulator.members("vip") == {}
    assert [client.executions(import_id)[0]["status"] for _ in range(3)] == [
        "RUNNING",
        "SUCCEEDED",
        "SUCCEEDED",
    ]
    result = client.executions(import_id)[0]["result"]
    assert (result["total_success"], result["total_failure"]) == (2, 0)
    assert set(emulator.members("vip")) == {emulator.account("u1"), emulator.account("u2")}


def test_a_document_import_is_answered_with_its_documented_fields(client: ApiClient) -> None:
    reply = client.create_import("run 1")
    assert reply.json()["status"] == "ok"
    assert reply.data == {
        "id": "1001",
        "datafarm_key": "DF_EU_2020_10",
        "datamart_id": "1509",
        "document_type": "USER_SEGMENT",
        "mime_type": "APPLICATION_X_NDJSON",
        "encoding": "utf-8",
        "name": "run 1",
        "priority": "MEDIUM",
    }
    assert client.get(f"{IMPORTS}/1001").data == reply.data


@pytest.mark.parametrize(
    "fields",
    [
        {"document_type": "USER_SEGMENTS"},
        {"mime_type": "application/x-ndjson"},
        {"encoding": "latin1"},
        {"priority": "URGENT"},
        {"name": ""},
        {"name": None},
    ],
)
def test_a_document_import_with_a_wrong_field_is_refused(
    client: ApiClient, fields: dict[str, str]
) -> None:
    good = {"document_type": "USER_SEGMENT", "mime_type": "TEXT_CSV", "name": "x"}
    reply = client.post(IMPORTS, {**good, **fields})
    assert reply.status == 400
    assert set(reply.json()) == {"status", "error", "error_id", "error_code"}
    assert reply.json()["status"] == "error"


def test_a_document_import_can_be_renamed_and_deleted(
    emulator: Emulator, client: ApiClient
) -> None:
    import_id = client.create_import("old").data["id"]
    path = f"{IMPORTS}/{import_id}"
    renamed = client.request("PUT", path, json.dumps({"name": "new"}).encode())
    assert renamed.data["name"] == "new"
    client.upload(import_id, ndjson(update()))
    client.executions(import_id)
    client.executions(import_id)
    uri = client.executions(import_id)[0]["result"]["input_file_uri"]
    assert client.get("/v1/data_file/data", uri=uri).content == ndjson(update())
    assert client.request("DELETE", path).status == 200
    assert client.get(path).status == 404
    assert client.get(f"{path}/executions").status == 404
    assert client.get("/v1/data_file/data", uri=uri).status == 404
    assert emulator.is_member("vip", emulator.account("u1"))


def test_imports_are_listed_a_page_at_a_time_and_by_keywords(client: ApiClient) -> None:
    for number in range(5):
        client.create_import(f"run {number}")
    page = client.get(IMPORTS, first_result=1, max_results=2).json()
    assert [one["name"] for one in page.pop("data")] == ["run 3", "run 2"]
    assert page == {
        "status": "ok",
        "count": 2,
        "first_result": 1,
        "max_results": 2,
        "total": 5,
    }
    found = client.get(IMPORTS, keywords="run 4").data
    assert [one["name"] for one in found] == ["run 4"]
    assert client.get(IMPORTS, max_results="many").status == 400


def test_the_token_is_the_bare_value_of_the_header(emulator: Emulator, client: ApiClient) -> None:
    with EmulatorServer(emulator) as server:
        for token in (None, "", f"Bearer {TOKEN}", f"api:{TOKEN}", TOKEN + "x"):
            reply = ApiClient(server.url, token).get(IMPORTS)
            assert (reply.status, reply.json()["status"]) == (401, "error")
    assert client.get(IMPORTS).status == 200


def test_what_is_not_there_is_a_404_in_the_platforms_words(client: ApiClient) -> None:
    client.create_import()
    for path in (
        "/v1/datamarts/1/document_imports",
        f"{IMPORTS}/77",
        f"{IMPORTS}/77/executions",
        f"{IMPORTS}/1001/executions/77",
        "/v1/data_file/data?uri=mics://data_file/1",
        "/v1/data_file/data?uri=mics://data_file/../x",
        "/v1/audience_segments/77",
        "/v1/nothing",
        "/",
    ):
        reply = client.get(path)
        assert (reply.status, reply.json()["error"]) == (404, "Resource Not Found")


def test_the_content_type_must_match_the_imports_mime_type(client: ApiClient) -> None:
    path = f"{IMPORTS}/{client.create_import().data['id']}/executions"
    assert client.request("POST", path, ndjson(update()), CSV).status == 415
    assert client.request("POST", path, ndjson(update())).status == 415
    assert client.request("POST", path, ndjson(update()), NDJSON).status == 200


def test_a_chunked_upload_is_the_same_as_one_with_a_length(
    emulator: Emulator, client: ApiClient
) -> None:
    path = f"{IMPORTS}/{client.create_import().data['id']}/executions"
    connection = client.connect()
    parts = [ndjson(update("u1")), ndjson(update("u2"))]
    headers = {"Authorization": TOKEN, **NDJSON}
    connection.request("POST", path, iter(parts), headers, encode_chunked=True)
    assert connection.getresponse().status == 200
    connection.close()
    assert emulator.request_log[-1].body_size == len(b"".join(parts))


def test_every_upload_makes_an_execution_of_its_own(client: ApiClient) -> None:
    import_id = client.create_import().data["id"]
    ids = [client.upload(import_id, ndjson(update())).data["id"] for _ in range(2)]
    assert [one["id"] for one in client.executions(import_id)] == ids[::-1]
    one = client.get(f"{IMPORTS}/{import_id}/executions/{ids[0]}")
    assert one.data["id"] == ids[0]


def test_an_update_inserts_and_a_delete_takes_out(emulator: Emulator, client: ApiClient) -> None:
    import_id = client.create_import().data["id"]
    for body in (
        ndjson(update("u1", expiration_duration=5, data_bag='{"a":1}'), update("u2")),
        ndjson(delete("u2"), delete("u3")),
    ):
        client.upload(import_id, body)
        emulator.run_all()
    member = emulator.members("vip")
    assert member == {emulator.account("u1"): (NOW_MS + 5 * MINUTE_MS, '{"a":1}')}


def test_a_member_leaves_when_its_expiration_passes(emulator: Emulator, client: ApiClient) -> None:
    import_id = client.create_import().data["id"]
    client.upload(
        import_id, ndjson(update("u1", expiration_duration=5), update("u2", expiration_duration=0))
    )
    emulator.run_all()
    emulator.advance(minutes=4, seconds=59.999)
    assert len(emulator.members("vip")) == 2
    emulator.advance(seconds=0.001)
    assert emulator.members("vip") == {emulator.account("u2"): (0, None)}


def test_the_memberships_of_one_user_can_be_read(emulator: Emulator, client: ApiClient) -> None:
    segment = emulator.add_segment("other")
    emulator.declare_person([emulator.account("u1"), emulator.email("abc")])
    import_id = client.create_import().data["id"]
    client.upload(
        import_id,
        ndjson(
            update(data_bag='{"a":1}'),
            update(segment="other", expiration_duration=0),
            update("u2"),
        ),
    )
    emulator.run_all()
    base = "/v1/datamarts/1509"
    for path in (
        f"{base}/user_points/compartment_id=1000,user_account_id=u1/user_segments",
        f"{base}/user_points/email_hash=abc/user_segments",
        f"{base}/user_segments/compartment_id=1000/user_account_id=u1",
        f"{base}/user_segments/user_account_id=u1",
        f"{base}/user_segments/email_hash=abc",
    ):
        found = {one["segment_id"]: one for one in client.get(path).data}
        assert set(found) == {"10001", segment.id}
        assert found["10001"] == {
            "segment_id": "10001",
            "data_bag": '{"a":1}',
            "creation_ts": NOW_MS,
            "last_modified_ts": NOW_MS,
            "expiration_ts": NOW_MS + 60 * MINUTE_MS,
        }
        assert found[segment.id] == {
            "segment_id": segment.id,
            "creation_ts": NOW_MS,
            "last_modified_ts": NOW_MS,
        }
    one = client.get(f"{base}/user_points/email_hash=abc/user_segments/audience_segment_id=10001")
    assert one.data["segment_id"] == "10001"
    for nobody in ("email_hash=none", "user_agent_id=none", "user_point_id=99", "nonsense"):
        assert client.get(f"{base}/user_points/{nobody}/user_segments").status == 404


def test_segments_are_found_by_technical_name_and_by_id(
    emulator: Emulator, client: ApiClient
) -> None:
    emulator.add_segment("vip_2", type="USER_QUERY", feed_type=None)
    found = client.get("/v1/audience_segments", datamart_id="1509", technical_name="vip").json()
    assert (found["count"], found["data"][0]["id"]) == (1, "10001")
    assert client.get("/v1/audience_segments/10001").data == found["data"][0]
    lists = client.get("/v1/audience_segments", type="USER_LIST,USER_PIXEL").data
    assert [one["technical_name"] for one in lists] == ["vip"]
    assert client.get("/v1/audience_segments", datamart_id="1").data == []


def test_segments_are_searched_by_keywords(emulator: Emulator, client: ApiClient) -> None:
    emulator.add_segment("b", name="Big spenders")
    found = client.get("/v1/audience_segments", keywords="BIG").data
    assert [one["technical_name"] for one in found] == ["b"]


def test_a_new_segment_gets_an_id_that_is_free(emulator: Emulator) -> None:
    emulator.add_segment("taken", id="10002")
    assert emulator.add_segment("next").id == "10003"


def test_a_segment_can_be_created_once(client: ApiClient) -> None:
    fields = {
        "datamart_id": "1509",
        "type": "USER_LIST",
        "feed_type": "FILE_IMPORT",
        "name": "New",
        "technical_name": "new",
        "persisted": True,
    }
    made = client.post("/v1/audience_segments?organisation_id=1", fields)
    assert made.status == 200
    assert client.get(f"/v1/audience_segments/{made.data['id']}").data["technical_name"] == "new"
    assert client.post("/v1/audience_segments", fields).status == 400
    assert client.post("/v1/audience_segments", {**fields, "datamart_id": 1}).status == 400
    assert client.post("/v1/audience_segments", {"datamart_id": 1509}).status == 400
    wrong = {**fields, "technical_name": "wrong", "default_ttl": "a day"}
    assert client.post("/v1/audience_segments", wrong).status == 400


def test_a_pending_execution_can_be_cancelled(emulator: Emulator, client: ApiClient) -> None:
    import_id = client.create_import().data["id"]
    execution = client.upload(import_id, ndjson(update())).data
    path = f"{IMPORTS}/{import_id}/executions/{execution['id']}/action"
    assert client.post(path, {"action": "START"}).status == 400
    assert client.post(path, {"action": "CANCEL"}).data["status"] == "CANCELED"
    assert client.post(path, {"action": "CANCEL"}).status == 400
    assert client.executions(import_id)[0]["status"] == "CANCELED"
    assert emulator.members("vip") == {}


def test_the_hook_sees_a_payload_before_anything_of_it_takes_effect(
    emulator: Emulator, client: ApiClient
) -> None:
    emulator.behave(polls_until_finished=0)
    seen: list[tuple[str, bytes, int]] = []

    def look(upload: Upload) -> None:
        seen.append((upload.import_name, upload.path.read_bytes(), len(emulator.members("vip"))))

    emulator.on_upload(look)
    body = ndjson(update())
    client.upload(client.create_import("run 7").data["id"], body)
    assert seen == [("run 7", body, 0)]
    assert len(emulator.members("vip")) == 1
    assert emulator.request_log[-1].payload is not None


def test_a_hook_that_fails_refuses_the_upload_and_is_remembered(emulator: Emulator) -> None:
    problem = AssertionError("not journalled")

    def refuse(_upload: Upload) -> None:
        raise problem

    emulator.on_upload(refuse)
    with EmulatorServer(emulator) as server:
        client = ApiClient(server.url)
        import_id = client.create_import().data["id"]
        assert client.upload(import_id, ndjson(update())).status == 500
        assert client.executions(import_id) == []
    assert emulator.crashes == [problem]
    emulator.crashes.clear()


def test_no_header_is_kept_in_the_request_log(emulator: Emulator, client: ApiClient) -> None:
    client.create_import()
    assert TOKEN not in repr(emulator.request_log)
    assert [record.endpoint for record in emulator.request_log] == ["create_import"]


def test_the_most_executions_in_flight_are_counted(emulator: Emulator, client: ApiClient) -> None:
    import_id = client.create_import().data["id"]
    client.upload(import_id, ndjson(update()))
    emulator.run_all()
    client.upload(import_id, ndjson(update()))
    assert emulator.max_in_flight == 1
    client.upload(import_id, ndjson(update()))
    assert emulator.max_in_flight == 2


def test_a_small_request_with_a_huge_body_is_refused(client: ApiClient) -> None:
    assert client.request("POST", IMPORTS, b" " * 10_000_001).status == 400


def test_an_upload_without_a_body_is_refused(emulator: Emulator) -> None:
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
    request = Request("POST", path, {"authorization": TOKEN, "content-type": "text/csv"})
    assert Api(emulator).handle(request).status == 400


def test_one_connection_carries_many_requests(client: ApiClient) -> None:
    connection = client.connect()
    for _ in range(3):
        connection.request("GET", IMPORTS, headers={"Authorization": TOKEN})
        response = connection.getresponse()
        response.read()
        assert response.status == 200
    connection.close()


def test_it_speaks_tls_with_a_certificate(emulator: Emulator, tmp_path: Path) -> None:
    authority = Authority()
    trusted = ssl.create_default_context(cafile=str(authority.write_to(tmp_path)))
    with EmulatorServer(emulator, tls=authority.server()) as server:
        assert server.url.startswith("https://")
        client = ApiClient(server.url, trusted=trusted)
        assert client.get(IMPORTS).status == 200
        with pytest.raises(ssl.SSLError):
            ApiClient(server.url, trusted=ssl.create_default_context()).get(IMPORTS)
        assert client.get(IMPORTS).status == 200
