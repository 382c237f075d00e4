"""The platform's answers: what an HTTP status means, and the JSON envelope around every resource.

Strict about meaning, lenient about what is unknown: fields that nobody knows are passed over, and
an answer that cannot be understood is a ProtocolError, whatever its status says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from segsync.errors import DestinationError, ProtocolError, Refused
from segsync.mediarithmics.exchange import Answer
from segsync.members import hide_members, hide_strangers
from segsync.printable import printable
from segsync.secret import Redactor, Secret

SHOWN_CHARACTERS = 300
READ_CHARACTERS = 4 * SHOWN_CHARACTERS
"""What of a text is looked through for members: hiding them in megabytes takes hours."""
SUCCESSES = frozenset((200, 201, 202, 203))

Clean = Callable[[str], str]
"""Makes a foreign text fit for the user: no secret, no member, no control character, not long."""

_HINTS = {
    401: "{token} is not valid, or no longer: make a new token in Navigator (Settings > "
    "My Account > API Tokens) and put it there",
    403: "the user of {token} may not do this: ask for rights on destination.datamart_id",
    404: "the platform does not know it, or hides it from the user of {token}; check "
    "destination.datamart_id too",
    407: "destination.proxy wants credentials: http://user:password@host:port",
    413: "the platform takes no file of this size: set a lower destination.max_upload_bytes",
    415: "try the other destination.format",
    429: "the platform has had too many requests: try again later",
}


def cleaner(redactor: Redactor) -> Clean:
    """The Clean of one set of secrets. Secrets go first, or a cut could leave half of one."""

    def clean(text: str) -> str:
        read = _cut(redactor(text), READ_CHARACTERS)
        return _cut(printable(hide_members(read)).strip(), SHOWN_CHARACTERS)

    return clean


def _cut(text: str, most: int) -> str:
    """The start of a long text, in whole words: half of an identifier could not be told as one."""
    if len(text) <= most:
        return text
    return re.sub(r"[^\s\"'<>:;,=]+$", "", text[:most]) + "…"


def is_transient(status: int) -> bool:
    """Whether the same request may well get another answer a little later."""
    return status in (408, 429) or 500 <= status < 600


def failure(answer: Answer, purpose: str, clean: Clean, token: Secret) -> DestinationError | None:
    """What the status of `answer` to `token` means; None for a success, whose body decides."""
    status = answer.status
    if status in SUCCESSES:
        return None
    if 300 <= status < 400:
        return ProtocolError(
            f"could not {purpose}: the platform sent it elsewhere (HTTP {status}), to "
            f"{clean(_target(answer))}",
            hint="nothing was sent there; destination.api_url must be the API's own address",
        )
    if 400 <= status < 600:
        refused = _refused(answer, section(_parse(answer.body)), purpose, clean)
        refused.hint = _hint(status, token)
        return refused
    return ProtocolError(f"could not {purpose}: unexpected HTTP status {status}")


def _hint(status: int, token: Secret) -> str | None:
    origin = f" ({token.origin})" if token.origin else ""
    hint = _HINTS.get(status)
    return hint and hint.format(token=f"destination.api_token{origin}")


def envelope(answer: Answer, purpose: str, clean: Clean) -> dict[str, Any]:
    """The envelope of a success, which holds `data`.

    Raises ProtocolError, or Refused where the envelope itself says that it is an error.
    """
    content = _parse(answer.body)
    if isinstance(content, str):
        said = _start(answer, clean)
        raise ProtocolError(
            f"could not {purpose}: the answer is {content}: {said}",
            hint="is destination.api_url the API, and not a web page or a proxy before it?",
        ).saying(said, hide_strangers)
    if content.get("status") == "error":
        raise _refused(answer, content, purpose, clean)
    if content.get("status") != "ok" or content.get("data") is None:
        said = _start(answer, clean)
        raise ProtocolError(
            f"could not {purpose}: the answer lacks status ok and data: {said}"
        ).saying(said, hide_strangers)
    return content


def raise_if_error(answer: Answer, purpose: str, clean: Clean) -> None:
    """Raises Refused where the body is an error of the platform, whatever the HTTP status says."""
    content = section(_parse(answer.body))
    if content.get("status") == "error":
        raise _refused(answer, content, purpose, clean)


def identifier(value: object) -> str:
    """An id of the platform, fit for a path. Raises ProtocolError."""
    text = str(value) if type(value) is int else value
    if isinstance(text, str) and re.fullmatch(r"[A-Za-z0-9_-]{1,100}", text):
        return text
    raise ProtocolError("the platform's answer holds a resource without a usable id")


def count(value: object) -> int | None:
    """A number of things, from a JSON number or a text of digits; None for all else."""
    if isinstance(value, str) and re.fullmatch(r"[0-9]{1,18}", value):
        return int(value)
    return value if type(value) is int and 0 <= value < 10**18 else None


def section(value: object) -> dict[str, Any]:
    """A JSON object, or an empty one where there is none."""
    return value if isinstance(value, dict) else {}


def _refused(answer: Answer, content: dict[str, Any], purpose: str, clean: Clean) -> Refused:
    text = content.get("error") or content.get("error_code")
    said = clean(str(text)) if text else _start(answer, clean)
    error_id = content.get("error_id")
    named = clean(str(error_id)) if error_id else None
    reference = f" [error id {named}]" if named else ""
    return Refused(
        f"could not {purpose}: the platform refused it (HTTP {answer.status}): {said}{reference}",
        status=answer.status,
        error_id=named,
    ).saying(said, hide_strangers)


def _target(answer: Answer) -> str:
    location = answer.headers.get("location", "")
    try:
        return urlsplit(location).hostname or "another path of its own"
    except ValueError:
        return "an unreadable address"


def _start(answer: Answer, clean: Clean) -> str:
    text = answer.body[:READ_CHARACTERS].decode("utf-8", errors="replace")
    return clean(text) or "(nothing)"


def _parse(body: bytes) -> dict[str, Any] | str:
    """The JSON object in `body`, or what stands there instead, in words."""
    try:
        content = json.loads(
            body.decode("utf-8-sig"), object_pairs_hook=_once, parse_constant=_no_constant
        )
    except RecursionError:
        return "nested too deeply"
    except UnicodeDecodeError:
        return "not UTF-8"
    except ValueError as error:
        return str(error) if isinstance(error, _Ambiguous) else "not JSON"
    return content if isinstance(content, dict) else "no JSON object"


class _Ambiguous(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise _Ambiguous("JSON with a repeated key")
    return made


def _no_constant(name: str) -> None:
    raise _Ambiguous(f"JSON with {name}, which is none of its values")
