"""The emulator's data file, and `serve` as a process of its own."""

from __future__ import annotations

import re
import signal
import socket
import sqlite3
import ssl
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from segsync.emulator import Emulator, ExecutionScript, LocalClient, ServeOptions
from segsync.emulator.serve import listening
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
from tests.support.processes import started

SERVE = """
import sys
from pathlib import Path
from segsync.emulator import ServeOptions, serve
data = Path(sys.argv[1]) if len(sys.argv) > 1 else None
serve(ServeOptions(port=0, data=data), lambda line: print(line, flush=True))
"""


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
    with started(command, stdout=subprocess.PIPE, text=True) as process:
        said = ""
        for line in process.stdout or ():
            said += line
            if line.startswith("Stop it"):
                break
        url = re.search(r"listens on (\S+)", said)
        assert url, said
        yield process, ApiClient(url[1]), said


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
        assert re.search(r"export MICS_API_URL=http://127\.0\.0\.1:\d+$", said, re.MULTILINE)


def test_serve_says_which_now_segsync_needs_where_its_clock_was_moved(tmp_path: Path) -> None:
    data = tmp_path / "emulator.db"
    with serving(str(data)) as (_process, client, said):
        assert "the --now that it answers" in said
        assert "Its clock was moved" not in said
        client.post("/_emulator/clock/advance", {"days": 16})
    with serving(str(data)) as (_process, client, said):
        now = client.get("/_emulator/clock").json()["now"]
        assert f"Its clock was moved: plan, apply and status need --now {now[:10]}" in said


def test_a_taken_port_is_an_error_with_a_remedy() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        script = SERVE.replace("port=0", f"port={port}").replace("serve(S", "\nserve(S")
        ended = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=False
        )
    assert ended.returncode == 1
    assert f"the emulator cannot listen on port {port}: Address already in use" in ended.stderr


def test_a_server_with_a_certificate_speaks_tls(tmp_path: Path) -> None:
    authority, server = trustme.CA(), tmp_path / "server.pem"
    certificate = authority.issue_cert("127.0.0.1")
    server.write_bytes(certificate.cert_chain_pems[0].bytes())
    certificate.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    trusted = ssl.create_default_context(cafile=str(tmp_path / "authority.pem"))
    emulator = Emulator()
    options = ServeOptions(port=0, certificate=server, key=tmp_path / "key.pem")
    with listening(emulator, options) as listener:
        assert ApiClient(listener.url, trusted=trusted).get(IMPORTS).status == 200
    for wrong in (tmp_path / "missing.pem", tmp_path / "key.pem"):
        with pytest.raises(SegsyncError, match="certificate cannot be used") as problem:
            listening(emulator, replace(options, certificate=wrong))
        assert problem.value.hint
    emulator.close()


def test_the_emulator_is_imported_without_heavy_modules() -> None:
    script = "import sys, segsync.emulator; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    loaded = set(run.stdout.split())
    assert loaded.isdisjoint({"sqlite3", "http.client", "email", "requests", "duckdb", "asyncio"})
