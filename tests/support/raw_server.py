"""A server of a few lines that puts on the wire exactly the bytes a test wants."""

from __future__ import annotations

import fcntl
import json
import socket
import ssl
import struct
import termios
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Event, Thread
from typing import Self


@dataclass
class Received:
    """A request as it came; the names of its headers are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)

    @property
    def length(self) -> int:
        return int(self.headers.get("content-length", "0"))


class Conversation:
    """One connection, while the server talks on it."""

    def __init__(self, connection: socket.socket, stopped: Event) -> None:
        self.connection = connection
        self.stopped = stopped
        self.request = Received("", "", {})
        self.is_over = False
        self._rest = b""

    def read_head(self) -> Received | None:
        """The next request without its body, or None where the client has gone."""
        while b"\r\n\r\n" not in self._rest:
            block = self._receive(65536)
            if not block:
                return None
            self._rest += block
        head, self._rest = self._rest.split(b"\r\n\r\n", 1)
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        self.request = Received(method, target, headers)
        return self.request

    def read_body(self, share: float = 1.0) -> None:
        """Read that share of the request's body."""
        wanted = int(self.request.length * share)
        body = self.request.body
        while len(body) < wanted:
            block = self._rest or self._receive(wanted - len(body))
            if not block:
                return
            body += block[: wanted - len(body)]
            self._rest = b""

    def swallow_body(self) -> None:
        """Read the request's body, and forget it."""
        left = self.request.length - len(self._rest)
        self._rest = b""
        while left > 0 and (block := self._receive(65536)):
            left -= len(block)

    def send(self, data: bytes) -> None:
        with suppress(OSError):
            self.connection.sendall(data)

    def drip(self, data: bytes, seconds: float) -> None:
        """Send a byte, wait, and so on until the client has gone."""
        for number in range(len(data)):
            try:
                self.connection.sendall(data[number : number + 1])
            except OSError:
                return
            if self.stopped.wait(seconds):
                return

    def wait_until_arrived(self) -> None:
        """Wait for the client's kernel: what is still on its way would be lost with a reset."""
        while not self.stopped.is_set() and self._on_its_way():
            time.sleep(0.001)

    def _on_its_way(self) -> bool:
        try:
            left = fcntl.ioctl(self.connection, termios.TIOCOUTQ, bytes(4))
        except OSError:
            return False
        return any(left)

    def close(self) -> None:
        self.is_over = True
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
        self.connection.close()

    def reset(self) -> None:
        """Close with RST."""
        self.is_over = True
        with suppress(OSError):
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()

    def _receive(self, size: int) -> bytes:
        try:
            return self.connection.recv(size)
        except OSError:
            return b""


Step = Callable[[Conversation], None]


class RawServer:
    """Carries out a step for each request, in their order; the last one serves all later ones.

    A step begins when the head of a request has been read.
    """

    def __init__(self, *steps: Step, tls: ssl.SSLContext | None = None) -> None:
        self._steps = list(steps)
        self._tls = tls
        self._stopped = Event()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self._listener.getsockname()[1]
        self.requests: list[Received] = []
        self.connections = 0
        self._open: list[socket.socket] = []
        self._threads = [Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    @property
    def url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        for one in (self._listener, *self._open):
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        for thread in self._threads:
            thread.join(5)

    def _accept(self) -> None:
        while not self._stopped.is_set():
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            thread = Thread(target=self._serve, args=(connection,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _serve(self, connection: socket.socket) -> None:
        if self._tls is not None:
            try:
                connection = self._tls.wrap_socket(connection, server_side=True)
            except OSError:
                connection.close()
                return
            self._open.append(connection)
        talk = Conversation(connection, self._stopped)
        while not talk.is_over and (request := talk.read_head()) is not None:
            self.requests.append(request)
            step = self._steps.pop(0) if len(self._steps) > 1 else self._steps[0]
            step(talk)
        connection.close()


def head(
    status: int = 200, headers: Mapping[str, str] | None = None, length: int | None = None
) -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {status:03d} Words"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def answer(
    body: bytes | object = b"", status: int = 200, headers: Mapping[str, str] | None = None
) -> Step:
    """Read the whole request and answer it; what is not bytes goes as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def step(talk: Conversation) -> None:
        talk.read_body()
        talk.send(head(status, headers, len(content)) + content)

    return step


def ok(data: object, **more: object) -> Step:
    """The platform's envelope around `data`."""
    return answer({"status": "ok", "data": data, **more})


def raw(data: bytes, *, how: str = "keep") -> Step:
    """Read the whole request and send these bytes; then `keep`, `close` or `reset`."""

    def step(talk: Conversation) -> None:
        talk.read_body()
        talk.send(data)
        _end(talk, how)

    return step


def cut(share: float, *, how: str) -> Step:
    """Read that share of the request's body and `close` or `reset`."""

    def step(talk: Conversation) -> None:
        talk.read_body(share)
        _end(talk, how)

    return step


def silence(talk: Conversation) -> None:
    """Read the whole request and say nothing until the client goes."""
    talk.read_body()
    while not talk.stopped.is_set() and talk.read_head() is not None:
        pass
    talk.is_over = True


def chunked(*chunks: bytes, end: bytes = b"0\r\n\r\n") -> bytes:
    """An answer of these chunks."""
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return head(headers={"Transfer-Encoding": "chunked"}) + b"".join(parts) + end


def _end(talk: Conversation, how: str) -> None:
    if how == "close":
        talk.close()
    elif how == "reset":
        talk.wait_until_arrived()
        talk.reset()


def early(data: bytes, *, how: str) -> Step:
    """Answer before the request's body is read, then `drain` the body or `close` at once."""

    def step(talk: Conversation) -> None:
        talk.send(data)
        if how == "drain":
            talk.read_body()
        talk.wait_until_arrived()
        talk.close()

    return step


def endless(start: bytes, more: bytes) -> Step:
    """An answer that goes on until the client has gone."""

    def step(talk: Conversation) -> None:
        talk.read_body()
        talk.send(start)
        while not talk.stopped.is_set():
            try:
                talk.connection.sendall(more)
            except OSError:
                break
        talk.is_over = True

    return step


def dripping(data: bytes, seconds: float) -> Step:
    """An answer of a byte, a pause, a byte."""

    def step(talk: Conversation) -> None:
        talk.read_body()
        talk.drip(data, seconds)
        talk.is_over = True

    return step


def slow_reader(bytes_per_second: int) -> Step:
    """Takes the request's body slowly, and answers when it has all of it."""

    def step(talk: Conversation) -> None:
        block = max(1, bytes_per_second // 50)
        while len(talk.request.body) < talk.request.length and not talk.stopped.wait(0.02):
            received = talk.connection.recv(block)
            if not received:
                break
            talk.request.body += received
        talk.send(head(length=2) + b"{}")

    return step


def deaf(talk: Conversation) -> None:
    """Takes nothing of the request's body."""
    talk.stopped.wait(20)
