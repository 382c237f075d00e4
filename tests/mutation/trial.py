"""The tests of a module, run on a private copy of the tree in which one mutant stands."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.mutation.modules import files
from tests.mutation.mutant import Mutant

HERE = Path(__file__).parents[2]
LEAST_SECONDS = 120
SLOWER = 4
"""So many times as long as without a mutant may its tests take."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How the tests ended: killed, survived or timeout; `by` names the first that failed."""

    word: str
    by: str
    seconds: float


class Trial:
    """A copy of the tree, and what the tests of each module take there."""

    def __init__(self, tree: Path, longest: float, most_files: int | None) -> None:
        self._tree = tree
        self._durations = tree.with_name("durations.json")
        self._written = int(time.time())
        self._longest = longest
        self._most_files = most_files
        self._checked: dict[str, float] = {}
        self._limits: dict[str, float] = {}

    def check(self, module: str) -> Verdict:
        """The tests without a mutant: they must pass, or nothing that follows means anything."""
        seconds = 0.0
        for file in files(module, self._most_files):
            if file not in self._checked:
                verdict = self._run([file], limit=3600)
                if verdict.word != "survived":
                    return verdict
                self._checked[file] = verdict.seconds
            seconds += self._checked[file]
        self._limits[module] = max(LEAST_SECONDS, SLOWER * seconds)
        return Verdict("survived", "", seconds)

    def judge(self, mutant: Mutant) -> Verdict:
        """Whether the tests notice this mutant."""
        self._write(mutant.module, mutant.mutated)
        try:
            return self._run(files(mutant.module, self._most_files), self._limits[mutant.module])
        finally:
            self._write(mutant.module, mutant.text)

    def _write(self, module: str, text: str) -> None:
        """Each version has a time of its own: it tells Python that compiled code is out of date."""
        path = self._tree / module
        path.write_text(text)
        self._written += 1
        os.utime(path, (self._written, self._written))

    def _run(self, tests: list[str], limit: float) -> Verdict:
        command = [
            sys.executable, "-m", "pytest", "-x", "-q", "--tb=no", "-p", "no:cacheprovider",
            "-p", "tests.mutation.quickest_first", *tests,
        ]  # fmt: skip
        started = time.monotonic()
        with tempfile.TemporaryFile("w+") as output:
            process = subprocess.Popen(
                command,
                cwd=self._tree,
                env=os.environ | self._environment(),
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
            try:
                status = process.wait(limit)
            except subprocess.TimeoutExpired:
                return Verdict("timeout", "", time.monotonic() - started)
            finally:
                _end(process)
            output.seek(0)
            text = output.read()
        failed = re.search(r"^(?:FAILED|ERROR) (\S+)", text, re.MULTILINE)
        by = failed[1] if failed else text[-2000:] if status else ""
        return Verdict("killed" if status else "survived", by, time.monotonic() - started)

    def _environment(self) -> dict[str, str]:
        return {
            "PYTHONPATH": str(self._tree),
            "SEGSYNC_DURATIONS": str(self._durations),
            "SEGSYNC_LONGEST": str(self._longest),
        }


def _end(process: subprocess.Popen[bytes]) -> None:
    """Servers that a test has started must not outlive it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def private_copy(longest: float, most_files: int | None) -> Iterator[Trial]:
    """The tree as it stands here, elsewhere."""
    with tempfile.TemporaryDirectory(prefix="segsync-mutation-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(
            HERE,
            tree,
            ignore=shutil.ignore_patterns(".git", "__pycache__", ".*_cache", "results", ".venv"),
        )
        yield Trial(tree, longest, most_files)
