"""The emulator's controls over HTTP, without a token, in JSON."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest

from segsync.cli import options
from segsync.emulator import Emulator, EmulatorServer, LocalClient
from segsync.emulator.control import CONTROLS
from tests.support.api_client import (
    IMPORTS,
    NDJSON,
    TOKEN,
    ApiClient,
    carried_out,
    ndjson,
    update,
)
from tests.support.emulators import an_emulator

NOW_MS = 1_700_000_000_000


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    with an_emulator(token=TOKEN, frozen_at_ms=NOW_MS) as made:
        yield made


class Controls:
    """Controls as a shell user calls them: no token, JSON in and out."""

    def __init__(self, url: str) -> None:
        self._client = ApiClient(url, token=None)

    def __call__(self, method: str, name: str, content: Any = None) -> Any:
        if content is None:
            return self._client.request(method, f"/_emulator/{name}").json()
        return self._client.post(f"/_emulator/{name}", content).json()

    def status(self, method: str, name: str, body: bytes = b"", **headers: str) -> int:
        return self._client.request(method, f"/_emulator/{name}", body, headers).status


@pytest.fixture
def controls(emulator: Emulator) -> Iterator[Controls]:
    with EmulatorServer(emulator) as server:
        yield Controls(server.url)


def test_the_clock_is_read_moved_frozen_and_thawed(emulator: Emulator, controls: Controls) -> None:
    clock = controls("GET", "clock")
    assert (clock["now_ms"], clock["frozen"]) == (NOW_MS, True)
    moved = controls("POST", "clock/advance", {"days": 1, "minutes": 1, "seconds": 0.5})
    assert moved["now_ms"] == NOW_MS + 86_400_000 + 60_500
    assert controls("POST", "clock/thaw")["frozen"] is False
    assert controls("POST", "clock/freeze")["frozen"] is True
    frozen = emulator.now_ms()
    assert frozen >= moved["now_ms"]
    assert controls("GET", "clock")["now_ms"] == frozen


def test_who_moves_the_clock_is_told_what_to_tell_segsync(controls: Controls) -> None:
    moved = controls("POST", "clock/advance", {"days": 1})
    text = datetime.fromtimestamp(moved["now_ms"] // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert moved["now"] == text
    assert moved["segsync"] == f"plan, apply and status need --now {text}"
    assert options.moment_ms(text) == moved["now_ms"] // 1000 * 1000


def test_who_asks_for_a_control_that_is_not_there_is_told_where_all_are(
    controls: Controls,
) -> None:
    assert "GET /_emulator/ lists all of them" in controls("GET", "nothing")["error"]
    listed = controls("GET", "")
    assert listed["DELETE /_emulator/faults"] == "Let everything go well."
    assert all(text.endswith(".") for text in listed.values())
    assert len(listed) == len(CONTROLS)


def test_a_thawed_clock_goes_on_from_where_it_stood() -> None:
    emulator = Emulator(frozen_at_ms=NOW_MS)
    emulator.clock.thaw()
    assert 0 <= emulator.now_ms() - NOW_MS < 10_000
    emulator.advance(hours=1)
    assert 0 <= emulator.now_ms() - NOW_MS - 3_600_000 < 10_000
    emulator.close()


def test_segments_and_members_are_shown_and_changed(emulator: Emulator, controls: Controls) -> None:
    made = controls("POST", "segments", {"technical_name": "b", "id": "88123", "paused": True})
    assert (made["id"], made["paused"]) == ("88123", True)
    assert controls.status("PATCH", "segments", b'{"segment": "b", "paused": false}') == 200
    assert emulator.world.segment("b").paused is False
    carried_out(emulator, update("u1", data_bag='{"a":1}'), update("u2", "b"))
    shown = controls("GET", "members?segment=vip")
    assert shown == {
        "count": 1,
        "members": [
            {
                "user_account_id": "u1",
                "compartment_id": "1000",
                "expires_at_ms": NOW_MS + 3_600_000,
                "data_bag": '{"a":1}',
            }
        ],
    }
    carried_out(emulator, update(segment="b", user_account_id=None, email_hash="abc"))
    assert {one.get("email_hash") for one in controls("GET", "members?segment=b")["members"]} == {
        None,
        "abc",
    }
    assert controls("GET", "members?segment=88123&limit=0") == {"count": 2, "members": []}
    counts = {one["technical_name"]: one["members"] for one in controls("GET", "segments")}
    assert counts == {"vip": 1, "b": 2}


def test_persons_and_rejects_are_declared(emulator: Emulator, controls: Controls) -> None:
    both = [{"user_account_id": "u1"}, {"email_hash": "abc"}]
    assert controls("POST", "persons", {"identifiers": both})["user_point_id"] == "1"
    alone = [{"user_account_id": "u2", "compartment_id": "7"}]
    controls("POST", "persons", {"identifiers": alone, "quarantined": True})
    carried_out(emulator, update("u1"), update("u2", compartment_id="7"))
    assert set(emulator.members("vip")) == {emulator.account("u1"), emulator.email("abc")}
    controls("POST", "rejects", {"identifiers": [{"user_agent_id": "x"}], "reason": "no"})
    agent = update(user_account_id=None, user_agent_id="x")
    assert carried_out(emulator, agent)["result"]["total_failure"] == 1
    assert controls("DELETE", "rejects") == {}
    assert carried_out(emulator, agent)["result"]["total_failure"] == 0


def test_switches_are_shown_and_set(emulator: Emulator, controls: Controls) -> None:
    assert controls("GET", "behaviour")["unknown_segment"] == "failed"
    assert controls("POST", "behaviour", {"unknown_segment": "skipped"})["sink"] is False
    assert emulator.behaviour.unknown_segment == "skipped"


def test_faults_are_added_shown_and_cleared(emulator: Emulator, controls: Controls) -> None:
    rules = [
        {"endpoint": "list_imports", "fault": {"type": "answer", "status": 503}, "call": None},
        {
            "endpoint": "upload",
            "fault": {"type": "execution", "shown": ["LOST"], "then": "last"},
            "call": 2,
            "times": 3,
        },
        {"endpoint": "error_file", "fault": {"type": "drip", "bytes_per_second": 5}},
    ]
    shown = controls("POST", "faults", rules)
    assert (shown[1]["call"], shown[1]["times"]) == (2, 3)
    assert controls("POST", "faults", shown) == shown * 2
    assert LocalClient(emulator).request("GET", IMPORTS).status == 503
    assert controls("DELETE", "faults") == []
    assert LocalClient(emulator).request("GET", IMPORTS).status == 200
    log = controls("GET", "requests")
    assert [(one["endpoint"], one["status"]) for one in log] == [
        ("list_imports", 503),
        ("list_imports", 200),
    ]


def test_executions_are_made_to_end_and_counted(emulator: Emulator, controls: Controls) -> None:
    path = f"{IMPORTS}/{emulator.add_import('x').id}/executions"
    LocalClient(emulator).request("POST", path, ndjson(update(), "{}"), NDJSON)
    assert controls("GET", "stats")["executions_active"] == 1
    assert controls("POST", "run") == {
        "now_ms": NOW_MS,
        "user_points": 1,
        "imports": 1,
        "executions": 1,
        "executions_active": 0,
        "max_in_flight": 1,
        "refused_lines": {"bad_operation": 1},
        "crashes": [],
    }


@pytest.mark.parametrize(
    ("method", "name", "body", "status"),
    [
        ("GET", "nothing", b"", 404),
        ("GET", "members?segment=none", b"", 404),
        ("GET", "members", b"", 400),
        ("POST", "clock/advance", b'{"weeks": 1}', 400),
        ("POST", "clock/advance", b'{"days": "x"}', 400),
        ("POST", "clock/advance", b'{"days": 3000000}', 400),
        ("POST", "clock/advance", b'{"days": 1e300}', 400),
        ("POST", "clock/advance", b"[1]", 400),
        ("POST", "clock/advance", b"{", 400),
        ("POST", "behaviour", b'{"sink": "yes"}', 400),
        ("POST", "segments", b'{"technical_name": "vip"}', 400),
        ("POST", "segments", b'{"colour": "red"}', 400),
        ("POST", "faults", b'{"endpoint": "x", "fault": {"type": "cut"}}', 400),
        ("POST", "faults", b"[1]", 400),
        ("POST", "persons", b'{"identifiers": []}', 400),
        ("POST", "persons", b'{"identifiers": [{}]}', 400),
        ("POST", "persons", b'{"identifiers": ["u1"]}', 400),
        ("POST", "rejects", b"{}", 400),
        ("POST", "segments", b'{"technical_name": "x", "paused": "yes"}', 400),
        ("PATCH", "segments", b'{"segment": "vip", "id": 7}', 400),
    ],
)
def test_a_control_that_makes_no_sense_is_refused(
    controls: Controls, method: str, name: str, body: bytes, status: int
) -> None:
    assert controls.status(method, name, body) == status


def test_web_pages_cannot_use_the_controls(controls: Controls) -> None:
    assert controls.status("GET", "clock", Origin="https://example.org") == 403
