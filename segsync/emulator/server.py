"""The emulator on a socket: a thread that accepts, and one for each connection."""

from __future__ import annotations

import select
import socket
import ssl
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType

from segsync.emulator.api import Api
from segsync.emulator.connection import Connection
from segsync.emulator.emulator import Emulator
from segsync.emulator.wire import Gone, Wire

BACKLOG = 128
HANDSHAKE_SECONDS = 10.0


class EmulatorServer:
    """Serves an emulator on loopback; port 0 is any free one. Use it in a `with` statement."""

    def __init__(
        self,
        emulator: Emulator,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.emulator = emulator
        self._api = Api(emulator)
        self._host = host
        self._port = port
        self._tls = tls
        self._stopped = Event()
        self._lock = Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[Thread] = []
        self._acceptor: Thread | None = None
        self._listener: socket.socket | None = None
        self._wake: tuple[socket.socket, socket.socket] | None = None

    @property
    def url(self) -> str:
        """The address of the API, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://{self._host}:{self._port}"

    def start(self) -> None:
        """Begin to serve. Raises OSError where the port is taken."""
        if self._listener is None:
            self._listener = socket.create_server((self._host, self._port), backlog=BACKLOG)
            self._port = self._listener.getsockname()[1]
        self._wake = socket.socketpair()
        self._acceptor = Thread(
            target=self._accept, args=(self._listener, self._wake[0]), daemon=True
        )
        self._acceptor.start()

    def refuse_connections(self) -> None:
        """Stop to listen: connections are refused. Those that are open go on."""
        self.hold_connections()
        if self._listener:
            self._listener.close()
            self._listener = None

    def hold_connections(self) -> None:
        """Let new connections wait: they are made, and nobody reads from them."""
        if self._wake and self._acceptor:
            self._wake[1].close()
            self._acceptor.join()
            self._wake[0].close()
            self._wake = self._acceptor = None

    def accept_connections(self) -> None:
        """Listen and accept again, on the same port."""
        if self._acceptor is None:
            self.start()

    def stop(self) -> None:
        """End all connections."""
        self.refuse_connections()
        self._stopped.set()
        with self._lock:
            for connection in self._open:
                _shut(connection)
            threads = list(self._threads)
        for thread in threads:
            thread.join(timeout=10)

    def __enter__(self) -> EmulatorServer:
        self.accept_connections()
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _accept(self, listener: socket.socket, wake: socket.socket) -> None:
        while True:
            ready, _, _ = select.select([listener, wake], [], [])
            if wake in ready:
                return
            connection, _ = listener.accept()
            thread = Thread(target=self._serve, args=(connection,), daemon=True)
            with self._lock:
                self._open.add(connection)
                self._threads = [one for one in self._threads if one.is_alive()]
                self._threads.append(thread)
                thread.start()

    def _serve(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            secured = self._secured(connection)
            with self._lock:
                self._open.add(secured)
            Connection(self._api, Wire(secured, self._stopped)).serve()
        except Gone:
            connection.close()
        finally:
            with self._lock:
                self._open = {one for one in self._open if one.fileno() >= 0}

    def _secured(self, connection: socket.socket) -> socket.socket:
        if self._tls is None:
            return connection
        try:
            connection.settimeout(HANDSHAKE_SECONDS)
            secured = self._tls.wrap_socket(connection, server_side=True)
            secured.settimeout(None)
        except OSError:
            raise Gone from None
        return secured


def tls_context(certificate: Path, key: Path | None) -> ssl.SSLContext:
    """A server's context from PEM files. Raises OSError, ssl.SSLError included."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        connection.close()
