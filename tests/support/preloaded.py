"""Commands with something injected into a system call, run by a process that segsync is loaded in.

To import everything takes longer than an apply. So each process of the tests has one that has done
it, and forks: what the fork runs is the `main` of the real command, with its own arguments, folder,
environment and streams; only its pauses are short. Any other command is executed.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path

from segsync.sending import Timing
from tests.support import tracer
from tests.support.cli import ROOT, environment
from tests.support.layering import layered
from tests.support.processes import heed_signals

SEGSYNC = (sys.executable, "-m", "segsync")
USED = (
    "adbc_driver_sqlite.dbapi",
    "duckdb",
    "filelock",
    "segsync.cli.main",
    "segsync.mediarithmics.wire",
    "segsync.planning",
    "segsync.reconcile",
    "segsync.render.plan_text",
    "segsync.render.progress",
    "segsync.render.report_text",
    "segsync.source.adbc_sqlite",
    "segsync.spec.load",
)
"""What an apply imports; what is missing here it imports itself."""
PAUSES = Timing(first_poll=0.02, grace=0.5, settling=0.5)
"""The emulator shows an upload at once, and these tests have it end when it is asked for."""
PATIENCE = 60.0


@dataclass(frozen=True)
class Order:
    """A command that has nothing to read, and what is injected into which of its system calls, in
    the words of strace."""

    call: str
    injection: str
    command: Sequence[str]
    folder: Path
    env: Mapping[str, str]
    patience: float = PATIENCE


@dataclass(frozen=True)
class Traced:
    """What a command leaves into which something was to be injected."""

    status: int
    out: str
    err: str
    reached: bool
    """Whether it came to that system call."""


class Preloaded:
    """The process that forks: started when it is first needed, and anew when it was ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__],
                cwd=ROOT,
                env=environment(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                preexec_fn=heed_signals,
            )
            atexit.register(self.close)
        return self._process

    def close(self) -> None:
        """End it, and by that all that it traces."""
        if self._process is not None:
            with self._process as process:
                process.kill()
            self._process = None
            atexit.unregister(self.close)

    def run(self, order: Order) -> Traced:
        """Run a command to its end."""
        with tempfile.TemporaryDirectory() as made:
            streams = [os.devnull, f"{made}/out", f"{made}/err"]
            what = (list(order.command), str(order.folder), dict(order.env), streams)
            request = json.dumps((order.call, order.injection, *what))
            status, reached = self._ask(request, order.patience)
            out, err = (Path(stream).read_text() for stream in streams[1:])
        return Traced(os.waitstatus_to_exitcode(status), out, err, reached)

    def _ask(self, request: str, patience: float) -> tuple[int, bool]:
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(request.encode() + b"\n")
        process.stdin.flush()
        readable, _, _ = select.select([process.stdout], [], [], patience)
        answer = process.stdout.readline() if readable else b""
        if not answer:
            self.close()
            raise AssertionError(f"no answer within {patience} seconds: {request}")
        status, reached = json.loads(answer)
        return status, reached


def main() -> None:
    """Run each command that stands in a line of the input; answer how it ended."""
    warm_up()
    vars(import_module("segsync.sending"))["Timing"] = lambda: PAUSES
    with layered(2):  # of two applies one adds to what is recent, and one folds it
        for line in sys.stdin:
            call, injection, *what = json.loads(line)
            ended = tracer.trace(partial(become, *what), tracer.Injection.parse(call, injection))
            print(json.dumps(ended), flush=True)


def warm_up() -> None:
    """Import everything, and build what is built when it is first used: the check of a spec, and
    the parser of the command line."""
    for name in USED:
        import_module(name)
    import_module("segsync.spec").load_spec(ROOT / "segments.yaml.example", environment())
    import_module("segsync.cli.app").build(["apply"])


def become(command: list[str], folder: str, env: dict[str, str], streams: list[str]) -> None:
    """Run a command in this process, to its end."""
    os.chdir(folder)
    for number, stream in enumerate(streams):
        opened = os.open(stream, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    if tuple(command[: len(SEGSYNC)]) == SEGSYNC:
        become_segsync(command[len(SEGSYNC) :], env)
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):  # Python does that, and exec passes it on
        signal.signal(ignored, signal.SIG_DFL)
    os.execvpe(command[0], command, env)


def become_segsync(arguments: list[str], env: Mapping[str, str]) -> None:
    """What `python -m segsync` does, which ends the process."""
    from segsync.__main__ import main as segsync

    os.environ.clear()
    os.environ.update(env)
    sys.argv[1:] = arguments
    segsync()


if __name__ == "__main__":
    main()
