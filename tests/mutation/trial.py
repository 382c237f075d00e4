"""The tests of a module, run on a private copy of the tree in which one mutant stands."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import accumulate, takewhile
from pathlib import Path

from tests.mutation.child import prepare, run
from tests.mutation.modules import HERE, TESTS, files
from tests.mutation.mutant import Mutant
from tests.mutation.quickest_first import QuickestFirst
from tests.mutation.reach import Taken, Tracer, taken

MEMORY = Path("/dev/shm")
SLOWER = 10
PATIENCE = 10.0
"""A test may take so many times as long as without a mutant, and so many seconds more."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the tests ended: killed, survived or timeout; `by` names the first that failed."""

    word: str
    by: str
    seconds: float


class Trial:
    """A copy of the tree, and what each test takes and reaches there without a mutant."""

    def __init__(self, tree: Path, most: float, kept: Path | None) -> None:
        self._tree = tree
        self._most = most
        self._kept = kept
        self._written = int(time.time())
        self._taken: dict[str, dict[str, Taken]] = {}
        self._tests: dict[str, dict[str, Taken]] = {}
        self._kills: defaultdict[str, Counter[str]] = defaultdict(Counter)
        if kept and kept.exists():
            for version, tests in json.loads(kept.read_text()).items():
                self._taken[version] = {name: taken(plain) for name, plain in tests.items()}

    def check(self, module: str) -> str:
        """The first test that fails without a mutant: then nothing that follows means anything."""
        for file in files(module):
            version = self._version(file)
            if version not in self._taken:
                watched = {str(self._tree / name): name for name in TESTS}
                outcome = run(self._tree, QuickestFirst(None, Tracer(watched)), [file], 3600)
                if outcome is None or outcome.failed:
                    return outcome.failed if outcome else f"{file} takes more than an hour"
                self._taken[version] = outcome.taken
                self._keep()
            self._tests[file] = self._taken[version]
        return ""

    def _keep(self) -> None:
        if self._kept:
            plain = {
                version: {name: each.plain() for name, each in tests.items()}
                for version, tests in self._taken.items()
            }
            self._kept.write_text(json.dumps(plain))

    def judge(self, mutant: Mutant) -> Verdict:
        """Whether the tests that reach this mutant notice it."""
        tests = self._chosen(mutant)
        if not tests:
            return Verdict("survived", "no test comes there", 0)
        limits = {test: PATIENCE + SLOWER * seconds for test, seconds in tests.items()}
        limit = 6 * PATIENCE + SLOWER / 2 * sum(tests.values())
        chosen = sorted({test.partition("::")[0] for test in tests})
        self._write(mutant.module, mutant.mutated)
        started = time.monotonic()
        try:
            outcome = run(self._tree, QuickestFirst(limits, None), chosen, limit)
        finally:
            self._write(mutant.module, mutant.text)
        seconds = time.monotonic() - started
        if outcome is None:
            return Verdict("timeout", "", seconds)
        if outcome.failed:
            self._kills[mutant.module][outcome.failed] += 1
            return Verdict("killed", outcome.failed, seconds)
        return Verdict("survived", f"{len(outcome.taken)} tests", seconds)

    def _chosen(self, mutant: Mutant) -> dict[str, float]:
        """Seconds of the tests that come to the mutant, those that promise most first.

        All of them may see what is done when the module is imported. They are quick, come to much
        of the module, have noticed other mutants of it, and stand in the files that are named
        first.
        """
        place, module = mutant.place, mutant.module
        seconds: dict[str, float] = {}
        price: dict[str, float] = {}
        for rank, file in enumerate(files(module), start=1):
            for test, each in self._tests[file].items():
                lines = each.lines.get(module, set())
                if place is None or not lines.isdisjoint(place):
                    seconds[test] = each.seconds
                    merit = max(len(lines), 1) * (1 + self._kills[module][test]) / rank**2
                    price[test] = each.seconds / merit
        order = sorted(price, key=price.__getitem__)
        sums = accumulate(seconds[test] for test in order)
        within = len(list(takewhile(lambda total: total <= self._most, sums)))
        return {test: seconds[test] for test in order[:within]}

    def _version(self, file: str) -> str:
        """A test file with all that it may use: another version is measured anew."""
        used = [
            *self._tree.glob("segsync/**/*.py"),
            *self._tree.glob("tests/s*/*.py"),
            self._tree / file,
        ]
        digest = hashlib.sha256(b"".join(path.read_bytes() for path in sorted(used)))
        return f"{file} {digest.hexdigest()}"

    def _write(self, module: str, text: str) -> None:
        """Each version has a time of its own: it tells Python that compiled code is out of date."""
        path = self._tree / module
        path.write_text(text)
        self._written += 1
        os.utime(path, (self._written, self._written))


@contextmanager
def private_copy(most: float, kept: Path | None) -> Iterator[Trial]:
    """A trial of the tree as it stands here."""
    prepare()
    with copied_tree() as tree:
        yield Trial(tree, most, kept)


@contextmanager
def copied_tree() -> Iterator[Path]:
    """The tree as it stands here, elsewhere."""
    where = MEMORY if MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="segsync-mutation-", dir=where) as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(
            HERE,
            tree,
            ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "results", ".venv"),
        )
        yield tree
