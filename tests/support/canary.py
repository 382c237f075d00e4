"""Secrets and identifiers that tests use, and the search for them where they may not be.

A test that needs a token or a password takes one of these. After each test, tests/conftest.py looks
for them in what the test printed and logged, and in the files of its tmp_path; tests/support/cli.py
in what a command printed, and there for identifiers, too.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

TOKEN = "canary-token-5f3a9c"
TOKEN_TO_ESCAPE = "canary+token/5f3a9c=="
PASSWORDS = ("pg-secret-word", "my-secret-word")
SECRETS = (TOKEN, TOKEN_TO_ESCAPE, *PASSWORDS)
PERSON = "person-00003"
"""One of those whom the query of each `shop` returns."""
LARGEST_FILE = 50_000_000


def disguises(secret: str) -> Iterator[str]:
    """The secret as it may stand in a text: as it is, backwards, and in the usual encodings."""
    yield secret
    yield secret[::-1]
    yield quote(secret, safe="")
    yield secret.encode().hex()
    for lead in range(3):
        # The middle of base64 text depends on where the secret begins in a group of three bytes.
        encoded = base64.b64encode(b"\0" * lead + secret.encode()).decode()
        yield encoded[4 * bool(lead) : -4]


FORMS = tuple(sorted({form.encode() for secret in SECRETS for form in disguises(secret)}))
FORMS_OF_PERSON = tuple(sorted({form.encode() for form in disguises(PERSON)}))


def secrets_in(content: bytes) -> list[str]:
    """The forms of secrets that stand in `content`."""
    return [form.decode() for form in FORMS if form in content]


def identifiers_in(content: bytes) -> list[str]:
    """The forms of the identifier that stand in `content`."""
    return [form.decode() for form in FORMS_OF_PERSON if form in content]


def secrets_under(folder: Path) -> list[str]:
    """Files below `folder` that hold a secret, each with the form it has there."""
    return [
        f"{path.relative_to(folder)}: {form}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= LARGEST_FILE
        for form in secrets_in(_read(path))
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError:
        return b""
