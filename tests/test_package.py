"""The package as a user gets it: a wheel in a clean environment, without development tools."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from segsync import __version__
from segsync.emulator import Emulator, EmulatorServer
from tests.support.readme import ROOT

LOCK = ROOT / ".github" / "requirements-dev.txt"
TIMEOUT_S = 600
SPEC = """\
version: 1
destination: {{datamart_id: "1509", api_token: "${{MICS_API_TOKEN}}", api_url: "{url}"}}
sources: {{shop: "sqlite:///shop.db"}}
segments:
  vip:
    query: SELECT 'c-' || value AS user_account_id FROM (SELECT 1 AS value UNION SELECT 2)
"""
pytestmark = [pytest.mark.timeout(TIMEOUT_S), pytest.mark.one_worker]


def run(*command: str | Path, folder: Path, **variables: str) -> str:
    """Run a command that must succeed, far from this checkout; gives its output."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env={**inherited, **variables},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT_S,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    run(*build, "--wheel-dir", folder, ROOT, folder=folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def clean(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment in which only the wheel was installed."""
    folder = tmp_path_factory.mktemp("clean")
    run(sys.executable, "-m", "venv", folder / "venv", folder=folder)
    programs = folder / "venv" / "bin"
    versions = folder / "versions.txt"
    versions.write_text("".join(f"{line}\n" for line in locked_versions()))
    install = ["install", "--quiet", "--no-compile", "-c", versions, wheel]
    run(programs / "pip", *install, folder=folder)
    return programs


def locked_versions() -> list[str]:
    """The versions of the lock file, without the hashes, which a constraint cannot have."""
    return re.findall(r"^([\w.-]+==[^\\\n]+?) *\\?$", LOCK.read_text(), re.MULTILINE)


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    metadata = f"segsync-{__version__}.dist-info/"
    assert {name for name in names if not name.startswith(("segsync/", metadata))} == set()
    assert {"segsync/py.typed", "segsync/cli/starter.yaml"} <= set(names)
    assert f"{metadata}licenses/LICENSE" in names
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "segsync").rglob("*.py")}
    assert sources <= set(names)


def test_nothing_of_development_is_installed_with_it(clean: Path, tmp_path: Path) -> None:
    listed = run(clean / "pip", "list", "--format", "freeze", folder=tmp_path).lower()
    for name in ("pytest", "hypothesis", "mypy", "ruff", "hatchling", "psycopg", "pymysql"):
        assert f"{name}==" not in listed
    assert f"segsync=={__version__}" in listed
    run(clean / "pip", "check", folder=tmp_path)


def test_the_command_is_there(clean: Path, tmp_path: Path) -> None:
    assert __version__ in run(clean / "segsync", "--version", folder=tmp_path)
    assert "apply" in run(clean / "segsync", "--help", folder=tmp_path)
    assert "apply" in run(clean / "python", "-m", "segsync", "--help", folder=tmp_path)


def test_a_plan_and_an_apply_work_with_it(clean: Path, tmp_path: Path) -> None:
    emulator = Emulator(token="token")
    emulator.add_segment("vip")
    (tmp_path / "shop.db").touch()
    with EmulatorServer(emulator) as server:
        (tmp_path / "segments.yaml").write_text(SPEC.format(url=server.url))
        planned = run(clean / "segsync", "plan", folder=tmp_path, MICS_API_TOKEN="token")
        assert "2 to add" in planned
        run(clean / "segsync", "apply", "--yes", folder=tmp_path, MICS_API_TOKEN="token")
    assert set(emulator.members("vip")) == {emulator.account("c-1"), emulator.account("c-2")}
    assert not emulator.refused
    emulator.close()


def test_the_demo_works_with_it(clean: Path, tmp_path: Path) -> None:
    assert "Go on by hand" in run(clean / "segsync", "demo", folder=tmp_path)
    assert (tmp_path / "segsync-demo" / "README.md").is_file()
