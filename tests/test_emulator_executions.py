"""Executions of the emulator move as its switches, its clock and its scripts say."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from segsync.emulator import Emulator, ExecutionScript, LocalClient
from tests.support.api_client import IMPORTS, NDJSON, ndjson, update

NOW_MS = 1_700_000_000_000


class Platform:
    """An emulator with one import, and the few requests that these tests make."""

    def __init__(self) -> None:
        self.emulator = Emulator(frozen_at_ms=NOW_MS)
        self.emulator.add_segment("vip")
        self._client = LocalClient(self.emulator)
        self._path = f"{IMPORTS}/{self.emulator.add_import('x').id}/executions"

    def upload(self, *names: str) -> str:
        body = ndjson(*(update(name) for name in names))
        made: str = self._client.request("POST", self._path, body, NDJSON).json()["data"]["id"]
        return made

    def listed(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self._client.request("GET", self._path).json()["data"]
        return found[::-1]

    def statuses(self) -> list[str]:
        return [execution["status"] for execution in self.listed()]

    def read(self, execution_id: str) -> dict[str, Any]:
        path = f"{self._path}/{execution_id}"
        found: dict[str, Any] = self._client.request("GET", path).json()["data"]
        return found

    def cancel(self, execution_id: str) -> int:
        path = f"{self._path}/{execution_id}/action"
        return self._client.request("POST", path, b'{"action":"CANCEL"}').status

    def names(self) -> set[str]:
        return {identifier.value for identifier in self.emulator.members("vip")}

    def script(self, **fields: Any) -> None:
        self.emulator.faults.add("upload", ExecutionScript(**fields))


@pytest.fixture
def platform() -> Iterator[Platform]:
    made = Platform()
    yield made
    assert made.emulator.crashes == []
    made.emulator.close()


def test_reads_move_an_execution_after_as_many_as_the_switches_say(platform: Platform) -> None:
    platform.emulator.behave(polls_until_running=2, polls_until_finished=4)
    platform.upload("u1")
    shown = [platform.statuses()[0] for _ in range(3)]
    assert (shown, platform.names()) == (["PENDING", "RUNNING", "RUNNING"], set())
    assert (platform.statuses(), platform.names()) == (["SUCCEEDED"], {"u1"})


def test_an_execution_may_be_done_when_its_upload_is_answered(platform: Platform) -> None:
    platform.emulator.behave(polls_until_finished=0)
    platform.upload("u1")
    assert platform.names() == {"u1"}


def test_the_clock_may_move_executions(platform: Platform) -> None:
    emulator = platform.emulator
    emulator.behave(timing="clock", starts_after_ms=60_000, finishes_after_ms=180_000)
    execution_id = platform.upload("u1")
    assert [platform.statuses() for _ in range(3)] == [["PENDING"]] * 3
    emulator.advance(minutes=1)
    assert platform.statuses() == ["RUNNING"]
    emulator.advance(minutes=10)
    assert platform.names() == {"u1"}
    execution = platform.read(execution_id)
    assert (execution["start_date"], execution["duration"]) == (NOW_MS + 60_000, 120_000)
    expiry = emulator.members("vip")[emulator.account("u1")].expires_at_ms
    assert expiry == NOW_MS + 180_000 + 3_600_000


def test_real_time_may_move_executions(platform: Platform) -> None:
    platform.emulator.behave(timing="real", starts_after_ms=0, finishes_after_ms=3_600_000)
    platform.upload("u1")
    assert platform.statuses() == ["RUNNING"]
    platform.emulator.behave(finishes_after_ms=0)
    assert platform.statuses() == ["SUCCEEDED"]


def test_executions_may_run_one_by_one(platform: Platform) -> None:
    platform.emulator.behave(execution_order="one_by_one")
    for name in ("u1", "u2"):
        platform.upload(name)
    assert platform.statuses() == ["SUCCEEDED", "PENDING"]
    assert platform.statuses() == ["SUCCEEDED", "RUNNING"]


def test_executions_may_run_one_by_one_on_the_clock(platform: Platform) -> None:
    emulator = platform.emulator
    emulator.behave(execution_order="one_by_one", timing="clock")
    for name in ("u1", "u2"):
        platform.upload(name)
    emulator.advance(seconds=2)
    assert platform.statuses() == ["SUCCEEDED", "PENDING"]
    emulator.advance(seconds=2)
    assert platform.statuses() == ["SUCCEEDED", "SUCCEEDED"]


@pytest.mark.parametrize(
    ("switch", "status", "members"),
    [("refused", 400, 4), ("nothing_applied", 200, 0), ("half_applied", 200, 2)],
)
def test_cancelling_a_running_execution_is_a_switch(
    platform: Platform, switch: str, status: int, members: int
) -> None:
    platform.emulator.behave(cancel_running=switch)
    execution_id = platform.upload("u1", "u2", "u3", "u4")
    assert platform.statuses() == ["RUNNING"]
    assert platform.cancel(execution_id) == status
    assert platform.statuses() == ["SUCCEEDED" if switch == "refused" else "CANCELED"]
    assert len(platform.names()) == members


def test_an_execution_may_start_after_some_reads(platform: Platform) -> None:
    platform.script(starts_after_polls=2)
    platform.upload("u1")
    shown = [platform.statuses()[0] for _ in range(4)]
    assert shown == ["PENDING", "PENDING", "RUNNING", "SUCCEEDED"]


def test_an_execution_may_start_after_a_newer_one(platform: Platform) -> None:
    platform.script(waits_for_newer_upload=True)
    platform.upload("u1")
    assert [platform.statuses() for _ in range(5)] == [["PENDING"]] * 5
    platform.upload("u2")
    platform.statuses()
    assert platform.statuses() == ["SUCCEEDED", "SUCCEEDED"]
    assert platform.emulator.max_in_flight == 2


def test_one_upload_may_make_two_executions(platform: Platform) -> None:
    platform.script(duplicates=1)
    execution_id = platform.upload("u1")
    platform.listed()
    assert platform.statuses() == ["SUCCEEDED", "SUCCEEDED"]
    assert execution_id == platform.listed()[0]["id"]


@pytest.mark.parametrize(
    ("then", "rest"), [("last", ["LOST", "LOST"]), ("real", ["SUCCEEDED", "SUCCEEDED"])]
)
def test_statuses_may_be_scripted(platform: Platform, then: str, rest: list[str]) -> None:
    platform.script(shown=("PENDING", "SUCCEEDED", "RUNNING", "LOST"), then=then)
    platform.upload("u1")
    shown = [platform.statuses()[0] for _ in range(5)]
    assert shown == ["SUCCEEDED", "RUNNING", "LOST", *rest]


@pytest.mark.parametrize("end", ["FAILED", "CANCELED"])
def test_an_execution_may_end_with_nothing_done(platform: Platform, end: str) -> None:
    platform.script(ends_as=end)
    platform.upload("u1")
    platform.listed()
    execution = platform.listed()[0]
    assert (execution["status"], execution["result"]) == (end, None)
    assert platform.names() == set()


@pytest.mark.parametrize("end", ["FAILED", "CANCELED"])
def test_an_execution_may_end_badly_with_some_or_all_of_its_lines_applied(
    platform: Platform, end: str
) -> None:
    several = [f"u{n}" for n in range(40)]
    platform.script(ends_as=end, applies="some")
    platform.upload(*several)
    platform.listed()
    execution = platform.listed()[0]
    assert (execution["status"], execution["result"]) == (end, None)
    assert 0 < len(platform.names()) < 40
    platform.script(ends_as=end, applies="all")
    platform.upload(*several)
    platform.emulator.run_all()
    assert platform.names() == set(several)


def test_what_is_shown_of_an_ended_execution_may_be_patched(platform: Platform) -> None:
    patch = {"id": "999", "result": {"total_success": "1", "total_failure": 7}}
    platform.script(patch=patch)
    execution_id = platform.upload("u1")
    assert platform.read(execution_id)["id"] == execution_id
    ended = platform.read(execution_id)
    assert ended["id"] == "999"
    assert (ended["result"]["total_success"], ended["result"]["total_failure"]) == ("1", 7)
    assert ended["result"]["input_file_uri"]


def test_what_is_shown_may_be_patched_from_the_beginning(platform: Platform) -> None:
    platform.script(patch={"result": None, "num_tasks": "many"}, patch_when="always")
    execution_id = platform.upload("u1")
    assert platform.read(execution_id)["num_tasks"] == "many"
    ended = platform.read(execution_id)
    assert (ended["status"], ended["result"]) == ("SUCCEEDED", None)


def test_everything_can_be_made_to_end(platform: Platform) -> None:
    platform.script(waits_for_newer_upload=True)
    platform.upload("u1")
    platform.emulator.run_all()
    assert platform.names() == {"u1"}
