"""`segsync demo` tells its whole story, and leaves a folder that one can go on in."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.request import urlopen

import pytest

from segsync.demo import go_on
from segsync.demo.folder import README, SHOP, TOKEN
from segsync.demo.shop import change_shop
from segsync.demo.stage import Stage
from segsync.emulator import Emulator
from tests.support.processes import started
from tests.support.readme import ROOT

TIMEOUT_S = 180


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "segsync", *arguments]


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", "COLUMNS": "80"}


def run(
    folder: Path, *arguments: str, token: str | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment() | ({"MICS_API_TOKEN": token} if token else {}),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """The folder that a demo laid out, and what it printed."""
    place = tmp_path_factory.mktemp("demo")
    return place / "segsync-demo", run(place, "demo")


def test_the_story_runs_to_its_end(
    told: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    done = told[1]
    assert done.returncode == 0, done.stdout + done.stderr
    for sentence in (
        "No changes.",
        "to renew, 0 to remove.",
        "big_spenders is blocked by a guard",
        "(exit status 3)",
        "looking whether it arrived",
        "Killed",
        "Recovered an earlier run",
    ):
        assert sentence in done.stdout
    proof = re.findall(r"([\d,]+) members = ([\d,]+) rows of the query", done.stdout)
    assert len(proof) == 2
    assert all(members == rows != "0" for members, rows in proof)


def test_the_story_fits_a_terminal_of_80_columns(
    told: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    assert [line for line in told[1].stdout.splitlines() if len(line) > 80] == []


def test_one_can_go_on_in_its_folder_as_its_readme_says(
    told: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    folder, done = told
    text = (folder / README).read_text()
    (start,) = re.findall(r"^    segsync (emulator .*)$", text, re.MULTILINE)
    (token,) = re.findall(r"export MICS_API_TOKEN=(\S+?)`", text)
    now = re.findall(r"segsync plan (--now \S+)$", done.stdout, re.MULTILINE)[-1]
    change_shop(folder / SHOP, "UPDATE customers SET newsletter = 0 WHERE id % 100 = 4")
    with emulator(folder, start):
        planned = run(folder, "plan", *now.split(), token=token)
        assert ", 0 to renew, " in planned.stdout, planned.stdout + planned.stderr
        applied = run(folder, "apply", "--yes", *now.split(), token=token)
        assert applied.returncode == 0, applied.stdout + applied.stderr
        assert "Applied: " in applied.stdout


@contextmanager
def emulator(folder: Path, start: str) -> Iterator[None]:
    with started(
        command(*start.split()), cwd=folder, env=environment(), stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        assert "listens on" in process.stdout.readline()
        yield
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0


def test_with_serve_the_platform_stays_until_ctrl_c_and_an_earlier_demo_is_replaced(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "place"
    folder.mkdir()
    (folder / ".segsync-demo").touch()
    (folder / "segments.yaml").write_text("of an earlier demo")
    with started(
        command("demo", str(folder), "--serve"),
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        lines = []
        for line in process.stdout:
            lines.append(line)
            if "Ctrl-C" in line:
                break
        (url,) = re.findall(r"http://[\d.:]+", lines[-1])
        with urlopen(f"{url}/_emulator/segments") as answer:
            assert b"big_spenders" in answer.read()
        assert any(line.strip() == f"export MICS_API_TOKEN={TOKEN}" for line in lines)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
        assert process.returncode == 0


def test_ctrl_c_ends_the_platform_from_the_moment_that_it_is_told_of(tmp_path: Path) -> None:
    said: list[str] = []

    def say(text: str) -> None:
        said.append(text)
        if "Ctrl-C ends it" in text:
            signal.raise_signal(signal.SIGINT)

    emulator = Emulator()
    go_on(Stage(tmp_path, emulator, say), "http://127.0.0.1:1", serve=True)
    emulator.close()
    assert "Ctrl-C ends it" in said[-1]


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("data")
    done = run(tmp_path, "demo", str(tmp_path))
    assert done.returncode == 1
    assert "no demo made it" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]
