"""What must hold of each payload that arrives, asserted by who receives it.

It is journalled, nobody is removed whom nobody had said, and no secret is in it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Literal, NamedTuple

from segsync.emulator.people import IDENTIFIER_FIELDS
from segsync.emulator.world import Upload
from segsync.model import Address
from segsync.state import PartStatus, State, open_state
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

    def note_journal_at(self, path: Path) -> None:
        """The same of a state whose process has ended.

        Whatever it had begun to commit was sent before, or never.
        """
        if path.exists() and not path.with_name("state.db-journal").exists():
            with closing(open_state(path, read_only=True)) as state:
                self.note_journal(state)


def assert_journalled(path: Path, upload: Upload) -> None:
    """What must be durable when the first byte of a payload has arrived."""
    with closing(open_state(path, read_only=True)) as state:
        run = state.open_run()
        assert run is not None, "an upload without an open run"
        assert run.reference == upload.import_name
        assert run.import_id == upload.import_id
        [part] = [part for part in run.parts if part.sha256 == upload.sha256]
        assert part.size == upload.size
        assert part.status is PartStatus.SENDING
        with state.changes() as changes:
            lines = [line for batch in changes for line in batch.column("line").to_pylist()]
        assert set(range(part.first, part.last + 1)) <= set(lines)


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
