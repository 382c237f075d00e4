"""Sockets on which no wait outlasts the exchange it belongs to.

The timeout of `requests` starts anew with every byte that arrives, so that an answer of one byte a
second never ends. Here each wait gets what is left of the exchange, the TLS handshake included.
The seconds are real ones whatever clock the caller owns: a socket waits in no others.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


class Attempt:
    """How far the exchange under way has come, and how long it may still take.

    `begun` is true once a byte of the request itself may have left; a TLS handshake or a proxy's
    CONNECT is none.
    """

    def __init__(self, *, connect_seconds: float, stall_seconds: float) -> None:
        self._connect_seconds = connect_seconds
        self._stall_seconds = stall_seconds
        self._ends_at = self._connected_by = float("inf")
        self._connecting = False
        self.begun = False

    def start(self, seconds: float) -> None:
        """A new exchange that may take `seconds`."""
        self._ends_at = time.monotonic() + seconds
        self._connecting = self.begun = False

    @contextmanager
    def connecting(self) -> Iterator[None]:
        """While the connection is being made, which has a shorter deadline of its own."""
        self._connecting = True
        self._connected_by = time.monotonic() + self._connect_seconds
        yield
        self._connecting = False

    def sending(self) -> None:
        """Bytes are about to be written."""
        self.begun = self.begun or not self._connecting

    def left(self) -> float:
        """The seconds that the next wait may take. Raises TimeoutError where there are none."""
        ends_at = min(self._ends_at, self._connected_by) if self._connecting else self._ends_at
        left = ends_at - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    @property
    def expired(self) -> bool:
        """Whether the whole exchange has used up its time."""
        return time.monotonic() >= self._ends_at

    def left_for_sending(self) -> float:
        """The same for a write, which also ends where the peer takes nothing for too long."""
        return min(self.left(), self._stall_seconds)


class TimedSocket(socket.socket):
    """A TCP socket of one attempt after another."""

    attempt: Attempt

    @classmethod
    def connected(cls, host: str, port: int, attempt: Attempt) -> TimedSocket:
        """A connection to the first address of `host` that takes one. Raises OSError."""
        failure = OSError(f"no address for {host}")
        for family, kind, protocol, _, address in socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        ):
            made = cls(family, kind, protocol)
            made.attempt = attempt
            try:
                made.settimeout(attempt.left())
                made.connect(address)
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            except OSError as error:
                made.close()
                failure = error
            else:
                return made
        raise failure

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """As socket.recv_into."""
        self.settimeout(self.attempt.left())
        return super().recv_into(*args, **kwargs)

    def sendall(self, *args: Any, **kwargs: Any) -> None:
        """As socket.sendall."""
        self.settimeout(self.attempt.left_for_sending())
        super().sendall(*args, **kwargs)


class TimedTlsSocket(ssl.SSLSocket):
    """A TLS socket of one attempt after another."""

    @property
    def _attempt(self) -> Attempt:
        context = self.context
        assert isinstance(context, TimedTlsContext)
        return context.attempt

    def do_handshake(self, block: bool = False) -> None:
        """As SSLSocket.do_handshake."""
        self.settimeout(self._attempt.left())
        super().do_handshake(block)

    def recv_into(self, *args: Any, **kwargs: Any) -> int:
        """As SSLSocket.recv_into."""
        self.settimeout(self._attempt.left())
        return super().recv_into(*args, **kwargs)

    def send(self, *args: Any, **kwargs: Any) -> int:
        """As SSLSocket.send, of which its sendall is made."""
        self.settimeout(self._attempt.left_for_sending())
        return super().send(*args, **kwargs)


class TimedTlsContext(ssl.SSLContext):
    """TLS 1.2 or later, always verified, and no environment variable changes that."""

    sslsocket_class = TimedTlsSocket
    attempt: Attempt

    @classmethod
    def strict(cls, attempt: Attempt) -> TimedTlsContext:
        """A context that trusts nobody yet."""
        context = cls(ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.attempt = attempt
        return context
