"""The destination over HTTP is a destination, on every kind of platform."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from segsync.emulator import Behaviour, Emulator, EmulatorServer
from tests.support.conformance import CHECKS, Check, check_destination, run_check
from tests.support.platform import DATAMART, TOKEN, destination

PLATFORMS: dict[str, dict[str, Any]] = {
    "created is 201": {"create_status": 201},
    "lists without a total": {"list_total": False},
    "small pages": {"max_page_size": 2},
    "large pages refused": {"max_page_size": 50, "oversized_page": "refused"},
    "small pages without a total, in no order": {
        "max_page_size": 3,
        "list_total": False,
        "list_order": "random",
    },
    "oldest first": {"list_order": "oldest"},
    "keywords match whole names": {"import_keywords": "exact"},
    "keywords match starts": {"import_keywords": "prefix"},
    "keywords ignored": {"import_keywords": "ignored"},
    "names match in part": {"segment_name_filter": "contains"},
    "names match in any case": {"segment_name_filter": "any_case"},
    "name filter ignored": {"segment_name_filter": "ignored"},
    "numbers as texts": {"num_tasks": "string"},
    "no tasks": {"num_tasks": "absent"},
    "all status words": {"status_words": "wide"},
    "unknown fields": {"extra_fields": True},
    "error files as CSV": {"error_file": "csv"},
}


def on(behaviour: Behaviour) -> tuple[Emulator, EmulatorServer]:
    emulator = Emulator(
        datamart_id=DATAMART, token=TOKEN, seed=7, behaviour=replace(behaviour, dates=False)
    )
    return emulator, EmulatorServer(emulator)


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_the_destination_conforms(check: Check) -> None:
    emulator, server = on(Behaviour())
    with server:
        run_check(check, lambda: destination(server.url), emulator)
    emulator.close()


@pytest.mark.parametrize("platform", PLATFORMS)
def test_the_destination_conforms_where(platform: str) -> None:
    emulator, server = on(Behaviour(**PLATFORMS[platform]))
    with server:
        check_destination(lambda: destination(server.url), emulator)
    emulator.close()
