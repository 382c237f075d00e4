"""Document imports and their executions: PENDING, RUNNING, then one of three ends."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from segsync.emulator.faults import ExecutionScript
from segsync.emulator.files import UploadedFile
from segsync.emulator.options import Behaviour

FIRST_IMPORT_ID = 1_001
FIRST_EXECUTION_ID = 5_001
ENDED = ("SUCCEEDED", "FAILED", "CANCELED")

Stage = Literal["waiting", "running", "due"]


@dataclass(frozen=True, slots=True)
class DocumentImport:
    """A document import."""

    id: str
    name: str
    mime_type: str
    created_ms: int
    document_type: str = "USER_SEGMENT"
    encoding: str = "utf-8"
    priority: str = "MEDIUM"


@dataclass(slots=True)
class Execution:
    """One uploaded file. Times are the emulator's, but for `arrived`, which is monotonic."""

    id: str
    import_id: str
    mime_type: str
    created_ms: int
    payload: UploadedFile
    script: ExecutionScript = field(default_factory=ExecutionScript)
    status: str = "PENDING"
    started_ms: int | None = None
    finished_ms: int | None = None
    result: dict[str, Any] | None = None
    error: dict[str, Any] | None = None
    polls: int = 0
    held_polls: int = 0
    shown: int = 0
    arrived: float = field(default_factory=time.monotonic)

    @property
    def ended(self) -> bool:
        """Whether it will never change again."""
        return self.status in ENDED


class Executions:
    """All imports and executions of the datamart."""

    def __init__(self) -> None:
        self.imports: dict[str, DocumentImport] = {}
        self.by_id: dict[str, Execution] = {}
        self.max_in_flight = 0
        self.last_import_id = FIRST_IMPORT_ID - 1
        self.last_execution_id = FIRST_EXECUTION_ID - 1

    def new_import_id(self) -> str:
        """The next import's id."""
        self.last_import_id += 1
        return str(self.last_import_id)

    def new_execution_id(self) -> str:
        """The next execution's id."""
        self.last_execution_id += 1
        return str(self.last_execution_id)

    def add(self, execution: Execution) -> None:
        """Take a new execution in."""
        self.by_id[execution.id] = execution
        self.max_in_flight = max(self.max_in_flight, len(self.active()))

    def active(self) -> list[Execution]:
        """Executions that have not ended, oldest first."""
        return [one for one in self.by_id.values() if not one.ended]

    def of_import(self, import_id: str) -> Iterator[Execution]:
        """The executions of an import, oldest first."""
        return (one for one in self.by_id.values() if one.import_id == import_id)

    def remove_import(self, import_id: str) -> list[Execution]:
        """Delete an import with its executions; gives the latter."""
        del self.imports[import_id]
        gone = list(self.of_import(import_id))
        for execution in gone:
            del self.by_id[execution.id]
        return gone

    def count_poll(self, execution: Execution, behaviour: Behaviour) -> None:
        """Someone reads the status of an execution: that may move it on."""
        if behaviour.timing != "polls" or execution.ended:
            return
        if behaviour.execution_order == "one_by_one":
            execution = self.active()[0]
        if self._held(execution):
            execution.held_polls += 1
        else:
            execution.polls += 1

    def due(self, behaviour: Behaviour, now_ms: int) -> Iterator[tuple[Execution, int]]:
        """Start what is due to start; give what is due to end, with the time of its end.

        Each one must have ended before the next is asked for.
        """
        for execution in self.active():
            stage = self._stage(execution, behaviour, now_ms)
            if stage != "waiting" and execution.started_ms is None:
                execution.status = "RUNNING"
                execution.started_ms = self._begin_ms(execution, behaviour, now_ms)
            if stage == "due":
                yield execution, self._end_ms(execution, behaviour, now_ms)
            elif behaviour.execution_order == "one_by_one":
                return

    def _held(self, execution: Execution) -> bool:
        script = execution.script
        if execution.held_polls < script.starts_after_polls:
            return True
        newest = next(reversed(self.by_id.values()))
        return script.waits_for_newer_upload and newest is execution

    def _stage(self, execution: Execution, behaviour: Behaviour, now_ms: int) -> Stage:
        if self._held(execution):
            return "waiting"
        if behaviour.timing == "polls":
            if execution.polls >= behaviour.polls_until_finished:
                return "due"
            return "running" if execution.polls >= behaviour.polls_until_running else "waiting"
        if behaviour.timing == "clock":
            waited_ms: float = now_ms - self._queued_ms(execution, behaviour)
        else:
            waited_ms = (time.monotonic() - execution.arrived) * 1000
        if waited_ms >= behaviour.finishes_after_ms:
            return "due"
        return "running" if waited_ms >= behaviour.starts_after_ms else "waiting"

    def _queued_ms(self, execution: Execution, behaviour: Behaviour) -> int:
        """When an execution could begin to wait for its start."""
        if behaviour.execution_order == "independent":
            return execution.created_ms
        ends = [one.finished_ms for one in self.by_id.values() if one.finished_ms is not None]
        return max([execution.created_ms, *ends])

    def _begin_ms(self, execution: Execution, behaviour: Behaviour, now_ms: int) -> int:
        if behaviour.timing != "clock":
            return now_ms
        return self._queued_ms(execution, behaviour) + behaviour.starts_after_ms

    def _end_ms(self, execution: Execution, behaviour: Behaviour, now_ms: int) -> int:
        if behaviour.timing != "clock":
            return now_ms
        return self._queued_ms(execution, behaviour) + behaviour.finishes_after_ms
