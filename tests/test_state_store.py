"""What is written of a run is what is read of it: by another process, at each step, any values."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from random import Random

import pyarrow as pa
import pytest

from segsync.errors import StateError
from segsync.model import Address, IdentifierKind
from segsync.state import (
    Closing,
    Identity,
    Journal,
    Keyspace,
    PartRecord,
    PartStatus,
    Run,
    RunStatus,
    State,
    StateSegment,
    create,
    open_state,
)
from tests.support.size import size

IDENTITY = Identity("0123456789abcdef01234567", 0, "1509", "https://api.mediarithmics.com", 7)
CHANGES = pa.schema(
    [
        ("line", pa.int64()), ("keyspace", pa.int64()), ("identifier", pa.string()),
        ("change", pa.string()), ("fingerprint", pa.int64()), ("expires_at", pa.int64()),
        ("digest", pa.int64()),
    ]
)  # fmt: skip
RUNS_PER_STATE = 4
FINAL = (PartStatus.CONFIRMED, PartStatus.UNKNOWN, PartStatus.UNSENT)


class Written:
    """A state file into which runs are written, and what must be read from it."""

    def __init__(self, path: Path, random: Random) -> None:
        create(path, IDENTITY)
        self.path = path
        self.random = random
        self.runs: list[Run] = []
        self.segments: dict[int, StateSegment] = {}
        self.keyspaces: dict[int, Keyspace] = {}

    def text(self) -> str:
        """Any text that a state may hold."""
        return "".join(self.random.choices("aé 'x\"\n\u2028😀%;", k=self.random.randrange(9)))

    def number(self) -> int:
        return self.random.choice(
            [0, 1, self.random.randrange(2**31), self.random.randrange(2**62)]
        )

    def run(self) -> None:
        """One run, from its journal to its end."""
        serial = len(self.runs) + 1
        planned = self._define()
        run = self._told(serial)
        with closing(open_state(self.path, read_only=False)) as state:
            if self.random.random() < 0.3:
                state.stage_changes(self._changes(run))  # of a process that is killed here
                run = self._told(serial)
            seal = state.stage_changes(self._changes(run))
            run = replace(run, changes_seal=seal)
            places = tuple(self.keyspaces.values())
            state.begin_run(Journal(run, tuple(self.segments.values()), places))
            self.check(run)
            run = replace(run, import_id=f"import {self.number()}")
            state.note_import(serial, str(run.import_id))
            self.check(run)
            for number in range(1, len(run.parts) + 1):
                run = self._note_part(state, run, number)
            state.check_changes(run)
            self.close(state, run, planned)

    def _define(self) -> tuple[int, ...]:
        """Segments that come, are renamed or are filled for the first time; whose run it is."""
        number = self.random.randint(1, 4)
        name = self.random.choice(["segment_id", "segment_technical_name"])
        known = self.segments.get(number)
        made = known or StateSegment(
            number, Address(name, f"{number}{self.text()}"), "", 0, 0, None
        )
        platform = self.random.choice([made.platform_id, made.platform_id, f"p{self.number()}"])
        self.segments[number] = replace(made, name=self.text(), platform_id=platform)
        for place in {2 * number, 2 * number + self.random.randint(0, 1)}:
            kind = self.random.choice(list(IdentifierKind))
            compartment = f"{self.text()}{place}" if place % 2 else self.random.choice([None, ""])
            self.keyspaces.setdefault(place, Keyspace(place, number, kind, compartment))
        return tuple(self.random.sample(sorted(self.segments), self.random.randint(0, 1)))

    def _told(self, serial: int) -> Run:
        parts: list[PartRecord] = []
        for number in range(1, self.random.randint(1, 4) + 1):
            first = parts[-1].last + 1 if parts else 1
            last, step = first + self.random.randint(0, 3), self.random.randint(1, 3)
            digest = f"{self.number():x}"
            parts.append(PartRecord(number, step, first, last, self.number(), digest))
        return Run(
            serial, IDENTITY.reference(serial), RunStatus.OPEN, self.number(), self.text(),
            parts[-1].last, "", tuple(parts),
        )  # fmt: skip

    def _changes(self, run: Run) -> pa.RecordBatchReader:
        rows = [
            {
                "line": line, "keyspace": self.random.choice(list(self.keyspaces)),
                "identifier": f"{line} {self.text()}", "change": "add",
                "fingerprint": self.number(), "expires_at": 0, "digest": 1,
            }
            for line in range(1, run.commands + 1)
        ]  # fmt: skip
        self.changes = rows
        return pa.Table.from_pylist(rows, CHANGES).to_reader(max_chunksize=3)

    def _note_part(self, state: State, run: Run, number: int) -> Run:
        execution = self.random.choice([None, f"execution {number}"])
        status = self.random.choice([PartStatus.SENDING, PartStatus.SENT, PartStatus.UNKNOWN])
        state.note_part(run.serial, number, PartStatus.SENDING, f"attempt {number}")
        state.note_part(run.serial, number, status, execution)
        watched = self.random.random() < 0.2
        if watched:
            state.note_repeats(run.serial, number)
        changed = {"status": status, "execution_id": execution or f"attempt {number}"}
        parts = tuple(
            replace(
                part,
                is_watched=part.is_watched or (watched and part.number >= number),
                **(changed if part.number == number else {}),
            )
            for part in run.parts
        )
        run = replace(run, parts=parts)
        self.check(run)
        return run

    def close(self, state: State, run: Run, planned: tuple[int, ...]) -> None:
        """The end of the run, with any outcome of each part."""
        parts = tuple(
            replace(
                part,
                status=self.random.choice(FINAL),
                execution_id=self.random.choice([None, f"the last {self.number()}"]),
                total_success=self.random.choice([None, self.number()]),
                total_failure=self.random.choice([None, self.number()]),
                executions=self.random.randint(0, 9),
            )
            for part in run.parts
        )
        lines = {
            status: sum(part.last - part.first + 1 for part in parts if part.status is status)
            for status in FINAL
        }
        confirmed, unknown, unsent = (lines[status] for status in FINAL)
        status = RunStatus.UNKNOWN if unknown else RunStatus.UNSENT if unsent else RunStatus.DONE
        closed, at = run.submitted_at_ms + self.number() // 2 + 1, self.number()
        reasserted = tuple(self.segments)[:1]
        outcome = state.close_run(
            Closing(
                run.serial, closed, parts,
                reasserted=reasserted, planned_at_ms=at, planned=planned,
            )
        )  # fmt: skip
        assert state.identity.serial == run.serial
        assert (outcome.confirmed, outcome.rejected) == (confirmed, 0)
        assert (outcome.unknown, outcome.unsent, outcome.given_up) == (unknown, unsent, 0)
        changed = {self.keyspaces[row["keyspace"]].segment for row in self.changes}
        for number in planned or changed:
            self.segments[number] = replace(self.segments[number], last_run=run.serial)
        for number in () if unsent else reasserted:
            self.segments[number] = replace(self.segments[number], reasserted_at=at)
        self.runs.append(
            replace(
                run, status=status, parts=parts, closed_at_ms=closed,
                confirmed=confirmed, unknown=unknown, unsent=unsent,
            )
        )  # fmt: skip
        self.check(None)

    def check(self, opened: Run | None) -> None:
        """Look at the file as another process would."""
        with closing(open_state(self.path, read_only=True)) as state:
            assert state.identity == replace(IDENTITY, serial=len(self.runs))
            assert state.open_run() == opened
            newest = [*([opened] if opened else []), *reversed(self.runs)]
            assert state.last_runs(3) == newest[:3]
            assert state.import_ids() == {run.serial: run.import_id for run in newest}
            longest = max((run.closed_at_ms - run.submitted_at_ms for run in self.runs), default=0)
            assert state.longest_run_ms() == longest
            assert state.keyspaces() == tuple(self.keyspaces[key] for key in sorted(self.keyspaces))
            told = [replace(segment, digest=0) for segment in state.segments()]
            assert told == [self.segments[number] for number in sorted(self.segments)]
            watched = {run.serial for run in self.runs if any(p.is_watched for p in run.parts)}
            assert {run.serial for run in state.watched_runs()} == watched


@pytest.mark.parametrize("seed", range(size(60, 2500)))
def test_what_is_written_of_a_run_is_what_is_read_of_it(tmp_path: Path, seed: int) -> None:
    written = Written(tmp_path / "state.db", Random(seed))
    for _ in range(RUNS_PER_STATE):
        written.run()


def test_a_transaction_that_fails_changes_nothing_and_says_so(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    create(path, IDENTITY)
    with closing(open_state(path, read_only=False)) as state:
        place = Keyspace(1, 1, IdentifierKind.EMAIL_HASH, None)
        run = Run(1, "run 1", RunStatus.OPEN, 0, "", 0, "")
        twice = (StateSegment(1, Address("segment_id", "7"), "vip", 0, 0, None),
                 StateSegment(2, Address("segment_id", "7"), "vap", 0, 0, None))  # fmt: skip
        with pytest.raises(StateError, match=r"cannot be used: .*UNIQUE constraint failed"):
            state.begin_run(Journal(run, twice, (place,)))
        assert (state.segments(), state.keyspaces(), state.open_run()) == ((), (), None)
        state.begin_run(Journal(run, twice[:1], (place,)))
        assert state.open_run() == run


def test_digests_of_another_engine_take_the_place_of_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    create(path, IDENTITY)
    vip = StateSegment(1, Address("segment_id", "7"), "vip", 0, 0, None)
    run = Run(1, "run 1", RunStatus.OPEN, 0, "", 0, "")
    with closing(open_state(path, read_only=False)) as state:
        state.begin_run(Journal(run, (vip,), ()))
        state.replace_digests({1: 5}, 9)
        assert state.identity == replace(IDENTITY, digest_probe=9)
        assert state.segments() == (replace(vip, digest=5),)
