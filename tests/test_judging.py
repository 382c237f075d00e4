"""What became of a part is judged by its executions: state, counts and error file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from segsync.destination import Execution, ExecutionState
from segsync.errors import NotSent
from segsync.judging import Judging
from segsync.model import Address, IdentifierKind
from segsync.planning import PlanOptions, open_engine
from segsync.runs import state_targets
from segsync.state import (
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
from tests.simulation.speed import in_one_thread

DATAMART, SEGMENT, IMPORT, EXECUTION = "150900", "880001", "700001", "600001"
"""Ids of the platform, each of which is an account's as well."""
ACCOUNT = "990001"
CHANGES = {
    "line": pa.int64(), "keyspace": pa.int64(), "identifier": pa.string(), "change": pa.string(),
    "fingerprint": pa.int64(), "expires_at": pa.int64(), "digest": pa.int64(),
}  # fmt: skip
PART = PartRecord(2, 1, 11, 20, 1000, "", PartStatus.SENT)
"""Of ten commands, which are not the first ones."""
SENT = [f"customer-{n:02}" for n in range(1, 16)] + [DATAMART, SEGMENT, IMPORT, EXECUTION, ACCOUNT]


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    """A state with an open run of twenty commands, of which ten are in the part."""
    path = tmp_path_factory.mktemp("judging") / "state.db"
    identity = Identity("0123456789abcdef01234567", 0, DATAMART, "https://api.example", 7)
    create(path, identity)
    vip = StateSegment(1, Address("segment_technical_name", "vip"), "vip", 0, 0, None, SEGMENT)
    new = StateSegment(2, Address("segment_technical_name", "new"), "new", 0, 0, None)
    with closing(open_state(path, read_only=False)) as opened:
        seal = opened.stage_changes(changes())
        first = PartRecord(1, 1, 1, 10, 1000, "")
        parts = (first, PART)
        run = Run(1, identity.reference(1), RunStatus.OPEN, 0, "", 20, seal, parts)
        keyspace = Keyspace(1, 1, IdentifierKind.USER_ACCOUNT_ID, None)
        opened.begin_run(Journal(run, (vip, new), (keyspace,)))
        opened.note_import(1, IMPORT)
        yield opened


def changes() -> pa.RecordBatchReader:
    same = {"keyspace": 1, "change": "add", "fingerprint": 1, "expires_at": 0, "digest": 1}
    rows = [{"line": n, "identifier": who} | same for n, who in enumerate(SENT, start=1)]
    table = pa.Table.from_pylist(rows, schema=pa.schema(list(CHANGES.items())))
    return table.to_reader()


class Files:
    """A destination with one error file, or without where the network is away."""

    def __init__(self, content: str | None) -> None:
        self.content = content
        self.asked: list[str] = []

    def fetch_error_file(self, uri: str, into: Path) -> None:
        self.asked.append(uri)
        if self.content is None:
            raise NotSent("no connection")
        into.write_text(self.content)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)


@pytest.fixture
def judging(state: State, tmp_path: Path) -> Iterator[Judging]:
    with in_one_thread(), open_engine(state, PlanOptions()) as engine:
        yield Judging(state, engine, Files(None), tmp_path, state_targets(state))


def execution(
    success: int | None, failure: int | None, status: str = "SUCCEEDED", **more: Any
) -> Execution:
    made = Execution(EXECUTION, ExecutionState[status], status, None, success, failure)
    return replace(made, **more)


UNTOLD = "of 10 commands, and which of them failed cannot be told"


@pytest.mark.parametrize(
    ("found", "status", "said"),
    [
        (execution(10, 0), PartStatus.CONFIRMED, ""),
        (execution(0, 0), PartStatus.UNKNOWN, ": the platform counts no command at all"),
        (execution(10, 0, "FAILED"), PartStatus.UNKNOWN, " ended as FAILED"),
        (
            execution(None, None, "FAILED", error_message="no disk"),
            PartStatus.UNKNOWN,
            " ended as FAILED: no disk",
        ),
        *(
            (
                execution(success, failure),
                PartStatus.UNATTRIBUTED,
                f": the platform counts {success:,} done and {failure:,} failed {UNTOLD}",
            )
            for success, failure in [(9, 0), (11, 0), (9, 1), (1, 1), (5, 1), (5, 6), (2000, 3000)]
        ),
        *(
            (
                execution(success, failure),
                PartStatus.UNATTRIBUTED,
                f": the platform gave no counts {UNTOLD}",
            )
            for success, failure in [(None, None), (10, None), (None, 0), (None, 10), (0, None)]
        ),
    ],
)
def test_only_counts_that_are_those_of_the_part_confirm_it(
    judging: Judging, found: Execution, status: PartStatus, said: str
) -> None:
    seen = judging(PART, [found])
    assert seen.status is status
    assert (seen.execution_id, seen.executions) == (EXECUTION, 1)
    assert (seen.total_success, seen.total_failure) == (found.total_success, found.total_failure)
    assert judging.problems == ([f"execution {EXECUTION}{said}"] if said else [])
    assert judging.rejected == 0


def test_a_part_without_an_execution_is_in_doubt(judging: Judging) -> None:
    seen = judging(PART, [])
    assert (seen.status, seen.execution_id, seen.executions) == (PartStatus.UNKNOWN, None, 0)
    assert judging.problems == []


def test_of_several_executions_the_one_that_proves_most_decides(judging: Judging) -> None:
    best_first = [
        execution(10, 0, id="6"),
        execution(10, 0, id="7"),
        execution(9, 1, id="3"),
        execution(8, 2, id="2"),
        execution(5, 0, id="5"),
        execution(1, 3, id="4"),
        execution(None, None, id="1"),
        execution(10, 0, "FAILED", id="0"),
        execution(None, 0, "FAILED", id="00"),
    ]
    for better, worse in combinations(best_first, 2):
        for found in ([better, worse], [worse, better]):
            seen = judging(PART, found)
            assert (seen.execution_id, seen.executions) == (better.id, 2), found
            proves = better.total_failure == 0 and better.total_success == 10
            is_good = proves and better.state is ExecutionState.SUCCEEDED
            assert (seen.status is PartStatus.CONFIRMED) == is_good


def named(judging: Judging, content: str | None, success: int, failure: int) -> PartStatus:
    """What becomes of the part with this error file."""
    files = Files(content)
    judging.destination = files
    found = execution(success, failure, error_file_uri="here")
    status = judging(PART, [found]).status
    if success + failure == 10:
        assert files.asked == ["here"]
    return status


def test_whom_the_error_file_names_is_rejected_and_the_others_are_confirmed(
    judging: Judging,
) -> None:
    assert named(judging, "customer-11\ncustomer-13\n", 8, 2) is PartStatus.CONFIRMED
    assert (judging.rejected, judging.problems) == (2, [])
    assert lines_of(judging) == [11, 13]
    assert named(judging, f"{ACCOUNT}\n", 9, 1) is PartStatus.CONFIRMED
    assert judging.rejected == 3
    assert lines_of(judging) == [11, 13, 20]


def lines_of(judging: Judging) -> list[int]:
    with judging.engine.rejected() as rejected:
        return sorted(rejected.read_all()["line"].to_pylist())


def test_where_all_failed_nobody_has_to_be_named(judging: Judging) -> None:
    assert named(judging, None, 0, 10) is PartStatus.CONFIRMED
    assert judging.rejected == 10
    assert lines_of(judging) == list(range(11, 21))
    assert judging.problems == [f"the error file of execution {EXECUTION}: no connection"]


@pytest.mark.parametrize(
    ("content", "success", "failure"),
    [
        (None, 9, 1),
        ("", 9, 1),
        ("customer-01\n", 9, 1),
        ("customer-11\ncustomer-12\n", 9, 1),
        ("customer-11\n", 8, 2),
        ("customer-11\n", 5, 1),
        *((f"{platform}\n", 9, 1) for platform in (DATAMART, SEGMENT, IMPORT, EXECUTION)),
    ],
)
def test_a_file_that_names_others_than_those_that_failed_rejects_nobody(
    judging: Judging, content: str | None, success: int, failure: int
) -> None:
    """Ids that the platform may speak of are no accounts, though there are such accounts."""
    assert named(judging, content, success, failure) is PartStatus.UNATTRIBUTED
    assert judging.rejected == 0
    assert len(judging.problems) == (2 if content is None else 1)
