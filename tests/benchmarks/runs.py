"""What can be measured: each run checks its own result, so that nothing wrong is ever fast."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.measuring import Measured
from tests.benchmarks.workshop import CHURN, CHURNS, Workshop, check, spec_for

LARGE_BAGS, LARGE_BAG = 100, 1_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """Something to be measured; `prepare` makes the data that it needs, where that is missing."""

    go: Callable[[], Measured]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Runs:
    """Makes runs of the things in a workshop."""

    shop: Workshop

    def python(self, *words: str) -> Run:
        return Run(lambda: self.shop.python(*words))

    def plan(self, size: int, *, bag: bool = False, churned: bool = True, segments: int = 1) -> Run:
        def prepare() -> tuple[Path, Path]:
            return (
                self.shop.source(size, churns=int(churned), segments=segments),
                self.shop.state(size, bag=bag, segments=segments),
            )

        def go() -> Measured:
            source, state = prepare()
            moved = _moved(size, churned=churned)
            expected = {**moved, "update": 0, "renew": 0, "unchanged": size - moved["add"]}
            return self.shop.plan(state, spec_for(source, bag=bag, segments=segments), expected)

        return Run(go, prepare)

    def floor(self, size: int, *, churned: bool) -> Run:
        plan = self.plan(size, churned=churned)

        def go() -> Measured:
            files = (
                self.shop.source(size, churns=int(churned)),
                self.shop.state(size) / "state.db",
            )
            measured = self.shop.python("-m", "tests.benchmarks.floor", *files, "1GB")
            check(_moved(size, churned=churned), json.loads(measured.output))
            return measured

        return Run(go, plan.prepare)

    def sets(self, size: int) -> Run:
        def go() -> Measured:
            files = (self.shop.source(size, churns=1), self.shop.state(size) / "state.db")
            payload = self.shop.folder / "sets.ndjson"
            measured = self.shop.python("-m", "tests.benchmarks.sets", *files, payload)
            payload.unlink()
            check(_moved(size, churned=True), json.loads(measured.output))
            return measured

        return Run(go, self.plan(size).prepare)

    def first_apply(self, size: int) -> Run:
        def go() -> Measured:
            source = self.shop.source(size, churns=0)
            with self.shop.empty() as folder:
                return self.shop.apply(folder, spec_for(source), expected_lines=size)

        return Run(go, lambda: self.shop.source(size, churns=0))

    def churn_apply(self, size: int) -> Run:
        def go() -> Measured:
            spec = spec_for(self.shop.source(size, churns=1))
            with self.shop.copied(self.shop.state(size)) as folder:
                return self.shop.apply(folder, spec, expected_lines=2 * (size // CHURN))

        return Run(go, self.plan(size).prepare)

    def plan_recent(self, size: int) -> Run:
        """A plan that takes the last churn back, of a state of which much is recent."""

        def go() -> Measured:
            spec = spec_for(self.shop.source(size, churns=CHURNS - 1))
            return self.shop.plan(self.shop.recent_state(size), spec, _moved(size, churned=True))

        return Run(
            go, lambda: (self.shop.source(size, churns=CHURNS - 1), self.shop.recent_state(size))
        )

    def folding_apply(self, size: int) -> Run:
        """The apply of one more churn than the recent layer has room for."""

        def go() -> Measured:
            spec = spec_for(self.shop.source(size, churns=CHURNS + 1))
            with self.shop.copied(self.shop.recent_state(size)) as folder:
                measured = self.shop.apply(folder, spec, expected_lines=2 * (size // CHURN))
                check({"recent": 0}, {"recent": _recent_members(folder)})
            return measured

        return Run(
            go, lambda: (self.shop.source(size, churns=CHURNS + 1), self.shop.recent_state(size))
        )

    def all_new(self, size: int) -> Run:
        def go() -> Measured:
            spec = spec_for(self.shop.source(size, churns=0))
            with self.shop.empty() as folder:
                return self.shop.plan(folder, spec, {"add": size})

        return Run(go, lambda: self.shop.source(size, churns=0))

    def all_gone(self, size: int) -> Run:
        def go() -> Measured:
            spec = spec_for(self.shop.source(size, churns=0), where="0")
            return self.shop.plan(self.shop.state(size), spec, {"remove": size}, allow="buyers")

        return Run(go, lambda: self.shop.state(size))

    def large_bags(self) -> Run:
        return Run(self._plan_of_large_bags)

    def _plan_of_large_bags(self) -> Measured:
        query = (
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n "
            f"WHERE i < {LARGE_BAGS}) SELECT i AS user_account_id, "
            f"hex(zeroblob({LARGE_BAG // 2})) AS text FROM n"
        )
        spec = spec_for(self.shop.source(LARGE_BAGS, churns=0))
        spec["segments"] = {"buyers": {"query": query, "data_bag": ["text"]}}
        with self.shop.empty() as folder:
            return self.shop.plan(folder, spec, {"add": LARGE_BAGS}, memory_limit="2GB")

    def read(self, size: int, lane: str) -> Run:
        def go() -> Measured:
            url = f"sqlite:///{self.shop.source(size, churns=1)}"
            measured = self.shop.python("-m", "tests.benchmarks.reading", url, lane)
            check({"rows": size}, json.loads(measured.output))
            return measured

        return Run(go, lambda: self.shop.source(size, churns=1))

    def plan_postgresql(self, size: int) -> Run:
        def prepare() -> Path:
            self.shop.fill_postgresql(size)
            return self.shop.state(size)

        def go() -> Measured:
            spec = spec_for("${BENCHMARK_POSTGRESQL}", table="segsync_benchmark")
            return self.shop.plan(self.shop.state(size), spec, _moved(size, churned=True))

        return Run(go, prepare)


def _recent_members(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "state.db")) as state:
        return int(state.execute("SELECT count(*) FROM recent").fetchone()[0])


def _moved(size: int, *, churned: bool) -> dict[str, int]:
    """How many members are new, and how many are gone."""
    moved = size // CHURN if churned else 0
    return {"add": moved, "remove": moved}
