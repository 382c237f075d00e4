"""What the demo's story is told with: the real commands, the shop, the platform, the terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

from segsync.demo.folder import SHOP, TOKEN
from segsync.demo.shop import change_shop
from segsync.emulator import Emulator, Upload
from segsync.errors import SegsyncError

WIDTH = 80
KILLED = -signal.SIGKILL


class Unexpected(SegsyncError):
    """A command of the demo did not do what the story says."""


@dataclass
class Stage:
    """Runs commands in the demo's folder, and shows them with what they print."""

    folder: Path
    emulator: Emulator
    say: Callable[[str], None]
    chapters: int = 0
    now: str = ""
    _under_way: list[subprocess.Popen[str]] = field(default_factory=list)

    def chapter(self, title: str, sentence: str) -> None:
        """Begin a step of the story."""
        self.chapters += 1
        self.say("")
        self.say(f"── {self.chapters}. {title} ".ljust(WIDTH - 1, "─"))
        self.explain(sentence)

    def explain(self, sentence: str) -> None:
        """Tell why, in lines of the terminal's width."""
        for line in textwrap.wrap(sentence, WIDTH - 1):
            self.say(line)

    def show(self, name: str) -> None:
        """Show a file of the folder."""
        self._prompt(f"cat {name}")
        for line in (self.folder / name).read_text(encoding="utf-8").splitlines():
            self.say(line)

    def sql(self, *statements: str) -> None:
        """Change the shop."""
        for statement in statements:
            self._prompt(f'sqlite3 {SHOP} "{statement}"')
            change_shop(self.folder / SHOP, statement)

    def segsync(self, *arguments: str, expected: int = 0) -> None:
        """Run a command. Raises Unexpected unless it ends with the `expected` exit status."""
        self._prompt(" ".join(("segsync", *arguments)))
        process = subprocess.Popen(
            [sys.executable, "-m", "segsync", *arguments],
            cwd=self.folder,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        self._under_way.append(process)
        with process:
            for line in process.stdout or ():
                self._pass_on(line.rstrip())
        self._under_way.remove(process)
        if process.returncode == KILLED:
            self.say("Killed")
        elif expected:
            self.say(f"(exit status {process.returncode})")
        if process.returncode != expected:
            raise Unexpected(
                f"`segsync {' '.join(arguments)}` ended with {process.returncode}, not {expected}",
                hint="the folder is left as it is",
            )

    def let_days_pass(self, days: int) -> None:
        """Move the platform's clock; `now` is its time, as segsync's own clock takes it."""
        seconds = self.emulator.advance(days=days) // 1000
        self.now = datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    def kill_at_next_upload(self) -> None:
        """Let the next apply die (kill -9) when the platform has all of its payload."""
        struck = Event()

        def kill(_upload: Upload) -> None:
            if not struck.is_set():
                struck.set()
                self._under_way[-1].kill()

        self.emulator.on_upload(kill)

    def _pass_on(self, line: str) -> None:
        fits = len(line) <= WIDTH
        for piece in [line] if fits else textwrap.wrap(line, WIDTH, subsequent_indent="  "):
            self.say(piece)

    def _prompt(self, command: str) -> None:
        self.say("")
        wrapped = textwrap.wrap(command, WIDTH - 5, break_long_words=False, break_on_hyphens=False)
        for number, line in enumerate(wrapped):
            end = " \\" if number < len(wrapped) - 1 else ""
            self.say(f"{'$' if number == 0 else '>'} {line}{end}")


def environment() -> dict[str, str]:
    """The commands' environment: the demo's token, this very segsync, output that comes at once."""
    inherited = {name: value for name, value in os.environ.items() if name != "SEGSYNC_FILE"}
    package = Path(__file__).resolve().parents[1]
    return {
        **inherited,
        "MICS_API_TOKEN": TOKEN,
        "COLUMNS": str(WIDTH),
        "PYTHONPATH": os.pathsep.join(
            [str(package.parent), *filter(None, [os.getenv("PYTHONPATH")])]
        ),
        "PYTHONUNBUFFERED": "1",
        "PYTHONIOENCODING": "utf-8",
    }
