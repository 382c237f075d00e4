"""Real database servers for tests: private, on a free port, in a temporary directory.

They are started once per test process that uses them. PostgreSQL and MariaDB refuse to run as root,
so there they run as the users that Debian's packages made for them.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

START_TIMEOUT_S = 60


@dataclass(frozen=True)
class Server:
    """A running server: where it is, and how to make it do something as its administrator."""

    port: int
    user: str
    password: str
    database: str

    def url(self, scheme: str) -> str:
        """A SQLAlchemy URL of the test database."""
        return f"{scheme}://{self.user}:{self.password}@127.0.0.1:{self.port}/{self.database}"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Server]:
    """A PostgreSQL server that keeps nothing: its database is `test`, its user may do anything."""
    with _private_directory("postgres") as directory:
        server = Server(_free_port(), "tester", "pg-secret-word", "test")
        binaries = max(Path("/usr/lib/postgresql").glob("*/bin"))
        data = directory / "data"
        password_file = directory / "password"
        password_file.write_text(server.password)
        _own(password_file, "postgres")
        _run(
            "postgres",
            binaries / "initdb",
            *("-D", data, "-U", server.user, "--pwfile", password_file, "--auth=scram-sha-256"),
            *("--no-sync", "--encoding=UTF8", "--locale=C.UTF-8"),
        )
        command = [
            *(binaries / "postgres", "-D", data, "-p", server.port, "-k", directory),
            *("-h", "127.0.0.1", "-c", "fsync=off", "-c", "max_connections=60"),
            *("-c", "timezone=America/New_York"),
        ]
        with _running("postgres", command, directory, server.port):
            _until(lambda: _postgresql_ready(server))
            yield server


def _postgresql_ready(server: Server) -> None:
    import psycopg

    everywhere = replace(server, database="postgres")
    with psycopg.connect(everywhere.url("postgresql"), autocommit=True) as connection:
        connection.execute("CREATE DATABASE test")


@pytest.fixture(scope="session")
def mariadb() -> Iterator[Server]:
    """A MariaDB server that keeps nothing: its database is `test`, its user may do anything."""
    with _private_directory("mysql") as directory:
        server = Server(_free_port(), "tester", "my-secret-word", "test")
        data = directory / "data"
        _run(
            "mysql",
            *("mariadb-install-db", "--no-defaults", f"--datadir={data}", "--skip-test-db"),
            "--auth-root-authentication-method=normal",
        )
        init = directory / "init.sql"
        init.write_text(
            f"CREATE DATABASE {server.database};\n"
            f"CREATE USER {server.user}@'%' IDENTIFIED BY '{server.password}';\n"
            f"GRANT ALL ON *.* TO {server.user}@'%';\n"
        )
        _own(init, "mysql")
        command = [
            *("mariadbd", "--no-defaults", f"--datadir={data}", f"--port={server.port}"),
            *(f"--socket={directory}/socket", "--bind-address=127.0.0.1", f"--init-file={init}"),
            *("--innodb-flush-log-at-trx-commit=0", "--innodb-buffer-pool-size=64M"),
            *("--default-time-zone=-05:00", "--character-set-server=utf8mb4"),
            "--skip-name-resolve",
        ]
        with _running("mysql", command, directory, server.port):
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


@contextlib.contextmanager
def _running(user: str, command: Sequence[object], directory: Path, port: int) -> Iterator[None]:
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(part) for part in command],
            **_as_user(user),
            cwd=directory,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        _until(lambda: socket.create_connection(("127.0.0.1", port), 1).close(), process, directory)
        yield
    finally:
        # PostgreSQL's fast and MariaDB's clean shutdown take seconds for data that nobody keeps.
        process.kill()
        process.wait()


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
