"""The platform without a wire: a destination that calls the emulator's API in this process.

It neither retries nor waits: what goes wrong on the way is for a wrapper to make up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from segsync.destination import DocumentImport, Execution, SegmentLookup, SegmentProblem
from segsync.emulator import Emulator, LocalClient
from segsync.errors import Refused
from segsync.mediarithmics.resources import (
    oldest_first,
    read_execution,
    read_segment,
    segment_problem,
)
from segsync.model import Address

IMPORTS = "/v1/datamarts/1509/document_imports"
NDJSON = {"Content-Type": "application/x-ndjson"}


class Direct:
    """See Destination for what each method promises."""

    def __init__(self, emulator: Emulator) -> None:
        self._client = LocalClient(emulator)

    def look_up_segment(self, address: Address) -> SegmentLookup:
        name = "technical_name" if address.field == "segment_technical_name" else "id"
        listed = self._data("GET", "/v1/audience_segments?max_results=500")
        for item in listed:
            if item.get(name) == address.value:
                return read_segment(item, address, str)
        return segment_problem(address, SegmentProblem.MISSING, "is not there")

    def create_import(self, reference: str) -> DocumentImport:
        wish = {
            "document_type": "USER_SEGMENT",
            "mime_type": "APPLICATION_X_NDJSON",
            "name": reference,
        }
        made = self._data("POST", IMPORTS, json.dumps(wish).encode())
        return DocumentImport(made["id"], made["name"])

    def find_imports(self, *prefixes: str) -> list[DocumentImport]:
        listed = [
            item
            for prefix in prefixes
            for item in self._data("GET", f"{IMPORTS}?max_results=500&keywords={prefix}")
        ]
        return [DocumentImport(item["id"], item["name"]) for item in listed]

    def upload(self, document_import: str, payload: Path) -> Execution:
        path = f"{IMPORTS}/{document_import}/executions"
        made = self._data("POST", path, payload.read_bytes(), NDJSON)
        return read_execution(made, document_import, str)

    def list_executions(self, document_import: str) -> list[Execution]:
        path = f"{IMPORTS}/{document_import}/executions?max_results=500"
        listed = self._data("GET", path)
        found = [read_execution(item, document_import, str) for item in listed]
        return sorted(found, key=oldest_first)

    def fetch_error_file(self, uri: str, into: Path) -> None:
        into.write_bytes(self._answer("GET", f"/v1/data_file/data?uri={uri}").content)

    def _data(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Any:
        return self._answer(method, target, body, headers).json()["data"]

    def _answer(
        self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None
    ) -> Any:
        answer = self._client.request(method, target, body, headers)
        if answer.status >= 400:
            said = answer.content.decode(errors="replace")
            raise Refused(f"{method} {target}: {said}", status=answer.status)
        return answer
