"""Real answers, spoilt in the ways that answers are spoilt on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from segsync.emulator.messages import Response

DEPTH = 100_000
PADDING = 10_000_000


def rewritten(response: Response, how: str) -> Response:
    """The answer after one of the spoilings of faults.Rewrite."""
    if how in HEADER_CHANGES:
        return Response(response.status, response.body, HEADER_CHANGES[how])
    return BODY_CHANGES[how](response)


def _with_body(response: Response, body: bytes) -> Response:
    return Response(response.status, body, response.headers)


def _duplicate_keys(response: Response) -> Response:
    """The object says first what is not so, then what is; parsers differ in which they take."""
    decoy = b'{"status":"error","data":{"id":"0","status":"SUCCEEDED"},'
    return _with_body(response, decoy + response.content.lstrip()[1:])


def _with_first(text: str) -> Callable[[Response], Response]:
    def change(response: Response) -> Response:
        return _with_body(response, b"{" + text.encode() + b"," + response.content.lstrip()[1:])

    return change


def _prefixed(prefix: bytes) -> Callable[[Response], Response]:
    return lambda response: _with_body(response, prefix + response.content)


def _latin1(response: Response) -> Response:
    body = b'{"note":"caf\xe9",' + response.content.lstrip()[1:]
    return Response(response.status, body, {"Content-Type": "application/json; charset=iso-8859-1"})


def _half(response: Response) -> Response:
    """Complete as HTTP, cut off as JSON."""
    return _with_body(response, response.content[: len(response.content) // 2])


def _error_in_200(_response: Response) -> Response:
    body = b'{"status":"error","error":"Internal error","error_id":"scripted-200"}'
    return Response(200, body, {"Content-Type": "application/json"})


def _deep(response: Response) -> Response:
    return _with_first('"deep":' + "[" * DEPTH + "]" * DEPTH)(response)


def _null_data(response: Response) -> Response:
    content = {**response.json(), "data": None}
    return _with_body(response, json.dumps(content).encode())


def _numbers_as_strings(response: Response) -> Response:
    return _with_body(response, json.dumps(_as_strings(response.json())).encode())


def _as_strings(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _as_strings(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_as_strings(inner) for inner in value]
    return str(value) if type(value) in (int, float) else value


HEADER_CHANGES: Mapping[str, Mapping[str, str]] = {
    "wrong_content_type": {"Content-Type": "image/png"},
    "no_content_type": {},
}
BODY_CHANGES: Mapping[str, Callable[[Response], Response]] = {
    "duplicate_keys": _duplicate_keys,
    "nan": _with_first('"weight":NaN'),
    "deep": _deep,
    "byte_order_mark": _prefixed(b"\xef\xbb\xbf"),
    "latin1": _latin1,
    "empty": lambda response: _with_body(response, b""),
    "half": _half,
    "padded": _prefixed(b" " * PADDING),
    "error_in_200": _error_in_200,
    "null_data": _null_data,
    "numbers_as_strings": _numbers_as_strings,
}
