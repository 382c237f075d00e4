"""Whatever is typed, and wherever: an exit status of the table, and never a traceback."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsync.cli.app import build
from tests.support.canary import VARIABLE
from tests.support.cli import FANS, Done, Shop, environment, segsync
from tests.support.size import size

# `apply` cannot go on without a terminal and --yes, which is left out here.
COMMANDS = ("init", "validate", "plan", "apply", "status", "schema", "state")
STATE = ("show", "members", "rejects", "backup")
OPTIONS = (
    "-f", "--file", "--target", "--exclude", "--allow", "--out", "--commands", "--format",
    "--samples", "--show-ids", "--detailed-exitcode", "--parallelism", "--memory-limit", "--now",
    "--limit", "--included", "--assume-finished", "--debug", "--version", "--help", "-h",
)  # fmt: skip
VALUES = (
    "fans", "segments.yaml", "nothing.yaml", "text", "json", "markdown", "html", "1", "0", "-1",
    "1GB", "0GB", "lots", "99999999999999999999999", "2026-11-24", "0001-01-01", "9999-12-31T23:59",
    "", " ", "--", "-", "=", "--=", "-x", "/", ".", "/dev/full", "shop.db", "nowhere/file",
    "\x1b[2J", "\u202e", "\udcff", "é" * 300, "[bold]", "%s", "{}", "$(true)",
)  # fmt: skip
WORDS = st.lists(st.sampled_from(COMMANDS + STATE + OPTIONS + VALUES), max_size=7)


class Nowhere:
    """No platform: what is fuzzed here must not reach one."""

    url = "http://127.0.0.1:1"
    emulator = None


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A shop beside a platform that nothing listens for."""
    made = Shop(tmp_path_factory.mktemp("fuzz"), Nowhere())
    made.people(10)
    made.spec(FANS)
    return made


@settings(
    max_examples=size(200, 2_000),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(command=st.sampled_from(COMMANDS), before=WORDS, after=WORDS)
def test_any_words_in_any_order(
    store: Shop, command: str, before: list[str], after: list[str]
) -> None:
    store.run(*before[:2], command, *after).check(0, 1, 2, 3)


@pytest.mark.parametrize("option", ["--bogus", "--port=x", "--port=99999999", "--timing=never"])
def test_the_emulator_is_not_started_by_wrong_words(store: Shop, option: str) -> None:
    store.run("emulator", option).check(1)
    assert "bad_line" in store.run("emulator", "--set", "bad_lime=counted").check(1).err


def every_command() -> list[tuple[str, ...]]:
    root = build()
    groups = {name: getattr(item, "commands", {}) for name, item in root.commands.items()}
    nested = [(name, inner) for name, commands in groups.items() for inner in commands]
    return [(), *((name,) for name in groups), *nested]


@pytest.mark.parametrize("command", every_command())
def test_every_command_has_help_with_a_sentence_for_each_option(
    store: Shop, command: tuple[str, ...]
) -> None:
    for flag in ("--help", "-h"):
        text = store.run(*command, flag, COLUMNS="80").check(0).out
        assert text.startswith(f"Usage: {' '.join(('segsync', *command))} ")
        assert max(map(len, text.splitlines())) <= 80
    options = text.partition("Options:\n")[2].partition("\n\n")[0]
    for entry in options.split("\n  -")[0:]:
        assert len(entry.split()) > 2, entry


@pytest.mark.parametrize(
    "arguments",
    [[], ["nonsense"], ["plan", "--bogus"], ["plan", "--samples"], ["plan", "--samples", "x"],
     ["state"], ["state", "members"], ["plan", "extra"], ["--bogus", "plan"]],
)  # fmt: skip
def test_wrong_usage_ends_with_one_and_says_what_there_is(
    store: Shop, arguments: list[str]
) -> None:
    done = store.run(*arguments).check(1)
    assert done.out == ""
    assert "--help" in done.err


@pytest.mark.parametrize(
    "words", [[b"plan", b"--target", b"\xff\xfe"], [b"\xff"], [b"-f", b"\xc3", b"plan"]]
)
def test_words_that_are_no_utf_8(store: Shop, words: list[bytes]) -> None:
    done = segsync(*words, folder=store.folder).check(1)
    assert "\\udc" in done.err


@pytest.mark.parametrize(
    "changes",
    [
        {"HOME": "/nonexistent", "TERM": "", "LANG": "xx_YY", "COLUMNS": "20"},
        {"COLUMNS": "0", "LINES": "x", "TERM": "unknown-terminal"},
        {"COLUMNS": "-7", "SEGSYNC_FILE": ""},
        {"COLUMNS": "99999999999999999999", "TMPDIR": "/nonexistent"},
    ],
)
def test_any_surroundings(store: Shop, changes: dict[str, str]) -> None:
    done = store.process("plan", **changes).check(0)
    assert "Plan: 10 to add" in " ".join(done.out.split())


def test_an_unexpected_error_is_one_line_without_secrets(tmp_path: Path) -> None:
    code = (
        "import os, sys; from segsync.cli import session, main\n"
        "def fail(*_): raise RuntimeError(os.environ['MY_PASSWORD'] + ' \\x1b[2J')\n"
        "session.Session.load = fail\n"
        "sys.exit(main.run(sys.argv[1:]))"
    )
    script = tmp_path / "broken.py"
    script.write_text(code)
    for arguments, expected in (((), 2), (("--debug",), 5)):
        done = script_run(script, "validate", *arguments)
        assert done.status == 1
        assert VARIABLE not in done.err
        assert "\x1b" not in done.err
        assert "RuntimeError: ***" in done.err
        assert ("Traceback" in done.err) == bool(arguments)
        assert len(done.err.splitlines()) >= expected
        assert arguments or "please report it" in done.err


HEAVY = {"pyarrow", "duckdb", "adbc_driver_manager", "rich", "pydantic", "requests", "sqlalchemy"}


@pytest.mark.parametrize(
    ("arguments", "needed"), [(["--help"], set()), (["validate"], {"pydantic"})]
)
def test_a_command_pays_only_for_what_it_needs(
    store: Shop, arguments: list[str], needed: set[str]
) -> None:
    code = "import sys; from segsync.cli.main import run; run(sys.argv[1:]); print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=store.folder,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    )
    assert HEAVY & set(done.stdout.split()) == needed


def script_run(script: Path, *arguments: str) -> Done:
    done = subprocess.run(
        [sys.executable, str(script), *arguments],
        env=environment(MY_PASSWORD=VARIABLE),
        capture_output=True,
        text=True,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr).private()
