"""Checks of the URLs in a spec. No message quotes one: there may be a password in it."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import urlsplit

from segsync.spec.interpolate import Template
from segsync.spec.problems import Unfit, Wrong

# The parts of a database URL as SQLAlchemy's make_url cuts them.
_SOURCE = re.compile(
    r"(?P<scheme>[^:/?#\s]*)://"
    r"(?:(?P<user>[^:/?]*)(?::(?P<password>[^@]*))?@)?"
    r"(?:\[(?P<ipv6>[^]/?]*)\]|(?P<host>[^:/?]*))?"
    r"(?::(?P<port>[^/?]*))?"
    r"(?:/(?P<database>[^?]*))?"
    r"(?:\?(?P<query>.*))?",
    re.DOTALL,
)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9_.]*(\+[A-Za-z0-9_.]+)?")
_SECRET_KEY = re.compile(
    r"pass|pwd|secret|token|credential|private_?key|api_?key|access_?key", re.IGNORECASE
)
_GIVEN = "\ue000"
"""Stands for a value from the environment while a template is searched for literal secrets."""


def source_url(text: str) -> str:
    """A database URL, `dialect[+driver]://…`, stripped. Raises Wrong."""
    url = text.strip()
    form = "write it as dialect://user:password@host:port/database"
    if url.lower().startswith("jdbc:"):
        raise Wrong("this is a JDBC URL, not one of SQLAlchemy", "leave out `jdbc:`; " + form)
    found = _SOURCE.fullmatch(url)
    if not found or not _SCHEME.fullmatch(found["scheme"]):
        raise Wrong("this is not a database URL", form + ", for a file sqlite:///path/to/file.db")
    if dialect(url) == "postgres":
        raise Wrong("the dialect `postgres` has another name", "write postgresql://")
    if re.search(r"[\x00-\x20\x7f]", url):
        raise Wrong(
            "the source's URL has a space or a control character in it",
            "percent-encode it (a space is %20)",
        )
    if found["port"] and not re.fullmatch("[0-9]{1,5}", found["port"]):
        hint = "a password with : / @ ? # % in it must be percent-encoded"
        raise Wrong("the source's URL has no readable port", hint)
    return url


def dialect(url: str) -> str:
    """The dialect of a checked source URL: `postgresql` of `postgresql+psycopg://…`."""
    return url.partition("://")[0].partition("+")[0].lower()


def refuse_literal_password(parts: Template) -> None:
    """Raise Wrong where a URL's template has a password that is not from the environment."""
    text = "".join(
        part if isinstance(part, str) else part.default or _GIVEN for part in parts
    ).strip()
    hint = "put it in the environment: dialect://user:${PASSWORD}@host/…, or the whole URL"
    found = _SOURCE.fullmatch(text)
    if not found:
        return
    if _literal(found["password"]):
        raise Wrong("there is a password in this URL", hint)
    for pair in (found["query"] or "").split("&"):
        key, _, value = pair.partition("=")
        if _SECRET_KEY.search(key) and _literal(value):
            raise Wrong("there is a secret in the query of this URL", hint)


def _literal(value: str | None) -> bool:
    return bool((value or "").replace(_GIVEN, ""))


def api_url(value: object) -> str:
    """An http(s) address without userinfo, query, fragment or trailing slash. Raises Wrong."""
    return _web_address(value, "api_url")


def proxy_url(value: object) -> str:
    """The http address of a proxy, which may hold a user and a password. Raises Wrong."""
    url = _web_address(value, "proxy", userinfo=True)
    if not url.startswith("http://") or urlsplit(url).path:
        raise Wrong("proxy is not of the form http://host:port", "proxies are spoken to in http")
    return url


def _web_address(value: object, name: str, *, userinfo: bool = False) -> str:
    if not isinstance(value, str):
        raise Unfit("an address like https://api.example.com")
    text = value.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise Wrong(f"{name} is not a readable address", "write https://host[:port]") from None
    if parts.scheme not in {"https", "http"} or not parts.hostname:
        raise Wrong(f"{name} is not a web address", "write https://host[:port]")
    if re.search(r"[^\x21-\x7e]|\\", text):
        hint = "write an internationalised host name in its xn-- form"
        raise Wrong(f"{name} may hold printable ASCII characters only", hint)
    if parts.query or parts.fragment or text.endswith(("?", "#")):
        raise Wrong(f"{name} may not have a query or a fragment", "end it before `?` or `#`")
    if "@" in parts.netloc and not userinfo:
        raise Wrong(f"{name} may not hold a user or a password", "remove what stands before `@`")
    user = parts.netloc.rpartition("@")[0] + "@" if "@" in parts.netloc else ""
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    usual = {"https": 443, "http": 80}[parts.scheme]
    shown_port = "" if port in {None, usual} else f":{port}"
    return f"{parts.scheme}://{user}{host}{shown_port}{parts.path.rstrip('/')}"


def is_loopback(url: str) -> bool:
    """Whether a checked address is of this machine, by its text alone."""
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
