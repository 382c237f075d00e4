"""The benchmarks run, and what they measure gives right results. Never how fast it is."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.benchmarks.bar import Bar, Line
from tests.benchmarks.measuring import Failed, Measured, measure
from tests.benchmarks.results import Result, table
from tests.benchmarks.workshop import HERE, Workshop, check


def test_every_line_of_the_bar_can_be_measured(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    command = ("--quick", "--data", tmp_path / "data", "--json", found)
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks", *map(str, command)],
        cwd=HERE,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    lines = {line["name"]: line for line in json.loads(found.read_text())["lines"]}
    bar = Bar(Workshop(tmp_path, HERE, 1), 5_000_000, 20_000_000, 500)
    assert set(lines) == {line.name for group in bar.groups() for line in group.lines}
    assert all(line["peak_mb"] > 5 for line in lines.values())
    assert lines["plan"]["runs"]["floor"][0]["wall"] > 0
    assert "first-apply" in done.stdout


def test_a_wrong_result_fails_the_benchmark() -> None:
    with pytest.raises(Failed, match=r"wrong result: \{'add': 1\}"):
        check({"add": 2, "remove": 0}, {"add": 1, "remove": 0})


def test_a_child_that_fails_fails_the_benchmark(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import sys; print('why'); sys.exit(3)"]
    with pytest.raises(Failed, match=r"(?s)exited with 3.*why"):
        measure(command, tmp_path, os.environ)


def test_the_memory_of_a_child_is_its_own(tmp_path: Path) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tests.benchmarks.measuring import measure\n"
        "for code in ('bytearray(b\"x\") * 150_000_000', 'pass'):\n"
        "    print(measure([sys.executable, '-c', code], Path(sys.argv[1]), os.environ).peak_mb)"
    )
    output = subprocess.check_output([sys.executable, "-c", script, tmp_path], cwd=HERE, text=True)
    large, small = map(float, output.split())
    assert 130 < large - small < 160


def test_ratios_are_taken_round_by_round() -> None:
    line = Line("plan", "a / b", 1.5, "×", ("a", "b"), lambda r: r["a"].seconds / r["b"].seconds)
    walls = [(2.0, 1.0), (6.0, 5.0), (9.0, 3.0)]
    result = Result(
        line,
        tuple({"a": Measured(a, a, 10.0), "b": Measured(b, b, 10.0)} for a, b in walls),
    )
    assert result.values == [2.0, 1.2, 3.0]
    assert result.best == 2.0
    assert result.verdict == "over"
    assert "2.00 × [1.20 – 3.00]" in table([result])


def test_the_time_of_the_emulator_is_not_counted() -> None:
    assert Measured(10.0, 8.0, 1.0, waited=4.0).seconds == 6.0
