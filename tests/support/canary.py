"""Secrets and identifiers that tests use, and the search for them where they may not be.

A test that needs a token or a password takes one of these. After each test, tests/conftest.py looks
for them in what the test printed and logged, and in the files of its folders; tests/support/cli.py
and kills.py in what a command printed, and there for identifiers, too; a World in all that it is
told, in each payload and request, and in its folder.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator
from pathlib import Path
from urllib.parse import quote

TOKEN = "canary-token-5f3a9c"
TOKEN_TO_ESCAPE = "canary+token/5f3a9c=="
PASSWORDS = ("pg-secret-word", "my-secret-word")
SPEC_TOKEN = "t0ken-canary"
SPEC_PASSWORD = "pa55-canary"
"""Those of the environment with which tests load specs."""
VARIABLE = "hunter22-secret"
PASSWORD_OF_URL = "canary-pass/word"
PASSWORD_OF_PROXY = "canary-password"
SECRETS = (
    *(TOKEN, TOKEN_TO_ESCAPE, *PASSWORDS, SPEC_TOKEN, SPEC_PASSWORD),
    *(VARIABLE, PASSWORD_OF_URL, PASSWORD_OF_PROXY),
)
TYPED = "c4nary-S3cret"
"""A secret that tests write into specs, where it may not be: their files hold it, nothing else."""
PERSON = "person-00003"
"""One of those whom the query of each `shop` returns, and one of each story and kill."""
LARGEST_FILE = 50_000_000
INSTALLED = "site-packages"
"""What was installed there is nothing that a test has made."""


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


def forms_of(*secrets: str) -> tuple[bytes, ...]:
    """All disguises, none twice."""
    return tuple(sorted({form.encode() for secret in secrets for form in disguises(secret)}))


FORMS = forms_of(*SECRETS)
FORMS_OF_TYPED = forms_of(TYPED)
FORMS_OF_TOKEN = forms_of(TOKEN)
FORMS_OF_PERSON = forms_of(PERSON)


def secrets_in(content: bytes) -> list[str]:
    """The forms of secrets that stand in `content`."""
    return found_in(content, FORMS)


def secrets_shown(text: str) -> list[str]:
    """The forms of secrets, typed ones too, that stand in what was printed."""
    return found_in(text.encode(errors="surrogateescape"), FORMS + FORMS_OF_TYPED)


def tokens_in(content: bytes) -> list[str]:
    """The forms of the token of worlds and shops that stand in `content`: the only secret there."""
    return found_in(content, FORMS_OF_TOKEN)


def identifiers_in(content: bytes) -> list[str]:
    """The forms of the identifier that stand in `content`."""
    return found_in(content, FORMS_OF_PERSON)


def found_in(content: bytes, forms: Iterable[bytes]) -> list[str]:
    return [form.decode() for form in forms if form in content]


def secrets_under(folder: Path, forms: Iterable[bytes] = FORMS) -> list[str]:
    """Files below `folder` that hold a secret, each with the form it has there."""
    return [
        f"{path.relative_to(folder)}: {form}"
        for path in sorted(folder.rglob("*"))
        if INSTALLED not in path.parts
        and path.is_file()
        and not path.is_symlink()
        and path.stat().st_size <= LARGEST_FILE
        for form in found_in(_read(path), forms)
    ]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except PermissionError:
        return b""
