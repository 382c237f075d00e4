"""The bar: what runs, and which ratio of what is measured must stay below which figure."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.benchmarks.measuring import Measured
from tests.benchmarks.workshop import CHURN, MEMORY_LIMIT_MB, Workshop, check, spec_for

Round = Mapping[str, Measured]
SMALL = 10_000
PER_SEGMENT = 2_000
ABOVE_LIMIT_MB = 350
IMPORTS = "import duckdb, pyarrow.dataset, adbc_driver_sqlite.dbapi"


@dataclass(frozen=True, slots=True)
class Run:
    """Something to be measured; `prepare` makes the data that it needs, where that is missing."""

    go: Callable[[], Measured]
    prepare: Callable[[], object] = lambda: None


@dataclass(frozen=True, slots=True)
class Line:
    """One line of the bar. `needs` are the runs of a round that `value` is made of.

    Without a bar it is only told.
    """

    name: str
    work: str
    bar: float | None
    unit: Literal["×", "MB", "ms"]
    needs: tuple[str, ...]
    value: Callable[[Round], float]

    @property
    def subject(self) -> str:
        """The run whose memory is shown."""
        return self.needs[0]


@dataclass(frozen=True, slots=True)
class Group:
    """Runs that stand side by side in each round, in this order, and the lines made of them."""

    runs: Mapping[str, Run]
    lines: tuple[Line, ...]


def ratio(name: str, work: str, bar: float | None, subject: str, base: str) -> Line:
    """Wall time of one run over that of another."""
    return Line(
        name, work, bar, "×", (subject, base), lambda r: r[subject].seconds / r[base].seconds
    )


def memory(name: str, work: str, subject: str) -> Line:
    """The peak of a run."""
    limit = MEMORY_LIMIT_MB + ABOVE_LIMIT_MB
    return Line(name, work, limit, "MB", (subject,), lambda r: r[subject].peak_mb)


@dataclass(frozen=True, slots=True)
class Bar:
    """All groups, for the sizes that were asked for."""

    shop: Workshop
    size: int
    large: int
    segments: int

    def groups(self) -> Iterator[Group]:
        """One after the other: what one needs is prepared when its turn comes."""
        yield self._plans()
        yield self._applies()
        yield self._large()
        yield self._small()
        yield self._many()
        yield self._lanes()

    def _plans(self) -> Group:
        n = self.size
        work = f"plan {short(n)} × {short(n)}"
        return Group(
            {
                "floor": self._floor(n, churned=True),
                "plan": self._plan(n),
                "plan-bag": self._plan(n, bag=True),
                "floor-equal": self._floor(n, churned=False),
                "unchanged": self._plan(n, churned=False),
                "sets": self._sets(n),
            },
            (
                ratio("plan", f"{work}, 1 % churn / floor", 1.5, "plan", "floor"),
                ratio("plan-sets", f"{work}, 1 % churn / sets script", 0.25, "plan", "sets"),
                ratio("plan-bag", f"{work}, one data bag column / floor", 2.2, "plan-bag", "floor"),
                ratio(
                    "unchanged", f"{work}, nothing changed / floor", 1.2, "unchanged", "floor-equal"
                ),
                memory("memory", f"{work}: peak memory", "plan"),
                memory("memory-bag", f"{work}, data bag: peak memory", "plan-bag"),
            ),
        )

    def _applies(self) -> Group:
        n = self.size
        return Group(
            {
                "floor": self._floor(n, churned=True),
                "first-apply": self._first_apply(n),
                "plan": self._plan(n),
                "apply": self._churn_apply(n),
            },
            (
                ratio(
                    "first-apply", f"first apply of {short(n)} / floor", 6.0, "first-apply", "floor"
                ),
                Line(
                    "apply",
                    f"apply of 1 % churn in {short(n)}, after the plan / plan",
                    0.3,
                    "×",
                    ("apply", "plan"),
                    lambda r: (r["apply"].seconds - r["plan"].seconds) / r["plan"].seconds,
                ),
                memory("memory-apply", f"first apply of {short(n)}: peak memory", "first-apply"),
            ),
        )

    def _large(self) -> Group:
        n, large = self.size, self.large
        work = f"{short(large)} / {short(n)}"
        return Group(
            {
                "plan": self._plan(n),
                "plan-large": self._plan(large),
                "plan-bag": self._plan(n, bag=True),
                "plan-bag-large": self._plan(large, bag=True),
            },
            (
                ratio("growth", f"growth, {work}", 1.1 * large / n, "plan-large", "plan"),
                ratio(
                    "growth-bag",
                    f"growth, {work}, data bag",
                    1.1 * large / n,
                    "plan-bag-large",
                    "plan-bag",
                ),
                memory("memory-large", f"plan of {short(large)}: peak memory", "plan-large"),
                memory(
                    "memory-bag-large",
                    f"plan of {short(large)}, data bag: peak memory",
                    "plan-bag-large",
                ),
            ),
        )

    def _small(self) -> Group:
        return Group(
            {
                "imports": Run(lambda: self.shop.python("-c", IMPORTS)),
                "plan-small": self._plan(SMALL),
                "typer": Run(lambda: self.shop.python("-c", "import typer")),
                "help": Run(lambda: self.shop.python("-m", "segsync", "--help")),
            },
            (
                ratio(
                    "small", f"plan of {short(SMALL)} / the imports", 2.0, "plan-small", "imports"
                ),
                ratio("help", "segsync --help / import typer", 2.0, "help", "typer"),
            ),
        )

    def _many(self) -> Group:
        each = min(PER_SEGMENT, self.size // self.segments)
        return Group(
            {"many": self._plan(self.segments * each, churned=False, segments=self.segments)},
            (
                Line(
                    "many",
                    f"plan of {self.segments} segments × {each:,}, nothing changed, a segment",
                    20.0,
                    "ms",
                    ("many",),
                    lambda r: r["many"].seconds * 1000 / self.segments,
                ),
            ),
        )

    def _lanes(self) -> Group:
        n = self.size
        runs = {
            "floor": self._floor(n, churned=True),
            "read-adbc": self._read(n, "auto"),
            "read-dbapi": self._read(n, "dbapi"),
        }
        lines = [
            ratio(
                "lane-adbc",
                f"only read {short(n)}, SQLite by ADBC / floor",
                None,
                "read-adbc",
                "floor",
            ),
            ratio(
                "lane-dbapi",
                f"only read {short(n)}, SQLite by DBAPI / floor",
                None,
                "read-dbapi",
                "floor",
            ),
        ]
        if self.shop.postgresql:
            runs["plan-postgresql"] = self._plan_postgresql(n)
            lines.append(
                ratio(
                    "postgresql",
                    f"plan {short(n)} × {short(n)}, PostgreSQL / floor",
                    None,
                    "plan-postgresql",
                    "floor",
                )
            )
        return Group(runs, tuple(lines))

    def _plan(
        self, size: int, *, bag: bool = False, churned: bool = True, segments: int = 1
    ) -> Run:
        def prepare() -> tuple[Path, Path]:
            return (
                self.shop.source(size, churned=churned, segments=segments),
                self.shop.state(size, bag=bag, segments=segments),
            )

        def go() -> Measured:
            source, state = prepare()
            moved = _moved(size, churned=churned)
            expected = {**moved, "update": 0, "renew": 0, "unchanged": size - moved["add"]}
            return self.shop.plan(state, spec_for(source, bag=bag, segments=segments), expected)

        return Run(go, prepare)

    def _floor(self, size: int, *, churned: bool) -> Run:
        plan = self._plan(size, churned=churned)

        def go() -> Measured:
            files = (self.shop.source(size, churned=churned), self.shop.state(size) / "state.db")
            measured = self.shop.python("-m", "tests.benchmarks.floor", *files, "1GB")
            check(_moved(size, churned=churned), json.loads(measured.output))
            return measured

        return Run(go, plan.prepare)

    def _sets(self, size: int) -> Run:
        def go() -> Measured:
            files = (self.shop.source(size, churned=True), self.shop.state(size) / "state.db")
            payload = self.shop.folder / "sets.ndjson"
            measured = self.shop.python("-m", "tests.benchmarks.sets", *files, payload)
            payload.unlink()
            check(_moved(size, churned=True), json.loads(measured.output))
            return measured

        return Run(go, self._plan(size).prepare)

    def _first_apply(self, size: int) -> Run:
        def go() -> Measured:
            source = self.shop.source(size, churned=False)
            with self.shop.empty() as folder:
                return self.shop.apply(folder, spec_for(source), expected_lines=size)

        return Run(go, lambda: self.shop.source(size, churned=False))

    def _churn_apply(self, size: int) -> Run:
        def go() -> Measured:
            spec = spec_for(self.shop.source(size, churned=True))
            with self.shop.copied(self.shop.state(size)) as folder:
                return self.shop.apply(folder, spec, expected_lines=2 * (size // CHURN))

        return Run(go, self._plan(size).prepare)

    def _read(self, size: int, lane: str) -> Run:
        def go() -> Measured:
            url = f"sqlite:///{self.shop.source(size, churned=True)}"
            measured = self.shop.python("-m", "tests.benchmarks.reading", url, lane)
            check({"rows": size}, json.loads(measured.output))
            return measured

        return Run(go, lambda: self.shop.source(size, churned=True))

    def _plan_postgresql(self, size: int) -> Run:
        def prepare() -> Path:
            self.shop.fill_postgresql(size)
            return self.shop.state(size)

        def go() -> Measured:
            spec = spec_for("${BENCHMARK_POSTGRESQL}", table="segsync_benchmark")
            return self.shop.plan(self.shop.state(size), spec, _moved(size, churned=True))

        return Run(go, prepare)


def _moved(size: int, *, churned: bool) -> dict[str, int]:
    """How many members are new, and how many are gone."""
    moved = size // CHURN if churned else 0
    return {"add": moved, "remove": moved}


def short(size: int) -> str:
    """5 M, 10 k, 200."""
    for unit, factor in (("M", 1_000_000), ("k", 1_000)):
        if size >= factor and size * 10 % factor == 0:
            return f"{size / factor:g} {unit}"
    return str(size)
