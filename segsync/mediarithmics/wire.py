"""One HTTP exchange with the platform: the token, the connection, the deadline, the size caps.

The one module that knows `requests` and the urllib3 under it; import it late, it is slow. No
session is used: a session would read netrc, proxy variables and cookies, and follow redirects.
"""

from __future__ import annotations

import http.client
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

import certifi
import requests
import requests.adapters
import requests.auth
import urllib3
import urllib3.connection

from segsync import __version__
from segsync.errors import NotSent, OutcomeUnknown, ProtocolError, UsageError
from segsync.mediarithmics.deadline import Attempt, TimedSocket, TimedTlsContext
from segsync.mediarithmics.envelope import Clean
from segsync.mediarithmics.exchange import MIB, Answer, Limits, Request, Sink, Untrusted
from segsync.mediarithmics.origin import check_destination
from segsync.model import DestinationSettings
from segsync.secret import Secret

READ_BYTES = 64 * 1024
FOREIGN = (
    requests.RequestException,
    urllib3.exceptions.HTTPError,
    http.client.HTTPException,
    OSError,
    ValueError,
)
"""What the library may raise in an exchange."""


class BareToken(requests.auth.AuthBase):
    """Sends the token as it stands: the platform wants no scheme such as Bearer before it."""

    def __init__(self, token: Secret) -> None:
        self._token = token

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = self._token.reveal()
        return request


class _Response(http.client.HTTPResponse):
    """Refuses a chunk of a negative size: one of -1 would be read to its end, into memory."""

    def _read_next_chunk_size(self) -> int:
        size: int = super()._read_next_chunk_size()  # type: ignore[misc]  # private, not in the stub
        if size < 0:
            raise http.client.HTTPException("a chunk of negative size")
        return size


class _Timed:
    """A connection that obeys an attempt, and tells it what has happened."""

    response_class = _Response
    attempt: Attempt
    sock: Any
    _dns_host: str
    port: int

    def _new_conn(self) -> TimedSocket:
        return TimedSocket.connected(self._dns_host, self.port, self.attempt)

    def connect(self) -> None:
        with self.attempt.connecting():
            super().connect()  # type: ignore[misc]  # the connection is the other base

    def send(self, data: Any) -> None:
        if self.sock is None:
            self.connect()
        self.attempt.sending()
        super().send(data)  # type: ignore[misc]  # the connection is the other base


class Adapter(requests.adapters.HTTPAdapter):
    """Makes connections of one attempt after another, and verifies by one TLS context only."""

    def __init__(self, attempt: Attempt, tls: ssl.SSLContext) -> None:
        self._pools = _pools(attempt)
        self._tls = tls
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, ssl_context=self._tls, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pools

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        manager: urllib3.ProxyManager = super().proxy_manager_for(
            proxy, ssl_context=self._tls, **kwargs
        )
        manager.pool_classes_by_scheme = self._pools
        return manager

    def cert_verify(self, conn: Any, *_: Any) -> None:
        conn.cert_reqs = "CERT_REQUIRED"


def _pools(attempt: Attempt) -> dict[str, type[urllib3.HTTPConnectionPool]]:
    plain = type("Plain", (_Timed, urllib3.connection.HTTPConnection), {"attempt": attempt})
    secure = type("Secure", (_Timed, urllib3.connection.HTTPSConnection), {"attempt": attempt})
    return {
        "http": type("Pool", (urllib3.HTTPConnectionPool,), {"ConnectionCls": plain}),
        "https": type("Pool", (urllib3.HTTPSConnectionPool,), {"ConnectionCls": secure}),
    }


class Wire:
    """Exchanges with the origin of `settings`, and no other. One thread at a time."""

    def __init__(self, settings: DestinationSettings, limits: Limits, clean: Clean) -> None:
        """Raises UsageError where the settings would send the token where it must not go."""
        check_destination(settings)
        self._origin = settings.api_url.rstrip("/")
        self._host = urlsplit(self._origin).netloc
        self._auth = BareToken(settings.api_token)
        self._limits = limits
        self._clean = clean
        self._proxy = settings.proxy
        self._attempt = Attempt(
            connect_seconds=limits.connect_seconds, stall_seconds=limits.stall_seconds
        )
        self._adapter = Adapter(self._attempt, _tls(settings, self._attempt))

    def close(self) -> None:
        """Close every connection; the next exchange makes a new one."""
        self._adapter.close()

    def exchange(self, request: Request, sink: Sink | None = None) -> Answer:
        """Ask once. The body of a 200 goes to `sink` where there is one, and then is b"".

        Raises NotSent; OutcomeUnknown once the request had begun and no readable answer came;
        ProtocolError where the answer is larger than the limits.
        """
        self._attempt.start(request.seconds)
        try:
            return self._exchange(request, sink)
        except FOREIGN as error:
            cause = _root(error)
        # Raised out here, so that the library's exception, which may quote headers, is not kept
        # as its context.
        raise self._lost(request, cause)

    def _exchange(self, request: Request, sink: Sink | None) -> Answer:
        response = self._send(request)
        try:
            answer = self._read(response, sink, request.purpose)
        finally:
            response.close()
        if answer.status < 200:
            # An interim answer: the real one may still arrive, and must not be taken for the
            # answer to the next request.
            self.close()
        return answer

    def _send(self, request: Request) -> requests.Response:
        query = f"?{urlencode(request.params, quote_via=quote)}" if request.params else ""
        headers = {"Accept-Encoding": "identity", "User-Agent": f"segsync/{__version__}"}
        if request.content_type is not None:
            headers["Content-Type"] = request.content_type
        prepared = requests.Request(
            request.method,
            self._origin + request.path + query,
            headers=headers,
            data=request.body,
            auth=self._auth,
        ).prepare()
        proxies = {"all": self._proxy.reveal()} if self._proxy else None
        return self._adapter.send(
            prepared, stream=True, timeout=request.seconds, verify=True, proxies=proxies
        )

    def _read(self, response: requests.Response, sink: Sink | None, purpose: str) -> Answer:
        headers = {name.lower(): value for name, value in response.headers.items()}
        status = response.status_code
        if status == 200 and sink is not None:
            for block in self._blocks(response, self._limits.error_file_bytes, purpose):
                sink.write(block)
            return Answer(status, headers, b"")
        body = bytearray()
        try:
            for block in self._blocks(response, self._limits.answer_bytes, purpose):
                body += block
        except (*FOREIGN, ProtocolError):
            # A refusal stands by its status: a server that refuses an upload half-way often
            # breaks the connection over its own explanation.
            if not 400 <= status < 500:
                raise
        return Answer(status, headers, bytes(body))

    def _blocks(self, response: requests.Response, most: int, purpose: str) -> Iterator[bytes]:
        size = 0
        while block := response.raw.read(READ_BYTES, decode_content=False):
            size += len(block)
            if size > most:
                raise ProtocolError(
                    f"could not {purpose}: {self._host}: the answer is larger than "
                    f"{most // MIB} MiB"
                )
            yield block

    def _lost(self, request: Request, cause: BaseException) -> NotSent | OutcomeUnknown:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return Untrusted(
                f"could not {request.purpose}: the certificate of {self._host} is not trusted: "
                f"{cause.verify_message}",
                hint="if it is your own authority's, name its file in destination.ca_file",
            )
        reason = self._clean(_reason(cause))
        if not self._attempt.begun:
            way = " through destination.proxy" if self._proxy else ""
            return NotSent(
                f"could not {request.purpose}: no connection to {self._host}{way}: {reason}",
                hint="nothing was sent; is destination.api_url right, and does this machine reach "
                "it, or only by a destination.proxy?",
            )
        if self._attempt.expired:
            reason = f"no complete answer within {request.seconds:g} s"
        return OutcomeUnknown(f"could not {request.purpose}: {self._host}: {reason}")


def _tls(settings: DestinationSettings, attempt: Attempt) -> ssl.SSLContext:
    context = TimedTlsContext.strict(attempt)
    authorities = settings.ca_file or Path(certifi.where())
    # To load them takes 16 ms; without them a context trusts nobody.
    if settings.api_url.startswith("http:") and settings.ca_file is None:
        return context
    try:
        context.load_verify_locations(authorities)
    except OSError as error:
        reason = error.strerror or str(error)
    else:
        return context
    raise UsageError(
        f"destination.ca_file: {authorities} cannot be read as PEM certificates: {reason}"
    )


def _root(error: BaseException) -> BaseException:
    """The innermost of the exceptions that the library wrapped in each other."""
    for inner in (getattr(error, "reason", None), *reversed(error.args), error.__cause__):
        if isinstance(inner, BaseException):
            return _root(inner)
    return error


def _reason(cause: BaseException) -> str:
    if isinstance(cause, TimeoutError):
        return "timed out"
    if isinstance(cause, OSError) and cause.strerror:
        return cause.strerror
    return str(cause) or type(cause).__name__
