"""The emulator's controls over HTTP, its data file, and `serve` as a process of its own."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from segsync.emulator import Emulator, EmulatorServer, ExecutionScript, LocalClient
from segsync.errors import SegsyncError
from tests.support.api_client import (
    IMPORTS,
    NDJSON,
    TOKEN,
    ApiClient,
    carried_out,
    delete,
    ndjson,
    update,
)

NOW_MS = 1_700_000_000_000
SERVE = """
import sys
from pathlib import Path
from segsync.emulator import ServeOptions, serve
data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
serve(ServeOptions(port=0, data=data), lambda line: print(line, flush=True))
"""


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    made = Emulator(token=TOKEN, frozen_at_ms=NOW_MS)
    made.add_segment("vip")
    yield made
    assert made.crashes == []
    made.close()


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


# ------------------------------------------------------------------------------ controls


def test_the_clock_is_read_moved_frozen_and_thawed(emulator: Emulator, controls: Controls) -> None:
    assert controls("GET", "clock") == {"now_ms": NOW_MS, "frozen": True}
    moved = controls("POST", "clock/advance", {"days": 1, "minutes": 1, "seconds": 0.5})
    assert moved["now_ms"] == NOW_MS + 86_400_000 + 60_500
    assert controls("POST", "clock/thaw")["frozen"] is False
    assert controls("POST", "clock/freeze")["frozen"] is True
    frozen = emulator.now_ms()
    assert frozen >= moved["now_ms"]
    assert controls("GET", "clock")["now_ms"] == frozen


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
    assert controls("GET", "members?segment=88123&limit=0") == {"count": 1, "members": []}
    counts = {one["technical_name"]: one["members"] for one in controls("GET", "segments")}
    assert counts == {"vip": 1, "b": 1}


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


# ------------------------------------------------------------------------------ the data file


def opened(data: Path) -> Emulator:
    return Emulator(data=data, token=TOKEN, seed=3)


def test_a_datamart_lives_on_in_its_data_file(tmp_path: Path) -> None:
    data = tmp_path / "emulator.db"
    first = opened(data)
    first.clock.freeze()
    first.add_segment("vip")
    first.declare_person([first.account("u1"), first.email("abc")])
    first.quarantine(first.account("u9"))
    carried_out(first, update("u1", data_bag='{"a":1}'), update("u2"), update("u3"), "{}")
    first.advance(minutes=5)
    carried_out(first, delete("u2"))
    first.faults.add("upload", ExecutionScript(shown=("LOST",), starts_after_polls=1))
    path = f"{IMPORTS}/{first.add_import('pending').id}/executions"
    LocalClient(first).request("POST", path, ndjson(update("u4")), NDJSON)
    before, now_ms = first.members("vip"), first.now_ms()
    first.close()

    second = opened(data)
    assert second.now_ms() == now_ms
    assert second.members("vip") == before
    assert [one.name for one in second.imports] == ["import", "import", "pending"]
    assert second.executions[-1].script.shown == ("LOST",)
    failed = second.executions[0].result
    assert failed is not None
    assert second.world.files.at(failed["error_file_uri"]) is not None
    carried_out(second, update("u9"))
    names = {identifier.value for identifier in second.members("vip")}
    assert names == {"u1", "abc", "u3", "u4"}
    second.declare_person([second.account("u3"), second.account("u4")])
    second.remove_segment("vip")
    second.add_segment("vip_2")
    carried_out(second, update("u4", "vip_2"))
    LocalClient(second).request("DELETE", f"{IMPORTS}/{second.imports[0].id}")
    second.close()

    third = opened(data)
    assert {identifier.value for identifier in third.members("vip_2")} == {"u3", "u4"}
    assert len(third.imports) == 4
    assert "vip" not in [segment.technical_name for segment in third.world.segments]
    third.close()


def test_every_answer_is_in_the_data_file_before_it_is_given(tmp_path: Path) -> None:
    data = tmp_path / "emulator.db"
    with serving(str(data)) as (process, client, _):
        client.get("/v1/audience_segments", technical_name="vip")
        import_id = client.create_import().data["id"]
        client.upload(import_id, ndjson(update("u1")))
        client.executions(import_id)
        client.executions(import_id)
        process.kill()
    again = opened(data)
    assert again.is_member("vip", again.account("u1"))
    again.close()


def test_the_data_file_and_its_payloads_are_private(tmp_path: Path) -> None:
    data = tmp_path / "emulator.db"
    emulator = opened(data)
    emulator.add_segment("vip")
    carried_out(emulator, update(), "{}")
    emulator.close()
    assert stat.S_IMODE(data.stat().st_mode) == 0o600
    folder = tmp_path / "emulator.db.files"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert {path.suffix for path in folder.iterdir()} == {".payload", ".errors"}


def test_a_temporary_datamart_leaves_no_file() -> None:
    emulator = Emulator()
    folder = emulator.world.files.folder
    carried_out(emulator, "{}")
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    emulator.close()
    assert not folder.exists()


def test_a_data_file_that_cannot_be_used_is_an_error_with_a_remedy(tmp_path: Path) -> None:
    opened(tmp_path / "other.db").close()
    (tmp_path / "text.db").write_text("not a database, but a long enough text" * 100)
    held = opened(tmp_path / "held.db")
    for name, datamart in (("other.db", "7"), ("text.db", "1509"), ("held.db", "1509")):
        with pytest.raises(SegsyncError, match=re.escape(name)) as problem:
            Emulator(data=tmp_path / name, datamart_id=datamart)
        assert problem.value.hint
    with pytest.raises(SegsyncError, match="nowhere"):
        opened(tmp_path / "nowhere" / "emulator.db")
    held.close()


def test_the_data_file_can_be_read_with_a_shell(tmp_path: Path) -> None:
    data = tmp_path / "emulator.db"
    emulator = opened(data)
    emulator.add_segment("vip")
    carried_out(emulator, update("u1"))
    emulator.close()
    database = sqlite3.connect(data)
    rows = database.execute(
        "SELECT value FROM memberships JOIN identifiers USING (person) WHERE segment = '10001'"
    ).fetchall()
    database.close()
    assert rows == [("u1",)]


# ------------------------------------------------------------------------------ serve


@contextmanager
def serving(*arguments: str) -> Iterator[tuple[subprocess.Popen[str], ApiClient, str]]:
    """`serve` in a process of its own that listens; with what it said."""
    command = [sys.executable, "-c", SERVE, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        said = ""
        for line in process.stdout or ():
            said += line
            if line.startswith("Stop it"):
                break
        url = re.search(r"listens on (\S+)", said)
        assert url, said
        yield process, ApiClient(url[1]), said
        process.kill()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve_ends_in_good_order_on_a_signal(number: signal.Signals) -> None:
    with serving() as (process, client, _):
        found = client.get("/v1/audience_segments", technical_name="any").json()
        assert found["count"] == 1
        process.send_signal(number)
        assert process.wait(timeout=5) == 0
        with pytest.raises(ConnectionRefusedError):
            client.get(IMPORTS)


def test_serve_says_what_goes_into_a_spec() -> None:
    with serving() as (_process, _client, said):
        assert re.search(r"(?m)^  api_url: http://127\.0\.0\.1:\d+$", said)
        assert '  datamart_id: "1509"\n  api_token: ${MICS_API_TOKEN}\n' in said
        assert "export MICS_API_TOKEN=emulator-token" in said


def test_a_taken_port_is_an_error_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        script = SERVE.replace("port=0", f"port={port}").replace("serve(S", "\nserve(S")
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
    assert ended.returncode == 1
    assert f"the emulator cannot listen on port {port}: Address already in use" in ended.stderr


def test_the_emulator_is_imported_without_heavy_modules() -> None:
    script = "import sys, segsync.emulator; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert loaded.isdisjoint({"sqlite3", "http.client", "email", "requests", "duckdb", "asyncio"})
