"""On a terminal, interrupted, piped and cut off: what a person or a shell sees."""

from __future__ import annotations

import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

import pytest

from segsync.emulator import Stall
from segsync.state import hold
from tests.support.cli import FANS, PATIENCE, Done, Shop, environment, shop
from tests.support.processes import started

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\r")
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shop]:
    """A shop with ten people, all of them fans."""
    with shop(tmp_path) as made:
        yield made


@contextmanager
def begun(
    store: Shop, *arguments: str, stdin: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[bytes]]:
    with started(
        [sys.executable, "-m", "segsync", *arguments],
        cwd=store.folder,
        env=environment(),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        yield process


def ended(process: subprocess.Popen[bytes]) -> Done:
    out, err = process.communicate(timeout=PATIENCE)
    return Done(process.returncode, out.decode(), err.decode()).private().check()


# ---------------------------------------------------------------- confirmation


def test_the_word_yes_sends(store: Shop) -> None:
    apply = store.on_terminal("apply")
    apply.wait_for("Only `yes` is taken as one: ")
    assert b"Plan: 10 to add" in apply.shown
    assert not store.emulator.members("fans")
    apply.type("yes\n")
    done = apply.end().check(0)
    assert "Applied: 10 confirmed" in ESCAPES.sub("", done.out)
    assert len(store.emulator.members("fans")) == 10


@pytest.mark.parametrize("answer", ["no\n", "y\n", "\x04"])
def test_anything_else_sends_nothing(store: Shop, answer: str) -> None:
    apply = store.on_terminal("apply")
    apply.wait_for("Only `yes` is taken as one: ")
    apply.type(answer)
    done = apply.end().check(1)
    assert "Nothing was sent." in ESCAPES.sub("", done.out)
    assert not store.emulator.members("fans")


def test_the_plan_is_seen_by_who_is_asked_wherever_the_result_goes(store: Shop) -> None:
    apply = store.on_terminal("apply", "--format", "json")
    apply.wait_for("Only `yes` is taken as one: ")
    assert b"Plan: 10 to add" in apply.shown
    apply.type("yes\n")
    assert '"exit_status": 0' in apply.end().check(0).out


def test_a_question_that_nobody_would_see_is_not_asked(store: Shop) -> None:
    ours, theirs = pty.openpty()
    with begun(store, "apply", stdin=theirs) as apply:
        done = ended(apply).check(1)
    os.close(ours)
    os.close(theirs)
    assert "there is no terminal to ask for a confirmation" in done.err


def test_without_changes_nobody_is_asked(store: Shop) -> None:
    store.run("apply", "--yes").check(0)
    assert "No changes." in ESCAPES.sub("", store.on_terminal("apply").end().check(0).out)


# ---------------------------------------------------------------- colour and width


def test_a_terminal_has_colours_unless_they_are_not_wanted(store: Shop) -> None:
    assert "\x1b[32m" in store.on_terminal("plan").end().check(0).out
    assert not COLOURS.search(store.on_terminal("plan", NO_COLOR="1").end().check(0).out)
    dumb = store.on_terminal("plan", TERM="dumb").end().check(0).out
    assert "\x1b" not in dumb
    assert "read fans: 10 rows" in dumb


def test_a_file_has_no_colours(store: Shop) -> None:
    done = store.process("plan", FORCE_COLOR="1", CLICOLOR_FORCE="1", TERM="xterm-256color")
    assert "\x1b" not in done.out + done.err


@pytest.mark.parametrize("columns", [20, 80, 200])
def test_lines_fit_into_the_terminal(store: Shop, columns: int) -> None:
    name = "people_who_bought_something_in_every_quarter_of_the_last_two_years"
    query = "query: SELECT name AS user_account_id FROM people"
    store.spec(f"{FANS}\n  {name}: {{{query}, guard: {{max_members: 3}}}}")
    plan = store.on_terminal("plan", columns=columns).end().check(3)
    lines = [line.rstrip() for line in COLOURS.sub("", plan.out).splitlines()]
    table = lines[lines.index(next(line for line in lines if line.startswith("segment"))) :][:4]
    assert max(map(len, table)) <= max(columns, 40)
    assert (name in "\n".join(table)) == (columns == 200)
    assert f"--allow {name}" in "\n".join(lines)


def test_bars_are_gone_when_the_plan_is_shown(store: Shop) -> None:
    shown = store.on_terminal("plan").end().out
    assert "reading" in shown
    assert shown.endswith("1 execution.\n")
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h"), "the cursor is back"


# ---------------------------------------------------------------- signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_a_run_is_open_ends_with_five_and_the_next_apply_recovers(
    store: Shop, number: int
) -> None:
    arrived = Event()
    store.emulator.on_upload(lambda _upload: arrived.set())
    store.emulator.faults.add("upload", Stall("after_apply"))
    with begun(store, "apply", "--yes") as apply:
        assert arrived.wait(PATIENCE)
        apply.send_signal(number)
        done = ended(apply).check(5)
    assert "run `segsync apply` again" in done.err
    assert "is not finished" in " ".join(store.run("plan").out.split())
    assert "is not finished" in " ".join(store.run("status").out.split())
    shown = " ".join(store.run("state", "show").out.split())
    assert "open: 10 of unknown outcome" in shown
    recovered = store.run("apply", "--yes").check(0)
    assert "Recovered an earlier run: 10 confirmed" in recovered.out
    assert len(store.emulator.members("fans")) == 10


FINALIZED = """
import signal, time
from segsync.cli.signals import signals_interrupt

class Closed:
    def __del__(self):
        signal.raise_signal(getattr(signal, "{name}"))

with signals_interrupt():
    started = time.monotonic()
    try:
        Closed()
        time.sleep(20)
    except KeyboardInterrupt:
        assert time.monotonic() - started < 10
        print("heard")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_comes_while_something_is_finalized_is_heard(name: str) -> None:
    """As when a pool of connections is closed: Python lets no exception out of there."""
    done = subprocess.run(
        [sys.executable, "-c", FINALIZED.format(name=name)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("heard\n", "")


def test_a_signal_before_anything_is_journalled_ends_with_one(store: Shop) -> None:
    apply = store.on_terminal("apply")
    apply.wait_for("Only `yes` is taken as one: ")
    apply.process.send_signal(signal.SIGINT)
    done = apply.end().check(1)
    assert "interrupted; no run was left open" in ESCAPES.sub("", done.out)
    assert not store.emulator.members("fans")
    store.run("apply", "--yes").check(0)


def test_a_query_that_does_not_end_is_stopped(store: Shop) -> None:
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) "
    store.spec(f"  fans: {{query: '{endless} SELECT i AS user_account_id FROM n WHERE i < 0'}}")
    plan = store.on_terminal("plan")
    plan.wait_for("reading")
    plan.process.send_signal(signal.SIGINT)
    assert "interrupted" in plan.end().check(1).out


def test_a_second_apply_is_kept_out_and_told_who_is_first(store: Shop) -> None:
    with hold(store.state, "apply"):
        done = store.process("apply", "--yes").check(6)
        assert f"process {os.getpid()}" in done.err
        assert "locked" in store.run("state", "backup", "copy.db").check(6).err
    store.run("apply", "--yes").check(0)


# ---------------------------------------------------------------- pipes and closed streams


def test_a_reader_who_goes_away_is_no_error(store: Shop) -> None:
    for command in ("plan --samples 1000", "--help", "schema", "apply --yes | true; segsync plan"):
        line = f"set -o pipefail; segsync {command} | head -c 10 >/dev/null"
        done = shell(store, line)
        assert done.status in (0, 141), done
        assert "Error" not in done.err
    assert len(store.emulator.members("fans")) == 10


def shell(store: Shop, line: str) -> Done:
    function = f'segsync() {{ "{sys.executable}" -m segsync "$@"; }}\n'
    done = subprocess.run(
        ["bash", "-c", function + line],
        cwd=store.folder,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return Done(done.returncode, done.stdout, done.stderr).private()


@pytest.mark.parametrize("closed", [">&-", "<&- >&- 2>&-"])
def test_closed_streams_do_not_lead_the_output_into_the_state(store: Shop, closed: str) -> None:
    done = shell(store, f"segsync apply --yes {closed}; echo $? >status")
    assert (store.folder / "status").read_text() == "0\n", done
    assert len(store.emulator.members("fans")) == 10
    assert "serial   1" in store.run("state", "show").out


def test_a_full_disk_under_the_output_is_an_error(store: Shop) -> None:
    done = shell(store, "segsync plan >/dev/full")
    assert done.status == 1
    assert "the output could not be written: No space left on device" in done.err
    assert shell(store, "segsync --help >/dev/full").status == 1


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_a_disk_that_takes_a_part_of_the_output_is_an_error(store: Shop, unbuffered: str) -> None:
    settings = f"PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED={unbuffered}"
    limited = f"export {settings}; ulimit -f 1; segsync schema >out"
    done = shell(store, limited).check(1)
    assert "the output could not be written: File too large" in done.err
    assert 0 < (store.folder / "out").stat().st_size <= 1024


def test_what_was_applied_is_not_denied_where_its_report_cannot_be_written(store: Shop) -> None:
    done = shell(store, "segsync apply --yes --format json >/dev/full").check(1)
    assert "what was done stands in the state" in " ".join(done.err.split())
    assert len(store.emulator.members("fans")) == 10


def test_a_full_disk_under_the_log_ends_no_apply_halfway(store: Shop) -> None:
    assert "10 to add" in shell(store, "segsync plan 2>/dev/full").check(0).out
    assert "10 confirmed" in shell(store, "segsync apply --yes 2>/dev/full").check(0).out
    assert len(store.emulator.members("fans")) == 10
    assert shell(store, "segsync plan -f nowhere.yaml 2>/dev/full").status == 1


@pytest.mark.parametrize(
    "settings",
    [
        {"LC_ALL": "C", "PYTHONIOENCODING": "ascii"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": None, "TERM": None, "LANG": None, "PATH": None},
    ],
)
def test_poor_surroundings_are_enough(store: Shop, settings: dict[str, str | None]) -> None:
    store.spec(f"{FANS}\n  fans_of_é_and_日本: {{query: SELECT wrong FROM people}}")
    done = store.process("plan", **settings).check(1)
    assert "Plan: 10 to add" in done.out
    assert done.out.isascii() or "PYTHONIOENCODING" not in settings


def test_a_folder_that_is_gone_is_told(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    line = 'rmdir "$PWD"; for command in plan init status "state show"; do segsync $command; done'
    with shop(tmp_path) as made:
        made.folder = gone
        done = shell(made, line)
    assert done.status == 1
    assert done.err.count("Error: ") == 4
