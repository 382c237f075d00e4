"""What one exchange sends, and that no environment changes it."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segsync.errors import NotSent, OutcomeUnknown, ProtocolError
from segsync.mediarithmics.exchange import BLOCK_BYTES, MIB, FileBody
from tests.support.platform import TOKEN, asking, assert_clean, fails, wire
from tests.support.raw_server import (
    Conversation,
    RawServer,
    answer,
    chunked,
    early,
    endless,
    head,
    raw,
)


def test_the_token_is_sent_as_it_stands() -> None:
    with RawServer(answer(b"{}")) as server:
        wire(server.url).exchange(asking(params={"a b": "x&y/é"}))
    [request] = server.requests
    assert request.headers["authorization"] == TOKEN
    assert request.headers["accept-encoding"] == "identity"
    assert request.target == "/v1/things?a%20b=x%26y%2F%C3%A9"
    assert "cookie" not in request.headers


def test_an_origin_may_have_a_path() -> None:
    with RawServer(answer(b"{}")) as server:
        wire(f"{server.url}/mics/").exchange(asking())
    assert server.requests[0].target == "/mics/v1/things"


def test_netrc_and_proxy_variables_are_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login evil password evil\n")
    (tmp_path / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    with RawServer(answer(b"{}")) as server, RawServer(answer(b"{}")) as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        wire(server.url).exchange(asking())
    assert [request.headers["authorization"] for request in server.requests] == [TOKEN]
    assert proxy.connections == 0


def test_cookies_are_not_kept() -> None:
    with RawServer(answer(b"{}", headers={"Set-Cookie": "a=b"})) as server:
        line = wire(server.url)
        line.exchange(asking())
        line.exchange(asking())
    assert all("cookie" not in request.headers for request in server.requests)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    with RawServer(answer(b"{}")) as other:
        there = {"Location": f"{other.url}/steal"}
        with RawServer(answer(b"", status, there)) as server:
            found = wire(server.url).exchange(asking(method="POST", body=b"{}"))
    assert found.status == status
    assert other.connections == 0
    assert len(server.requests) == 1


def test_a_kept_connection_is_used_again() -> None:
    with RawServer(answer(b"{}")) as server:
        line = wire(server.url)
        for _ in range(20):
            line.exchange(asking())
    assert server.connections == 1
    assert len(server.requests) == 20


def test_a_kept_connection_that_the_platform_closed_is_replaced() -> None:
    closed = Event()

    def closing(talk: Conversation) -> None:
        talk.send(head(length=2) + b"{}")
        talk.close()
        closed.set()

    with RawServer(closing, answer(b"{}")) as server:
        line = wire(server.url)
        line.exchange(asking())
        assert closed.wait(5)
        assert line.exchange(asking()).body == b"{}"
    assert server.connections == 2


def test_an_interim_answer_is_not_taken_for_the_answer_to_the_next_request() -> None:
    late = raw(head(103) + head(length=5) + b"stale")
    with RawServer(late, answer(b"fresh")) as server:
        line = wire(server.url)
        assert line.exchange(asking()).status == 103
        assert line.exchange(asking()).body == b"fresh"
    assert server.connections == 2


def test_bytes_behind_an_answer_are_not_taken_for_the_next_answer() -> None:
    garbage = raw(head(length=5) + b"first" + head(length=5) + b"stale")
    with RawServer(garbage, answer(b"fresh")) as server:
        line = wire(server.url)
        assert line.exchange(asking()).body == b"first"
        assert line.exchange(asking()).body == b"fresh"


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\nhello",
        chunked(b"he", b"llo"),
        chunked(b"hello", end=b"0\r\nTrailer: x\r\n\r\n"),
    ],
)
def test_every_framing_of_an_answer_is_read(data: bytes) -> None:
    with RawServer(raw(data, how="close")) as server:
        assert wire(server.url).exchange(asking()).body == b"hello"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/1.1 2",
        b"HTTP/1.1 000 Nothing\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"<html>\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 500 + b"\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello",
        b"HTTP/1.1 500 No\r\nContent-Length: 10\r\n\r\nhello",
        chunked(b"hello", end=b""),
        chunked(b"hello", end=b"5\r\nhe"),
        chunked(b"hello", end=b"zz\r\n"),
        chunked(b"hello", end=b"-5\r\nhello\r\n0\r\n\r\n"),
        chunked(b"hello", end=b"-1\r\nhello\r\n0\r\n\r\n"),
    ],
)
@pytest.mark.parametrize("how", ["close", "reset"])
def test_without_a_readable_answer_the_outcome_is_unknown(data: bytes, how: str) -> None:
    with RawServer(raw(data, how=how)) as server, fails(OutcomeUnknown, "could not ask"):
        wire(server.url).exchange(asking())


def test_a_refusal_stands_though_its_explanation_is_broken_off() -> None:
    with RawServer(raw(head(413, length=1000) + b"too lar", how="close")) as server:
        assert wire(server.url).exchange(asking()).status == 413


def test_a_refused_connection_sends_nothing() -> None:
    with RawServer(answer()) as server:
        pass
    with fails(NotSent, "Connection refused", f"127.0.0.1:{server.port}"):
        wire(server.url).exchange(asking())


def test_a_host_without_an_address_sends_nothing() -> None:
    with fails(NotSent, "nowhere.invalid"):
        wire("https://nowhere.invalid").exchange(asking())


# Uploads


def upload(server: RawServer, body: FileBody, seconds: float = 5.0) -> int:
    request = asking(method="POST", body=body, content_type="application/x-ndjson", seconds=seconds)
    try:
        return wire(server.url).exchange(request).status
    finally:
        body.close()


@pytest.fixture
def payload(tmp_path: Path) -> Path:
    path = tmp_path / "payload.ndjson"
    path.write_bytes(bytes(range(256)) * 10_000)
    return path


def test_an_upload_is_the_bytes_of_the_file_with_their_length(payload: Path) -> None:
    told: list[int] = []
    with RawServer(answer(b"{}")) as server:
        assert upload(server, FileBody(payload, told.append)) == 200
    [request] = server.requests
    assert bytes(request.body) == payload.read_bytes()
    assert request.headers["content-length"] == "2560000"
    assert request.headers["content-type"] == "application/x-ndjson"
    assert "transfer-encoding" not in request.headers
    assert told == sorted(told)
    assert told[-1] == 2_560_000
    assert len(told) == -(-2_560_000 // BLOCK_BYTES)


@pytest.mark.parametrize("how", ["drain", "close"])
def test_an_early_refusal_of_an_upload_is_read(payload: Path, how: str) -> None:
    payload.write_bytes(b"x" * 20_000_000)
    with RawServer(early(head(413, length=2) + b"{}", how=how)) as server:
        assert upload(server, FileBody(payload)) == 413


def test_a_payload_that_becomes_shorter_is_not_sent_as_if_whole(payload: Path) -> None:
    body = FileBody(payload, lambda _: os.truncate(payload, 5))
    with RawServer(answer(b"{}")) as server, fails(OutcomeUnknown, "became shorter"):
        upload(server, body)


def test_a_payload_that_grows_is_sent_as_it_was(payload: Path) -> None:
    body = FileBody(payload)
    with payload.open("ab") as file:
        file.write(b"more")
    with RawServer(answer(b"{}")) as server:
        upload(server, body)
    assert len(server.requests[0].body) == 2_560_000


def test_an_empty_or_absent_payload_sends_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    with fails(NotSent, "it is empty"):
        FileBody(tmp_path / "empty")
    with fails(NotSent, "No such file"):
        FileBody(tmp_path / "absent")
    with fails(NotSent):
        FileBody(tmp_path)


# Sizes


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (head(length=10**9), b"x" * 65536),
        (head(headers={"Transfer-Encoding": "chunked"}), b"10000\r\n" + b"x" * 65536 + b"\r\n"),
        (head(), b"x" * 65536),
    ],
)
def test_an_answer_beyond_the_limit_is_cut_off(start: bytes, more: bytes) -> None:
    with RawServer(endless(start, more)) as server, fails(ProtocolError, "larger than 2 MiB"):
        wire(server.url).exchange(asking(seconds=20))


def test_a_compressed_answer_is_not_inflated() -> None:
    packed = gzip.compress(b" " * 50_000_000)
    step = answer(packed, headers={"Content-Encoding": "gzip"})
    with RawServer(step) as server:
        assert wire(server.url).exchange(asking()).body == packed


def test_an_answer_at_the_limit_is_read_whole() -> None:
    with RawServer(answer(b"x" * 2 * MIB)) as server:
        assert len(wire(server.url).exchange(asking()).body) == 2 * MIB


# Whatever comes


@given(st.binary(max_size=300))
@settings(max_examples=40, deadline=None)
def test_no_bytes_of_the_platform_raise_anything_foreign(data: bytes) -> None:
    starts = (b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for start in starts:
        with RawServer(raw(start + data, how="close")) as server:
            try:
                wire(server.url).exchange(asking())
            except (OutcomeUnknown, ProtocolError) as error:
                assert_clean(error)
