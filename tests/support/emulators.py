"""An emulator with one segment, over a socket if asked for; it must not have crashed in the end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from segsync.emulator import Emulator, EmulatorServer
from tests.support.api_client import TOKEN, ApiClient


@contextmanager
def an_emulator(**settings: Any) -> Iterator[Emulator]:
    """Its segment is called vip."""
    made = Emulator(**settings)
    made.add_segment("vip")
    try:
        yield made
    finally:
        made.close()
    assert made.crashes == []


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """One whose executions are finished at once."""
    with an_emulator(token=TOKEN) as made:
        made.behave(polls_until_finished=0)
        yield made


@pytest.fixture
def server(emulator: Emulator) -> Iterator[EmulatorServer]:
    with EmulatorServer(emulator) as made:
        yield made


@pytest.fixture
def client(server: EmulatorServer) -> ApiClient:
    return ApiClient(server.url)


@pytest.fixture
def import_id(emulator: Emulator) -> str:
    return emulator.add_import("x").id
