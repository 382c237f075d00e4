"""Scripted faults happen on the wire, at the call and the byte that the script says."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from segsync.emulator import (
    Answer,
    ConnectionEnded,
    Cut,
    Drip,
    Emulator,
    EmulatorServer,
    Framing,
    LocalClient,
    Rewrite,
    Stall,
    WrongOption,
    big_answer,
    deep_json,
    fault_from,
    html_page,
    http_error,
)
from tests.support.api_client import IMPORTS, NDJSON, TOKEN, ApiClient, Reply, ndjson, update

BODY = ndjson(*(update(f"u{number}") for number in range(50)))


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    made = Emulator(token=TOKEN)
    made.add_segment("vip")
    made.behave(polls_until_finished=0)
    yield made
    assert made.crashes == []
    made.close()


@pytest.fixture
def server(emulator: Emulator) -> Iterator[EmulatorServer]:
    with EmulatorServer(emulator) as made:
        yield made


@pytest.fixture
def client(server: EmulatorServer) -> ApiClient:
    return ApiClient(server.url)


@pytest.fixture
def import_id(emulator: Emulator) -> str:
    return emulator.add_import("x").id


def raw_exchange(server: EmulatorServer, request: bytes) -> bytes:
    """Everything that comes back for some bytes, until the connection ends."""
    address = server.url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=5) as connection:
        connection.sendall(request)
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def get_request(path: str = IMPORTS, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Authorization: {TOKEN}", *headers, "", ""]
    return "\r\n".join(lines).encode()


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
        assert raw_exchange(server, get_request()) == b""
    except ConnectionResetError as reset:
        caught = reset
    assert type(caught) is error


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
    whole = raw_exchange(server, get_request(IMPORTS, "Connection: close"))
    emulator.faults.add("list_imports", framing)
    emulator.faults.add("list_imports", Cut("answer", 0.5, "fin"))
    head, _, body = raw_exchange(server, get_request()).partition(b"\r\n\r\n")
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
    while not emulator.request_log:
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
    assert client.upload(import_id, BODY * 2000).status == 413
    assert emulator.request_log[-1].body_size == 0


def test_headers_may_be_anything_and_come_twice(
    emulator: Emulator, client: ApiClient, server: EmulatorServer
) -> None:
    for value in ("0", "-1", "1.5", "abc", "Wed, 21 Oct 2015 07:28:00 GMT", "100000000000"):
        emulator.faults.add("list_imports", http_error(503, retry_after=value))
        assert client.get(IMPORTS).headers["Retry-After"] == value
        emulator.faults.clear()
    emulator.faults.add("list_imports", http_error(503, retry_after="1\n2"))
    raw = raw_exchange(server, get_request(IMPORTS, "Connection: close"))
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


# ------------------------------------------------------------------------------ framing


def test_http_1_0_lower_case_headers_and_bytes_around_the_answer(
    emulator: Emulator, server: EmulatorServer
) -> None:
    interim = "HTTP/1.1 103 Early Hints\r\n\r\n"
    emulator.faults.add(
        "list_imports", Framing(version="1.0", lower_case=True, before=interim, after="garbage")
    )
    raw = raw_exchange(server, get_request())
    assert raw.startswith(interim.encode() + b"HTTP/1.0 200 OK\r\ncontent-type: application/json")
    assert raw.endswith(b"}garbage")


def test_a_kept_connection_may_be_closed_behind_an_answer_without_a_word(
    emulator: Emulator, client: ApiClient
) -> None:
    emulator.faults.add("list_imports", Framing(close_after=True))
    connection = client.connect()
    connection.request("GET", IMPORTS, headers={"Authorization": TOKEN})
    response = connection.getresponse()
    response.read()
    assert response.getheader("Connection") is None
    connection.request("GET", IMPORTS, headers={"Authorization": TOKEN})
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        connection.getresponse()
    connection.close()


def test_answers_and_uploads_may_be_slow(
    emulator: Emulator, client: ApiClient, import_id: str
) -> None:
    began = time.monotonic()
    emulator.faults.add("list_imports", Drip(2_000))
    size = len(client.get(IMPORTS).content)
    assert time.monotonic() - began >= size / 2_500
    began = time.monotonic()
    emulator.faults.add("upload", Drip(20_000, "body"))
    assert client.upload(import_id, BODY).status == 200
    assert time.monotonic() - began >= len(BODY) / 20_000
    began = time.monotonic()
    emulator.behave(upload_bytes_per_second=20_000, answer_bytes_per_second=2_000)
    assert client.upload(import_id, BODY).status == 200
    assert time.monotonic() - began >= len(BODY) / 20_000


def test_a_byte_a_second_outlasts_a_timeout_for_each_read(
    emulator: Emulator, server: EmulatorServer
) -> None:
    emulator.faults.add("list_imports", Drip(1))
    host, port = server.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=5) as connection:
        connection.sendall(get_request())
        began = time.monotonic()
        received = b"".join(connection.recv(100) for _ in range(2))
    assert received == b"HT"
    assert 0.9 < time.monotonic() - began < 2


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET http://elsewhere/ HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nno colon\r\n\r\n",
        b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"x" * 70_000,
    ],
)
def test_what_is_no_http_is_answered_with_400(server: EmulatorServer, request_bytes: bytes) -> None:
    assert raw_exchange(server, request_bytes).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_client_that_asks_first_is_told_to_continue(
    emulator: Emulator, server: EmulatorServer, import_id: str
) -> None:
    head = (
        f"POST {IMPORTS}/{import_id}/executions HTTP/1.1\r\nAuthorization: {TOKEN}\r\n"
        f"Content-Type: {NDJSON['Content-Type']}\r\nContent-Length: {len(BODY)}\r\n"
        "Connection: close\r\nExpect: 100-continue\r\n\r\n"
    )
    raw = raw_exchange(server, head.encode() + BODY)
    assert raw.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")
    assert len(emulator.members("vip")) == 50


def test_many_clients_at_once_get_along(emulator: Emulator, client: ApiClient) -> None:
    replies: list[int] = []

    def work(number: int) -> None:
        for step in range(5):
            import_id = client.create_import(f"{number}/{step}").data["id"]
            body = ndjson(*(update(f"{number}/{step}/{line}") for line in range(20)))
            replies.append(client.upload(import_id, body).status)

    workers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert replies == [200] * 40
    assert len(emulator.members("vip")) == 800
    assert len({one.id for one in emulator.imports}) == 40
    assert len(emulator.request_log) == 80


# ------------------------------------------------------------------------------ in-process


@pytest.mark.parametrize(
    ("fault", "applied"),
    [(Cut("body"), 0), (Stall("before_apply"), 0), (Cut("after_apply"), 1), (Stall("answer"), 1)],
)
def test_without_sockets_a_fault_is_an_exception(
    emulator: Emulator, import_id: str, fault: Cut | Stall, applied: int
) -> None:
    client = LocalClient(emulator)
    emulator.faults.add("upload", fault)
    with pytest.raises(ConnectionEnded) as ended:
        client.request("POST", f"{IMPORTS}/{import_id}/executions", BODY, NDJSON)
    assert ended.value.point == fault.at
    assert ended.value.stalled == isinstance(fault, Stall)
    assert len(emulator.executions) == applied


def test_without_sockets_answers_are_scripted_too(emulator: Emulator) -> None:
    client = LocalClient(emulator)
    emulator.faults.add("list_imports", http_error(503))
    emulator.faults.add("list_imports", Rewrite("empty"), call=2)
    emulator.faults.add("list_imports", Answer(418, early=True), call=3)
    assert [client.request("GET", IMPORTS).status for _ in range(4)] == [503, 200, 418, 200]
