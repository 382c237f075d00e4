"""Whole applies over TLS: what breaks on the way breaks in the middle of a record, too."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread
from urllib.parse import urlsplit

import pytest

from segsync.emulator import Cut, EmulatorServer
from segsync.emulator.faults import Fault
from segsync.report import Exit
from segsync.state import open_state
from tests.support.crash import apply_until_killed
from tests.support.tls import Authority
from tests.support.world import World, assert_sound

AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: the connection ends with RST."""


class SecureWorld(World):
    """A world whose platform speaks TLS, and is known by an authority of its own."""

    def _serve(self) -> str:
        authority = Authority()
        self.destination["ca_file"] = str(authority.write_to(self.folder))
        tls = authority.server()
        self.server = self._stack.enter_context(EmulatorServer(self.emulator, tls=tls))
        return self.server.url


@pytest.fixture
def world(tmp_path: Path) -> Iterator[SecureWorld]:
    with SecureWorld(tmp_path / "world") as made:
        made.define("vip", "user_account_id", "total", rows=[(f"u{n}", n) for n in range(100)])
        yield made


def test_an_apply_over_tls(world: World) -> None:
    assert world.url.startswith("https:")
    assert world.apply().exit is Exit.DONE
    assert_sound(world)


@pytest.mark.parametrize("how", ["rst", "fin"])
@pytest.mark.parametrize("at", ["head", "body", "before_apply", "after_apply", "answer"])
def test_an_upload_that_breaks_off_within_tls(world: World, at: str, how: str) -> None:
    fault: Fault = Cut(at, how=how)  # type: ignore[arg-type]  # its words
    world.emulator.faults.add("upload", fault)
    world.apply()
    world.settle()
    assert_sound(world)


def test_an_apply_over_tls_is_killed_and_recovered(world: World) -> None:
    assert apply_until_killed(world, "after upload")
    report = world.apply()
    assert report.recovered is not None
    assert report.recovered.outcome.confirmed == 100
    assert_sound(world)


class Cutter:
    """Carries bytes to a server and back. Of the answer to the first large request it lets so many
    bytes through, which are less than the first record has, and ends the connection.
    """

    def __init__(self, port: int, how: str, passed: int = 20, large: int = 8_000) -> None:
        self._port = port
        self._how = how
        self._passed = passed
        self._large = large
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.has_cut = False
        Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                sent = [0]
                for pump in (self._up, self._down):
                    Thread(target=pump, args=(client, server, sent), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, sent: list[int]) -> None:
        with suppress(OSError):
            while block := client.recv(65536):
                sent[0] += len(block)
                server.sendall(block)
            server.shutdown(socket.SHUT_WR)

    def _down(self, client: socket.socket, server: socket.socket, sent: list[int]) -> None:
        with client, server, suppress(OSError):
            while block := server.recv(65536):
                if sent[0] > self._large and not self.has_cut:
                    self.has_cut = True
                    client.sendall(block[: self._passed])
                    if self._how == "rst":
                        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
                    client.shutdown(socket.SHUT_RD)
                    return
                client.sendall(block)


@pytest.mark.parametrize("how", ["rst", "fin"])
def test_an_answer_that_breaks_off_within_a_record_is_no_answer(world: World, how: str) -> None:
    """The upload is done: it is found, and not sent again."""
    with closing(Cutter(urlsplit(world.url).port or 0, how)) as cutter:
        world.url = f"https://127.0.0.1:{cutter.port}"
        assert world.apply().exit is Exit.DONE
        assert cutter.has_cut
        assert len(world.uploads) == 1
        assert [said for said in world.said.sentences if "looking whether it arrived" in said]
        assert_sound(world)
    with closing(open_state(world.state, read_only=True)) as state:
        assert state.open_run() is None
