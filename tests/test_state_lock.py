"""One apply at a time: the lock names its holder, and dies with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Barrier, Event

import pytest

from segsync import planning
from segsync.emulator import Stall
from segsync.emulator.world import Upload
from segsync.errors import Locked, StateError
from segsync.plan import Plan
from segsync.planning import PlanOptions
from segsync.state import apply_at_work, hold
from tests.support.cli import Done, environment, segsync
from tests.support.processes import started
from tests.support.size import size
from tests.support.world import TOKEN, World, assert_sound

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 30.0
APPLY = ("apply", "--yes", "--allow", "vip")
HOLDER = """
import sys, time
from pathlib import Path
from segsync.state import apply_at_work, hold
with hold(Path(sys.argv[1]), "apply"):
    print("held", flush=True)
    time.sleep(600)
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


@contextmanager
def held_elsewhere(state: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process holds the lock."""
    with started(
        [sys.executable, "-c", HOLDER, str(state)],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder


def command(world: World, *arguments: str) -> Done:
    """The real command, in a process of its own."""
    assert world.spec.path.exists()
    return segsync(*arguments, folder=world.folder, env=environment(TOKEN=TOKEN))


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with held_elsewhere(state) as holder, pytest.raises(Locked) as caught, hold(state, "apply"):
        pass
    assert f"process {holder.pid} on {os.uname().nodename}" in caught.value.message
    assert "by apply of " in caught.value.message
    assert caught.value.hint


def test_in_one_process_too_there_is_one_holder(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with hold(state, "apply"), pytest.raises(Locked), hold(state, "apply"):
        pass
    with hold(state, "apply"):
        pass
    assert {path.name for path in tmp_path.iterdir()} == {"state.db.lock"}


def test_a_killed_holder_leaves_no_lock_behind(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with held_elsewhere(state) as holder:
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        with hold(state, "apply"):
            assert str(os.getpid()) in (tmp_path / "state.db.holder").read_text()


def test_a_stopped_holder_keeps_the_lock(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    with held_elsewhere(state) as holder:
        holder.send_signal(signal.SIGSTOP)
        with pytest.raises(Locked), hold(state, "apply"):
            pass
        holder.send_signal(signal.SIGCONT)


def test_whose_apply_is_at_work_is_seen_without_the_lock(tmp_path: Path) -> None:
    state = tmp_path / "state.db"
    assert apply_at_work(state) is None
    with held_elsewhere(state) as holder:
        assert f"process {holder.pid} on {os.uname().nodename}, since " in str(apply_at_work(state))
        holder.kill()
        holder.wait()
        assert (tmp_path / "state.db.holder").exists()
        assert apply_at_work(state) is None
    with hold(state, "state backup"):
        assert apply_at_work(state) is None


def test_a_description_that_a_holder_left_elsewhere_or_with_a_reused_number_is_not_believed(
    tmp_path: Path,
) -> None:
    state, holder = tmp_path / "state.db", tmp_path / "state.db.holder"
    with hold(state, "apply"):
        left = json.loads(holder.read_text())
    for change in ({}, {"host": "elsewhere"}, {"pid": "x"}, {"pid": 2**70}, {"pid": None}):
        holder.write_text(json.dumps(left | change))
        assert apply_at_work(state) is None
        with hold(state, "apply"):
            pass


def test_two_ways_to_one_state_are_one_lock(tmp_path: Path) -> None:
    folder, link = tmp_path / "real", tmp_path / "link"
    folder.mkdir()
    link.symlink_to(folder)
    (folder / "other.db").symlink_to(folder / "state.db")
    with hold(folder / "state.db", "apply"):
        for way in (link / "state.db", folder / "other.db"):
            with pytest.raises(Locked), hold(way, "apply"):
                pass


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}', "\udcff"])
def test_an_unreadable_description_of_the_holder_does_no_harm(tmp_path: Path, text: str) -> None:
    state = tmp_path / "state.db"
    with held_elsewhere(state):
        (tmp_path / "state.db.holder").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(Locked) as caught, hold(state, "apply"):
            pass
    assert "by another process" in caught.value.message


def test_a_description_that_the_disk_does_not_take_or_give_up_decides_nothing(
    tmp_path: Path,
) -> None:
    """Neither what an apply did nor why it failed may be told as a trouble of that small file."""
    state = tmp_path / "state.db"
    holder = tmp_path / "state.db.holder"

    def fail_on_a_full_disk() -> None:
        with hold(state, "apply"):
            holder.unlink()
            holder.mkdir()
            raise StateError("the disk is full")

    with pytest.raises(StateError, match="the disk is full"):
        fail_on_a_full_disk()
    with hold(state, "apply"):
        assert holder.is_dir()
        with pytest.raises(Locked, match="by another process"), hold(state, "apply"):
            pass


def test_of_several_applies_at_once_exactly_one_proceeds(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    assert world.spec.path.exists()
    uploaded, go_on = Event(), Event()

    def wait(_: Upload) -> None:
        uploaded.set()
        assert go_on.wait(PATIENCE)

    world.emulator.on_upload(wait)
    world.emulator.behave(polls_until_finished=0, polls_until_running=0)
    with ThreadPoolExecutor(1) as beside:
        first = beside.submit(command, world, "apply", "--yes")
        assert uploaded.wait(PATIENCE)
        second = command(world, "apply", "--yes")
        plan = command(world, "plan")
        go_on.set()
        done = first.result()
    second.check(6)
    assert "is locked by apply of" in " ".join(second.err.split())
    plan.check(0)
    done.check(0)
    assert len(world.uploads) == 1
    assert_sound(world)


@pytest.mark.timeout(3600)
def test_of_two_applies_at_once_one_proceeds_and_the_other_sends_nothing(world: World) -> None:
    """Again and again, on different members, so that neither finds its work done."""
    world.emulator.behave(polls_until_finished=0, polls_until_running=0)
    world.define("vip", "user_account_id", "total")
    kept_out = 0
    with ThreadPoolExecutor(2) as threads:
        for number in range(size(97, 2_000)):
            world.fill("vip", [("a", number), ("b", number)])
            uploads = len(world.uploads)
            outcomes = list(threads.map(partial(apply_at, world), [Barrier(2)] * 2))
            kept_out += outcomes.count("kept out")
            assert "done" in outcomes
            assert len(world.uploads) == uploads + 1
    assert kept_out > number // 2
    assert_sound(world)


def apply_at(world: World, together: Barrier) -> str:
    together.wait(PATIENCE)
    try:
        world.apply(allowed=("vip",))
    except Locked:
        return "kept out"
    return "done"


@pytest.mark.timeout(3600)
def test_of_two_commands_at_once_one_proceeds_and_the_other_ends_with_six(world: World) -> None:
    world.emulator.behave(polls_until_finished=0, polls_until_running=0)
    world.define("vip", "user_account_id", "total")
    with ThreadPoolExecutor(2) as threads:
        for number in range(size(3, 100)):
            world.fill("vip", [("a", number), ("b", number)])
            uploads = len(world.uploads)
            done = list(threads.map(lambda words: command(world, *words), [APPLY] * 2))
            assert sorted(item.status for item in done) in ([0, 0], [0, 6])
            assert len(world.uploads) == uploads + 1
    assert_sound(world)


def test_a_plan_beside_an_apply_is_not_held_up(world: World) -> None:
    """Beside each step of an apply a plan is made, while the apply waits for it."""
    world.define("vip", rows=[f"u{n}" for n in range(50)])
    world.apply()
    world.accounts("vip", *(f"u{n}" for n in range(1, 51)))
    seconds = []

    def plan(_: object) -> None:
        started = time.monotonic()
        world.plan()
        seconds.append(time.monotonic() - started)

    def confirm(shown: Plan) -> bool:
        plan(shown)
        return True

    world.emulator.on_upload(plan)
    assert world.apply(confirm=confirm).run is not None
    assert len(seconds) == 3
    assert max(seconds) < 5
    assert_sound(world)


def test_many_plans_at_once_do_not_disturb_each_other(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    world.accounts("vip", "a", "b", "c")
    with ThreadPoolExecutor(10) as threads:
        plans = list(threads.map(lambda _: world.plan(), range(10)))
    assert {plan.totals.add for plan in plans} == {1}


def test_an_apply_that_is_killed_lets_the_next_one_in(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.emulator.faults.add("upload", Stall("after_apply"))
    assert world.spec.path.exists()
    uploaded = Event()
    world.emulator.on_upload(lambda _: uploaded.set())
    with started(
        [sys.executable, "-m", "segsync", "apply", "--yes"],
        cwd=world.folder,
        env=environment(TOKEN=TOKEN),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as first:
        assert uploaded.wait(PATIENCE)
        first.send_signal(signal.SIGSTOP)
        command(world, "apply", "--yes").check(6)
    assert world.plan().open_run is not None
    world.settle()
    assert_sound(world)


@pytest.mark.many_rows
def test_plans_and_applies_never_lock_each_other_out(world: World) -> None:
    """A plan that holds one of its readers while it opens another would wait for the apply that
    waits for it; plans see pending members here, in the middle of a run."""
    rows = [(f"u{n}", n) for n in range(2000)]
    world.define("vip", "user_account_id", "total", rows=rows)
    world.define("mail", "email_hash", rows=[f"h{n}" for n in range(500)])
    world.apply()
    spec, over = world.spec, Event()

    def plan_on() -> float:
        longest = 0.0
        while not over.is_set():
            started = time.monotonic()
            with planning.plan(spec, PlanOptions(), world.clock, world.said):
                longest = max(longest, time.monotonic() - started)
        return longest

    with ThreadPoolExecutor(3) as threads:
        planners = [threads.submit(plan_on) for _ in range(3)]
        try:
            for number in range(1, 12):
                world.fill("vip", [(name, total + number) for name, total in rows])
                started = time.monotonic()
                assert world.apply().run is not None
                assert time.monotonic() - started < PATIENCE
        finally:
            over.set()
        assert max(planner.result() for planner in planners) < PATIENCE
    assert_sound(world)
