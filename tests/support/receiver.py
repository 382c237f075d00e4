"""What must hold of each payload that arrives, asserted by who receives it: nobody is removed whom
nobody had said, and no secret is in it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple

from segsync.emulator.people import IDENTIFIER_FIELDS
from segsync.model import Address
from segsync.state import State
from tests.support.canary import tokens_in

ADDRESS_FIELDS: tuple[Literal["segment_id", "segment_technical_name"], ...] = (
    "segment_id",
    "segment_technical_name",
)


class Who(NamedTuple):
    """One identifier in one segment, as a command names them."""

    address: Address
    kind: str
    compartment: str | None
    identifier: str


class Receiver:
    """Remembers who was said by an UPDATE: in what arrived, and in what was journalled to be sent.

    `removed` and `addressed` have one entry for each payload that has arrived: who was removed, and
    the segments that it speaks of.
    """

    def __init__(self) -> None:
        self.said: set[Who] = set()
        self.removed: list[set[Who]] = []
        self.addressed: list[set[Address]] = []

    def take(self, payload: bytes) -> None:
        """Look at a payload that has arrived."""
        assert not tokens_in(payload), "a secret in a payload"
        commands = list(_commands(payload.decode()))
        removed = {who for operation, who in commands if operation == "DELETE"}
        assert removed <= self.said, f"removed, but never said: {removed - self.said}"
        self.said |= {who for operation, who in commands if operation == "UPDATE"}
        self.removed.append(removed)
        self.addressed.append({who.address for _, who in commands})

    def note_journal(self, state: State) -> None:
        """Whom an open run was to say counts as said: its payload may be on its way for ever."""
        if state.open_run() is None:
            return
        addresses = {segment.number: segment.address for segment in state.segments()}
        places = {
            place.number: (addresses[place.segment], place.kind.value, place.compartment_id)
            for place in state.keyspaces()
        }
        with state.changes() as batches:
            self.said |= {
                Who(*places[row["keyspace"]], row["identifier"])
                for batch in batches
                for row in batch.to_pylist()
                if row["change"] != "remove"
            }


def _commands(payload: str) -> Iterator[tuple[str, Who]]:
    """The operation of each line, and whom it names."""
    lines: Iterator[Mapping[str, str]] = (
        map(json.loads, payload.split("\n")[:-1])
        if payload.startswith("{")
        else csv.DictReader(io.StringIO(payload, newline=""))
    )
    for line in lines:
        [address] = [Address(name, line[name]) for name in ADDRESS_FIELDS if line.get(name)]
        [kind] = [name for name in IDENTIFIER_FIELDS if line.get(name)]
        who = Who(address, kind, line.get("compartment_id") or None, line[kind])
        yield line["operation"], who
