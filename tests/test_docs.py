"""The README says what is true: its commands are executed, its tables compared with the code."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from segsync.emulator import Behaviour, Emulator, EmulatorServer
from segsync.emulator.settings import with_words
from segsync.report import Exit
from segsync.state.schema import MIGRATIONS
from tests.support import readme

TOKEN = "emulator-token"
MOST_BLOCKS_NOT_EXECUTED = 4


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A fresh folder with the spec of the README."""
    work = tmp_path / "work"
    work.mkdir()
    (work / "segments.yaml").write_text(readme.yaml_file("segments.yaml"), encoding="utf-8")
    return work


@pytest.fixture
def shell_environment(tmp_path: Path) -> dict[str, str]:
    """An environment in which `segsync` is the one of this checkout."""
    programs = tmp_path / "programs"
    programs.mkdir()
    program = programs / "segsync"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m segsync "$@"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {
        **os.environ,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(readme.ROOT),
        "COLUMNS": "80",
    }


def bash(script: str, folder: Path, environment: dict[str, str]) -> str:
    """Run a script in which every command must succeed; gives all that it prints."""
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def test_the_readme_can_be_followed_from_top_to_bottom(
    folder: Path, shell_environment: dict[str, str]
) -> None:
    port = str(free_port())
    ready = (
        f"until curl --silent --fail http://127.0.0.1:{port}/_emulator/clock; do sleep 0.1; done\n"
    )
    script = "trap 'kill $(jobs -p)' EXIT\n"
    for block in readme.executed():
        text = block.text.replace("8765", port)
        script += text + (ready if "segsync emulator" in text else "")
    output = bash(script, folder, shell_environment)
    for line in (
        "segments.yaml is valid",
        "Plan: 4 to add, 0 to update, 0 to renew, 0 to remove.",
        "Applied: 4 confirmed",
        "No changes.",
        "high_value_customers|2",
        "1|done|4|4|0",
        '"count": 2',
        "Plan: 0 to add, 0 to update, 2 to renew, 0 to remove.",
    ):
        assert line in output, output
    assert (folder / "state-copy.db").stat().st_mode & 0o777 == 0o600


def test_only_few_blocks_of_the_readme_are_not_executed_and_each_says_why() -> None:
    left_out = [block for block in readme.blocks("sh") if block.why]
    assert len(left_out) <= MOST_BLOCKS_NOT_EXECUTED
    assert len(readme.executed()) > len(left_out)


@pytest.fixture
def platform() -> Iterator[EmulatorServer]:
    """A local platform that knows the README's segments."""
    emulator = Emulator(token=TOKEN)
    emulator.add_segment("high_value_customers")
    emulator.add_segment("newsletter_readers")
    with EmulatorServer(emulator) as server:
        yield server
    emulator.close()


def test_the_workflow_of_the_readme_plans_applies_and_then_has_nothing_to_do(
    folder: Path, shell_environment: dict[str, str], platform: EmulatorServer
) -> None:
    workflow = yaml.safe_load(readme.yaml_file(".github/workflows/segments.yml"))
    steps = {step.get("name"): step for step in workflow["jobs"]["segments"]["steps"]}
    warehouse = next(b.text for b in readme.executed() if "CREATE TABLE" in b.text)
    environment = {
        **shell_environment,
        "MICS_API_TOKEN": TOKEN,
        "MICS_API_URL": platform.url,
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_EVENT_NAME": "push",
    }
    bash(warehouse[warehouse.index("sqlite3") :], folder, environment)
    bash(steps["Plan"]["run"], folder, environment)
    assert (folder / "output").read_text() == "status=2\n"
    assert "4 to add" in (folder / "summary.md").read_text()
    bash(steps["Apply"]["run"], folder, environment)
    assert len(platform.emulator.members("high_value_customers")) == 2
    bash("rm plan.segsync\n" + steps["Plan"]["run"], folder, environment)
    assert (folder / "output").read_text() == "status=2\nstatus=0\n"
    # One query breaks: the other segment goes on, but a pull request is not ready.
    spec = folder / "segments.yaml"
    spec.write_text(spec.read_text().replace("FROM newsletter_readers", "FROM nowhere"))
    bash(
        "sqlite3 warehouse.db \"INSERT INTO customer_totals VALUES ('c-9', 9000)\"",
        folder,
        environment,
    )
    bash("rm plan.segsync\n" + steps["Plan"]["run"], folder, environment)
    bash(f"status=0; {steps['Apply']['run']} || status=$?; [ $status = 1 ]", folder, environment)
    assert len(platform.emulator.members("high_value_customers")) == 3
    asked = {**environment, "GITHUB_EVENT_NAME": "pull_request"}
    bash(f"status=0; ({steps['Plan']['run']}) || status=$?; [ $status = 1 ]", folder, asked)


AWS = """#!/bin/sh
# aws s3 cp FROM TO: like that one it makes files as the umask says
case "$4" in
  s3://*) cat "$3" > "$BUCKET" ;;
  *) mkdir -p "$(dirname "$4")" && cat "$BUCKET" > "$4" ;;
esac
"""


def test_the_workflow_of_the_readme_finds_the_state_that_its_last_job_has_kept(
    folder: Path, shell_environment: dict[str, str], platform: EmulatorServer
) -> None:
    """Each job has a disk of its own."""
    workflow = yaml.safe_load(readme.yaml_file(".github/workflows/segments.yml"))
    steps = workflow["jobs"]["segments"]["steps"]
    fetch, plan, apply, keep = (step["run"] for step in steps[-4:])
    tools = folder / "tools"
    tools.mkdir()
    (tools / "aws").write_text(AWS)
    (tools / "aws").chmod(0o755)
    environment = {
        **shell_environment,
        "PATH": f"{tools}:{shell_environment['PATH']}",
        "MICS_API_TOKEN": TOKEN,
        "MICS_API_URL": platform.url,
        "GITHUB_STEP_SUMMARY": str(folder / "summary.md"),
        "GITHUB_OUTPUT": str(folder / "output"),
        "GITHUB_EVENT_NAME": "push",
        "STATE": "s3://bucket/segsync/state.db",
        "BUCKET": str(folder / "bucket"),
    }
    warehouse = next(b.text for b in readme.executed() if "CREATE TABLE" in b.text)
    bash(warehouse[warehouse.index("sqlite3") :], folder, environment)
    bash("umask 022\n" + plan, folder, environment)
    bash(apply, folder, environment)
    bash(keep, folder, environment)
    bash("rm -r .segsync plan.segsync kept.db", folder, environment)
    bash("umask 022\n" + fetch, folder, environment)
    bash(plan, folder, environment)
    assert (folder / "output").read_text() == "status=2\nstatus=0\n"


def known_options() -> dict[tuple[str, ...], set[str]]:
    """The options of every command, as its help shows them."""
    known: dict[tuple[str, ...], set[str]] = {}
    unseen: list[tuple[str, ...]] = [()]
    while unseen:
        command = unseen.pop()
        text = help_of(command)
        known[command] = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", text))
        _, _, listed = text.partition("Commands:\n")
        unseen += [(*command, name) for name in re.findall(r"^  ([a-z]+)", listed, re.MULTILINE)]
    return known


def help_of(command: tuple[str, ...]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "segsync", *command, "--help"],
        cwd=readme.ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def options() -> dict[tuple[str, ...], set[str]]:
    return known_options()


def command_in(words: list[str], known: dict[tuple[str, ...], set[str]]) -> tuple[str, ...]:
    """The longest known command that the words start with."""
    chosen: tuple[str, ...] = ()
    for word in words:
        if (*chosen, word) not in known:
            break
        chosen = (*chosen, word)
    return chosen


def test_every_command_and_option_that_the_readme_names_exists(
    options: dict[tuple[str, ...], set[str]],
) -> None:
    named = list(readme.commands())
    assert len(named) > 20
    for words in named:
        command = command_in(words, options)
        assert command or not words or words[0].startswith("-"), f"segsync {' '.join(words)}"
        for word in words:
            if word.startswith("--"):
                assert word in options[command], f"segsync {' '.join(words)}"


def test_every_option_that_a_sentence_of_the_readme_names_exists(
    options: dict[tuple[str, ...], set[str]],
) -> None:
    everywhere = set().union(*options.values())
    named = {span.split()[0] for span in readme.spans() if span.startswith("--")}
    assert named
    assert named <= everywhere


def test_every_command_is_in_the_readme(options: dict[tuple[str, ...], set[str]]) -> None:
    named = {command_in(words, options) for words in readme.commands()}
    groups = {command[:-1] for command in options}
    assert set(options) - groups - named == set()


def test_the_exit_statuses_are_those_of_the_program() -> None:
    assert [int(row[0]) for row in readme.table("exit status")] == sorted(Exit)


def test_every_table_of_the_state_is_described() -> None:
    described = {name for row in readme.table("table") for name in re.findall(r"`(\w+)`", row[0])}
    statements = [statement for migration in MIGRATIONS for statement in migration]
    made = {
        match[1]
        for statement in statements
        if (match := re.match(r"CREATE (?:TABLE|VIEW) (\w+)", statement))
    }
    assert described == made


def test_every_switch_of_the_emulator_that_the_readme_names_exists() -> None:
    settings = [
        setting
        for row in readme.table("open question")
        for setting in re.findall(r"`(\w+=\w+)`", row[1])
    ]
    assert len(settings) > 15
    for setting in settings:
        assert with_words(Behaviour(), [setting]) != Behaviour(), setting


def test_the_json_of_a_plan_has_the_documented_form(
    folder: Path, shell_environment: dict[str, str]
) -> None:
    warehouse = next(b.text for b in readme.executed() if "CREATE TABLE" in b.text)
    environment = {**shell_environment, "MICS_API_TOKEN": TOKEN}
    bash(warehouse[warehouse.index("sqlite3") :], folder, environment)
    plan = json.loads(bash("segsync plan --format json 2>messages", folder, environment))
    assert plan["format_version"] == 1
    assert plan["totals"]["add"] == 4
    assert [segment["name"] for segment in plan["segments"]] == [
        "high_value_customers",
        "newsletter_readers",
    ]


def test_every_test_that_the_readme_of_the_tests_names_exists() -> None:
    folder = Path(__file__).parent
    text = (folder / "README.md").read_text(encoding="utf-8")
    code = "\n".join(path.read_text(encoding="utf-8") for path in folder.glob("test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", text))
    assert len(named) > 50
    assert [name for name in sorted(named) if f"def {name}(" not in code] == []
    files = set(re.findall(r"(test_[\w*]+\.py)", text))
    assert [name for name in sorted(files) if not list(folder.glob(name))] == []
