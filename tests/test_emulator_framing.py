"""Answers are framed, slowed and surrounded as the script says; what is no HTTP is refused."""

from __future__ import annotations

import http.client
import socket
import threading
import time

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
    http_error,
)
from tests.support.api_client import (
    IMPORTS,
    NDJSON,
    TOKEN,
    ApiClient,
    get_request,
    ndjson,
    raw_exchange,
    update,
)

BODY = ndjson(*(update(f"u{number}") for number in range(50)))


# ------------------------------------------------------------------------------ framing


def test_http_1_0_lower_case_headers_and_bytes_around_the_answer(
    emulator: Emulator, server: EmulatorServer
) -> None:
    interim = "HTTP/1.1 103 Early Hints\r\n\r\n"
    emulator.faults.add(
        "list_imports", Framing(version="1.0", lower_case=True, before=interim, after="garbage")
    )
    emulator.behave(dates=False)
    raw = raw_exchange(server.url, get_request())
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
    assert raw_exchange(server.url, request_bytes).startswith(b"HTTP/1.1 400 Bad Request\r\n")


def test_a_client_that_asks_first_is_told_to_continue(
    emulator: Emulator, server: EmulatorServer, import_id: str
) -> None:
    head = (
        f"POST {IMPORTS}/{import_id}/executions HTTP/1.1\r\nAuthorization: {TOKEN}\r\n"
        f"Content-Type: {NDJSON['Content-Type']}\r\nContent-Length: {len(BODY)}\r\n"
        "Connection: close\r\nExpect: 100-continue\r\n\r\n"
    )
    raw = raw_exchange(server.url, head.encode() + BODY)
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
