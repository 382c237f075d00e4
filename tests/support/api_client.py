"""A client of the documented API that knows nothing of segsync's own client."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode, urlsplit

from segsync.emulator import Emulator, LocalClient

DATAMART = "1509"
TOKEN = "emulator-token"
IMPORTS = f"/v1/datamarts/{DATAMART}/document_imports"
NDJSON = {"Content-Type": "application/x-ndjson"}
CSV = {"Content-Type": "text/csv"}


@dataclass(frozen=True)
class Reply:
    """An answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def data(self) -> Any:
        return self.json()["data"]


class ApiClient:
    """One connection for each request, like curl; `connection` is the last one."""

    def __init__(
        self, url: str, token: str | None = TOKEN, trusted: ssl.SSLContext | None = None
    ) -> None:
        self._url = urlsplit(url)
        self._token = token
        self._trusted = trusted

    def connect(self, timeout: float = 5.0) -> http.client.HTTPConnection:
        host, port = str(self._url.hostname), self._url.port
        if self._url.scheme == "https":
            return http.client.HTTPSConnection(host, port, timeout=timeout, context=self._trusted)
        return http.client.HTTPConnection(host, port, timeout=timeout)

    def request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float = 5.0,
    ) -> Reply:
        connection = self.connect(timeout)
        token = {} if self._token is None else {"Authorization": self._token}
        try:
            connection.request(method, path, body, {**token, **(headers or {})})
            response = connection.getresponse()
            return Reply(response.status, dict(response.getheaders()), response.read())
        finally:
            connection.close()

    def get(self, path: str, **query: str | int) -> Reply:
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path)

    def post(self, path: str, content: Any) -> Reply:
        headers = {"Content-Type": "application/json"}
        return self.request("POST", path, json.dumps(content).encode(), headers)

    def create_import(self, name: str = "import", mime_type: str = "APPLICATION_X_NDJSON") -> Reply:
        fields = {
            "document_type": "USER_SEGMENT",
            "mime_type": mime_type,
            "encoding": "utf-8",
            "name": name,
        }
        return self.post(IMPORTS, fields)

    def upload(self, import_id: str, body: bytes, timeout: float = 5.0) -> Reply:
        path = f"{IMPORTS}/{import_id}/executions"
        return self.request("POST", path, body, NDJSON, timeout)

    def executions(self, import_id: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.get(f"{IMPORTS}/{import_id}/executions").data
        return found


def update(identifier: str = "u1", segment: str = "vip", **fields: Any) -> dict[str, Any]:
    """A well-formed UPDATE for a user account, its fields replaced or (None) left out."""
    return _command("UPDATE", identifier, segment, fields)


def delete(identifier: str = "u1", segment: str = "vip", **fields: Any) -> dict[str, Any]:
    """A well-formed DELETE for a user account, its fields replaced or (None) left out."""
    return _command("DELETE", identifier, segment, {"expiration_duration": 0, **fields})


def _command(
    operation: str, identifier: str, segment: str, fields: Mapping[str, Any]
) -> dict[str, Any]:
    command = {
        "operation": operation,
        "user_account_id": identifier,
        "segment_technical_name": segment,
        "expiration_duration": 60,
        **fields,
    }
    return {name: value for name, value in command.items() if value is not None}


def ndjson(*commands: dict[str, Any] | str | bytes) -> bytes:
    """Commands as a payload; a text or bytes is a line as it stands."""
    return b"".join(_line(command) + b"\n" for command in commands)


def _line(command: dict[str, Any] | str | bytes) -> bytes:
    if isinstance(command, bytes):
        return command
    return (command if isinstance(command, str) else json.dumps(command)).encode()


def carried_out(
    emulator: Emulator, *commands: dict[str, Any] | str | bytes, mime: Mapping[str, str] = NDJSON
) -> dict[str, Any]:
    """Upload commands without a socket, let the execution end, and give it as the API does."""
    client = LocalClient(emulator)
    mime_type = "TEXT_CSV" if mime is CSV else "APPLICATION_X_NDJSON"
    path = f"{IMPORTS}/{emulator.add_import('import', mime_type).id}/executions"
    assert client.request("POST", path, ndjson(*commands), mime).status == 200
    emulator.run_all()
    execution: dict[str, Any] = client.request("GET", path).json()["data"][0]
    return execution


def totals(execution: Mapping[str, Any]) -> tuple[int, int]:
    """How many lines of an ended execution succeeded, and how many failed."""
    return execution["result"]["total_success"], execution["result"]["total_failure"]


def error_file(emulator: Emulator, execution: Mapping[str, Any]) -> str:
    """The error file of an ended execution."""
    uri = urlencode({"uri": execution["result"]["error_file_uri"]})
    response = LocalClient(emulator).request("GET", f"/v1/data_file/data?{uri}")
    assert response.status == 200
    return response.content.decode()


def raw_exchange(url: str, request: bytes) -> bytes:
    """Everything that comes back for some bytes, until the connection ends."""
    address = url.removeprefix("http://").split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=5) as connection:
        connection.sendall(request)
        received = b""
        while data := connection.recv(65536):
            received += data
    return received


def get_request(path: str = IMPORTS, *headers: str) -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Authorization: {TOKEN}", *headers, "", ""]
    return "\r\n".join(lines).encode()
