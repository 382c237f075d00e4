"""`python -m tests.benchmarks`: measure the lines of the bar, and print how they stand."""

from __future__ import annotations

import argparse
import os
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

from tests.benchmarks.bar import Bar, Group, Round
from tests.benchmarks.measuring import Failed, Measured
from tests.benchmarks.results import Result, save, table
from tests.benchmarks.workshop import HERE, Workshop

QUICK, QUICK_LARGE, QUICK_SEGMENTS = 20_000, 40_000, 20


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--size", type=int, default=5_000_000, help="members (default %(default)s)")
    parser.add_argument("--size-large", type=int, default=20_000_000, help="(default %(default)s)")
    parser.add_argument("--segments", type=int, default=500, help="(default %(default)s)")
    parser.add_argument("--repeat", type=int, default=3, help="rounds (default %(default)s)")
    parser.add_argument("--only", action="append", metavar="NAME", help="this line (repeatable)")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: does it run?")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--postgres", metavar="URL", help="a database that may be written to")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--tree", type=Path, default=HERE, help="the checkout to be measured")
    parser.add_argument(
        "--data", type=Path, default=Path("~/.cache/segsync-benchmarks").expanduser()
    )
    return parser.parse_args()


def main() -> int:
    """The exit status is 0 unless something failed: being over the bar is no failure."""
    options = arguments()
    if options.quick:
        options.size, options.size_large, options.repeat = QUICK, QUICK_LARGE, 1
        options.segments = QUICK_SEGMENTS
    shop = Workshop(options.data.resolve(), options.tree.resolve(), options.seed, options.postgres)
    results: list[Result] = []
    try:
        shop.compile()
        for group in Bar(shop, options.size, options.size_large, options.segments).groups():
            results += measured(group, options.only, options.repeat)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    if not results:
        print(f"there is no line {options.only}", file=sys.stderr)
        return 1
    settings = {"size": options.size, "size_large": options.size_large, "seed": options.seed}
    save(options.json or _default_file(), results, settings)
    print(table(results))
    return 0


def measured(group: Group, only: list[str] | None, repeat: int) -> list[Result]:
    """The chosen lines of a group, after so many rounds of what they need."""
    lines = [line for line in group.lines if only is None or line.name in only]
    needed = {name for line in lines for name in line.needs}
    if not lines:
        return []
    for name in sorted(needed):
        group.runs[name].prepare()
    os.sync()
    rounds = tuple(_round(group, needed, number) for number in range(1, repeat + 1))
    return [Result(line, rounds) for line in lines]


def _round(group: Group, needed: set[str], number: int) -> Round:
    done: dict[str, Measured] = {}
    for name, run in group.runs.items():
        if name in needed:
            done[name] = run.go()
            _tell(number, name, done[name])
    return done


def _tell(number: int, name: str, run: Measured) -> None:
    load = os.getloadavg()[0]
    print(
        f"round {number}  {name:16} {run.seconds:8.2f} s  cpu {run.cpu:7.2f} s  "
        f"peak {run.peak_mb:6.0f} MB  load {load:.1f}  {time.strftime('%H:%M:%S')}",
        file=sys.stderr,
    )


def _default_file() -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return Path(__file__).parent / "results" / f"{stamp}.json"


if __name__ == "__main__":
    sys.exit(main())
