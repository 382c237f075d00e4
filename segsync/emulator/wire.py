"""HTTP/1.1 as bytes on a socket: reading requests, and ending connections in every way."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from threading import Event

BLOCK = 256 * 1024
LARGEST_HEAD = 64 * 1024
DRAIN_SECONDS = 5.0
TICK_SECONDS = 0.05


class Gone(Exception):
    """The connection has ended."""


class BadRequest(Exception):
    """What arrived is no HTTP request."""


@dataclass(frozen=True, slots=True)
class Head:
    """A request's first line and headers, names in lower case."""

    method: str
    target: str
    version: str
    headers: Mapping[str, str]

    @property
    def size(self) -> int | None:
        """The body's length in bytes; None where it is chunked. Raises BadRequest."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return None
        text = self.headers.get("content-length", "0")
        if not (text.isascii() and text.isdecimal()):
            raise BadRequest("bad Content-Length")
        return int(text)

    @property
    def keeps_alive(self) -> bool:
        """Whether the client means to send more requests."""
        asked = self.headers.get("connection", "").lower()
        return asked != "close" and (self.version == "HTTP/1.1" or asked == "keep-alive")


class Wire:
    """One accepted connection. `stopped` is set when the server ends. Raises Gone."""

    def __init__(self, connection: socket.socket, stopped: Event) -> None:
        self._socket = connection
        self._stopped = stopped
        self._buffer = bytearray()

    def read_head(self) -> Head | None:
        """The next request's head; None where the client is done. Raises BadRequest."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if len(self._buffer) > LARGEST_HEAD:
                raise BadRequest("the head is too long")
            data = self._receive()
            if not data:
                return None
            self._buffer += data
        text = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        return parse_head(text)

    def read_body(self, head: Head, block: int = BLOCK) -> Iterator[bytes]:
        """The body as it arrives, at most `block` bytes at a time. Raises BadRequest."""
        if head.headers.get("expect", "").lower() == "100-continue":
            self.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        size = head.size
        if size is not None:
            yield from self._read_exactly(size, block)
            return
        while size := self._chunk_size():
            yield from self._read_exactly(size, block)
            self._line()
        while self._line():
            pass

    def send(self, data: bytes) -> None:
        """Send bytes."""
        try:
            self._socket.sendall(data)
        except OSError:
            raise Gone from None

    def send_slowly(self, data: bytes, bytes_per_second: float) -> None:
        """Send bytes at a rate."""
        step = max(1, int(bytes_per_second * TICK_SECONDS))
        for start in range(0, len(data), step):
            part = data[start : start + step]
            self.send(part)
            self.pause(len(part) / bytes_per_second)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the server's end."""
        if self._stopped.wait(seconds):
            raise Gone

    def stall(self, seconds: float | None) -> None:
        """Do nothing for that long, or until the client hangs up."""
        until = None if seconds is None else time.monotonic() + seconds
        while until is None or time.monotonic() < until:
            self.pause(TICK_SECONDS)
            if self._client_hung_up():
                raise Gone

    def reset(self) -> None:
        """End with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.close()

    def finish(self) -> None:
        """End in good order: say that no more comes, take what still arrives, close."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
            self._socket.settimeout(TICK_SECONDS)
            until = time.monotonic() + DRAIN_SECONDS
            while time.monotonic() < until and not self._stopped.is_set():
                try:
                    if not self._socket.recv(BLOCK):
                        break
                except TimeoutError:
                    continue
        except OSError:
            pass
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def _client_hung_up(self) -> bool:
        readable, _, _ = select.select([self._socket], [], [], 0)
        if not readable:
            return False
        data = self._receive()
        self._buffer += data
        return not data

    def _receive(self, size: int = BLOCK) -> bytes:
        try:
            return self._socket.recv(size)
        except OSError:
            raise Gone from None

    def _read_exactly(self, size: int, block: int) -> Iterator[bytes]:
        while size:
            if self._buffer:
                data = bytes(self._buffer[: min(size, block)])
                del self._buffer[: len(data)]
            else:
                data = self._receive(min(size, block))
            if not data:
                raise Gone
            size -= len(data)
            yield data

    def _line(self) -> bytes:
        while (end := self._buffer.find(b"\r\n")) < 0:
            data = self._receive()
            if not data:
                raise Gone
            self._buffer += data
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 2]
        return line

    def _chunk_size(self) -> int:
        try:
            return int(self._line().partition(b";")[0], 16)
        except ValueError:
            raise BadRequest("bad chunk") from None


def parse_head(text: str) -> Head:
    """A head from its text. Raises BadRequest."""
    first, *lines = text.split("\r\n")
    words = first.split(" ")
    if len(words) != 3 or not words[1].startswith("/"):
        raise BadRequest("bad request line")
    headers = {}
    for line in lines:
        name, colon, value = line.partition(":")
        if not colon or name != name.strip():
            raise BadRequest("bad header")
        headers[name.lower()] = value.strip()
    return Head(words[0], words[1], words[2], headers)
