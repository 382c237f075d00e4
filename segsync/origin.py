"""Where the token may go: to the spec's origin, encrypted, or not over a network at all."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

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
    try:
        api = urlsplit(settings.api_url)
        proxy = urlsplit(settings.proxy.reveal()) if settings.proxy else None
        ports = (api.port, proxy and proxy.port)
    except ValueError:
        ports = None
    if ports is None or api.scheme not in ("http", "https") or not api.hostname:
        raise UsageError("destination.api_url is no http(s) address, or destination.proxy is none")
    if api.username is not None or api.query or api.fragment:
        raise UsageError("destination.api_url holds more than a host, a port and a path")
    if proxy is not None and (proxy.scheme != "http" or not proxy.hostname):
        raise UsageError("destination.proxy must be of the form http://host:port")
    hops = [api.hostname, *([proxy.hostname] if proxy and proxy.hostname else [])]
    if api.scheme == "http" and not settings.insecure_http and not all(map(_loopback, hops)):
        raise UsageError(
            "destination.api_url is http: the token would cross the network in the clear",
            hint="use https, or set destination.insecure_http",
        )


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
