"""`python -m tests.simulation.planted`: plant one fault after the other, and see what catches it.

Each stands alone in a private copy of the tree. The faults are those of planted.toml. The exit
status is 1 where one was not caught. What is printed are rows for tests/README.md.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.trial import copied_tree

PLANTS = Path(__file__).with_suffix(".toml")
LIMIT = 3600
"""Seconds for one fault."""


@dataclass(frozen=True, slots=True)
class Plant:
    """A fault: what stands once in a file, and what is to stand there instead.

    `tests` are the files that are to catch it where the stories cannot.
    """

    name: str
    file: str
    was: str
    becomes: str
    tests: tuple[str, ...] = ()

    @property
    def diff(self) -> str:
        """The change in a line."""
        becomes = self.becomes.strip() or "(nothing)"
        return f"`{self.was.strip()}` → `{becomes}`".replace("|", "\\|")


def plants() -> tuple[Plant, ...]:
    """All of them, in the order of the file."""
    found = tomllib.loads(PLANTS.read_text())["plant"]
    return tuple(Plant(**{**entry, "tests": tuple(entry.get("tests", ()))}) for entry in found)


def try_plant(tree: Path, plant: Plant, schedules: int, seed: int) -> str:
    """What catches it, after how much; empty where nothing does."""
    path = tree / plant.file
    text = path.read_text()
    if text.count(plant.was) != 1:
        raise ValueError(f"{plant.name}: {plant.was!r} stands {text.count(plant.was)} times")
    path.write_text(text.replace(plant.was, plant.becomes))
    try:
        return _by_tests(tree, plant) if plant.tests else _by_stories(tree, schedules, seed)
    finally:
        path.write_text(text)


def _by_stories(tree: Path, schedules: int, seed: int) -> str:
    """The number of stories that were told until one ended badly."""
    options = ["--schedules", str(schedules), "--seed", str(seed), "--until-one-ends-badly"]
    said = _run(tree, "-m", "tests.simulation", *options)
    [(played, diverged)] = re.findall(r"^([\d,]+) schedules .* (\d+) diverged$", said, re.M)[-1:]
    return f"simulation, story {played}" if int(diverged) else ""


def _by_tests(tree: Path, plant: Plant) -> str:
    said = _run(tree, "-m", "pytest", "-q", "-x", "-n", "0", "-p", "no:cacheprovider", *plant.tests)
    found = re.search(r"^(?:FAILED|ERROR) \S+?::(\w+)", said, re.M)
    return f"`{found[1]}`" if found else ""


def _run(tree: Path, *arguments: str) -> str:
    """What a Python in that tree prints."""
    ended = subprocess.run(
        [sys.executable, "-B", *arguments],
        cwd=tree,
        env={**os.environ, "PYTHONPATH": str(tree)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=LIMIT,
        check=False,
    )
    return ended.stdout


def _chosen(words: list[str] | None) -> Iterator[Plant]:
    for plant in plants():
        if not words or any(word in plant.name for word in words):
            yield plant


def main() -> int:
    """See above."""
    parser = argparse.ArgumentParser(prog="python -m tests.simulation.planted", description=__doc__)
    parser.add_argument("--schedules", type=int, default=1000, help="at most, for each fault")
    parser.add_argument("--seed", type=int, default=1, help="the first one")
    parser.add_argument("--only", action="append", metavar="WORDS", help="of the fault's name")
    given = parser.parse_args()
    missed = 0
    with copied_tree() as tree:
        for plant in _chosen(given.only):
            caught = try_plant(tree, plant, given.schedules, given.seed)
            missed += not caught
            print(f"| {plant.name} | {plant.diff} | {caught or 'NOT CAUGHT'} |", flush=True)
    return bool(missed)


if __name__ == "__main__":
    sys.exit(main())
