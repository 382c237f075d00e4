"""The token goes to nobody but the origin of the spec, and not in the clear over a network."""

from __future__ import annotations

import socket
import ssl
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from segsync.errors import NotSent, OutcomeUnknown, UsageError
from segsync.mediarithmics.deadline import Attempt, TimedTlsContext
from segsync.mediarithmics.exchange import FileBody, Limits, Untrusted
from segsync.mediarithmics.origin import check_destination
from segsync.secret import Secret
from tests.support.platform import TOKEN, asking, destination, fails, lasting, settings, wire
from tests.support.raw_server import Conversation, RawServer, answer, cut, dripping, head, raw
from tests.support.tls import Authority


@pytest.fixture(scope="module")
def authority() -> Authority:
    return Authority()


@pytest.fixture
def trusted(authority: Authority, tmp_path: Path) -> Path:
    return authority.write_to(tmp_path)


def test_an_own_authority_is_trusted_where_the_spec_names_it(
    authority: Authority, trusted: Path
) -> None:
    with RawServer(answer(b"{}"), tls=authority.server()) as server:
        line = wire(server.url, ca_file=trusted)
        for _ in range(3):
            assert line.exchange(asking()).body == b"{}"
    assert server.connections == 1
    assert server.requests[0].headers["authorization"] == TOKEN


def test_an_upload_goes_through_tls(authority: Authority, trusted: Path, tmp_path: Path) -> None:
    (tmp_path / "payload").write_bytes(bytes(range(256)) * 10_000)
    body = FileBody(tmp_path / "payload")
    with RawServer(answer(b"{}"), tls=authority.server()) as server:
        wire(server.url, ca_file=trusted).exchange(asking(method="POST", body=body))
    assert bytes(server.requests[0].body) == (tmp_path / "payload").read_bytes()


def test_a_slow_answer_through_tls_is_cut_at_the_deadline(
    authority: Authority, trusted: Path
) -> None:
    slow = dripping(head(length=1000) + b"x" * 1000, 0.02)
    with (
        RawServer(slow, tls=authority.server()) as server,
        lasting(0.6),
        fails(OutcomeUnknown, "within 0.6 s"),
    ):
        wire(server.url, ca_file=trusted).exchange(asking(seconds=0.6))


@pytest.mark.parametrize("fault", ["unknown authority", "wrong host", "expired"])
def test_a_certificate_that_proves_nothing_gets_no_request(
    authority: Authority, trusted: Path, fault: str
) -> None:
    known = authority if fault != "unknown authority" else Authority()
    name = "mics.example.com" if fault == "wrong host" else "127.0.0.1"
    tls = known.server(name, expired=fault == "expired")
    with RawServer(answer(b"{}"), tls=tls) as server, fails(Untrusted, "is not trusted"):
        wire(server.url, ca_file=trusted).exchange(asking())
    assert server.requests == []


def test_no_environment_variable_adds_an_authority_or_ends_verification(
    authority: Authority, trusted: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, str(trusted))
    monkeypatch.setenv("SSL_CERT_DIR", str(trusted.parent))
    monkeypatch.setenv("PYTHONHTTPSVERIFY", "0")
    monkeypatch.setenv("SSLKEYLOGFILE", str(trusted.parent / "keys"))
    with RawServer(answer(b"{}"), tls=authority.server()) as server, fails(Untrusted):
        wire(server.url).exchange(asking())
    assert server.requests == []
    assert not (trusted.parent / "keys").exists()


def test_tls_before_1_2_is_not_spoken(authority: Authority, trusted: Path) -> None:
    old = authority.server()
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSVersion.TLSv1"):
        old.minimum_version = ssl.TLSVersion.TLSv1
    with pytest.warns(DeprecationWarning, match="TLSVersion.TLSv1_1"):
        old.maximum_version = ssl.TLSVersion.TLSv1_1
    with RawServer(answer(b"{}"), tls=old) as server, fails(NotSent):
        wire(server.url, ca_file=trusted).exchange(asking())
    assert server.requests == []


def test_tls_1_2_is_the_least_whatever_openssl_would_allow() -> None:
    context = TimedTlsContext.strict(Attempt(connect_seconds=1, stall_seconds=1))
    assert context.minimum_version == ssl.TLSVersion.TLSv1_2
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.get_ca_certs() == []


def test_a_server_without_tls_gets_no_request(trusted: Path) -> None:
    heard: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            heard.append(connection.recv(65536))
            connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = Thread(target=serve, args=(listener,))
        serving.start()
        with fails(NotSent):
            url = f"https://127.0.0.1:{listener.getsockname()[1]}"
            wire(url, ca_file=trusted).exchange(asking())
        serving.join()
    assert TOKEN.encode() not in heard[0]


def test_an_authority_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").touch()
    for name in ("absent.pem", "empty.pem"):
        with pytest.raises(UsageError, match=r"destination\.ca_file"):
            wire("https://127.0.0.1", ca_file=tmp_path / name)


# Proxies


def tunnel(talk: Conversation) -> None:
    """A proxy's CONNECT: bytes are carried both ways until one side ends."""
    host, port = talk.request.target.rsplit(":", 1)
    with socket.create_connection((host, int(port))) as there:
        talk.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        back = Thread(target=carry, args=(there, talk.connection), daemon=True)
        back.start()
        carry(talk.connection, there)
        back.join()
    talk.is_over = True


def carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while block := source.recv(65536):
            target.sendall(block)
        target.shutdown(socket.SHUT_WR)


def test_a_tunnel_through_the_proxy_of_the_spec_hides_the_token_from_it(
    authority: Authority, trusted: Path
) -> None:
    with (
        RawServer(answer(b"{}"), tls=authority.server()) as server,
        RawServer(tunnel) as proxy,
    ):
        secret = Secret(proxy.url.replace("//", "//user:pass@"))
        line = wire(server.url, ca_file=trusted, proxy=secret)
        assert line.exchange(asking()).body == b"{}"
        line.close()
    assert [request.method for request in proxy.requests] == ["CONNECT"]
    assert proxy.requests[0].headers["proxy-authorization"] == "Basic dXNlcjpwYXNz"
    assert "authorization" not in proxy.requests[0].headers
    assert server.requests[0].headers["authorization"] == TOKEN
    assert "proxy-authorization" not in server.requests[0].headers


def test_a_plain_request_goes_through_the_proxy_of_the_spec() -> None:
    with RawServer(answer(b"{}")) as proxy:
        wire("http://127.0.0.1:1", proxy=Secret(proxy.url)).exchange(asking())
    assert proxy.requests[0].target == "http://127.0.0.1:1/v1/things"


def test_a_proxy_that_refuses_sends_nothing(trusted: Path) -> None:
    refusal = raw(head(407, length=0), how="close")
    with RawServer(refusal) as proxy, fails(NotSent, "407"):
        line = wire("https://127.0.0.1:1", ca_file=trusted, proxy=Secret(proxy.url))
        line.exchange(asking())


def test_a_proxy_that_is_not_there_sends_nothing(trusted: Path) -> None:
    with RawServer(answer()) as proxy:
        pass
    with fails(NotSent, "through destination.proxy: Connection refused"):
        line = wire("https://127.0.0.1:1", ca_file=trusted, proxy=Secret(proxy.url))
        line.exchange(asking())


def test_what_a_proxy_breaks_off_is_unknown() -> None:
    with RawServer(cut(1, how="reset")) as proxy, fails(OutcomeUnknown):
        wire("http://127.0.0.1:1", proxy=Secret(proxy.url)).exchange(asking())
    assert len(proxy.requests) == 1


def test_a_slow_answer_through_a_proxy_is_cut_at_the_deadline() -> None:
    slow = dripping(head(length=1000) + b"x" * 1000, 0.02)
    with RawServer(slow) as proxy, lasting(0.6), fails(OutcomeUnknown, "within 0.6 s"):
        wire("http://127.0.0.1:1", proxy=Secret(proxy.url)).exchange(asking(seconds=0.6))


def test_a_tunnel_and_its_handshake_share_the_connect_timeout(trusted: Path) -> None:
    def slow_tunnel(talk: Conversation) -> None:
        talk.stopped.wait(0.8)
        talk.send(b"HTTP/1.1 200 Connected\r\n\r\n")
        talk.stopped.wait(10)

    limits = Limits(connect_seconds=1.0)
    with RawServer(slow_tunnel) as proxy, lasting(1.0), fails(NotSent, "timed out"):
        line = wire("https://127.0.0.1:1", ca_file=trusted, proxy=Secret(proxy.url), limits=limits)
        line.exchange(asking(seconds=20))


# Settings


@pytest.mark.parametrize(
    "url",
    [
        "http://api.mediarithmics.com",
        "http://10.0.0.1",
        "http://localhost.example.com",
        "http://0.0.0.0",
        "http://2130706433",
        "ftp://127.0.0.1",
        "api.mediarithmics.com",
        "https://",
        "https://user:password@api.mediarithmics.com",
        "https://user@api.mediarithmics.com",
        "https://api.mediarithmics.com?token=x",
        "https://api.mediarithmics.com#x",
        "https://api.mediarithmics.com:port",
        "https://[::1",
        "file:///etc/passwd",
    ],
)
def test_an_address_that_is_no_safe_origin_is_refused(url: str) -> None:
    with pytest.raises(UsageError, match=r"destination\.api_url"):
        check_destination(settings(url))


@pytest.mark.parametrize(
    "url",
    [
        "https://api.mediarithmics.com",
        "https://api.mediarithmics.com:8443/path",
        "http://127.0.0.1:8765",
        "http://127.9.9.9",
        "http://localhost:1",
        "http://[::1]:1",
    ],
)
def test_a_safe_origin_is_taken(url: str) -> None:
    check_destination(settings(url))


def test_plain_http_over_a_network_must_be_asked_for() -> None:
    check_destination(settings("http://10.0.0.1", insecure_http=True))


@pytest.mark.parametrize(
    "proxy",
    ["https://proxy:1", "socks5://proxy:1", "proxy:3128", "http://", "http://[::1", "http://a:b"],
)
def test_a_proxy_of_another_kind_is_refused(proxy: str) -> None:
    with pytest.raises(UsageError, match=r"destination\.proxy"):
        destination("https://api.mediarithmics.com", proxy=Secret(proxy))


def test_plain_http_is_loopback_only_if_its_proxy_is() -> None:
    with pytest.raises(UsageError, match="in the clear"):
        check_destination(settings("http://127.0.0.1", proxy=Secret("http://proxy.example:3128")))


@pytest.mark.parametrize(
    "token", ["", " ", "abc\n", "abc def", "\u201cabc\u201d", "é", "a\x00", "\x7f"]
)
def test_a_token_that_cannot_be_one_is_refused_without_being_shown(token: str) -> None:
    with pytest.raises(UsageError, match=r"destination\.api_token") as raised:
        check_destination(settings("https://api.mediarithmics.com", api_token=Secret(token)))
    assert "abc" not in str(raised.value)


def test_a_long_token_is_sent() -> None:
    token = "x" * 10_000
    with RawServer(answer(b"{}")) as server:
        wire(server.url, api_token=Secret(token)).exchange(asking())
    assert server.requests[0].headers["authorization"] == token
