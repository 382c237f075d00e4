"""No exchange takes longer than it may, whatever the platform does slowly."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Timer

import pytest

from segsync.errors import NotSent, OutcomeUnknown
from segsync.mediarithmics.exchange import FileBody, Limits
from segsync.secret import Secret
from tests.support.platform import asking, fails, lasting, wire
from tests.support.raw_server import (
    Conversation,
    RawServer,
    Step,
    answer,
    deaf,
    dripping,
    head,
    silence,
    slow_reader,
)
from tests.support.tls import Authority

SECONDS = 0.4


def silent_after(data: bytes) -> Step:
    def step(talk: Conversation) -> None:
        talk.send(data)
        silence(talk)

    return step


@pytest.mark.parametrize(
    "step",
    [
        silence,
        dripping(head(length=1000) + b"x" * 1000, 0.02),
        dripping(head(headers={"X": "y" * 1000}, length=0), 0.02),
        silent_after(head(length=5) + b"hel"),
        silent_after(head(headers={"Transfer-Encoding": "chunked"}) + b"5\r\nhel"),
        dripping(head(headers={"Transfer-Encoding": "chunked"}) + b"1\r\nx\r\n" * 500, 0.02),
        dripping(head() + b"x" * 1000, 0.02),
        dripping(b"HTTP/1.1 100 Continue\r\n\r\n" * 100, 0.02),
    ],
)
def test_an_answer_that_does_not_end_is_cut_at_the_deadline(step: Step) -> None:
    with RawServer(step) as server, lasting(SECONDS), fails(OutcomeUnknown, "within 0.4 s"):
        wire(server.url).exchange(asking(seconds=SECONDS))


LONGER = 4.0
"""Seconds of which a tenth is more than the slowness of a machine; the cases wait side by side."""
CHUNK = b"1\r\nx\r\n"
SLOW_BODY = dripping(head(length=10_000) + b"x" * 10_000, 0.02)
SLOW_HEADERS = dripping(head(headers={"X": "y" * 10_000}, length=0), 0.02)
SLOW_CHUNKS = dripping(head(headers={"Transfer-Encoding": "chunked"}) + CHUNK * 5000, 0.02)
CONNECTING = Limits(connect_seconds=LONGER)
STALLING = Limits(stall_seconds=LONGER)


class Waiting:
    """Somebody who waits for a platform that is slow in one way, and what that is told as."""

    def __init__(self, folder: Path) -> None:
        self._authority = Authority()
        self._trusted = self._authority.write_to(folder)
        self._payload = folder / "payload"
        self._payload.write_bytes(b"x" * 20_000_000)

    def answer(self, step: Step) -> None:
        with RawServer(step) as server, fails(OutcomeUnknown, "within 4 s"):
            wire(server.url).exchange(asking(seconds=LONGER))

    def upload(self, step: Step, limits: Limits, seconds: float, words: str) -> None:
        request = asking(method="POST", body=FileBody(self._payload), seconds=seconds)
        with RawServer(step) as server, fails(OutcomeUnknown, words):
            wire(server.url, limits=limits).exchange(request)

    def tls(self, step: Step) -> None:
        context = self._authority.server()
        with RawServer(step, tls=context) as server, fails(OutcomeUnknown, "within 4 s"):
            wire(server.url, ca_file=self._trusted).exchange(asking(seconds=LONGER))

    def accept(self) -> None:
        with accepting_nobody() as port, fails(NotSent, "timed out"):
            wire(f"http://127.0.0.1:{port}", limits=CONNECTING).exchange(asking(seconds=60))

    def handshake(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener, fails(NotSent, "timed out"):
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            wire(url, limits=CONNECTING).exchange(asking(seconds=60))

    def proxy(self, step: Step) -> None:
        with RawServer(step) as proxy, fails(NotSent):
            line = wire("https://127.0.0.1:1", proxy=Secret(proxy.url), limits=CONNECTING)
            line.exchange(asking(seconds=60))


def test_a_longer_deadline_holds_within_a_tenth(tmp_path: Path) -> None:
    waiting = Waiting(tmp_path)
    cases: list[Callable[[], None]] = [
        partial(waiting.answer, silence),
        partial(waiting.answer, SLOW_BODY),
        partial(waiting.answer, SLOW_HEADERS),
        partial(waiting.answer, SLOW_CHUNKS),
        partial(waiting.upload, silence, Limits(), LONGER, "within 4 s"),
        partial(waiting.upload, slow_reader(1_000_000), Limits(), LONGER, "within 4 s"),
        partial(waiting.upload, deaf, STALLING, 60, "timed out"),
        partial(waiting.tls, silence),
        partial(waiting.tls, SLOW_BODY),
        waiting.accept,
        waiting.handshake,
        partial(waiting.proxy, silence),
        partial(waiting.proxy, SLOW_HEADERS),
    ]

    def took(case: Callable[[], None]) -> float:
        started = time.monotonic()
        case()
        return time.monotonic() - started

    with ThreadPoolExecutor(len(cases)) as pool:
        for case, seconds in zip(cases, pool.map(took, cases), strict=True):
            assert LONGER * 0.9 <= seconds <= LONGER * 1.1, case


@contextmanager
def accepting_nobody() -> Iterator[int]:
    """The port of a server whose queue is full."""
    with socket.create_server(("127.0.0.1", 0), backlog=0) as listener:
        port = listener.getsockname()[1]
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(("127.0.0.1", port))
        yield port
        for filler in fillers:
            filler.close()


def test_a_slow_answer_within_the_deadline_is_read() -> None:
    with RawServer(dripping(head(length=10) + b"x" * 10, 0.01)) as server:
        assert wire(server.url).exchange(asking(seconds=10)).body == b"x" * 10


def test_the_deadline_of_one_exchange_does_not_shorten_the_next() -> None:
    with RawServer(answer(b"{}"), dripping(head(length=10) + b"x" * 10, 0.02)) as server:
        line = wire(server.url)
        line.exchange(asking(seconds=0.8))
        assert len(line.exchange(asking(seconds=10)).body) == 10
        assert server.connections == 1


def test_a_server_that_accepts_no_connection_is_given_up_after_the_connect_timeout() -> None:
    with accepting_nobody() as port:
        line = wire(f"http://127.0.0.1:{port}", limits=Limits(connect_seconds=0.5))
        with lasting(0.5), fails(NotSent, "timed out"):
            line.exchange(asking(seconds=20))


def test_a_handshake_without_an_answer_is_given_up_after_the_connect_timeout() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"https://127.0.0.1:{listener.getsockname()[1]}"
        with lasting(0.5), fails(NotSent, "timed out"):
            wire(url, limits=Limits(connect_seconds=0.5)).exchange(asking(seconds=20))


# Uploads


@pytest.fixture
def body(tmp_path: Path) -> FileBody:
    path = tmp_path / "payload"
    path.write_bytes(b"x" * 30_000_000)
    return FileBody(path)


def test_an_upload_that_is_taken_slowly_is_cut_at_the_deadline(body: FileBody) -> None:
    request = asking(method="POST", body=body, seconds=1.0)
    with RawServer(slow_reader(1_000_000)) as server, lasting(1.0), fails(OutcomeUnknown):
        wire(server.url).exchange(request)


def test_an_upload_of_which_nothing_is_taken_is_given_up(body: FileBody) -> None:
    request = asking(method="POST", body=body, seconds=20)
    with RawServer(deaf) as server, lasting(0.5), fails(OutcomeUnknown, "timed out"):
        wire(server.url, limits=Limits(stall_seconds=0.5)).exchange(request)


def test_an_upload_that_is_taken_but_not_answered_is_cut_at_the_deadline(body: FileBody) -> None:
    request = asking(method="POST", body=body, seconds=1.0)
    with RawServer(silence) as server, lasting(1.0), fails(OutcomeUnknown, "within 1 s"):
        wire(server.url, limits=Limits(stall_seconds=0.2)).exchange(request)


def test_a_larger_upload_may_take_longer() -> None:
    limits = Limits()
    assert limits.for_upload(0) == 120
    assert limits.for_upload(100_000_000) == 1120


@pytest.fixture
def interruptible() -> Iterator[None]:
    # A process that was started in the background ignores SIGINT.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("interruptible")
def test_an_interrupt_ends_an_exchange_at_once_and_leaves_the_next_one_unharmed() -> None:
    def interrupt() -> None:
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with RawServer(silence, answer(b"fresh")) as server:
        line = wire(server.url)
        Timer(0.3, interrupt).start()
        with lasting(0.3), pytest.raises(KeyboardInterrupt):
            line.exchange(asking(seconds=20))
        assert line.exchange(asking()).body == b"fresh"
