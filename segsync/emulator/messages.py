"""Requests and answers as values, with the platform's envelope around the latter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from segsync.emulator.faults import ExecutionScript
from segsync.emulator.files import UploadedFile

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Request:
    """A request. `target` is as on the request line; header names are in lower case."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    file: UploadedFile | None = None
    """The body of an upload."""
    script: ExecutionScript | None = None
    """What shall become of the execution, from the fault script."""

    @property
    def path(self) -> str:
        """The path, still percent-encoded."""
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        """The query parameters; of repeated ones the last."""
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))

    def json(self) -> Any:
        """The body as JSON. Raises ApiError."""
        try:
            return json.loads(self.body or b"{}")
        except (ValueError, RecursionError):
            raise ApiError(400, "The body is not JSON", "INVALID_JSON") from None

    def json_object(self) -> dict[str, Any]:
        """The body as a JSON object. Raises ApiError."""
        found = self.json()
        if not isinstance(found, dict):
            raise ApiError(400, "The body is not a JSON object", "INVALID_JSON")
        return found


@dataclass(frozen=True, slots=True)
class Response:
    """An answer; its body is bytes, or a file's content."""

    status: int
    body: bytes | Path = b""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def content(self) -> bytes:
        """The body's bytes."""
        return self.body.read_bytes() if isinstance(self.body, Path) else self.body

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.content)


class ApiError(Exception):
    """An answer that says no."""

    def __init__(
        self, status: int, text: str, code: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.code = code
        self.headers = dict(headers or {})


def not_found() -> ApiError:
    """The platform's words for what is not there."""
    return ApiError(404, "Resource Not Found", "RESOURCE_NOT_FOUND")


def forbidden() -> ApiError:
    """The token is good, and may not do this."""
    return ApiError(403, "Forbidden", "FORBIDDEN")


def as_json(status: int, content: Any, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of JSON."""
    return Response(status, json.dumps(content).encode(), {**JSON, **(headers or {})})


def one(data: Any, status: int = 200) -> Response:
    """The envelope of one resource."""
    return as_json(status, {"status": "ok", "data": data})


def error(problem: ApiError, error_id: str) -> Response:
    """The envelope of an error."""
    content = {
        "status": "error",
        "error": problem.text,
        "error_id": error_id,
        "error_code": problem.code,
    }
    return as_json(problem.status, content, problem.headers)
