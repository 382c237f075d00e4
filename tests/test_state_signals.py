"""Signals that come while a statement of the state runs are Python's, and not its driver's."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from tests.support.cli import PATIENCE, environment

SIGNALS = 300
PESTERED = """
import os, signal, sys, threading
from pathlib import Path
from segsync.state.database import Database

path, wanted = Path(sys.argv[1]), int(sys.argv[2])
database = Database(path, read_only=True)
heard = threading.Semaphore(0)
signal.signal(signal.SIGINT, lambda *_: heard.release())

def pester():
    for number in range(1, wanted + 1):
        os.kill(os.getpid(), signal.SIGINT)
        if not heard.acquire(timeout=20):
            break
        told.append(number)

told = [0]
thread = threading.Thread(target=pester)
thread.start()
while thread.is_alive():
    assert database.rows("SELECT 1") == [(1,)]
print(told[-1])
"""


def test_no_signal_is_lost_and_nothing_crashes_while_statements_run(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE one (row INTEGER)")
    done = subprocess.run(
        [sys.executable, "-c", PESTERED, str(path), str(SIGNALS)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{SIGNALS}\n"), done.stderr
