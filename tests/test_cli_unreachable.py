"""A platform that cannot be reached, or that proves nothing: told, and nothing is left in doubt."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import closing
from pathlib import Path

import pytest

from segsync.emulator import EmulatorServer
from segsync.state import open_state
from tests.support.cli import FANS, Shop, shop
from tests.support.tls import Authority, self_signed, speechless

CASES = {
    "connection refused": "Connection refused",
    "no such host": "nowhere.invalid",
    "unknown authority": "is not trusted",
    "wrong host": "is not trusted",
    "expired": "is not trusted",
    "self-signed": "is not trusted",
    "no common cipher": "handshake",
}
SECURE = [case for case in CASES if case not in ("connection refused", "no such host")]


def address(store: Shop, case: str) -> str:
    if case == "connection refused":
        with socket.create_server(("127.0.0.1", 0)) as closed:
            return f"http://127.0.0.1:{closed.getsockname()[1]}"
    if case == "no such host":
        return "https://nowhere.invalid"
    return store.url


def tls_of(case: str, known: Authority, folder: Path) -> ssl.SSLContext:
    match case:
        case "self-signed":
            return self_signed(folder)
        case "no common cipher":
            return speechless(known.server())
        case _:
            name = "mics.example.com" if case == "wrong host" else "127.0.0.1"
            return known.server(name, expired=case == "expired")


@pytest.mark.parametrize("case", CASES)
def test_an_apply_that_reaches_no_platform_leaves_nothing_in_doubt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)
    with shop(tmp_path) as store:
        known = Authority()
        tls = tls_of(case, known, tmp_path)
        with EmulatorServer(store.emulator, tls=tls) as secure:
            store.url = address(store, case)
            if case in SECURE:
                authority = Authority() if case == "unknown authority" else known
                authority.write_to(tmp_path)
                store.url = f"{secure.url}\n  ca_file: authority.pem"
            store.spec(FANS)
            done = store.run("apply", "--yes").check(1)
        assert CASES[case] in " ".join(done.err.split())
        assert "destination." in done.err
        assert store.emulator.request_log == []
        with closing(open_state(store.state, read_only=True)) as state:
            assert state.open_run() is None
            assert not state.pending_counts()
            assert not state.last_runs(1)
