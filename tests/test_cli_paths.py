"""Wherever a file is asked for: it is private, stands where it was named, and costs no other file;
names in the data and in the spec lead nowhere.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cli import FANS, Shop, shop

WRITING = [("plan", "--out"), ("plan", "--commands"), ("state", "backup")]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shop]:
    (tmp_path / "shop").mkdir()
    with shop(tmp_path / "shop") as made:
        made.run("apply", "--yes").check(0)
        made.people(11)
        yield made


def everything(folder: Path) -> dict[str, bytes]:
    """All files with their contents, but for those that a lock leaves."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.endswith(".lock")
    }


NOWHERE = [
    "missing/file",
    ".",
    "..",
    "/",
    "",
    "pipe",
    "link to nowhere/file",
    "shop.db",
    "segments.yaml",
    "shop.db/file",
    "~/file",
    "/dev/full/file",
    "/proc/self/file",
    "x" * 256,
    "x/" * 3_000,
]


@pytest.mark.parametrize("words", WRITING)
def test_a_file_that_cannot_or_must_not_be_written_is_refused(
    store: Shop, words: tuple[str, ...]
) -> None:
    os.mkfifo(store.folder / "pipe")
    (store.folder / "link to nowhere").symlink_to("nowhere")
    before = everything(store.folder.parent)
    for path in NOWHERE:
        done = store.run(*words, path).check(1)
        assert "Error" in done.err, path
        assert everything(store.folder.parent) == before, path


PLACES = ["file", "./file", "../file", "a b", "-file", "CON", "%2e%2e%2ffile", "é\u202e", "$(x)"]


@pytest.mark.parametrize("mask", [0o000, 0o077])
@pytest.mark.parametrize("words", WRITING)
def test_a_file_is_private_and_stands_exactly_where_it_was_named(
    store: Shop, words: tuple[str, ...], mask: int
) -> None:
    command, option = words
    before = everything(store.folder.parent).keys()
    for name in PLACES:
        umask = os.umask(mask)
        try:
            store.run(command, option, *(["--"] if command == "state" else []), name).check(0)
        finally:
            os.umask(umask)
        path = (store.folder / name).resolve()
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, name
        path.unlink()
        assert everything(store.folder.parent).keys() == before, name


@pytest.mark.parametrize("words", WRITING)
def test_a_link_is_not_written_through(store: Shop, words: tuple[str, ...]) -> None:
    """Who may make links in a shared folder must not choose what is overwritten."""
    treasure = store.folder / "treasure"
    treasure.write_text("")
    (store.folder / "link").symlink_to("treasure")
    store.run(*words, "link").check(0, 1)
    assert treasure.read_text() == ""


NAMES = ["../../x", "/tmp/x", "~", ".", "..", "a/b", "CON", "%2e%2e", "x" * 255, "$(touch x)", "-f"]
QUERY = FANS.partition("fans: ")[2]


def test_the_name_of_a_segment_never_becomes_a_path(store: Shop) -> None:
    before = everything(store.folder.parent).keys()
    accepted = []
    for name in NAMES:
        line = f"  '{name}': {QUERY}"
        store.spec(line)
        if store.run("validate").check(0, 1).status == 0:
            accepted.append(line)
    assert len(accepted) > 5
    store.spec("\n".join(accepted), removed="{fans: keep}")
    store.run("apply", "--yes").check(0)
    assert everything(store.folder.parent).keys() == before
