"""Scripted faults happen on the wire, at the call and the byte that the script says."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time

import pytest

from segsync.emulator import (
    Answer,
    Cut,
    Emulator,
    EmulatorServer,
    Framing,
    Rewrite,
    Stall,
    WrongOption,
    big_answer,
    deep_json,
    fault_from,
    html_page,
    http_error,
)
from tests.support.api_client import (
    IMPORTS,
    TOKEN,
    ApiClient,
    Reply,
    get_request,
    ndjson,
    raw_exchange,
    update,
)

BODY = ndjson(*(update(f"u{number}") for number in range(50)))


# ------------------------------------------------------------------------------ cuts


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize(
    ("cut", "applied"),
    [
        (Cut("head"), False),
        (Cut("body", 0.0), False),
        (Cut("body", 0.01), False),
        (Cut("body", 0.5), False),
        (Cut("body", 1.0), False),
        (Cut("before_apply"), False),
        (Cut("after_apply"), True),
        (Cut("answer", 0.0), True),
        (Cut("answer", 0.5), True),
    ],
)
def test_a_connection_is_cut_where_the_script_says(
    emulator: Emulator, client: ApiClient, import_id: str, cut: Cut, applied: bool, how: str
) -> None:
    emulator.faults.add("upload", Cut(cut.at, cut.fraction, "rst" if how == "rst" else "fin"))
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        client.upload(import_id, BODY)
    assert len(emulator.executions) == applied
    assert len(emulator.members("vip")) == (50 if applied else 0)
    client.upload(import_id, BODY)
    assert len(emulator.executions) == applied + 1


@pytest.mark.parametrize(("how", "error"), [("rst", ConnectionResetError), ("fin", type(None))])
def test_a_cut_is_a_reset_or_an_end(
    emulator: Emulator, server: EmulatorServer, how: str, error: type[BaseException]
) -> None:
    emulator.faults.add("list_imports", Cut("after_apply", how="rst" if how == "rst" else "fin"))
    caught: BaseException | None = None
    try:
        assert raw_exchange(server.url, get_request()) == b""
    except ConnectionResetError as reset:
        caught = reset
    assert type(caught) is error


def test_a_long_body_and_a_long_answer_are_cut_at_the_byte(
    emulator: Emulator, server: EmulatorServer, client: ApiClient, import_id: str
) -> None:
    emulator.behave(sink=True)
    body = ndjson(update()) * 10_000
    emulator.faults.add("upload", Stall("body", 0.9, seconds=0.1))
    uri = client.upload(import_id, body, timeout=20).data["result"]["input_file_uri"]
    emulator.faults.add("error_file", Cut("answer", 0.75, "fin"))
    raw = raw_exchange(server.url, get_request(f"/v1/data_file/data?uri={uri}"))
    received = raw.partition(b"\r\n\r\n")[2]
    assert received == body[: len(body) * 3 // 4]


@pytest.mark.parametrize(
    "end",
    [
        b"Content-Length: 10\r\n\r\nshort",
        b"Transfer-Encoding: chunked\r\n\r\n5\r\nshort",
        b"Transfer-Encoding: chunked\r\n\r\n5",
        b"Content-",
    ],
)
def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(
    emulator: Emulator, server: EmulatorServer, import_id: str, end: bytes
) -> None:
    path = f"{IMPORTS}/{import_id}/executions"
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(f"POST {path} HTTP/1.1\r\nAuthorization: {TOKEN}\r\n".encode() + end)
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(100) == b""
    assert emulator.executions == []
    assert list(emulator.world.files.folder.iterdir()) == []


FRAMINGS = {
    b"Content-Length: ": Framing("length"),
    b"Transfer-Encoding: chunked": Framing("chunked"),
    b"Connection: close": Framing("close"),
}


@pytest.mark.parametrize(("header", "framing"), FRAMINGS.items())
def test_an_answer_is_cut_in_each_framing(
    emulator: Emulator, server: EmulatorServer, header: bytes, framing: Framing
) -> None:
    emulator.add_import("y" * 1000)
    whole = raw_exchange(server.url, get_request(IMPORTS, "Connection: close"))
    emulator.faults.add("list_imports", framing)
    emulator.faults.add("list_imports", Cut("answer", 0.5, "fin"))
    head, _, body = raw_exchange(server.url, get_request()).partition(b"\r\n\r\n")
    assert header in head
    assert 400 < len(body) < len(whole.partition(b"\r\n\r\n")[2]) - 400


@pytest.mark.parametrize("framing", FRAMINGS.values())
def test_an_answer_is_complete_in_each_framing(
    emulator: Emulator, client: ApiClient, framing: Framing
) -> None:
    emulator.add_import("y" * 1000)
    plain = client.get(IMPORTS)
    emulator.faults.add("list_imports", framing)
    assert client.get(IMPORTS).content == plain.content


def test_connections_are_refused_while_the_server_does_not_listen(
    server: EmulatorServer, client: ApiClient
) -> None:
    url = server.url
    server.refuse_connections()
    with pytest.raises(ConnectionRefusedError):
        client.get(IMPORTS)
    server.accept_connections()
    assert server.url == url
    assert client.get(IMPORTS).status == 200


def test_connections_may_be_made_and_then_wait(server: EmulatorServer, client: ApiClient) -> None:
    server.hold_connections()
    with pytest.raises(TimeoutError):
        client.request("GET", IMPORTS, timeout=0.2)
    server.accept_connections()
    assert client.get(IMPORTS).status == 200


# ------------------------------------------------------------------------------ stalls


@pytest.mark.parametrize(
    ("stall", "applied"),
    [
        (Stall("head"), False),
        (Stall("body", 0.5), False),
        (Stall("before_apply"), False),
        (Stall("after_apply"), True),
        (Stall("answer", 0.5), True),
    ],
)
def test_a_stalled_exchange_lasts_until_the_client_gives_up(
    emulator: Emulator, client: ApiClient, import_id: str, stall: Stall, applied: bool
) -> None:
    emulator.faults.add("upload", stall)
    with pytest.raises(TimeoutError):
        client.upload(import_id, BODY, timeout=0.3)
    assert len(emulator.executions) == applied
    assert client.upload(import_id, BODY).status == 200


def test_a_stall_of_some_seconds_only_delays(
    emulator: Emulator, client: ApiClient, import_id: str
) -> None:
    emulator.faults.add("upload", Stall("after_apply", seconds=0.3))
    began = time.monotonic()
    assert client.upload(import_id, BODY).status == 200
    assert time.monotonic() - began >= 0.3


def test_the_server_ends_in_spite_of_stalled_connections(emulator: Emulator) -> None:
    emulator.faults.add("any", Stall("head"), call=None)
    server = EmulatorServer(emulator)
    server.start()
    waiting = threading.Thread(target=lambda: _ignore_end(server))
    waiting.start()
    deadline = time.monotonic() + 10
    while not emulator.request_log:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    began = time.monotonic()
    server.stop()
    waiting.join(timeout=5)
    assert not waiting.is_alive()
    assert time.monotonic() - began < 3


def _ignore_end(server: EmulatorServer) -> None:
    with pytest.raises((OSError, http.client.HTTPException)):
        ApiClient(server.url).get(IMPORTS)


# ------------------------------------------------------------------------------ answers


@pytest.mark.parametrize("status", [204, 206, 302, 400, 408, 409, 429, 500, 502, 503, 504, 599])
def test_any_status_can_stand_for_the_answer(
    emulator: Emulator, client: ApiClient, import_id: str, status: int
) -> None:
    emulator.faults.add("upload", http_error(status))
    assert client.upload(import_id, BODY).status == status
    assert emulator.executions == []
    assert emulator.request_log[-1].status == status


def test_an_error_may_be_answered_though_the_request_took_effect(
    emulator: Emulator, client: ApiClient, import_id: str
) -> None:
    emulator.faults.add("upload", Answer(502, "<html>", applied=True))
    reply = client.upload(import_id, BODY)
    assert (reply.status, reply.content) == (502, b"<html>")
    assert len(emulator.members("vip")) == 50


def test_an_answer_may_come_before_the_body_is_read(
    emulator: Emulator, client: ApiClient, import_id: str
) -> None:
    early = http_error(413)
    emulator.faults.add("upload", Answer(early.status, early.body, early.headers, early=True))
    reply = client.upload(import_id, BODY * 2000)
    assert (reply.status, reply.headers["Connection"]) == (413, "close")
    assert emulator.request_log[-1].body_size == 0


def test_headers_may_be_anything_and_come_twice(
    emulator: Emulator, client: ApiClient, server: EmulatorServer
) -> None:
    for value in ("0", "-1", "1.5", "abc", "Wed, 21 Oct 2015 07:28:00 GMT", "100000000000"):
        emulator.faults.add("list_imports", http_error(503, retry_after=value))
        assert client.get(IMPORTS).headers["Retry-After"] == value
        emulator.faults.clear()
    emulator.faults.add("list_imports", http_error(503, retry_after="1\n2"))
    raw = raw_exchange(server.url, get_request(IMPORTS, "Connection: close"))
    assert b"Retry-After: 1\r\nRetry-After: 2\r\n" in raw


def test_faults_strike_at_their_calls_only(emulator: Emulator, client: ApiClient) -> None:
    client.get(IMPORTS)
    emulator.faults.add("list_imports", http_error(503), call=2, times=2)
    assert [client.get(IMPORTS).status for _ in range(5)] == [200, 503, 503, 200, 200]
    emulator.faults.add("list_imports", http_error(500), call=None)
    assert [client.get(IMPORTS).status for _ in range(3)] == [500, 500, 500]
    assert client.get("/v1/audience_segments").status == 200
    emulator.faults.clear()
    assert client.get(IMPORTS).status == 200
    emulator.faults.add("any", http_error(500), call=2)
    assert [client.get(path).status for path in ("/v1/audience_segments", IMPORTS)] == [200, 500]


def test_a_fault_for_no_endpoint_is_refused(emulator: Emulator) -> None:
    with pytest.raises(WrongOption):
        emulator.faults.add("uploads", Cut())
    for wrong in ({"type": "bang"}, {"type": "cut", "at": "somewhere"}, {"type": "cut", "x": 1}):
        with pytest.raises(WrongOption):
            fault_from(wrong)


def test_bodies_that_a_client_must_not_swallow(emulator: Emulator, client: ApiClient) -> None:
    emulator.faults.add("list_imports", html_page())
    page = client.get(IMPORTS)
    assert (page.status, page.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    emulator.faults.add("list_imports", big_answer(10))
    assert len(client.get(IMPORTS).content) == 10_000_000
    emulator.faults.add("list_imports", deep_json(100_000))
    with pytest.raises(RecursionError):
        client.get(IMPORTS).json()
    emulator.faults.add("list_imports", Framing(gzip_padding_megabytes=50))
    bomb = client.get(IMPORTS)
    assert bomb.headers["Content-Encoding"] == "gzip"
    assert len(bomb.content) < 500_000
    unpacked = gzip.decompress(bomb.content)
    assert len(unpacked) > 50_000_000
    assert json.loads(unpacked)["status"] == "ok"


def rewritten(emulator: Emulator, client: ApiClient, rewrite: Rewrite) -> Reply:
    emulator.faults.add("list_imports", rewrite)
    return client.get(IMPORTS)


def test_the_real_answer_may_be_spoilt(emulator: Emulator, client: ApiClient) -> None:
    emulator.add_import("x")
    plain = client.get(IMPORTS)
    nan = rewritten(emulator, client, Rewrite("nan")).json()
    assert nan.pop("weight") != nan.get("weight")
    assert nan == plain.json()
    pairs = json.loads(
        rewritten(emulator, client, Rewrite("duplicate_keys")).content, object_pairs_hook=list
    )
    assert [name for name, _ in pairs].count("data") == 2
    with pytest.raises(RecursionError):
        rewritten(emulator, client, Rewrite("deep")).json()
    marked = rewritten(emulator, client, Rewrite("byte_order_mark"))
    assert marked.content == b"\xef\xbb\xbf" + plain.content
    latin1 = rewritten(emulator, client, Rewrite("latin1"))
    assert latin1.headers["Content-Type"].endswith("iso-8859-1")
    with pytest.raises(UnicodeDecodeError):
        latin1.content.decode()
    wrong = rewritten(emulator, client, Rewrite("wrong_content_type"))
    assert (wrong.headers["Content-Type"], wrong.content) == ("image/png", plain.content)
    assert "Content-Type" not in rewritten(emulator, client, Rewrite("no_content_type")).headers
    assert rewritten(emulator, client, Rewrite("empty")).content == b""
    half = rewritten(emulator, client, Rewrite("half")).content
    assert 0 < len(half) < len(plain.content)
    padded = rewritten(emulator, client, Rewrite("padded"))
    assert len(padded.content) > 10_000_000
    assert padded.json() == plain.json()
    assert rewritten(emulator, client, Rewrite("error_in_200")).json()["status"] == "error"
    assert rewritten(emulator, client, Rewrite("null_data")).json()["data"] is None
    assert rewritten(emulator, client, Rewrite("numbers_as_strings")).json()["count"] == "1"
