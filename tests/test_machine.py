"""Anything may happen, in any order: after it is over, one apply sets everything right.

Hypothesis makes up the story, and shortens it when it ends badly. Most are told in one thread with
the lean databases of the simulation, over the real wire, and are the same at every run; a few with
real databases and threads, made up anew. `--full` makes the stories more and longer.

A story that ends badly is printed step by step, with the line that tells it again: put that line,
`@reproduce_failure(…)`, over `class Story`. What it has found is to be kept as a test of its own,
of those steps.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from segsync.emulator import Answer, Cut, ExecutionScript, http_error
from segsync.errors import DestinationError, StateStale
from segsync.plan import SegmentStatus
from segsync.report import Exit, Report
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.canary import PERSON
from tests.support.crash import apply_until_killed
from tests.support.size import size
from tests.support.world import World, assert_sound

SHARDS = 4
MOST_SEGMENTS = 4
MOST_RENAMES = 2
GIVEN_UP_AFTER = 3
"""Runs that failed without a name, after which the product takes a command as confirmed."""
NAMES = [PERSON, *(f"u{n}" for n in range(1, 12))]
ENDPOINTS = ("segment_lookup", "list_imports", "create_import", "upload", "list_executions")
FAULTS: list[Any] = [
    Cut("head"),
    Cut("body"),
    Cut("before_apply"),
    Cut("after_apply"),
    Cut("answer"),
    http_error(503),
    http_error(400),
    http_error(403),
    Answer(502, "<html>", {"Content-Type": "text/html"}, applied=True),
]
SCRIPTS = [
    ExecutionScript(starts_after_polls=15),
    ExecutionScript(ends_as="FAILED", applies="some"),
    ExecutionScript(ends_as="CANCELED", applies="some"),
    ExecutionScript(shown=("PENDING", "RUNNING", "SCHEDULED", "WHAT")),
    ExecutionScript(patch={"result": None}),
]
ROWS = st.dictionaries(st.sampled_from(NAMES), st.integers(1, 3))
SOME = st.sets(st.sampled_from(NAMES), min_size=1, max_size=4)


class Story(RuleBasedStateMachine):
    """A world, and what may happen to it."""

    kind: type[World] = World

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="segsync-story-"))
        self.world = self.kind(self.folder / "world", seed=1)
        self.count = 0
        self.deleted: set[str] = set()
        self.nameless = 0
        self.renames = 0
        self.has_met_a_guard = False
        self.may_be_open = False
        self.backup: bytes | None = None

    def teardown(self) -> None:
        try:
            self.heal()
        finally:
            self.world.__exit__()
            shutil.rmtree(self.folder)

    @property
    def options(self) -> dict[str, Any]:
        return {"allowed": tuple(self.world.tables)}

    # ---------------------------------------------------------------- what people change

    @initialize(rows=ROWS)
    def begin(self, rows: dict[str, int]) -> None:
        self.add_segment("30d", rows)
        self.add_segment("never", rows)

    def can_grow(self) -> bool:
        return len(self.world.tables) < MOST_SEGMENTS

    @precondition(can_grow)
    @rule(expiration=st.sampled_from(["30d", "90m", "never"]), rows=ROWS, by_id=st.booleans())
    def add_segment(self, expiration: str, rows: dict[str, int], by_id: bool = False) -> None:
        name = self.new_name()
        columns = ("user_account_id", "total") if self.count % 2 else ("user_account_id",)
        keys = {"segment_id": f"7000{self.count}"} if by_id else {}
        self.world.define(name, *columns, expiration=expiration, **keys)
        self.fill(name, rows)

    def new_name(self) -> str:
        self.count += 1
        return f"s{self.count}"

    def fill(self, name: str, rows: dict[str, int]) -> None:
        bags = len(self.world.tables[name].columns) == 2
        self.world.fill(name, [row if bags else row[:1] for row in rows.items()])

    def pick(self, data: st.DataObject) -> str:
        chosen: str = data.draw(st.sampled_from(sorted(self.world.tables)))
        return chosen

    @rule(data=st.data(), rows=ROWS)
    def change_rows(self, data: st.DataObject, rows: dict[str, int]) -> None:
        self.fill(self.pick(data), rows)

    @rule(data=st.data(), expiration=st.sampled_from(["30d", "60d", "never"]))
    def change_expiration(self, data: st.DataObject, expiration: str) -> None:
        self.world.tables[self.pick(data)].keys["expiration"] = expiration

    def can_shrink(self) -> bool:
        return len(self.world.tables) > 1

    @precondition(can_shrink)
    @rule(data=st.data(), members=st.sampled_from(["delete", "keep", None]))
    def drop_segment(self, data: st.DataObject, members: str | None) -> None:
        name = self.pick(data)
        # Of one that has an id the state may have another name yet.
        by_id = "segment_id" in self.world.tables[name].keys
        self.world.drop(name, None if by_id else members)
        if members == "delete" and not by_id:
            self.deleted.add(name)

    def may_rename(self) -> bool:
        return self.renames < MOST_RENAMES

    @precondition(may_rename)
    @rule(data=st.data())
    def rename_segment(self, data: st.DataObject) -> None:
        """To the platform it is the same where its id is given, and another one where it is not."""
        self.renames += 1
        world, old, new = self.world, self.pick(data), self.new_name()
        table = world.tables[old]
        by_id = "segment_id" in table.keys
        before = world.plan(**self.options).totals if by_id else None
        world.drop(old, None if by_id else "delete")
        world.define(new, *table.columns, rows=table.rows, **table.keys)
        if by_id:
            assert world.plan(**self.options).totals == before
        else:
            self.deleted.add(old)

    @rule(days=st.sampled_from([0.02, 1, 10, 25, 40]))
    def let_time_pass(self, days: float) -> None:
        self.world.advance(days=days)

    # ---------------------------------------------------------------- what segsync does

    @rule()
    def plan(self) -> None:
        for segment in self.world.plan(**self.options).segments:
            segment.counts.check()

    @rule()
    def apply(self) -> None:
        self.apply_now()

    def is_unguarded(self) -> bool:
        return not self.has_met_a_guard

    @precondition(is_unguarded)
    @rule(data=st.data(), left=st.sets(st.sampled_from(NAMES), max_size=len(NAMES) // 2))
    def apply_within_the_guards(self, data: st.DataObject, left: set[str]) -> None:
        """Everybody comes, and most go. Nothing is sent for a segment that is blocked: an apply
        that allows it comes later."""
        self.has_met_a_guard = True
        world, name = self.world, self.pick(data)
        self.fill(name, dict.fromkeys(NAMES, 1))
        self.apply_now()
        self.fill(name, dict.fromkeys(sorted(left), 2))
        arrived = len(world.receiver.addressed)
        report = world.apply()
        self.may_be_open = False
        assert report.plan
        blocked = {item.address for item in report.plan.with_status(SegmentStatus.BLOCKED)}
        for addressed in world.receiver.addressed[arrived:]:
            assert not addressed & blocked
        assert not blocked or report.exit is not Exit.DONE

    def apply_now(self) -> Report:
        report = self.world.apply(**self.options)
        self.may_be_open = False
        return report

    @rule(endpoint=st.sampled_from(ENDPOINTS), fault=st.sampled_from(FAULTS),
          times=st.sampled_from([1, 2, 50]))  # fmt: skip
    def apply_over_a_bad_line(self, endpoint: str, fault: Any, times: int) -> None:
        self.world.emulator.faults.add(endpoint, fault, times=times)
        self.try_to_apply()

    @rule(script=st.sampled_from(SCRIPTS))
    def apply_on_a_strange_platform(self, script: ExecutionScript) -> None:
        if script.patch:
            if not self.may_be_nameless():
                return
            self.nameless += 1 + self.may_be_open
        self.world.emulator.faults.add("upload", script)
        self.try_to_apply()

    def try_to_apply(self) -> None:
        try:
            self.apply_now()
        except DestinationError:
            self.may_be_open = True
        finally:
            self.world.emulator.faults.clear()

    @rule(at=st.integers(1, 12))
    def apply_and_be_killed(self, at: int) -> None:
        self.may_be_open = apply_until_killed(self.world, at, **self.options)

    @rule(names=SOME, operations=st.sampled_from([("UPDATE",), ("DELETE",), ("UPDATE", "DELETE")]))
    def apply_and_be_refused(self, names: set[str], operations: tuple[str, ...]) -> None:
        emulator = self.world.emulator
        emulator.reject([emulator.account(name) for name in names], operations=operations)
        self.apply_now()
        emulator.accept_all()

    def may_be_nameless(self) -> bool:
        """Whether no command is given up yet: the recovery of an open run may fail so too."""
        return self.nameless + 1 + self.may_be_open < GIVEN_UP_AFTER

    @precondition(may_be_nameless)
    @rule(names=SOME)
    def apply_and_be_refused_without_a_name(self, names: set[str]) -> None:
        self.nameless += 1 + self.may_be_open
        emulator = self.world.emulator
        emulator.behave(error_file="text")
        emulator.reject([emulator.account(name) for name in names])
        report = self.apply_now()
        assert report.run is None or not report.run.outcome.given_up
        emulator.accept_all()
        emulator.behave(error_file="json_flat")

    # ---------------------------------------------------------------- old copies

    @rule()
    def keep_a_copy(self) -> None:
        if self.world.state.exists():
            self.backup = self.world.state.read_bytes()

    def has_a_copy(self) -> bool:
        return self.backup is not None

    @precondition(has_a_copy)
    @rule()
    def put_back_the_copy(self) -> None:
        assert self.backup is not None
        newest = self.world.state.read_bytes()
        self.world.state.write_bytes(self.backup)
        try:
            self.apply_now()
        except StateStale:
            self.world.state.write_bytes(newest)
        else:
            if self.world.state.read_bytes() == self.backup:
                self.world.state.write_bytes(newest)

    # ---------------------------------------------------------------- in the end

    @rule()
    def heal(self) -> None:
        """All faults are over, and all pauses have passed: one apply must be enough, or a second
        one where the first let a removal through that had been refused."""
        world = self.world
        world.advance(days=8)
        report = self.apply_now()
        if report.run and report.run.outcome.doubted:
            report = self.apply_now()
        assert report.exit is Exit.DONE
        self.nameless = 0
        world.emulator.refused.clear()
        assert_sound(world)
        for name in self.deleted:
            assert not world.members(name)
            world.removed.pop(name, None)
        assert not world.plan(**self.options).changes_something


class LeanStory(Story):
    """The same where nothing costs much."""

    kind = LeanWorld


def stories(count: int, steps: int) -> settings:
    """So many, of so many steps at most."""
    return settings(
        max_examples=count,
        stateful_step_count=steps,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


@pytest.mark.parametrize("shard", range(SHARDS))
@pytest.mark.timeout(size(1_200, 40_000))
def test_whatever_happens_in_whatever_order_one_apply_sets_it_right(shard: int) -> None:
    with in_one_thread():
        told = stories(size(200, 5_000) // SHARDS, size(40, 100))
        run_state_machine_as_test(seed(shard)(LeanStory), settings=told)


Story.TestCase.settings = stories(size(4, 100), size(25, 100))
TestStory = Story.TestCase
