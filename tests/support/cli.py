"""The real command in a process of its own, with a shop in SQLite and a platform on a socket."""

from __future__ import annotations

import contextlib
import fcntl
import io
import os
import pty
import select
import signal
import sqlite3
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from segsync.cli.main import run
from segsync.emulator import Behaviour, Emulator, EmulatorServer, Upload
from segsync.errors import SegsyncError
from tests.support.canary import TOKEN, identifiers_in, secrets_in
from tests.support.processes import heed_signals, started
from tests.support.receiver import Receiver, assert_journalled

ROOT = Path(__file__).resolve().parents[2]
STATUSES = {0, 1, 2, 3, 4, 5, 6}
PATIENCE = 60.0
OTHERS = ("COLUMNS", "LINES", "PYTHONDONTWRITEBYTECODE")
"""Of the developer's environment. Without bytecode each command would compile segsync again."""
HOLDS_MEMBERS = ("state.db", "state.db-journal")


@dataclass(frozen=True)
class Done:
    """What a command that has ended leaves."""

    status: int
    out: str
    err: str

    def private(self, arguments: Sequence[str | bytes] = ()) -> Done:
        """Assert that no secret is shown, and without --show-ids no identifier either."""
        content = (self.out + self.err).encode(errors="surrogateescape")
        assert not secrets_in(content)
        assert "--show-ids" in arguments or not identifiers_in(content), content.decode()
        return self

    def tidy(self) -> Done:
        """Assert that nothing is shown that a terminal would act on."""
        text = (self.out + self.err).replace("\n", "")
        assert text.isprintable(), ascii(text)
        return self

    def check(self, *statuses: int) -> Done:
        """Assert the exit status, and that nothing inside of segsync is shown."""
        text = self.out + self.err
        assert "Traceback" not in text, text
        assert "unexpected error:" not in text, text
        assert self.status in (statuses or STATUSES), (self.status, text)
        return self


def environment(**changes: str | None) -> dict[str, str]:
    """This process's environment with changes; None takes a variable out."""
    base = {name: value for name, value in os.environ.items() if name not in OTHERS}
    settings = {"PYTHONPATH": str(ROOT), "MICS_API_TOKEN": TOKEN, **changes}
    return {name: value for name, value in {**base, **settings}.items() if value is not None}


def segsync(
    *arguments: str | bytes,
    folder: Path,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> Done:
    """Run the command to its end; without `stdin` it has none to read from."""
    done = subprocess.run(
        [sys.executable, "-m", "segsync", *arguments],
        cwd=folder,
        env=env or environment(),
        input=(stdin or "").encode(),
        capture_output=True,
        timeout=PATIENCE,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode()).private(arguments)


@contextmanager
def _environ(wanted: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(wanted)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class Shop:
    """A folder with a spec and a database, beside a platform."""

    def __init__(self, folder: Path, server: EmulatorServer) -> None:
        self.folder = folder
        self.server = server
        self.emulator = server.emulator
        self.url = server.url
        self.receiver = Receiver()
        self._segments: dict[str, str] = {}
        self.sql("CREATE TABLE people (name TEXT, score INTEGER)")

    def sql(self, *statements: str) -> None:
        """Change the database."""
        database = sqlite3.connect(self.folder / "shop.db")
        with database:
            for statement in statements:
                database.execute(statement)
        database.close()

    def move_clock(self, text: str) -> None:
        """Let it be this time on the platform."""
        there = datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()
        self.emulator.advance(seconds=there - self.emulator.now_ms() / 1000)

    def people(self, count: int, first: int = 0) -> None:
        """Let the query of every segment return so many people."""
        self.sql("DELETE FROM people")
        database = sqlite3.connect(self.folder / "shop.db")
        rows = ((f"person-{number:05d}", number) for number in range(first, first + count))
        with database:
            database.executemany("INSERT INTO people VALUES (?, ?)", rows)
        database.close()

    def spec(self, segments: str, *, removed: str = "{}") -> None:
        """Write the spec; `segments` is YAML, indented by two spaces."""
        (self.folder / "segments.yaml").write_text(
            "version: 1\n"
            "destination:\n"
            '  datamart_id: "1509"\n'
            "  api_token: ${MICS_API_TOKEN}\n"
            f"  api_url: {self.url}\n"
            'sources: {shop: "sqlite:///shop.db"}\n'
            "defaults: {expiration: 30d}\n"
            f"segments:\n{segments}\n"
            f"removed: {removed}\n"
        )

    def on_terminal(self, *arguments: str, columns: int = 80, **changes: str | None) -> OnTerminal:
        """Start the command on a terminal."""
        env = environment(**{"TERM": "xterm-256color", **changes})
        return OnTerminal(*arguments, folder=self.folder, env=env, columns=columns)

    def process(self, *arguments: str, stdin: str | None = None, **changes: str | None) -> Done:
        """Run the command in a process of its own; `changes` are to its environment."""
        env = environment(**changes)
        done = segsync(*arguments, folder=self.folder, env=env, stdin=stdin).check().tidy()
        self._note_journal()
        return done

    def run(self, *arguments: str, **changes: str | None) -> Done:
        """Run the command in this process, which costs a third of the time."""
        out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
        with (
            contextlib.chdir(self.folder),
            _environ(environment(**changes)),
            redirect_stdout(out),
            redirect_stderr(err),
        ):
            status = run(arguments)
        texts = [stream.buffer.getvalue().decode() for stream in (out, err)]
        self._note_journal()
        return Done(status, *texts).private(arguments).check().tidy()

    def leave_a_run_open(self) -> None:
        """Kill an apply when the platform has its payload."""
        with started(
            [sys.executable, "-m", "segsync", "apply", "--yes"],
            cwd=self.folder,
            env=environment(),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            self.emulator.on_upload(lambda _upload: process.kill())
            assert process.wait(PATIENCE) == -signal.SIGKILL

    def take(self, upload: Upload) -> None:
        """Look at what has arrived, unless its state lies elsewhere or is in a name space."""
        self.receiver.take(upload.path.read_bytes())
        if self.state.exists():
            assert_journalled(self.state, upload)

    def _note_journal(self) -> None:
        """Tests may have left there what is no state."""
        with contextlib.suppress(SegsyncError):
            self.receiver.note_journal_at(self.state)

    @property
    def state(self) -> Path:
        """The state file."""
        return self.folder / ".segsync" / "state.db"


FANS = "  fans: {query: SELECT name AS user_account_id FROM people}"


@contextmanager
def shop(folder: Path, **behaviour: object) -> Iterator[Shop]:
    """A shop with ten people, one segment `fans`, and a platform that knows it."""
    settings = Behaviour(create_segments=True, **behaviour)  # type: ignore[arg-type]  # any switch
    emulator = Emulator(token=TOKEN, seed=1, behaviour=settings)
    with EmulatorServer(emulator) as server:
        made = Shop(folder, server)
        emulator.on_upload(made.take)
        made.people(10)
        made.spec(FANS)
        yield made
        for path in filter(Path.is_file, made.state.parent.glob("*")):
            assert path.name in HOLDS_MEMBERS or not identifiers_in(path.read_bytes()), path
        assert not emulator.crashes, emulator.crashes
        assert emulator.max_in_flight <= 1
    emulator.close()


class OnTerminal:
    """A command on a terminal of its own, which reads and types like a person."""

    def __init__(
        self, *arguments: str, folder: Path, env: Mapping[str, str], columns: int = 80
    ) -> None:
        self.shown = b""
        self._arguments = arguments
        self._terminal, other_end = pty.openpty()
        fcntl.ioctl(other_end, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-m", "segsync", *arguments],
            cwd=folder,
            env=dict(env),
            stdin=other_end,
            stdout=other_end,
            stderr=other_end,
            start_new_session=True,
            preexec_fn=heed_signals,
        )
        os.close(other_end)

    def wait_for(self, text: str) -> None:
        """Read until the text is shown."""
        self._read(lambda: text.encode() in self.shown)
        assert text.encode() in self.shown, self.shown[-1000:].decode("utf-8", "replace")

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._terminal, text.encode())

    def end(self) -> Done:
        """Read to the end."""
        self._read(lambda: False)
        status = self.process.wait(PATIENCE)
        os.close(self._terminal)
        text = self.shown.decode("utf-8", "replace").replace("\r\n", "\n")
        return Done(status, text, "").private(self._arguments).check()

    def _read(self, enough: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not enough():
            left = max(deadline - time.monotonic(), 0)
            ready, _, _ = select.select([self._terminal], [], [], left)
            if not ready:
                self.process.kill()
                raise AssertionError(self.shown[-1000:].decode("utf-8", "replace"))
            try:
                block = os.read(self._terminal, 65536)
            except OSError:
                return
            if not block:
                return
            self.shown += block


def words_of(text: str, name: str) -> list[str]:
    """The words of the first line that begins with `name`, without it."""
    found = next(line for line in text.splitlines() if line.startswith(name))
    return found.removeprefix(name).split()
