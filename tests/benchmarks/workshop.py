"""Where the data of the benchmarks lies, and how each piece is made when it is missing."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.measuring import Failed, Measured, measure

HERE = Path(__file__).resolve().parents[2]
CHURN = 100
"""One in so many members is new, and one is gone."""
CHURNS = 4
"""With one more the recent layer is full, and is folded."""
OLDEST_STATE_S = 5 * 86_400
"""Members of an older state would be due for renewal before long."""
MEMORY_LIMIT_MB = 1_000_000_000 / 2**20


@dataclass(frozen=True, slots=True)
class Workshop:
    """The data folder, and the checkout that is measured."""

    folder: Path
    tree: Path
    seed: int
    postgresql: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What every child sees; temporary files lie on the disk of the data folder.

        Without PYTHONDONTWRITEBYTECODE and its like: an installed package is compiled.
        """
        temporary = self.folder / "tmp"
        temporary.mkdir(parents=True, exist_ok=True)
        own = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        return {
            **own,
            "PYTHONPATH": f"{self.tree}{os.pathsep}{HERE}",
            "BENCHMARK_TOKEN": "benchmark",
            "BENCHMARK_POSTGRESQL": self.postgresql or "",
            "TMPDIR": str(temporary),
            "NO_COLOR": "1",
        }

    def compile(self) -> None:
        """Compile what is measured, as an installation does."""
        self.python("-m", "compileall", "-q", self.tree / "segsync", HERE / "tests" / "benchmarks")

    def python(self, *words: str | Path, accepted: tuple[int, ...] = (0,)) -> Measured:
        """Run this Python, measured."""
        return measure([sys.executable, *words], self.tree, self.environment, accepted)

    def source(self, size: int, *, churns: int, segments: int = 1) -> Path:
        """A SQLite source of `size` members; one in CHURN is another than one churn before."""
        path = self.folder / "sources" / f"{segments}-{size}-{self.seed}-{churns}.db"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            self._make("sqlite", size, segments, path, churns=churns)
        return path

    def _make(self, kind: str, size: int, segments: int, where: Path | str, *, churns: int) -> None:
        first = churns * (size // CHURN)
        numbers = map(str, (first, size, self.seed, segments))
        self.python("-m", "tests.benchmarks.data", kind, *numbers, where)

    def fill_postgresql(self, size: int) -> None:
        """The churned source, as a table in PostgreSQL."""
        assert self.postgresql
        self._make("postgresql", size, 1, self.postgresql, churns=1)

    def state(self, size: int, *, bag: bool = False, segments: int = 1) -> Path:
        """The folder with the state that a first apply of the unchurned source wrote.

        It is made anew when the code changes that says what stands in a state.
        """
        name = f"{'bag' if bag else segments}-{size}-{self.seed}-{self._meaning()}"
        folder = self.folder / "states" / name
        if not _is_fresh(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            source = self.source(size, churns=0, segments=segments)
            self.apply(folder, spec_for(source, bag=bag, segments=segments), expected_lines=size)
            (folder / "made").write_text(str(time.time()))
        return folder

    def recent_state(self, size: int) -> Path:
        """The same after CHURNS applies, each of one churn: nearly a sixteenth of it is recent."""
        folder = self.folder / "states" / f"recent-{size}-{self.seed}-{self._meaning()}"
        if not _is_fresh(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            shutil.copy2(self.state(size) / "state.db", folder / "state.db")
            for churns in range(1, CHURNS + 1):
                spec = spec_for(self.source(size, churns=churns))
                self.apply(folder, spec, expected_lines=2 * (size // CHURN))
            (folder / "made").write_text(str(time.time()))
        return folder

    def _meaning(self) -> str:
        package = self.tree / "segsync"
        files = [*sorted((package / "state").glob("*.py")), package / "engine" / "fingerprint.py"]
        return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:8]

    def plan(
        self,
        folder: Path,
        spec: Mapping[str, Any],
        expected: Mapping[str, int],
        *,
        allow: str | None = None,
        memory_limit: str = "1GB",
    ) -> Measured:
        """`segsync plan` with the state in `folder`."""
        path = folder / "plan.yaml"
        path.write_text(json.dumps({**spec, "destination": destination(self.url)}))
        words = ("-m", "segsync", "plan", "-f", path, "--format", "json")
        memory = ("--memory-limit", memory_limit)
        measured = self.python(*words, *memory, *(("--allow", allow) if allow else ()))
        totals = json.loads(measured.output)["totals"]
        check(expected, totals)
        return measured

    def apply(self, folder: Path, spec: Mapping[str, Any], expected_lines: int) -> Measured:
        """`segsync apply` to an emulator, with the state in `folder`, which it changes."""
        with self.emulator() as account:
            path = folder / "apply.yaml"
            path.write_text(json.dumps({**spec, "destination": destination(self.url)}))
            measured = self.python(
                "-m", "segsync", "apply", "-f", path, "--yes", "--memory-limit", "1GB"
            )
        check({"lines": expected_lines}, account)
        return Measured(
            measured.wall,
            measured.cpu,
            measured.peak_mb,
            measured.output,
            account["seconds"],
        )

    @property
    def url(self) -> str:
        """Where the emulator listens: always the same, as a state belongs to one address."""
        kept = self.folder / "port"
        if not kept.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            with socket.create_server(("127.0.0.1", 0)) as free:
                kept.write_text(str(free.getsockname()[1]))
        return f"http://127.0.0.1:{kept.read_text()}"

    @contextmanager
    def emulator(self) -> Iterator[dict[str, Any]]:
        """An emulator in a process of its own; its account is known when the context ends."""
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.benchmarks.sink", self.url.rpartition(":")[2]],
            cwd=self.tree,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout
        if process.stdout.readline().strip() != self.url:
            raise Failed(f"no emulator could listen on {self.url}")
        account: dict[str, Any] = {}
        try:
            yield account
        finally:
            output, _ = process.communicate(timeout=60)
        account.update(json.loads(output))

    @contextmanager
    def copied(self, folder: Path) -> Iterator[Path]:
        """A copy of a state's folder that may be changed."""
        with self.empty() as copy:
            shutil.copy2(folder / "state.db", copy / "state.db")
            os.sync()
            yield copy

    @contextmanager
    def empty(self) -> Iterator[Path]:
        """An empty folder."""
        folder = self.folder / "run"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        try:
            yield folder
        finally:
            shutil.rmtree(folder)


def destination(url: str) -> dict[str, str]:
    """The spec's destination."""
    return {"datamart_id": "1509", "api_token": "${BENCHMARK_TOKEN}", "api_url": url}


def spec_for(
    source: Path | str,
    *,
    bag: bool = False,
    segments: int = 1,
    table: str = "customers",
    where: str = "",
) -> dict[str, Any]:
    """A spec without its destination (JSON is YAML)."""
    condition = f" WHERE {where}" if where else ""
    query = f"SELECT id AS user_account_id{', total' if bag else ''} FROM {table}{condition}"
    several = segments > 1
    return {
        "version": 1,
        "sources": {"shop": f"sqlite:///{source}" if isinstance(source, Path) else source},
        "state": "state.db",
        "defaults": {"compartment_id": "1000", "expiration": "30d"},
        "segments": {
            f"buyers_{number}" if several else "buyers": {
                "query": f"{query} WHERE segment = {number}" if several else query,
                **({"data_bag": ["total"]} if bag else {}),
            }
            for number in range(segments)
        },
    }


def check(expected: Mapping[str, int], found: Mapping[str, Any]) -> None:
    """Raise Failed unless all the expected figures were found."""
    wrong = {name: found.get(name) for name in expected if found.get(name) != expected[name]}
    if wrong:
        raise Failed(f"wrong result: {wrong} instead of {dict(expected)}")


def _is_fresh(folder: Path) -> bool:
    made = folder / "made"
    return made.exists() and time.time() - float(made.read_text()) < OLDEST_STATE_S
