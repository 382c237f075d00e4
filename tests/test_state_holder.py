"""What the holder of the lock needs, and what those see who do not hold it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from segsync.errors import Locked, StateError
from segsync.state import apply_at_work, hold


def test_the_lock_makes_all_folders_that_are_missing(tmp_path: Path) -> None:
    state = tmp_path / "of" / "ours" / "state.db"
    with hold(state, "apply"):
        assert state.parent.stat().st_mode & 0o777 == 0o700


def test_a_lock_that_cannot_be_taken_is_told_with_its_remedy(tmp_path: Path) -> None:
    (tmp_path / "state.db.lock").mkdir()
    with pytest.raises(StateError) as caught, hold(tmp_path / "state.db", "apply"):
        raise AssertionError("it is held by nobody")
    assert "state.db.lock cannot be taken: Is a directory" in str(caught.value)
    assert caught.value.hint == "the state's folder must be writable"


def test_who_comes_second_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def sleep(seconds: float) -> None:
        raise AssertionError(f"it waits for {seconds} s")

    state = tmp_path / "state.db"
    with hold(state, "apply"):
        monkeypatch.setattr("time.sleep", sleep)
        with pytest.raises(Locked), hold(state, "apply"):
            pass


def test_a_holder_that_has_died_is_not_named_for_one_that_has_not_said_yet_who_it_is(
    tmp_path: Path,
) -> None:
    state, holder = tmp_path / "state.db", tmp_path / "state.db.holder"
    died = subprocess.Popen([sys.executable, "-c", ""])
    died.wait()
    with hold(state, "apply"):
        who = json.loads(holder.read_text())
        assert apply_at_work(state)
        holder.write_text(json.dumps(who | {"pid": died.pid}))
        assert apply_at_work(state) is None
        holder.write_text(json.dumps(who | {"pid": died.pid, "host": "elsewhere"}))
        assert apply_at_work(state), "its number says nothing here"


def test_a_user_without_a_name_is_told_by_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 54321)
    state = tmp_path / "state.db"
    with (
        hold(state, "apply"),
        pytest.raises(Locked, match="by apply of 54321, process"),
        hold(state, "apply"),
    ):
        pass
