"""What goes wrong during one apply: faults at calls of the platform, and the death of the process.

A dead process leaves what was on disk at that moment; all that the product does while the exception
unwinds it is undone by putting that image back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from segsync.destination import Destination, DocumentImport, Execution, SegmentLookup
from segsync.emulator import Emulator, ExecutionScript
from segsync.emulator.executions import Execution as Upload
from segsync.errors import DestinationError, NotSent, OutcomeUnknown, ProtocolError, Refused
from segsync.model import Address
from segsync.state import State

ERRORS: dict[str, tuple[bool, Callable[[str], DestinationError]]] = {
    "request lost": (False, NotSent),
    "outcome unknown, not done": (False, OutcomeUnknown),
    "answer lost": (True, OutcomeUnknown),
    "nonsense answered": (True, ProtocolError),
    "refused": (False, lambda text: Refused(text, status=400)),
    "forbidden": (False, lambda text: Refused(text, status=403)),
    "unavailable": (False, lambda text: Refused(text, status=503)),
}
"""Whether the request takes effect all the same, and what the caller is told."""

FOR_EVER = 10**9
SCRIPTS = {
    "late": ExecutionScript(starts_after_polls=12),
    "very late": ExecutionScript(starts_after_polls=20),
    "fails": ExecutionScript(ends_as="FAILED", applies="some"),
    "is canceled": ExecutionScript(ends_as="CANCELED", applies="some"),
    "strange words": ExecutionScript(shown=("PENDING", "RUNNING", "LOST", "WHAT", "RUNNING")),
    "never ends": ExecutionScript(starts_after_polls=FOR_EVER, ends_as="FAILED"),
    "result missing": ExecutionScript(patch={"result": None, "parameters": None}),
    "counts wrong": ExecutionScript(patch={"result": {"total_success": 777}}),
}
MISSING = ("goes missing", "goes missing, as the process dies")
"""An upload that arrives, and of which nothing is seen: its execution acts when the story says."""
NAMELESS = ("result missing", "counts wrong")
WRITES = ("stage_changes", "begin_run", "note_import", "note_part", "close_run", "replace_digests")


class Killed(BaseException):
    """Not an Exception: nothing of the product may catch it and go on."""


@dataclass(frozen=True)
class Fault:
    """The calls `first` to `first + times - 1` of a method go wrong."""

    method: str
    first: int
    what: str
    times: int = 1

    def __str__(self) -> str:
        until = f"–{self.first + self.times - 1}" if self.times > 1 else ""
        return f"{self.method} {self.first}{until}: {self.what}"


@dataclass
class Trouble:
    """The faults of one apply, the moment of its death, and that of a backup; 0 is never.

    Moments are before and after each call of the platform and each write to the state; statements
    are those of its transactions, of which one that is not committed leaves nothing.
    """

    emulator: Emulator
    state: Path
    faults: tuple[Fault, ...] = ()
    dies_at: int = 0
    dies_in: int = 0
    """The statement before which the process dies."""
    copied_at: int = 0
    died: str = ""
    copy: bytes | None = None
    missing: list[Upload] = field(default_factory=list)
    _moments: int = 0
    _statements: int = 0
    _image: bytes | None = None
    _calls: Counter[str] = field(default_factory=Counter)

    def moment(self, name: str) -> None:
        """Die here, if it is time."""
        if self.died:
            return
        self._moments += 1
        if self._moments == self.copied_at and self.state.exists():
            self.copy = self.state.read_bytes()
        if self._moments == self.dies_at:
            self._die(f"moment {self._moments}, {name}")

    def statement(self, sql: str) -> None:
        """Die before this statement of a transaction, if it is time."""
        if self.died:
            return
        self._statements += 1
        if self._statements == self.dies_in:
            self._die(f"statement {self._statements}, before {' '.join(sql.split()[:3])}")

    def _die(self, where: str) -> None:
        self.died = where
        self._image = self.state.read_bytes() if self.state.exists() else None
        raise Killed

    def restore(self) -> None:
        """Put back what was on disk when the process died."""
        if self._image is None:
            self.state.unlink(missing_ok=True)
        else:
            self.state.write_bytes(self._image)

    def call(self, name: str, request: Callable[[], Any]) -> Any:
        """Ask the platform, and let go wrong what shall."""
        self.moment(f"before {name}")
        self._calls[name] += 1
        found = [f for f in self.faults if f.method == name and self._strikes(f)]
        for fault in found:
            if fault.what in SCRIPTS:
                self.emulator.faults.add("upload", SCRIPTS[fault.what])
            if fault.what in MISSING:
                self._miss(request, fault.what)
        error = next((ERRORS[fault.what] for fault in found if fault.what in ERRORS), None)
        answer = request() if error is None or error[0] else None
        if name == "upload":
            self.emulator.faults.clear()
        if error is not None:
            self.moment(f"in {name}")
            raise error[1](f"scripted: {name}")
        self.moment(f"after {name}")
        return answer

    def _miss(self, upload: Callable[[], Any], what: str) -> None:
        """Let an upload arrive, and its execution neither begin nor show."""
        self.emulator.faults.add("upload", ExecutionScript(starts_after_polls=FOR_EVER))
        upload()
        execution = self.emulator.executions[-1]
        self.emulator.world.unseen[f"Execution/{execution.id}"] = -FOR_EVER
        self.missing.append(execution)
        if what != "goes missing":
            self.dies_at = self._moments + 1
        self.moment("in upload")
        raise OutcomeUnknown("scripted: upload")

    def _strikes(self, fault: Fault) -> bool:
        return fault.first <= self._calls[fault.method] < fault.first + fault.times


class Troubled:
    """A destination that goes wrong."""

    def __init__(self, inner: Destination, trouble: Trouble) -> None:
        self._inner = inner
        self._trouble = trouble

    def look_up_segment(self, address: Address) -> SegmentLookup:
        found: SegmentLookup = self._ask("look_up_segment", address)
        return found

    def create_import(self, reference: str) -> DocumentImport:
        made: DocumentImport = self._ask("create_import", reference)
        return made

    def find_imports(self, *prefixes: str) -> list[DocumentImport]:
        found: list[DocumentImport] = self._ask("find_imports", *prefixes)
        return found

    def upload(self, document_import: str, payload: Path) -> Execution:
        made: Execution = self._ask("upload", document_import, payload)
        return made

    def list_executions(self, document_import: str) -> list[Execution]:
        found: list[Execution] = self._ask("list_executions", document_import)
        return found

    def fetch_error_file(self, uri: str, into: Path) -> None:
        self._ask("fetch_error_file", uri, into)

    def _ask(self, name: str, *arguments: object) -> Any:
        return self._trouble.call(name, lambda: getattr(self._inner, name)(*arguments))


class Mortal:
    """A state during whose writes the process may die."""

    def __init__(self, inner: State, trouble: Trouble) -> None:
        self._inner = inner
        self._trouble = trouble

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name not in WRITES:
            return found

        def write(*arguments: Any, **more: Any) -> Any:
            self._trouble.moment(f"before {name}")
            result = found(*arguments, **more)
            self._trouble.moment(f"after {name}")
            return result

        return write
