"""One child process, measured from its start to its end."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Measured:
    """Seconds and megabytes (2^20 bytes) of one run; `waited` is the emulator's part of `wall`."""

    wall: float
    cpu: float
    peak_mb: float
    output: str = ""
    waited: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall time, without the emulator's own."""
        return self.wall - self.waited

    def as_json(self) -> dict[str, float]:
        """The figures."""
        figures = asdict(self)
        del figures["output"]
        return {name: round(value, 4) for name, value in figures.items()}


class Failed(Exception):
    """A child ended badly, or with a wrong result."""


def measure(
    command: Sequence[str | Path],
    folder: Path,
    environment: Mapping[str, str],
    accepted: tuple[int, ...] = (0,),
) -> Measured:
    """Run a command in `folder`. Raises Failed unless it exits with an accepted status."""
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            [str(word) for word in command],
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
        )
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        errors.seek(0)
        text = output.read()
        if process.returncode not in accepted:
            words = " ".join(str(word) for word in command)
            raise Failed(f"{words}\nexited with {process.returncode}\n{text}{errors.read()}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024, text)
