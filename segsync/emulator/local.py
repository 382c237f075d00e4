"""The emulator without sockets: requests as function calls, scripted faults as exceptions."""

from __future__ import annotations

from collections.abc import Mapping

from segsync.emulator.api import Api
from segsync.emulator.emulator import Emulator
from segsync.emulator.exchange import Exchange
from segsync.emulator.faults import Cut, Point, Stall
from segsync.emulator.files import received
from segsync.emulator.messages import Response


class ConnectionEnded(Exception):
    """The script cut the connection, or let it stall; `point` is where."""

    def __init__(self, point: Point, *, stalled: bool) -> None:
        super().__init__(f"{'stalled' if stalled else 'cut'} at {point}")
        self.point = point
        self.stalled = stalled


class LocalClient:
    """Calls an emulator with its own token unless told otherwise."""

    def __init__(self, emulator: Emulator) -> None:
        self._api = Api(emulator)
        self._world = emulator.world

    def request(
        self,
        method: str,
        target: str,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Response:
        """One exchange. Raises ConnectionEnded."""
        given = {name.lower(): value for name, value in (headers or {}).items()}
        sent = {"authorization": self._world.token, **given}
        exchange = Exchange(self._api, method, target, sent)
        self._interrupt(exchange, "head")
        early = exchange.early_answer(len(body))
        if early is not None:
            return early
        self._interrupt(exchange, "body")
        self._interrupt(exchange, "before_apply")
        if exchange.is_upload:
            path = self._world.files.new("payload")
            response = exchange.answer(file=received(path, [body]))
        else:
            response = exchange.answer(body)
        self._interrupt(exchange, "after_apply")
        self._interrupt(exchange, "answer")
        return response

    def _interrupt(self, exchange: Exchange, point: Point) -> None:
        for fault in exchange.interruptions(point):
            if isinstance(fault, Cut) or fault.seconds is None:
                raise ConnectionEnded(point, stalled=isinstance(fault, Stall))
