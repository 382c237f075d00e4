"""The destination over HTTP: what each request of the platform's API means.

Paths, fields and statuses are those of the vendor's pages ("bulk processing", "audience
segments"); where these are silent, of its web application. How a request travels is wire.py's.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

from segsync.destination import DocumentImport, Execution, SegmentLookup, SegmentProblem
from segsync.errors import (
    DestinationError,
    NotSent,
    OutcomeUnknown,
    ProtocolError,
    Refused,
    UsageError,
)
from segsync.mediarithmics.download import NewFile
from segsync.mediarithmics.envelope import (
    cleaner,
    envelope,
    failure,
    identifier,
    is_transient,
    raise_if_error,
    section,
)
from segsync.mediarithmics.exchange import Answer, FileBody, Limits, Request, Untrusted
from segsync.mediarithmics.paging import read_all
from segsync.mediarithmics.resources import (
    is_of,
    oldest_first,
    read_execution,
    read_segment,
    segment_problem,
)
from segsync.mediarithmics.retry import Patience, Transient, check_clock
from segsync.model import Address, Clock, DestinationSettings
from segsync.secret import Redactor

_FORMATS = {
    "ndjson": ("APPLICATION_X_NDJSON", "application/x-ndjson"),
    "csv": ("TEXT_CSV", "text/csv"),
}
_PATH_PART = re.compile(r"[A-Za-z0-9_-]{1,100}")
_OTHER_SCHEME = re.compile(r"(?!mics:)[A-Za-z][A-Za-z0-9+.-]*:|[/\\]{2}|.*[\x00-\x1f\x7f]", re.S)
_ENVELOPE_BYTES = 64 * 1024
_WHAT_IS_REFUSED = (
    "where it says that the file is too large, set a lower destination.max_upload_bytes; where it "
    "names a line, `segsync plan --commands FILE` writes them, and --exclude leaves a segment out"
)


class Mediarithmics:
    """A datamart of the platform; see Destination for what each method promises.

    One thread at a time. `on_sent` is told the bytes of an upload that were sent so far, `notify`
    each pause before another attempt. Raises UsageError where the settings are not safe to use.
    """

    def __init__(
        self,
        settings: DestinationSettings,
        clock: Clock,
        jitter: Callable[[], float],
        *,
        limits: Limits | None = None,
        on_sent: Callable[[int], None] | None = None,
        notify: Callable[[str], None] = lambda _: None,
    ) -> None:
        from segsync.mediarithmics.wire import Wire

        if not _PATH_PART.fullmatch(settings.datamart_id):
            raise UsageError("destination.datamart_id must be the number of a datamart")
        self._datamart = settings.datamart_id
        self._imports = f"/v1/datamarts/{self._datamart}/document_imports"
        self._mime_type, self._content_type = _FORMATS[settings.format]
        self._limits = limits or Limits()
        self._token = settings.api_token
        self._clean = cleaner(Redactor(_secrets(settings)))
        self._wire = Wire(settings, self._limits, self._clean)
        self._patience = Patience(clock, jitter, notify)
        self._clock = clock
        self._date: str | None = None
        self._on_sent = on_sent

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections to the platform."""
        self._wire.close()

    def look_up_segment(self, address: Address) -> SegmentLookup:
        """Ask for one segment. Raises Refused with status 403 where the token may not read it."""
        if address.field == "segment_id":
            found = self._segments_by_id(address)
        else:
            found = self._segments_by_technical_name(address)
        if not found:
            detail = (
                f"is not in datamart {self._datamart}: create it there as a user list that is fed "
                "by file import, or correct its name and the datamart's id in the spec"
            )
            return segment_problem(address, SegmentProblem.MISSING, detail)
        if len(found) > 1:
            ids = ", ".join(identifier(item["id"]) for item in found)
            detail = f"is not one but several ({ids}); name yours by segment_id"
            return segment_problem(address, SegmentProblem.AMBIGUOUS, detail)
        return read_segment(found[0], address, self._clean)

    def create_import(self, reference: str) -> DocumentImport:
        """Create a document import named `reference`; found by its name after a lost answer."""
        is_lost = False

        def attempt() -> DocumentImport:
            nonlocal is_lost
            if is_lost and (earlier := self._find_lost(reference)):
                return earlier
            try:
                return self._create(reference)
            except Transient as failed:
                is_lost = is_lost or not isinstance(failed.error, NotSent)
                raise

        return self._patience.call(attempt)

    def find_imports(self, *prefixes: str) -> list[DocumentImport]:
        """All imports of the datamart whose name starts with one of `prefixes`.

        Raises ProtocolError where the platform's clock says another time than ours: expirations
        would be computed from a wrong one.
        """

        def is_wanted(item: dict[str, Any]) -> bool:
            return isinstance(item.get("name"), str) and item["name"].startswith(prefixes)

        def ask(filters: Mapping[str, str]) -> dict[str, str]:
            items = self._list("find document imports", self._imports, filters, is_wanted)
            return {identifier(item["id"]): item["name"] for item in items}

        found: dict[str, str] = {}
        for prefix in prefixes:
            found |= ask({"keywords": prefix})
        # Whether keywords match a part of a name is not documented: nothing found may mean that
        # they do not.
        found = found or ask({})
        check_clock(self._date, self._clock.now_ms())
        return [DocumentImport(number, name) for number, name in found.items()]

    def upload(self, document_import: str, payload: Path) -> Execution:
        """Send one payload file as one execution. One attempt: NotSent, Refused, OutcomeUnknown."""
        path = self._executions(document_import)
        body = FileBody(payload, self._on_sent)
        seconds = self._limits.for_upload(len(body))
        request = Request(
            f"upload {payload.name}", "POST", path, seconds, {}, body, self._content_type
        )
        # A kept connection may be closed by the platform just now, which would leave the fate of
        # the upload unknown for nothing.
        self._wire.close()
        try:
            answer = self._wire.exchange(request)
            return self._accepted(answer, request.purpose, document_import, body)
        except (ProtocolError, OutcomeUnknown) as error:
            raise _unknown(error) from None
        finally:
            body.close()

    def list_executions(self, document_import: str) -> list[Execution]:
        """All executions of an import, oldest first."""
        path = self._executions(document_import)
        items = self._list("list the executions", path, {}, lambda _: True)
        executions = [read_execution(item, document_import, self._clean) for item in items]
        return sorted(executions, key=oldest_first)

    def fetch_error_file(self, uri: str, into: Path) -> None:
        """Download an execution's error file, at most 1 GiB, to a new file of mode 0600."""
        if len(uri) > 4096 or _OTHER_SCHEME.match(uri) or not uri:
            raise ProtocolError(
                f"the platform names an error file at an address that is not its own: "
                f"{self._clean(uri)}"
            )
        sink = NewFile(into)
        try:
            self._patience.call(lambda: self._download(uri, sink))
        except BaseException:
            sink.discard()
            raise
        sink.close()

    def _segments_by_id(self, address: Address) -> list[dict[str, Any]]:
        if not _PATH_PART.fullmatch(address.value):
            return []
        path = f"/v1/audience_segments/{address.value}"
        try:
            data = self._get(f"look up the segment with {address}", path, {})["data"]
        except Refused as error:
            if error.status != 404:
                raise
            return []
        if str(section(data).get("id")) != address.value:
            raise ProtocolError(f"the platform gave another segment than the one with {address}")
        return [data] if is_of(data, self._datamart) else []

    def _segments_by_technical_name(self, address: Address) -> list[dict[str, Any]]:
        return self._list(
            f"look up the segment with {address}",
            "/v1/audience_segments",
            {"datamart_id": self._datamart, "technical_name": address.value},
            lambda item: (
                item.get("technical_name") == address.value and is_of(item, self._datamart)
            ),
        )

    def _create(self, reference: str) -> DocumentImport:
        purpose = "create the document import"
        wish = {
            "document_type": "USER_SEGMENT",
            "mime_type": self._mime_type,
            "encoding": "utf-8",
            "name": reference,
        }
        body = json.dumps(wish).encode()
        seconds = self._limits.request_seconds
        request = Request(purpose, "POST", self._imports, seconds, {}, body, "application/json")
        try:
            answer = self._attempt(request)
        except Transient as failed:
            if isinstance(failed.error, Refused):
                failed.error = _unknown(failed.error)
            raise
        try:
            made = section(envelope(answer, purpose, self._clean)["data"])
            found = DocumentImport(identifier(made.get("id")), made.get("name") or reference)
        except ProtocolError as error:
            raise Transient(error) from None
        if found.name != reference:
            raise ProtocolError(
                f"the platform named the document import {self._clean(str(found.name))} instead of "
                f"{reference}, and it could not be found again"
            )
        return found

    def _find_lost(self, reference: str) -> DocumentImport | None:
        """What a creation left whose answer was lost. Nothing was uploaded to it: an import that
        has executions is that of another copy of the state, and is left to be noticed.
        """
        try:
            named = [found for found in self.find_imports(reference) if found.name == reference]
            empty = [found for found in named if not self.list_executions(found.id)]
        except DestinationError as error:
            raise _unknown(error) from None
        return min(empty, key=lambda earlier: (len(earlier.id), earlier.id), default=None)

    def _accepted(
        self, answer: Answer, purpose: str, document_import: str, body: FileBody
    ) -> Execution:
        error = failure(answer, purpose, self._clean, self._token)
        if error is not None:
            if answer.status == 400:
                error.hint = _WHAT_IS_REFUSED
            raise OutcomeUnknown(error.message) if is_transient(answer.status) else error
        if body.sent < len(body):
            raise OutcomeUnknown(
                f"could not {purpose}: the platform answered after {body.sent:,} of "
                f"{len(body):,} bytes"
            )
        try:
            data = envelope(answer, purpose, self._clean)["data"]
        except Refused as refused:
            raise OutcomeUnknown(refused.message) from None
        return read_execution(data, document_import, self._clean)

    def _download(self, uri: str, sink: NewFile) -> None:
        purpose, seconds = "download the error file", self._limits.error_file_seconds
        request = Request(purpose, "GET", "/v1/data_file/data", seconds, {"uri": uri})
        sink.restart()
        answer = self._attempt(request, sink)
        kind = answer.headers.get("content-type", "").lower()
        coding = answer.headers.get("content-encoding", "identity").lower()
        if answer.status != 200 or coding != "identity" or kind.startswith("text/html"):
            raise ProtocolError(f"could not {purpose}: the answer is no file: {self._clean(kind)}")
        if kind.startswith("application/json"):
            raise_if_error(replace(answer, body=sink.start(_ENVELOPE_BYTES)), purpose, self._clean)

    def _list(
        self,
        purpose: str,
        path: str,
        filters: Mapping[str, str],
        wanted: Callable[[dict[str, Any]], bool],
    ) -> list[dict[str, Any]]:
        return read_all(lambda page: self._get(purpose, path, {**filters, **page}), wanted)

    def _get(self, purpose: str, path: str, params: Mapping[str, str]) -> dict[str, Any]:
        request = Request(purpose, "GET", path, self._limits.request_seconds, params)
        answer = self._patience.call(lambda: self._attempt(request))
        return envelope(answer, purpose, self._clean)

    def _attempt(self, request: Request, sink: NewFile | None = None) -> Answer:
        """One exchange that ended in a success; Transient where it may be repeated."""
        try:
            answer = self._wire.exchange(request, sink)
            self._date = answer.headers.get("date")
        except Untrusted:
            raise
        except (NotSent, OutcomeUnknown) as lost:
            raise Transient(lost) from None
        error = failure(answer, request.purpose, self._clean, self._token)
        if error is None:
            return answer
        if is_transient(answer.status):
            raise Transient(error, answer.headers.get("retry-after"))
        raise error

    def _executions(self, document_import: str) -> str:
        if not _PATH_PART.fullmatch(document_import):
            raise NotSent(f"{self._clean(document_import)} is not the id of a document import")
        return f"{self._imports}/{document_import}/executions"


def _secrets(settings: DestinationSettings) -> list[str]:
    proxy = settings.proxy.reveal() if settings.proxy else ""
    try:
        password = urlsplit(proxy).password or ""
    except ValueError:
        password = ""
    return [settings.api_token.reveal(), proxy, password]


def _unknown(error: DestinationError) -> OutcomeUnknown:
    return OutcomeUnknown(f"{error.message}; whether it took effect is not known", hint=error.hint)
