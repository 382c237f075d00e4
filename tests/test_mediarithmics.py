"""What the destination asks of the platform, and what it leaves behind."""

from __future__ import annotations

import json
import logging
import resource
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from segsync.destination import DocumentImport
from segsync.emulator import Behaviour, Emulator, EmulatorServer
from segsync.errors import NotSent, OutcomeUnknown, ProtocolError, Refused, UsageError
from segsync.mediarithmics import Mediarithmics
from segsync.mediarithmics.envelope import cleaner
from segsync.mediarithmics.exchange import Limits
from segsync.model import Address
from segsync.secret import Redactor, Secret
from tests.support.canary import PASSWORD_OF_PROXY, PERSON, identifiers_in, secrets_in
from tests.support.platform import DATAMART, TOKEN, FakeClock, destination, fails, settings
from tests.support.raw_server import (
    Conversation,
    RawServer,
    answer,
    cut,
    endless,
    head,
    ok,
)

IMPORTS = f"/v1/datamarts/{DATAMART}/document_imports"


def test_the_library_for_http_is_loaded_late() -> None:
    code = "import sys, segsync.mediarithmics; sys.exit('requests' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_token_stands_in_one_header_of_each_request_and_no_secret_in_another(
    tmp_path: Path,
) -> None:
    payload = tmp_path / "part-1.ndjson"
    payload.write_text(f'{{"user_account_id":"{PERSON}"}}\n')
    made = (ok({"id": "7", "name": "segsync-a"}), ok({"id": "8"}), answer(b"x"))
    with RawServer(ok([]), ok([]), ok([]), *made, ok([])) as server:
        platform = destination(server.url)
        platform.look_up_segment(Address("segment_technical_name", "vip"))
        platform.find_imports("segsync-")
        platform.create_import("segsync-a")
        platform.upload("7", payload)
        platform.fetch_error_file("mics://data_file/errors", tmp_path / "errors")
        platform.list_executions("7")
    assert len({(request.method, request.target) for request in server.requests}) == 7
    for request in server.requests:
        assert request.headers.pop("authorization") == TOKEN
        rest = f"{request.method} {request.target} {request.headers}".encode()
        assert secrets_in(rest) == []
        assert identifiers_in(rest) == []


def test_closing_closes_the_connection() -> None:
    ended = threading.Event()

    def step(talk: Conversation) -> None:
        talk.send(head(length=27) + b'{"status":"ok","data":[ ] }')
        if talk.read_head() is None:
            ended.set()
        talk.is_over = True

    with RawServer(step) as server:
        with destination(server.url) as platform:
            platform.list_executions("1")
            assert not ended.is_set()
        assert ended.wait(5)


def test_a_datamart_that_is_no_number_is_refused() -> None:
    for datamart in ("", "1/2", "..", "1509?x"):
        with pytest.raises(UsageError, match=r"destination\.datamart_id"):
            destination("http://127.0.0.1:1", datamart_id=datamart)


# Imports


@pytest.mark.parametrize(
    ("form", "mime_type", "content_type"),
    [
        ("ndjson", "APPLICATION_X_NDJSON", "application/x-ndjson"),
        ("csv", "TEXT_CSV", "text/csv"),
    ],
)
def test_an_import_and_its_upload_are_of_the_format_of_the_spec(
    form: str, mime_type: str, content_type: str, tmp_path: Path
) -> None:
    (tmp_path / "payload").write_bytes(b"x")
    made = ok({"id": "77", "name": "ref"})
    with RawServer(made, ok({"id": "9", "status": "PENDING"})) as server:
        platform = destination(server.url, format=form)
        assert platform.create_import("ref") == DocumentImport("77", "ref")
        assert platform.upload("77", tmp_path / "payload").id == "9"
    create, upload = server.requests
    assert (create.method, create.target) == ("POST", IMPORTS)
    assert create.headers["content-type"] == "application/json"
    assert json.loads(create.body) == {
        "document_type": "USER_SEGMENT",
        "mime_type": mime_type,
        "encoding": "utf-8",
        "name": "ref",
    }
    assert (upload.method, upload.target) == ("POST", f"{IMPORTS}/77/executions")
    assert upload.headers["content-type"] == content_type
    assert server.connections == 2


def test_an_import_that_the_platform_renamed_is_not_believed() -> None:
    with (
        RawServer(ok({"id": "77", "name": "re"})) as server,
        fails(ProtocolError, "instead of ref"),
    ):
        destination(server.url).create_import("ref")


def test_an_import_whose_answer_has_no_name_is_taken() -> None:
    with RawServer(ok({"id": 77}), ok({"id": "78", "name": None})) as server:
        platform = destination(server.url)
        assert platform.create_import("ref") == DocumentImport("77", "ref")
        assert platform.create_import("ref") == DocumentImport("78", "ref")


def test_an_import_whose_answer_was_lost_is_found_by_its_exact_name() -> None:
    items = [
        {"id": "5", "name": "ref-2"},
        {"id": "12", "name": "ref"},
        {"id": "7", "name": "ref"},
        {"id": "8", "name": None},
        {"id": "9"},
    ]
    lists = [ok([], total=0), ok([], total=0)]
    with RawServer(cut(1, how="reset"), ok(items, total=5), *lists) as server:
        assert destination(server.url).create_import("ref") == DocumentImport("7", "ref")
    assert [request.method for request in server.requests] == ["POST", "GET", "GET", "GET"]
    assert "keywords=ref&" in server.requests[1].target


def test_an_import_to_which_somebody_uploaded_is_not_the_lost_one() -> None:
    lost, made = {"id": "5", "name": "ref"}, {"id": "6", "name": "ref"}
    used = ok([{"id": "1", "status": "SUCCEEDED"}], total=1)
    with RawServer(cut(1, how="reset"), ok([lost], total=1), used, ok(made)) as server:
        assert destination(server.url).create_import("ref") == DocumentImport("6", "ref")


def test_an_import_that_was_surely_not_made_is_not_looked_for() -> None:
    with RawServer(ok({"id": "77"})) as server:
        pass
    with fails(NotSent):
        destination(server.url).create_import("ref")
    assert server.requests == []


@pytest.mark.parametrize("status", [408, 429, 500, 503])
def test_an_import_that_could_not_be_made_in_the_end_is_unknown(status: int) -> None:
    def step(talk: Conversation) -> None:
        last = ok([]) if talk.request.method == "GET" else answer(b"", status)
        last(talk)

    clock = FakeClock()
    with RawServer(step) as server, fails(OutcomeUnknown, f"HTTP {status}"):
        destination(server.url, clock=clock).create_import("ref")
    assert sum(request.method == "POST" for request in server.requests) == 5
    assert clock.slept == [0.5, 1, 2, 4]


def test_an_import_that_can_be_neither_made_nor_looked_for_is_unknown() -> None:
    refused = answer({"status": "error", "error": "no"}, 403)
    with RawServer(answer(b"", 503), refused) as server, fails(OutcomeUnknown, "HTTP 403"):
        destination(server.url).create_import("ref")


def test_an_import_that_is_refused_is_refused_at_once() -> None:
    with RawServer(answer({"status": "error", "error": "no"}, 403)) as server, fails(Refused):
        destination(server.url).create_import("ref")
    assert len(server.requests) == 1


def test_imports_are_looked_for_without_keywords_where_these_find_nothing() -> None:
    item = {"id": "7", "name": "ref-1"}
    with RawServer(ok([], total=0), ok([item], total=1)) as server:
        assert destination(server.url).find_imports("ref") == [DocumentImport("7", "ref-1")]
    assert ["keywords" in request.target for request in server.requests] == [True, False]


@pytest.mark.parametrize("unusable", ["", "..", "1/2", "a b"])
def test_what_is_no_import_is_not_asked_for(unusable: str, tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(b"x")
    with RawServer(ok([])) as server:
        platform = destination(server.url)
        with fails(NotSent, "not the id of a document import"):
            platform.list_executions(unusable)
        with fails(NotSent, "not the id of a document import"):
            platform.upload(unusable, tmp_path / "payload")
    assert server.requests == []


def test_a_segment_is_asked_for_in_the_datamart_by_its_exact_name() -> None:
    with RawServer(ok([], total=0)) as server:
        destination(server.url).look_up_segment(Address("segment_technical_name", "a b&c=é"))
    target = "/v1/audience_segments?datamart_id=1509&technical_name=a%20b%26c%3D%C3%A9"
    assert server.requests[0].target.startswith(f"{target}&first_result=0&")


def test_five_hundred_segments_are_looked_up_over_one_connection() -> None:
    emulator = Emulator(datamart_id=DATAMART, token=TOKEN, behaviour=Behaviour(dates=False))
    names = [f"segment-{number}" for number in range(500)]
    for name in names:
        emulator.add_segment(name)
    with EmulatorServer(emulator) as server, destination(server.url) as platform:
        found = [
            platform.look_up_segment(Address("segment_technical_name", name)) for name in names
        ]
    assert all(one.problem is None for one in found)
    assert len(emulator.request_log) == 500
    emulator.close()


# The size of things


@contextmanager
def memory_below(megabytes: float) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < megabytes * 1_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    ("start", "more"),
    [
        (head(length=10**12), b" " * 65536),
        (head(), b" " * 65536),
        (head(headers={"Transfer-Encoding": "chunked"}), b"10000\r\n" + b" " * 65536 + b"\r\n"),
        (head(headers={"Transfer-Encoding": "chunked"}) + b"-1\r\n", b" " * 65536),
        (head(headers={"Transfer-Encoding": "chunked"}), b"1"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536),
        (b"", b"x" * 65536),
    ],
)
def test_an_answer_without_end_takes_little_memory(start: bytes, more: bytes) -> None:
    with RawServer(endless(start, more)) as server, memory_below(20):
        platform = destination(server.url, limits=Limits(request_seconds=3))
        with pytest.raises((OutcomeUnknown, ProtocolError)):
            platform.list_executions("1")


def test_an_error_file_is_not_held_in_memory(tmp_path: Path) -> None:
    def step(talk: Conversation) -> None:
        talk.send(head(length=50_000_000))
        for _ in range(50):
            talk.send(b"x" * 1_000_000)

    with RawServer(step) as server, memory_below(5):
        destination(server.url).fetch_error_file("mics://x", tmp_path / "errors")
    assert (tmp_path / "errors").stat().st_size == 50_000_000


def test_an_error_file_beyond_the_limit_is_not_kept(tmp_path: Path) -> None:
    limits = Limits(error_file_bytes=1024 * 1024)
    start = head(headers={"Transfer-Encoding": "chunked"})
    more = b"10000\r\n" + b" " * 65536 + b"\r\n"
    with RawServer(endless(start, more)) as server, fails(ProtocolError, "larger than 1 MiB"):
        platform = destination(server.url, limits=limits)
        platform.fetch_error_file("mics://x", tmp_path / "errors")
    assert list(tmp_path.iterdir()) == []


def test_an_error_file_that_the_disk_cannot_take_is_not_kept(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    with RawServer(answer(b"x" * 500_000)) as server:
        platform = destination(server.url)
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
        try:
            with fails(OutcomeUnknown, "could not write the file", "File too large"):
                platform.fetch_error_file("mics://x", tmp_path / "errors")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []


def test_an_upload_is_not_held_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "payload"
    with path.open("wb") as file:
        file.truncate(50_000_000)

    def swallow(talk: Conversation) -> None:
        talk.swallow_body()
        talk.send(head(length=33) + b'{"status":"ok","data":{"id":"9"}}')

    with RawServer(swallow) as server, memory_below(5):
        destination(server.url).upload("77", path)


def test_an_interrupted_download_leaves_no_file(tmp_path: Path) -> None:
    def interrupt(sentence: str) -> None:
        raise KeyboardInterrupt(sentence)

    with RawServer(answer(b"", 503)) as server:
        platform = destination(server.url, notify=interrupt)
        with pytest.raises(KeyboardInterrupt):
            platform.fetch_error_file("mics://x", tmp_path / "errors")
    assert list(tmp_path.iterdir()) == []


# Secrets


def test_no_log_shows_the_token(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    caplog.set_level(logging.DEBUG)
    (tmp_path / "payload").write_bytes(b"x")
    told: list[str] = []
    echo = answer({"status": "error", "error": f"bad token {TOKEN}"}, 503)
    odd = cut(1, how="reset")
    with RawServer(echo, odd, ok([]), ok({"id": "9"})) as server:
        platform = destination(server.url, notify=told.append)
        platform.list_executions("1")
        platform.upload("1", tmp_path / "payload")
    assert caplog.records
    assert TOKEN not in caplog.text
    assert len(told) == 2
    assert TOKEN not in "".join(told)


def test_the_password_of_the_proxy_is_not_shown() -> None:
    proxy = Secret(f"http://user:{PASSWORD_OF_PROXY}@127.0.0.1:1")
    with pytest.raises(NotSent) as raised:
        destination("http://127.0.0.1:2", proxy=proxy).list_executions("1")
    assert PASSWORD_OF_PROXY not in str(raised.value)


def test_a_secret_at_the_end_of_a_long_text_is_not_cut_in_half() -> None:
    clean = cleaner(Redactor([TOKEN]))
    for padding in range(280, 320):
        assert TOKEN[:6] not in clean("x" * padding + TOKEN)


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (
            '{"user_account_id":"acc-77","segment_id":"5"}',
            '{"user_account_id":***,"segment_id":"5"}',
        ),
        (
            r"{\"email_hash\":\"abc\",\"data_bag\":\"{}\"} x",
            r"{\"email_hash\":***,\"data_bag\":***} x",
        ),
        (r'"data_bag": "{\"a\": \"b c\"}" is too large', '"data_bag": *** is too large'),
        ("user_agent_id=vec:1 unknown", "user_agent_id=*** unknown"),
        ("unknown user john@doe.org", "unknown user ***"),
        (f"no member {'ab' * 32} here", "no member *** here"),
        (
            "user_account_id is missing in datamart 1509",
            "user_account_id is missing in datamart 1509",
        ),
    ],
)
def test_members_in_what_the_platform_says_are_hidden(said: str, shown: str) -> None:
    assert cleaner(Redactor([]))(said) == shown


def test_the_destination_does_not_show_its_token() -> None:
    platform = Mediarithmics(settings("http://127.0.0.1:1"), FakeClock(), lambda: 0.0)
    assert TOKEN not in repr(vars(platform))
    assert TOKEN not in repr(vars(platform)["_wire"].__dict__)
