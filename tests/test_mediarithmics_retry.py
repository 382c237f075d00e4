"""When a request is made again, after which pause, and when it is given up."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segsync.errors import NotSent, OutcomeUnknown, ProtocolError, Refused
from segsync.mediarithmics import Mediarithmics
from segsync.mediarithmics.exchange import Untrusted
from segsync.mediarithmics.retry import Patience, Transient, retry_after_seconds
from segsync.model import Address
from segsync.secret import Secret
from tests.support.platform import QUICK, TOKEN, FakeClock, destination, fails
from tests.support.raw_server import RawServer, answer, cut, ok, raw, silence
from tests.support.tls import Authority

NOW = datetime(2026, 11, 24, 8, 0, 0, tzinfo=UTC)
NOW_MS = int(NOW.timestamp() * 1000)
TRANSIENT = [408, 429, 500, 502, 503, 504, 599]
FINAL = [400, 401, 402, 403, 405, 407, 409, 410, 411, 413, 415, 418, 422, 451, 499]
SENSELESS = [101, 103, 204, 205, 206, 300, 301, 302, 303, 304, 307, 308, 600, 999]


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("0", 0),
        ("5", 5),
        (" 7 ", 7),
        ("300", 300),
        ("301", 300),
        ("100000000000", 300),
        ("9" * 5000, 300),
        ("-1", None),
        ("1.5", None),
        ("+5", None),
        ("abc", None),
        ("5, 10", None),
        ("\u0663", None),
        ("1e3", None),
        ("Tue, 24 Nov 2026 08:00:09 GMT", 9),
        ("Tue, 24 Nov 2026 07:00:00 GMT", 0),
        ("Tue, 24 Nov 2026 10:00:00 GMT", 300),
        ("Tue, 24 Nov 2026 09:00:09 +0100", 9),
        ("Tuesday, 24-Nov-26 08:00:09 GMT", 9),
        ("Tue, 99 Nov 2026 08:00:00 GMT", None),
        ("Tue, 24 Nov 99999999999 08:00:00 GMT", None),
    ],
)
def test_retry_after_is_a_whole_number_or_a_date(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header, NOW_MS) == seconds


@given(st.text(max_size=40) | st.from_regex(r"[A-Z][a-z]{2}, [0-9 A-Za-z:+-]{0,40}"))
def test_retry_after_is_never_out_of_bounds(header: str) -> None:
    seconds = retry_after_seconds(header, NOW_MS)
    assert seconds is None or 0 <= seconds <= 300


def ask(found: Mediarithmics) -> object:
    return found.list_executions("77")


@pytest.mark.parametrize("status", TRANSIENT)
def test_a_passing_trouble_is_waited_out_with_growing_pauses(status: int) -> None:
    clock = FakeClock()
    trouble = answer(b"", status)
    with RawServer(trouble, trouble, trouble, trouble, ok([])) as server:
        assert ask(destination(server.url, clock=clock)) == []
    assert clock.slept == [0.5, 1, 2, 4]


def upload(found: Mediarithmics, folder: Path) -> object:
    payload = folder / "payload"
    payload.write_bytes(b"{}\n")
    return found.upload("1", payload)


READS: dict[str, Callable[[Mediarithmics, Path], object]] = {
    "look-up by id": lambda found, _: found.look_up_segment(Address("segment_id", "1")),
    "look-up by name": lambda found, _: found.look_up_segment(
        Address("segment_technical_name", "a")
    ),
    "find imports": lambda found, _: found.find_imports("a"),
    "list executions": lambda found, _: found.list_executions("1"),
    "error file": lambda found, folder: found.fetch_error_file("mics://x", folder / "errors"),
}
WRITES: dict[str, Callable[[Mediarithmics, Path], object]] = {
    "create an import": lambda found, _: found.create_import("segsync-x"),
    "upload": upload,
}
REQUESTS = {**READS, **WRITES}
LISTS = ("look-up by name", "find imports", "list executions")
SAID = {"status": "error", "error": "not for you", "error_id": "e-1"}


@pytest.mark.parametrize("name", READS)
@pytest.mark.parametrize("status", TRANSIENT)
def test_after_five_attempts_the_platforms_last_word_is_told(
    name: str, status: int, tmp_path: Path
) -> None:
    clock = FakeClock()
    words = (f"HTTP {status}", "not for you", "e-1")
    with RawServer(answer(SAID, status)) as server, fails(Refused, *words) as caught:
        READS[name](destination(server.url, clock=clock), tmp_path)
    assert (caught[0].status, caught[0].error_id) == (status, "e-1")
    assert (len(server.requests), clock.slept) == (5, [0.5, 1, 2, 4])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", WRITES)
@pytest.mark.parametrize("status", TRANSIENT)
def test_a_passing_trouble_leaves_a_writing_request_unknown_and_sent_once(
    name: str, status: int, tmp_path: Path
) -> None:
    with RawServer(answer(SAID, status)) as server, fails(OutcomeUnknown, "not for you"):
        WRITES[name](destination(server.url), tmp_path)
    assert [one.method for one in server.requests].count("POST") == 1


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("status", FINAL)
def test_a_refusal_is_not_asked_again(name: str, status: int, tmp_path: Path) -> None:
    words = (f"HTTP {status}", "not for you", "e-1")
    with RawServer(answer(SAID, status)) as server, fails(Refused, *words) as caught:
        REQUESTS[name](destination(server.url), tmp_path)
    assert (caught[0].status, caught[0].error_id) == (status, "e-1")
    # A list may be refused for the size of its pages.
    assert len(server.requests) == (2 if status == 400 and name in LISTS else 1)
    assert not (tmp_path / "errors").exists()


@pytest.mark.parametrize("name", [name for name in REQUESTS if name != "look-up by id"])
def test_what_is_not_there_is_not_asked_for_again(name: str, tmp_path: Path) -> None:
    with RawServer(answer(SAID, 404)) as server, fails(Refused, "HTTP 404"):
        REQUESTS[name](destination(server.url), tmp_path)
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", REQUESTS)
@pytest.mark.parametrize("status", SENSELESS)
def test_a_status_without_sense_is_not_asked_again(name: str, status: int, tmp_path: Path) -> None:
    kind = OutcomeUnknown if name == "upload" else ProtocolError
    with RawServer(answer(b"", status)) as server, fails(kind):
        REQUESTS[name](destination(server.url), tmp_path)
    assert len(server.requests) == 1
    assert not (tmp_path / "errors").exists()


@pytest.mark.parametrize(
    "step",
    [
        cut(1, how="close"),
        cut(1, how="reset"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello", how="close"),
        raw(b"garbage\r\n\r\n", how="close"),
    ],
)
def test_a_broken_connection_is_made_again(step: Callable[..., None]) -> None:
    with RawServer(step, step, ok([])) as server:
        assert ask(destination(server.url)) == []
    assert server.connections == 3


def test_a_connection_that_stays_broken_is_an_unknown_outcome() -> None:
    with RawServer(cut(1, how="reset")) as server, fails(OutcomeUnknown):
        ask(destination(server.url))
    assert len(server.requests) == 5


def test_a_silent_platform_is_asked_again() -> None:
    with RawServer(silence, ok([])) as server:
        assert ask(destination(server.url, limits=QUICK)) == []


def test_a_refused_connection_is_tried_again_and_then_was_never_sent() -> None:
    clock = FakeClock()
    with RawServer(ok([])) as server:
        pass
    with fails(NotSent, "Connection refused"):
        ask(destination(server.url, clock=clock))
    assert len(clock.slept) == 4


def test_an_untrusted_certificate_is_not_tried_again() -> None:
    clock = FakeClock()
    with RawServer(ok([]), tls=Authority().server()) as server, fails(Untrusted):
        ask(destination(server.url, clock=clock))
    assert clock.slept == []
    assert server.connections == 1


def test_the_platform_may_name_the_pause() -> None:
    clock = FakeClock()
    steps = [
        answer(b"", 429, {"Retry-After": "7"}),
        answer(b"", 503, {"Retry-After": format_datetime(NOW + timedelta(hours=9), usegmt=True)}),
        answer(b"", 503, {"Retry-After": "soon"}),
        raw(b"HTTP/1.1 503 x\r\nRetry-After: 5\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n"),
    ]
    clock.seconds = NOW.timestamp()
    with RawServer(*steps, ok([])) as server:
        ask(destination(server.url, clock=clock))
    assert clock.slept == [7, 300, 2, 4]


def test_no_request_is_waited_for_longer_than_a_quarter_of_an_hour() -> None:
    clock = FakeClock()
    with RawServer(answer(b"", 503, {"Retry-After": "9999"})) as server, fails(Refused):
        ask(destination(server.url, clock=clock))
    assert clock.slept == [300, 300, 300]


def test_each_pause_is_told() -> None:
    told: list[str] = []
    with RawServer(answer(b"", 503), ok([])) as server:
        ask(destination(server.url, notify=told.append))
    [sentence] = told
    assert sentence.startswith("could not list the executions: ")
    assert sentence.endswith("(HTTP 503): (nothing); trying again in 0.5 s")


def test_the_jitter_is_a_share_of_the_pause() -> None:
    clock, shares, failures = FakeClock(), iter([0.0, 0.25, 0.5, 1.0, 1.0]), []

    def attempt() -> None:
        failures.append(1)
        raise Transient(NotSent("no"))

    with pytest.raises(NotSent):
        Patience(clock, lambda: next(shares), lambda _: None).call(attempt)
    assert clock.slept == [0, 0.25, 1, 4]
    assert len(failures) == 5


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, ["destination.api_token (the variable MICS_TOKEN)", "Navigator"]),
        (403, ["destination.api_token (the variable MICS_TOKEN)", "destination.datamart_id"]),
        (404, ["destination.datamart_id"]),
        (407, ["destination.proxy"]),
        (413, ["destination.max_upload_bytes"]),
        (415, ["destination.format"]),
    ],
)
def test_a_refusal_says_which_setting_to_look_at(status: int, words: list[str]) -> None:
    with RawServer(answer(b"<html>no</html>", status)) as server, fails(Refused, *words):
        ask(destination(server.url, api_token=Secret(TOKEN, "the variable MICS_TOKEN")))
