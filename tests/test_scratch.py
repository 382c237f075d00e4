"""What a killed process has left in its private folders is swept away by the next one."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from segsync.scratch import PREFIX, YOUNG_SECONDS, scratch_folder, sweep

HOLDER = """
import time
from segsync.scratch import scratch_folder
with scratch_folder() as folder:
    (folder / "spilled").write_text("a member")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def age(folder: Path) -> None:
    """As if it had been made long ago."""
    long_ago = time.time() - YOUNG_SECONDS - 1
    os.utime(folder, (long_ago, long_ago))


def test_a_folder_is_private_and_goes_with_its_context(temporary: Path) -> None:
    with scratch_folder() as folder:
        assert folder.parent == temporary
        assert folder.stat().st_mode & 0o777 == 0o700
        (folder / "file").write_text("x")
    assert not list(temporary.iterdir())


def test_what_a_killed_process_left_goes_and_what_a_living_one_has_stays(temporary: Path) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout is not None
        folder = Path(holder.stdout.readline().strip())
        age(folder)
        sweep(temporary)
        assert (folder / "spilled").exists()
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with scratch_folder() as mine:
        assert [*temporary.iterdir()] == [mine]


def test_what_is_young_or_is_not_such_a_folder_stays(temporary: Path) -> None:
    young, other, link = (temporary / name for name in (f"{PREFIX}young", "other", f"{PREFIX}link"))
    young.mkdir()
    other.mkdir()
    age(other)
    link.symlink_to(other)
    file = temporary / f"{PREFIX}file"
    file.write_text("x")
    age(file)
    sweep(temporary)
    assert {*temporary.iterdir()} == {young, other, link, file}
    sweep(temporary / "nowhere")
