"""What holds for every test: an environment that is the same everywhere, and no secret in sight."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync.engine import session
from segsync.source import adbc_sqlite, dbapi
from segsync.state import database
from tests.support.canary import secrets_shown, secrets_under
from tests.support.layering import layered

pytest_plugins = [
    "tests.support.emulators",
    "tests.support.order",
    "tests.support.servers",
    "tests.support.size",
    "tests.support.sources",
    "tests.support.specs",
]

FOREIGN = ("MICS_", "SEGSYNC_", "WAREHOUSE_", "PG", "MYSQL_", "AWS_", "SSL_", "REQUESTS_", "CURL_")
DISPLAY = ("NO_COLOR", "FORCE_COLOR", "CLICOLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE")


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own settings must decide nothing."""
    for name in os.environ:
        if name.startswith(FOREIGN) or name in DISPLAY or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("TERM", "xterm")


@pytest.fixture(autouse=True)
def few_rows_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests have few members: what becomes of many must not depend on where their rows are cut."""
    if request.node.get_closest_marker("many_rows") is None:
        for module, rows in ((session, 3), (database, 2), (dbapi, 2), (adbc_sqlite, 2)):
            monkeypatch.setattr(module, "BATCH_ROWS", rows)
        monkeypatch.setattr(adbc_sqlite, "NARROW_BATCH_ROWS", 2)


@pytest.fixture(autouse=True)
def two_layers() -> Iterator[None]:
    """The small states of tests are written as large ones are; those of processes are small."""
    with layered(1):
        yield


@pytest.fixture(autouse=True, scope="module")
def shared_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No secret may be left in folders that tests of a module share."""
    base = tmp_path_factory.getbasetemp()
    before = set(base.iterdir())
    yield
    for folder in set(base.iterdir()) - before:
        if not folder.name.startswith("test_") and not folder.is_symlink():
            found = secrets_under(folder)
            assert not found, f"a secret was left in {folder}: {found}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """A test that has passed fails all the same where it left a secret in its output or files."""
    report = yield
    assert isinstance(report, pytest.TestReport)
    if call.when == "call" and report.passed:
        told = f"{report.capstdout}\n{report.capstderr}\n{report.caplog}"
        found = [f"the output: {form}" for form in secrets_shown(told)]
        folder = getattr(item, "funcargs", {}).get("tmp_path")
        if isinstance(folder, Path):
            found += secrets_under(folder)
        if found:
            report.outcome = "failed"
            report.longrepr = "a secret was left in " + "; ".join(found)
    return report
