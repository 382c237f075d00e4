"""pytest in a forked process: what it imports of others is there already, ours is read anew."""

from __future__ import annotations

import importlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.mutation.modules import HERE
from tests.mutation.quickest_first import QuickestFirst
from tests.mutation.reach import Taken, taken

OTHERS = (
    "adbc_driver_sqlite.dbapi", "duckdb", "hypothesis", "jsonschema", "pyarrow", "pydantic",
    "requests", "rich", "sqlalchemy", "typer", "yaml",
)  # fmt: skip
OURS = ("segsync", "tests")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How pytest ended: the first test that failed, if any, and what each that ran has taken."""

    failed: str
    taken: dict[str, Taken]
    seconds: float


def prepare() -> None:
    """Import what every child needs."""
    for name in OTHERS:
        importlib.import_module(name)


def run(tree: Path, plugin: QuickestFirst, files: list[str], limit: float) -> Outcome | None:
    """Run these test files of a tree. None: it was not done within the limit."""
    started = time.monotonic()
    result = tree.with_name("outcome")
    result.unlink(missing_ok=True)
    child = os.fork()
    if child == 0:
        _leave(lambda: _work(tree, plugin, files, result))
    try:
        ended = _ended(child, started + limit)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # servers that a test has started must not outlive it
    if not ended:
        os.waitpid(child, 0)
        return None
    seconds = time.monotonic() - started
    if not result.exists():
        return Outcome("(the process died)", {}, seconds)
    failed, tests = json.loads(result.read_text())
    return Outcome(failed, {name: taken(plain) for name, plain in tests.items()}, seconds)


def _ended(child: int, until: float) -> bool:
    while os.waitpid(child, os.WNOHANG) == (0, 0):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def _leave(work: Callable[[], None]) -> None:
    """The child must never go on with what its parent was doing."""
    try:
        work()
    finally:
        os._exit(0)


def _work(tree: Path, plugin: QuickestFirst, files: list[str], result: Path) -> None:
    os.setsid()
    output = os.open(tree.with_name("output"), os.O_RDWR | os.O_CREAT | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(tree)
    os.environ["PYTHONPATH"] = str(tree)
    sys.path[:] = [str(tree), *(path for path in sys.path if Path(path or ".") != HERE)]
    for name in [name for name in sys.modules if name.partition(".")[0] in OURS]:
        del sys.modules[name]
    options = [
        "-x", "-q", "--tb=line", "-p", "no:cacheprovider", "-p", "no:xdist",
        "--basetemp", str(tree.with_name("temporary")),
    ]  # fmt: skip
    status = pytest.main([*options, *files], plugins=[plugin])
    failed = plugin.failed or ("" if status == 0 else f"(pytest ended with {status})")
    tests = {name: each.plain() for name, each in plugin.taken.items()}
    result.with_suffix(".new").write_text(json.dumps((failed, tests)))
    result.with_suffix(".new").rename(result)
