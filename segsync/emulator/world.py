"""One datamart as data, and the small things that everyone does with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import RLock
from typing import Any

from segsync.emulator.clock import EmulatorClock
from segsync.emulator.commands import Target
from segsync.emulator.executions import DocumentImport, Executions
from segsync.emulator.faults import FaultScript
from segsync.emulator.files import Files
from segsync.emulator.log import RequestRecord
from segsync.emulator.options import Behaviour
from segsync.emulator.people import Identifier, Memberships, People
from segsync.emulator.processing import Rejecter
from segsync.emulator.segments import Segment, Segments, UnknownSegment, checked


@dataclass(frozen=True, slots=True)
class Upload:
    """A payload that has arrived completely; nothing of it has taken effect yet."""

    sha256: str
    import_name: str
    import_id: str
    size: int
    path: Path


@dataclass(slots=True)
class World:
    """The datamart and everything around it. Whoever touches it holds `lock`."""

    datamart_id: str
    token: str
    files: Files
    clock: EmulatorClock
    behaviour: Behaviour = field(default_factory=Behaviour)
    default_compartment: str = "1000"
    seed: int = 0
    people: People = field(default_factory=People)
    memberships: Memberships = field(default_factory=Memberships)
    segments: Segments = field(default_factory=Segments)
    executions: Executions = field(default_factory=Executions)
    faults: FaultScript = field(default_factory=FaultScript)
    refused: Counter[str] = field(default_factory=Counter)
    request_log: list[RequestRecord] = field(default_factory=list)
    rejecters: list[Rejecter] = field(default_factory=list)
    upload_hooks: list[Callable[[Upload], None]] = field(default_factory=list)
    unseen: Counter[str] = field(default_factory=Counter)
    """For each import and execution, how many lists have been asked for since it is there."""
    crashes: list[Exception] = field(default_factory=list)
    lock: RLock = field(default_factory=RLock)

    def now_ms(self) -> int:
        """The emulator's present time, epoch milliseconds."""
        return self.clock.now_ms()

    def account(self, value: str, compartment: str | None = None) -> Identifier:
        """A user account; without a compartment it is in the default one."""
        return Identifier("user_account_id", compartment or self.default_compartment, value)

    def add_segment(self, technical_name: str | None, **fields: Any) -> Segment:
        """Make a segment; `fields` are those of Segment. Raises TakenName, WrongOption."""
        given = {"creation_ts": self.now_ms(), "datamart_id": self.datamart_id, **checked(fields)}
        segment = Segment(
            id=given.pop("id", None) or self.segments.new_id(),
            technical_name=technical_name,
            name=given.pop("name", None) or technical_name or "unnamed",
            **given,
        )
        self.segments.put(segment)
        return segment

    def segment(self, name_or_id: str) -> Segment:
        """A segment by technical name or id. Raises UnknownSegment."""
        found = self.segments.named(name_or_id) or self.segments.by_id.get(name_or_id)
        if found is None:
            raise UnknownSegment(f"there is no segment {name_or_id}")
        return found

    def find_segment(self, target: Target) -> Segment | None:
        """The segment that a line or a look-up means; made where `create_segments` says so."""
        field_name, value = target
        by_id = field_name == "segment_id"
        found = self.segments.by_id.get(value) if by_id else self.segments.named(value)
        if found is None and self.behaviour.create_segments:
            if by_id:
                return self.add_segment(None, id=value, name=f"segment {value}")
            return self.add_segment(value)
        return found

    def create_import(self, name: str, mime_type: str, **fields: str) -> DocumentImport:
        """Make a document import."""
        made = DocumentImport(
            self.executions.new_import_id(), name, mime_type, self.now_ms(), **fields
        )
        self.executions.imports[made.id] = made
        return made
