"""One request from its head to its answer: the log entry, the script's faults, the real answer."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from segsync.emulator.api import Api
from segsync.emulator.control import PREFIX
from segsync.emulator.faults import (
    Answer,
    Cut,
    Drip,
    ExecutionScript,
    Framing,
    Point,
    Rewrite,
    Stall,
)
from segsync.emulator.files import UploadedFile
from segsync.emulator.log import RequestRecord
from segsync.emulator.messages import Request, Response
from segsync.emulator.rewriting import rewritten

AnyFault = TypeVar("AnyFault", Answer, Drip, ExecutionScript, Framing, Rewrite)


class Exchange:
    """A request under way. Every request counts as a call of its endpoint, also a failing one."""

    def __init__(self, api: Api, method: str, target: str, headers: Mapping[str, str]) -> None:
        self._api = api
        self.request = Request(method, target, headers)
        self.endpoint = api.endpoint(method, self.request.path)
        world = api.world
        controlled = self.request.path.startswith(PREFIX)
        with world.lock:
            self.faults = () if controlled else world.faults.next(self.endpoint)
            self.record = RequestRecord(
                len(world.request_log) + 1,
                method,
                target,
                self.endpoint,
                world.now_ms(),
                time.monotonic(),
                self.faults,
            )
            if not controlled:
                world.request_log.append(self.record)

    @property
    def is_upload(self) -> bool:
        """Whether the body goes to a file."""
        return self.endpoint == "upload"

    def fault(self, kind: type[AnyFault]) -> AnyFault | None:
        """The first of this call's faults of a kind."""
        return next((fault for fault in self.faults if isinstance(fault, kind)), None)

    def interruptions(self, point: Point) -> list[Cut | Stall]:
        """What the script does to the connection at this moment."""
        return [
            fault for fault in self.faults if isinstance(fault, (Cut, Stall)) and fault.at == point
        ]

    def early_answer(self, size: int | None) -> Response | None:
        """An answer that does not wait for the body of `size` bytes."""
        scripted = self.fault(Answer)
        if scripted is not None and scripted.early:
            return self._answered(scripted_response(scripted))
        if self.is_upload:
            refusal = self._api.refusal_before_body(self.request, size)
            return refusal and self._answered(refusal)
        return None

    def answer(self, body: bytes = b"", file: UploadedFile | None = None) -> Response:
        """The answer, after everything that the request does is done."""
        self.record.body_size = file.size if file else len(body)
        if file is not None:
            self.record.sha256, self.record.payload = file.sha256, file.path
        request = replace(self.request, body=body, file=file, script=self.fault(ExecutionScript))
        scripted = self.fault(Answer)
        if scripted is not None and not scripted.applied:
            return self._answered(scripted_response(scripted))
        response = self._api.handle(request)
        rewrite = self.fault(Rewrite)
        if rewrite is not None:
            response = rewritten(response, rewrite.how)
        return self._answered(scripted_response(scripted) if scripted else response)

    def _answered(self, response: Response) -> Response:
        self.record.status = response.status
        self.record.seconds = time.monotonic() - self.record.started
        return response


def scripted_response(answer: Answer) -> Response:
    """A scripted answer as a response."""
    body = answer.body.encode("utf-8", "surrogateescape") * answer.repeated
    return Response(answer.status, body, answer.headers)
