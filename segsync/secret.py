"""Values that must never be shown, and the filter that keeps them out of every text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import parse_qsl, quote, unquote

MASK = "***"
SHORTEST_REDACTED = 4
"""Shorter secrets are not searched for in texts: they would blank out ordinary words."""

_SECRET_OPTION = re.compile(r"pass|pwd|token|secret|key|credential", re.IGNORECASE)
_SECRET_FIELD = re.compile(
    rf"(?:{_SECRET_OPTION.pattern})\w*\s*=\s*(\{{(?:[^}}]|\}}\}})*\}}|[^;]*)", re.IGNORECASE
)
"""Of a connection string within an option, as ODBC has them: `UID=me;PWD={a;b}`."""
_CREDENTIALS = re.compile(r"[^:/?]*(?::(?P<password>[^@]*))?@")


class Secret:
    """A text that shows itself as `***` everywhere; `reveal()` is the one way to the value.

    `origin` says where the user finds it, such as the name of a variable.
    """

    __slots__ = ("_value", "origin")

    def __init__(self, value: str, origin: str = "") -> None:
        self._value = value
        self.origin = origin

    def reveal(self) -> str:
        """The value itself, for the one place that must send it."""
        return self._value

    def __repr__(self) -> str:
        return MASK

    __str__ = __repr__

    def __reduce__(self) -> str:
        raise TypeError("a secret is not serialisable")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)


def credentials_cut(url: str) -> tuple[str, str]:
    """The password in `url`, and what stands behind the credentials, as SQLAlchemy cuts it.

    Users leave `/`, `?` and `@` in passwords that should be encoded: SQLAlchemy ends a password at
    the first `@`; where the user meant a later one, what is before that belongs to the password.
    """
    rest = url.partition("://")[2]
    found = _CREDENTIALS.match(rest)
    if not found:
        return "", rest
    behind = rest[found.end() :]
    host = re.split("[/?]", behind, maxsplit=1)[0]
    more, at, _ = host.rpartition("@")
    return (found["password"] or "") + (f"@{more}" if at else ""), behind[len(more + at) :]


def secrets_of(url: str) -> list[str]:
    """What in `url` must not be shown: itself, its password, and the values of its options.

    The password both as it stands there and decoded: drivers quote either; and the pieces of one
    that is not encoded as it should be: drivers take some for a host, a port or an option.
    """
    password, behind = credentials_cut(url)
    options = parse_qsl(behind.partition("?")[2])
    values = [value for key, value in options if _SECRET_OPTION.search(key)]
    fields = [field for _, value in options for field in _SECRET_FIELD.findall(value)]
    values += fields + [field[1:-1].replace("}}", "}") for field in fields if field[:1] == "{"]
    pieces = re.split("[/?#@:&]", password)
    found = (url, password, unquote(password), *pieces, *values)
    return [secret for secret in dict.fromkeys(found) if secret]


def _url_encoded(secret: str) -> str:
    return quote(secret, safe="", errors="replace")


class Redactor:
    """Replaces known secrets in a text, plain and URL-encoded."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in (secret, _url_encoded(secret))}
        self._forms = sorted(
            (form for form in forms if len(form) >= SHORTEST_REDACTED), key=len, reverse=True
        )

    def __call__(self, text: str) -> str:
        """`text` with every known secret replaced by `***`."""
        for form in self._forms:
            text = text.replace(form, MASK)
        return text
