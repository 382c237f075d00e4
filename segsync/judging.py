"""What became of a part: confirmed, rejected in places, or unknown. A status alone says nothing."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from segsync.destination import Destination, Execution, ExecutionState
from segsync.engine import Engine, Target
from segsync.errors import DestinationError
from segsync.state import PartRecord, PartStatus, State


@dataclass
class Judging:
    """Judges the parts of one run; `targets` say where each of its segments is."""

    state: State
    engine: Engine
    destination: Destination
    folder: Path
    targets: tuple[Target, ...]
    rejected: int = 0
    problems: list[str] = field(default_factory=list)
    _loaded: bool = False
    _names: itertools.count[int] = field(default_factory=itertools.count)

    def __call__(self, part: PartRecord, executions: list[Execution]) -> PartRecord:
        """The part with its final status. All its executions carry the same bytes."""
        best = min(executions, key=lambda item: self._rank(part, item), default=None)
        if best is None:
            return replace(part, status=PartStatus.UNKNOWN)
        seen = replace(
            part,
            execution_id=best.id,
            total_success=best.total_success,
            total_failure=best.total_failure,
            executions=len(executions),
        )
        if best.state is not ExecutionState.SUCCEEDED:
            said = self.state.hide_members(best.error_message or "")
            reason = f": {said}" if said else ""
            self.problems.append(f"execution {best.id} ended as {best.status}{reason}")
            return replace(seen, status=PartStatus.UNKNOWN)
        if best.total_success == best.total_failure == 0:
            self.problems.append(f"execution {best.id}: the platform counts no command at all")
            return replace(seen, status=PartStatus.UNKNOWN)
        if self._adds_up(part, best) and best.total_failure == 0:
            return replace(seen, status=PartStatus.CONFIRMED)
        if len(executions) > 1:
            # What this one refused another one may have taken: no reject, but in doubt.
            return self._not_told(seen, best)
        return self._attribute(seen, best)

    def _rank(self, part: PartRecord, execution: Execution) -> tuple[bool, bool, int, str]:
        """Smallest for the execution that says most clearly that the lines were taken."""
        failures = execution.total_failure
        return (
            execution.state is not ExecutionState.SUCCEEDED,
            not self._adds_up(part, execution),
            2**62 if failures is None else failures,
            execution.id,
        )

    def _adds_up(self, part: PartRecord, execution: Execution) -> bool:
        success, failure = execution.total_success, execution.total_failure
        if success is None or failure is None:
            return False
        return success + failure == part.last - part.first + 1

    def _attribute(self, part: PartRecord, execution: Execution) -> PartRecord:
        """Name every failure, or keep the whole part pending."""
        named = 0
        if self._adds_up(part, execution):
            named = self._match(part, execution)
            if execution.total_success == 0:
                self.engine.reject_rest((part.first, part.last))
                named = part.last - part.first + 1
        if named and named == execution.total_failure:
            self.engine.keep_rejects()
            self.rejected += named
            return replace(part, status=PartStatus.CONFIRMED)
        return self._not_told(part, execution)

    def _not_told(self, part: PartRecord, execution: Execution) -> PartRecord:
        self.problems.append(
            f"execution {execution.id}: {_figures(execution)} of {part.last - part.first + 1:,} "
            "commands, and which of them failed cannot be told"
        )
        return replace(part, status=PartStatus.UNATTRIBUTED)

    def _match(self, part: PartRecord, execution: Execution) -> int:
        if not execution.error_file_uri:
            return 0
        path = self.folder / f"errors-{next(self._names)}"
        try:
            self.destination.fetch_error_file(execution.error_file_uri, path)
        except DestinationError as error:
            self.problems.append(f"the error file of execution {execution.id}: {error}")
            return 0
        if not self._loaded:
            with self.state.changes() as changes:
                self.engine.load_sent(changes, self.targets)
            self._loaded = True
        ids = {execution.id, *self._platform_ids()}
        return self.engine.match_rejects(path, (part.first, part.last), sorted(ids))

    def _platform_ids(self) -> Iterator[str]:
        """What the platform may speak of besides the members."""
        yield self.state.identity.datamart_id
        yield from (segment.platform_id or "" for segment in self.state.segments())
        run = self.state.open_run()
        yield (run.import_id if run else None) or ""


def _figures(execution: Execution) -> str:
    if execution.total_success is None or execution.total_failure is None:
        return "the platform gave no counts"
    done, failed = execution.total_success, execution.total_failure
    return f"the platform counts {done:,} done and {failed:,} failed"
