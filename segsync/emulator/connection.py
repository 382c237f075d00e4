"""One connection's requests and answers, with whatever the fault script does to them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

from segsync.emulator.answers import encoded_head, paced, pieces
from segsync.emulator.api import Api
from segsync.emulator.exchange import Exchange
from segsync.emulator.faults import Cut, Drip, Framing, Point, Stall
from segsync.emulator.files import Receiving, UploadedFile
from segsync.emulator.messages import ApiError, Response, error
from segsync.emulator.wire import BadRequest, Gone, Head, Wire

LARGEST_SMALL_BODY = 10_000_000


class Connection:
    """Serves one connection until one of the two sides ends it."""

    def __init__(self, api: Api, wire: Wire) -> None:
        self._api = api
        self._world = api.world
        self._wire = wire

    def serve(self) -> None:
        """Answer request after request."""
        try:
            while self._serve_one():
                pass
            self._wire.finish()
        except BadRequest as bad:
            self._refuse(str(bad))
        except Gone:
            self._wire.close()

    def _serve_one(self) -> bool:
        """Whether the connection may carry another request."""
        head = self._wire.read_head()
        if head is None:
            return False
        exchange = Exchange(self._api, head.method, head.target, head.headers)
        self._interrupt(exchange, "head")
        early = exchange.early_answer(head.size)
        if early is not None:
            headers = {**early.headers, "Connection": "close"}
            self._send(exchange, replace(early, headers=headers))
            return False
        response = self._response(exchange, head)
        self._interrupt(exchange, "after_apply")
        self._send(exchange, response)
        framing = exchange.fault(Framing) or Framing()
        ends = framing.close_after or framing.kind == "close" or framing.version == "1.0"
        return head.keeps_alive and not ends

    def _response(self, exchange: Exchange, head: Head) -> Response:
        if exchange.is_upload:
            file = self._received_upload(exchange, head)
            self._interrupt(exchange, "before_apply")
            return exchange.answer(file=file)
        body = bytearray()
        for part in self._body(exchange, head):
            body += part
            if len(body) > LARGEST_SMALL_BODY:
                raise BadRequest("the body is too large")
        self._interrupt(exchange, "before_apply")
        return exchange.answer(bytes(body))

    def _received_upload(self, exchange: Exchange, head: Head) -> UploadedFile:
        with Receiving(self._world.files.new("payload")) as receiving:
            for part in self._body(exchange, head):
                receiving.write(part)
            return receiving.complete()

    def _body(self, exchange: Exchange, head: Head) -> Iterator[bytes]:
        drip = exchange.fault(Drip)
        rate: float | None = self._world.behaviour.upload_bytes_per_second
        if drip is not None and drip.direction == "body":
            rate = drip.bytes_per_second
        waiting = exchange.interruptions("body")
        received = 0
        for part in self._wire.read_body(head, block=paced(rate)):
            for fault in list(waiting):
                if received + len(part) >= (head.size or 0) * fault.fraction:
                    waiting.remove(fault)
                    self._do(fault)
            received += len(part)
            if rate is not None:
                self._wire.pause(len(part) / rate)
            yield part

    def _interrupt(self, exchange: Exchange, point: Point) -> None:
        for fault in exchange.interruptions(point):
            self._do(fault)

    def _do(self, fault: Cut | Stall) -> None:
        if isinstance(fault, Stall):
            self._wire.stall(fault.seconds)
        elif fault.how == "rst":
            self._wire.reset()
            raise Gone
        else:
            self._wire.finish()
            raise Gone

    def _send(self, exchange: Exchange, response: Response) -> None:
        framing = exchange.fault(Framing) or Framing()
        drip = exchange.fault(Drip)
        rate: float | None = self._world.behaviour.answer_bytes_per_second
        if drip is not None and drip.direction == "answer":
            rate = drip.bytes_per_second
        if self._world.behaviour.dates:
            now = time.gmtime(self._world.now_ms() / 1000)
            date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", now)
            response = replace(response, headers={"Date": date, **response.headers})
        head, size = encoded_head(response, framing)
        self._send_at(head, rate)
        sent = 0
        waiting = exchange.interruptions("answer")
        for part in pieces(response, framing):
            for fault in sorted(waiting, key=lambda one: one.fraction):
                edge = int(size * fault.fraction)
                if edge <= sent + len(part):
                    waiting.remove(fault)
                    self._send_at(part[: max(0, edge - sent)], rate)
                    part, sent = part[max(0, edge - sent) :], max(sent, edge)
                    self._do(fault)
            self._send_at(part, rate)
            sent += len(part)
        self._send_at(framing.after.encode("latin-1"), rate)

    def _send_at(self, data: bytes, rate: float | None) -> None:
        if rate is None:
            self._wire.send(data)
        else:
            self._wire.send_slowly(data, rate)

    def _refuse(self, text: str) -> None:
        response = error(ApiError(400, text, "BAD_REQUEST"), "emulator-0")
        try:
            self._wire.send(encoded_head(response, Framing())[0] + response.content)
            self._wire.finish()
        except Gone:
            self._wire.close()
