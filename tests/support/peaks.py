"""How much memory and time something takes, measured in a process that does nothing else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MEBIBYTE = 1024 * 1024
MOST_SECONDS = 20
"""Of processor time: a case that takes more is killed."""
PROGRAM = """
import json, os, resource, sys, traceback
{setup}
for case in [None, *json.loads(sys.stdin.read())]:
    child = os.fork()
    if not child:
        resource.setrlimit(resource.RLIMIT_CPU, ({most_seconds}, {most_seconds}))
        try:
            if case is not None:
                run(case)
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
            os._exit(1)
        os._exit(0)
    _, status, usage = os.wait4(child, 0)
    print(json.dumps([usage.ru_maxrss * 1024, usage.ru_utime + usage.ru_stime, status]))
    sys.stdout.flush()
"""


@dataclass(frozen=True)
class Taken:
    """What one case took: the peak of its memory, how much of that is its own, its time.

    A case has failed where its `status` is not 0; `told` is what all of them wrote.
    """

    peak: int
    own: int
    seconds: float
    status: int
    told: str


def measured(setup: str, cases: Sequence[str], folder: Path) -> Mapping[str, Taken]:
    """What `run(case)`, which `setup` defines, takes for each case; each in a fork of one process.

    A fork begins with what the process has; what it has more than a fork that does nothing is its
    own.
    """
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(setup=setup, most_seconds=MOST_SECONDS)],
        input=json.dumps(list(cases)),
        cwd=folder,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "MALLOC_ARENA_MAX": "2"},
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == len(cases) + 1, done.stderr
    idle = lines[0][0]
    return {
        case: Taken(peak, peak - idle, seconds, status, done.stderr)
        for case, (peak, seconds, status) in zip(cases, lines[1:], strict=True)
    }
