"""The emulator as tests, demos and `segsync emulator` hold it. Safe to call from threads."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from segsync.emulator import runs
from segsync.emulator.clock import EmulatorClock, as_ms
from segsync.emulator.commands import Command
from segsync.emulator.executions import DocumentImport, Execution
from segsync.emulator.faults import FaultScript
from segsync.emulator.files import Files, files_folder
from segsync.emulator.log import RequestRecord
from segsync.emulator.options import Behaviour
from segsync.emulator.people import Identifier, Member
from segsync.emulator.segments import Segment
from segsync.emulator.settings import with_settings
from segsync.emulator.world import Upload, World

if TYPE_CHECKING:
    from segsync.emulator.storage import Storage


class Emulator:
    """A local datamart.

    `seed` decides the order of lines. `frozen_at_ms` starts a clock that only moves by `advance`.
    `data` is a file that the datamart, its clock included, lives in beyond this process: raises
    SegsyncError where it cannot.
    """

    def __init__(
        self,
        *,
        datamart_id: str = "1509",
        token: str = "emulator-token",
        behaviour: Behaviour | None = None,
        default_compartment: str = "1000",
        seed: int = 0,
        frozen_at_ms: int | None = None,
        data: Path | None = None,
    ) -> None:
        self._storage: Storage | None = None
        if data is not None:
            # sqlite3 is loaded only where there is a file to keep.
            from segsync.emulator.storage import Storage

            self._storage = Storage(data)
        self.world = World(
            datamart_id,
            token,
            Files(files_folder(data) if data else None),
            EmulatorClock(frozen_at_ms),
            behaviour=behaviour or Behaviour(),
            default_compartment=default_compartment,
            seed=seed,
        )
        if self._storage is not None:
            self._storage.load(self.world)

    def save(self) -> None:
        """Write to the data file, where there is one; each answer has done so before it goes."""
        if self._storage is not None:
            with self.world.lock:
                self._storage.save(self.world)

    def close(self) -> None:
        """Save, or delete the temporary files."""
        self.save()
        if self._storage is not None:
            self._storage.close()
        self.world.files.remove()

    # ---------------------------------------------------------------- what the tests look at

    @property
    def behaviour(self) -> Behaviour:
        """The switches as they stand."""
        return self.world.behaviour

    @property
    def clock(self) -> EmulatorClock:
        """The emulator's own clock."""
        return self.world.clock

    @property
    def faults(self) -> FaultScript:
        """What shall go wrong."""
        return self.world.faults

    @property
    def request_log(self) -> list[RequestRecord]:
        """Every request so far, those that failed and those under way included."""
        return self.world.request_log

    @property
    def refused(self) -> Counter[str]:
        """Lines that failed, by reason code; empty where a client's lines were all right."""
        return self.world.refused

    @property
    def crashes(self) -> list[Exception]:
        """What upload hooks raised, and the emulator's own mistakes: answered with HTTP 500."""
        return self.world.crashes

    @property
    def max_in_flight(self) -> int:
        """The most executions that were unfinished at one time."""
        return self.world.executions.max_in_flight

    @property
    def imports(self) -> list[DocumentImport]:
        """All document imports, oldest first."""
        with self.world.lock:
            return list(self.world.executions.imports.values())

    @property
    def executions(self) -> list[Execution]:
        """All executions, oldest first, as they are by now."""
        with self.world.lock:
            runs.settle(self.world)
            return list(self.world.executions.by_id.values())

    def members(self, segment: str) -> dict[Identifier, Member]:
        """Every identifier of every present member. Raises UnknownSegment."""
        with self.world.lock:
            runs.settle(self.world)
            segment_id, now_ms = self.world.segment(segment).id, self.now_ms()
            return {
                identifier: Member(membership.expires_at_ms, membership.data_bag)
                for person, membership in self.world.memberships.live(segment_id, now_ms)
                for identifier in self.world.people.identifiers_of[person]
            }

    def is_member(self, segment: str, identifier: Identifier) -> bool:
        """Whether the identifier's person is in the segment at present. Raises UnknownSegment."""
        with self.world.lock:
            runs.settle(self.world)
            person = self.world.people.number_of.get(identifier, 0)
            table = self.world.memberships.of(self.world.segment(segment).id)
            return person in table and table[person].live(self.now_ms())

    # ---------------------------------------------------------------- time

    def now_ms(self) -> int:
        """The emulator's present time, epoch milliseconds."""
        return self.world.now_ms()

    def advance(
        self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0
    ) -> int:
        """Move the clock; gives the new time."""
        with self.world.lock:
            self.clock.advance_ms(as_ms(days, hours, minutes, seconds))
            runs.settle(self.world)
            return self.now_ms()

    def run_all(self) -> None:
        """Let all executions end at once, held ones too."""
        with self.world.lock:
            runs.finish_all(self.world)

    # ---------------------------------------------------------------- what the tests decide

    def behave(self, **settings: Any) -> None:
        """Change switches of the behaviour by name. Raises WrongOption."""
        with self.world.lock:
            self.world.behaviour = with_settings(self.world.behaviour, settings)

    def on_upload(self, hook: Callable[[Upload], None]) -> None:
        """Call `hook` with each payload before anything of it takes effect.

        It holds the emulator's lock: it may use the emulator, but send no request to it.
        """
        self.world.upload_hooks.append(hook)

    def reject(
        self,
        identifiers: Iterable[Identifier],
        reason: str = "rejected by the platform",
        operations: tuple[str, ...] = ("UPDATE", "DELETE"),
    ) -> None:
        """Fail the lines of these identifiers from now on."""
        rejected = frozenset(identifiers)

        def rejecter(command: Command) -> str | None:
            meant = command.identifier in rejected and command.operation in operations
            return reason if meant else None

        self.reject_when(rejecter)

    def reject_when(self, rejecter: Callable[[Command], str | None]) -> None:
        """Fail the lines for which `rejecter` gives a reason."""
        self.world.rejecters.append(rejecter)

    def accept_all(self) -> None:
        """Undo all `reject` and `reject_when`."""
        self.world.rejecters.clear()

    def add_import(self, name: str, mime_type: str = "APPLICATION_X_NDJSON") -> DocumentImport:
        """Make a document import, as another client of the datamart might."""
        with self.world.lock:
            return self.world.create_import(name, mime_type)

    def add_segment(self, technical_name: str | None, **fields: Any) -> Segment:
        """Make a segment; `fields` are those of Segment. Raises TakenName, WrongOption."""
        with self.world.lock:
            return self.world.add_segment(technical_name, **fields)

    def change_segment(self, segment: str, **fields: Any) -> Segment:
        """Change fields of a segment, such as `paused`. Raises UnknownSegment, WrongOption."""
        with self.world.lock:
            changed = with_settings(self.world.segment(segment), fields)
            self.world.segments.put(changed)
            return changed

    def remove_segment(self, segment: str) -> None:
        """Delete a segment with its members. Raises UnknownSegment."""
        with self.world.lock:
            gone = self.world.segment(segment)
            self.world.segments.remove(gone.id)
            self.world.memberships.forget_segment(gone.id)

    # ---------------------------------------------------------------- people

    def account(self, value: str, compartment: str | None = None) -> Identifier:
        """A user account; without a compartment it is in the default one."""
        return self.world.account(value, compartment)

    def email(self, value: str) -> Identifier:
        """An email_hash."""
        return Identifier("email_hash", None, value)

    def agent(self, value: str) -> Identifier:
        """A user_agent_id."""
        return Identifier("user_agent_id", None, value)

    def declare_person(self, identifiers: Iterable[Identifier]) -> int:
        """Say that all these identifiers are one person's; gives the user point's number."""
        with self.world.lock:
            person, others = self.world.people.unite(identifiers)
            self.world.memberships.merge(person, others)
            return person

    def quarantine(self, identifier: Identifier) -> None:
        """From now on the person is silently not added to any segment."""
        with self.world.lock:
            self.world.people.quarantined.add(self.world.people.meet(identifier))
