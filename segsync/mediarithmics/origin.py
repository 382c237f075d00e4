"""Where the token may go: to the spec's origin, encrypted, or not over a network at all."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import SplitResult, urlsplit

from segsync.errors import UsageError
from segsync.model import DestinationSettings
from segsync.secret import Secret


def check_destination(settings: DestinationSettings) -> None:
    """Raises UsageError where the token is no token, or would be sent where it must not go."""
    _check_token(settings.api_token)
    _check_places(settings)


def _check_token(token: Secret) -> None:
    if not re.fullmatch(r"[\x21-\x7e]+", token.reveal()):
        raise UsageError(
            "destination.api_token is empty or holds a space, a line break or another character "
            "that no token has"
        )


def _check_places(settings: DestinationSettings) -> None:
    api = _parts(settings.api_url)
    if api is None or api.scheme not in ("http", "https"):
        raise UsageError("destination.api_url is not of the form https://host")
    if api.username is not None or api.query or api.fragment:
        raise UsageError("destination.api_url holds more than a host, a port and a path")
    hosts = [api.hostname]
    if settings.proxy is not None:
        proxy = _parts(settings.proxy.reveal())
        if proxy is None or proxy.scheme != "http":
            raise UsageError("destination.proxy is not of the form http://host:port")
        hosts.append(proxy.hostname)
    if api.scheme == "http" and not settings.insecure_http and not all(map(_loopback, hosts)):
        raise UsageError(
            "destination.api_url is http: the token would cross the network in the clear",
            hint="use https, or set destination.insecure_http",
        )


def _parts(url: str) -> SplitResult | None:
    """The parts of an address with a host, or None."""
    try:
        parts = urlsplit(url)
        return parts if parts.hostname and (parts.port is None or parts.port > 0) else None
    except ValueError:
        return None


def _loopback(host: str | None) -> bool:
    try:
        return ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return host == "localhost"
