"""Real database servers for tests: private, on a free port, in a temporary directory.

They are started once per test process that uses them. PostgreSQL and MariaDB refuse to run as root,
so there they run as the users that Debian's packages made for them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest

START_TIMEOUT_S = 60


@dataclass(frozen=True)
class Server:
    """A running server: where it is, and how to make it do something as its administrator."""

    port: int
    user: str
    password: str
    database: str
    machine: Machine

    def url(self, scheme: str) -> str:
        """A SQLAlchemy URL of the test database."""
        return f"{scheme}://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.database}"


class Machine:
    """The processes of a server: they can be killed, and started again on the same data."""

    def __init__(self, user: str, command: Sequence[object], directory: Path, port: int) -> None:
        self._user = user
        self._command = [str(part) for part in command]
        self._directory = directory
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The process that was started; PostgreSQL has others below it."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Returns when it listens."""
        with (self._directory / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                **_as_user(self._user),
                cwd=self._directory,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        address = ("127.0.0.1", self._port)
        _until(lambda: socket.create_connection(address, 1).close(), self._process, self._directory)

    def kill(self) -> None:
        """All of it at once, as when the power fails."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGSTOP)
        below = psutil.Process(self.pid).children(recursive=True)
        for process in (*below, self._process):
            process.kill()
        self._process.wait()
        while any(map(_lives, below)):
            time.sleep(0.01)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server that keeps nothing: its database is `test`, its user may do anything."""
    with _postgresql() as server:
        yield server


@pytest.fixture(scope="module")
def mortal_postgresql() -> Iterator[Server]:
    """One that a test may kill, and has to start again."""
    with _postgresql() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server that keeps nothing: its database is `test`, its user may do anything."""
    with _mariadb() as server:
        yield server


@pytest.fixture(scope="module")
def mortal_mariadb() -> Iterator[Server]:
    """One that a test may kill, and has to start again."""
    with _mariadb() as server:
        yield server


@contextlib.contextmanager
def _postgresql() -> Iterator[Server]:
    with _private_directory("postgres") as directory:
        port = _free_port()
        binaries = max(Path("/usr/lib/postgresql").glob("*/bin"))
        data = directory / "data"
        command = [
            *(binaries / "postgres", "-D", data, "-p", port, "-k", directory),
            *("-h", "127.0.0.1", "-c", "fsync=off", "-c", "max_connections=60"),
            *("-c", "timezone=America/New_York"),
        ]
        machine = Machine("postgres", command, directory, port)
        server = Server(port, "tester", "pg-secret-word", "test", machine)
        password_file = directory / "password"
        password_file.write_text(server.password)
        _own(password_file, "postgres")
        _run(
            "postgres",
            binaries / "initdb",
            *("-D", data, "-U", server.user, "--pwfile", password_file, "--auth=scram-sha-256"),
            *("--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"),
        )
        with _running(machine):
            _until(lambda: _postgresql_ready(server))
            yield server


def _postgresql_ready(server: Server) -> None:
    import psycopg

    everywhere = replace(server, database="postgres")
    with psycopg.connect(everywhere.url("postgresql"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE test")


@contextlib.contextmanager
def _mariadb() -> Iterator[Server]:
    with _private_directory("mysql") as directory:
        port = _free_port()
        data = directory / "data"
        init = directory / "init.sql"
        command = [
            *("mariadbd", "--no-defaults", f"--datadir={data}", f"--port={port}"),
            *(f"--socket={directory}/socket", "--bind-address=127.0.0.1", f"--init-file={init}"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"),
            *("--default-time-zone=-05:00", "--character-set-server=utf8mb4"),
            "--skip-name-resolve",
        ]
        machine = Machine("mysql", command, directory, port)
        server = Server(port, "tester", "my-secret-word", "test", machine)
        _run(
            "mysql",
            *("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )
        init.write_text(
            f"CREATE DATABASE IF NOT EXISTS {server.database};\n"
            f"CREATE USER IF NOT EXISTS {server.user}@'%' IDENTIFIED BY '{server.password}';\n"
            f"GRANT ALL ON *.* TO {server.user}@'%';\n"
        )
        _own(init, "mysql")
        with _running(machine):
            _until(lambda: _mariadb_ready(server))
            yield server


def _mariadb_ready(server: Server) -> None:
    import pymysql

    pymysql.connect(
        host="127.0.0.1",
        port=server.port,
        user=server.user,
        password=server.password,
        database=server.database,
    ).close()


@contextlib.contextmanager
def _private_directory(user: str) -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix=f"segsync-{user}-"))
    _own(directory, user)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def _running(machine: Machine) -> Iterator[None]:
    try:
        machine.start()
        yield
    finally:
        # PostgreSQL's fast and MariaDB's clean shutdown take seconds for data that nobody keeps.
        machine.kill()


def _until(
    attempt: Callable[[], object],
    process: subprocess.Popen[bytes] | None = None,
    directory: Path | None = None,
) -> None:
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        try:
            attempt()
        except Exception as error:
            gone = process is not None and process.poll() is not None
            if gone or time.monotonic() > deadline:
                log = (directory / "log").read_text(errors="replace") if directory else ""
                raise RuntimeError(f"the server did not start: {error}\n{log[-2000:]}") from error
            time.sleep(0.05)
        else:
            return


def _run(user: str, *command: object) -> None:
    done = subprocess.run(
        [str(part) for part in command], **_as_user(user), cwd="/", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _as_user(user: str) -> dict[str, Any]:
    if os.geteuid() != 0:
        return {}
    return {"user": user, "group": user, "extra_groups": []}


def _own(path: Path, user: str) -> None:
    if os.geteuid() == 0:
        shutil.chown(path, user, user)


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
