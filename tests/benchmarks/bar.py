"""The bar: what runs, and which ratio of what is measured must stay below which figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from tests.benchmarks.measuring import Measured
from tests.benchmarks.runs import LARGE_BAG, LARGE_BAGS, Run, Runs
from tests.benchmarks.workshop import MEMORY_LIMIT_MB, Workshop

Round = Mapping[str, Measured]
SMALL = 10_000
PER_SEGMENT = 2_000
ABOVE_LIMIT_MB = 350
IMPORTS = "import duckdb, pyarrow.dataset, adbc_driver_sqlite.dbapi"


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


def beyond(name: str, work: str, bar: float | None, base: str = "plan") -> Line:
    """What a run takes beyond another one, over that."""
    return Line(
        name, work, bar, "×", (name, base),
        lambda r: (r[name].seconds - r[base].seconds) / r[base].seconds,
    )  # fmt: skip


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

    @property
    def runs(self) -> Runs:
        return Runs(self.shop)

    def groups(self) -> Iterator[Group]:
        """One after the other: what one needs is prepared when its turn comes."""
        yield self._plans()
        yield self._applies()
        yield self._large()
        yield self._small()
        yield self._many()
        yield self._lanes()
        yield self._extremes()

    def _plans(self) -> Group:
        n = self.size
        work = f"plan {short(n)} × {short(n)}"
        return Group(
            {
                "floor": self.runs.floor(n, churned=True),
                "plan": self.runs.plan(n),
                "plan-bag": self.runs.plan(n, bag=True),
                "floor-equal": self.runs.floor(n, churned=False),
                "unchanged": self.runs.plan(n, churned=False),
                "sets": self.runs.sets(n),
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
                "floor": self.runs.floor(n, churned=True),
                "first-apply": self.runs.first_apply(n),
                "plan": self.runs.plan(n),
                "apply": self.runs.churn_apply(n),
                "plan-recent": self.runs.plan_recent(n),
                "apply-fold": self.runs.folding_apply(n),
            },
            (
                ratio(
                    "first-apply", f"first apply of {short(n)} / floor", 6.0, "first-apply", "floor"
                ),
                beyond("apply", f"apply of 1 % churn in {short(n)}, after the plan / plan", 0.3),
                ratio(
                    "plan-recent",
                    f"plan {short(n)} × {short(n)}, after four such applies / floor",
                    1.5,
                    "plan-recent",
                    "floor",
                ),
                beyond(
                    "apply-fold", "the fifth such apply, after the plan / plan", None, "plan-recent"
                ),
                memory("memory-apply", f"first apply of {short(n)}: peak memory", "first-apply"),
            ),
        )

    def _large(self) -> Group:
        n, large = self.size, self.large
        work = f"{short(large)} / {short(n)}"
        return Group(
            {
                "plan": self.runs.plan(n),
                "plan-large": self.runs.plan(large),
                "plan-bag": self.runs.plan(n, bag=True),
                "plan-bag-large": self.runs.plan(large, bag=True),
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
                "imports": self.runs.python("-c", IMPORTS),
                "plan-small": self.runs.plan(SMALL),
                "typer": self.runs.python("-c", "import typer"),
                "help": self.runs.python("-m", "segsync", "--help"),
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
            {"many": self.runs.plan(self.segments * each, churned=False, segments=self.segments)},
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
            "floor": self.runs.floor(n, churned=True),
            "read-adbc": self.runs.read(n, "auto"),
            "read-dbapi": self.runs.read(n, "dbapi"),
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
            runs["plan-postgresql"] = self.runs.plan_postgresql(n)
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

    def _extremes(self) -> Group:
        """Only told: what the plan of tests asks to be recorded."""
        n, many = self.size, 2 * self.segments
        each = min(PER_SEGMENT // 2, n // many)
        work = f"plan of {many} segments × {each:,}, nothing changed"
        return Group(
            {
                "floor": self.runs.floor(n, churned=True),
                "all-new": self.runs.all_new(n),
                "all-gone": self.runs.all_gone(n),
                "large-bags": self.runs.large_bags(),
                "thousand": self.runs.plan(many * each, churned=False, segments=many),
            },
            (
                ratio("all-new", f"plan of {short(n)}, all new / floor", None, "all-new", "floor"),
                ratio(
                    "all-gone", f"plan of {short(n)}, all gone / floor", None, "all-gone", "floor"
                ),
                Line(
                    "large-bags",
                    f"{LARGE_BAGS} data bags of {short(LARGE_BAG)}B, limit 2 GB: peak memory",
                    None,
                    "MB",
                    ("large-bags",),
                    lambda r: r["large-bags"].peak_mb,
                ),
                Line(
                    "thousand",
                    f"{work}, a segment",
                    None,
                    "ms",
                    ("thousand",),
                    lambda r: r["thousand"].seconds * 1000 / many,
                ),
            ),
        )


def short(size: int) -> str:
    """5 M, 10 k, 200."""
    for unit, factor in (("M", 1_000_000), ("k", 1_000)):
        if size >= factor and size * 10 % factor == 0:
            return f"{size / factor:g} {unit}"
    return str(size)
