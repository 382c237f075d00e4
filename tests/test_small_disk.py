"""A state on a disk that is too small for it, and is then made larger."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.cli import FANS, PATIENCE, Done, Shop, environment, shop

PEOPLE = 30_000
MEBIBYTES = (1, 4, 6, 7)
"""Too small for the payload, for the journal, for the members, and large enough."""
CANNOT_MOUNT = 77
STORY = f"""
mount -t tmpfs -o size="$MEBIBYTES"m none .segsync || exit {CANNOT_MOUNT}
"$@" apply --yes >first.out 2>first.err; echo $? >first.status
mount -o remount,size=64m .segsync
"$@" apply --yes >second.out 2>second.err; echo $? >second.status
"$@" plan --detailed-exitcode >third.out 2>third.err; echo $? >third.status
"""
"""In a namespace of its own, with whose end the disk goes."""


def test_a_disk_that_is_too_small_is_told_and_nothing_is_lost(tmp_path: Path) -> None:
    statuses = set()
    for mebibytes in MEBIBYTES:
        folder = tmp_path / str(mebibytes)
        (folder / ".segsync").mkdir(parents=True, mode=0o700)
        with shop(folder) as store:
            store.people(PEOPLE)
            store.spec(FANS)
            tell(store, mebibytes)
            first, second, third = (done(folder, name) for name in ("first", "second", "third"))
            uploads = [one for one in store.emulator.request_log if one.endpoint == "upload"]
            assert len(uploads) == 1
            assert len(store.emulator.members("fans")) == PEOPLE
        statuses.add(first.check(0, 1, 5).status)
        if first.status:
            told = " ".join(first.err.split())
            assert "disk is full" in told or "No space left on device" in told
            assert "free some space" in told
            assert ("uploading" in first.err) == (first.status == 5)
        second.check(0)
        assert "No changes" in third.check(0).out
    assert statuses == {0, 1, 5}


def tell(store: Shop, mebibytes: int) -> None:
    ended = subprocess.run(
        ["unshare", "-rm", "sh", "-c", STORY, "sh", sys.executable, "-m", "segsync"],
        cwd=store.folder,
        env=environment(MEBIBYTES=str(mebibytes)),
        capture_output=True,
        timeout=3 * PATIENCE,
        check=False,
    )
    if ended.returncode == CANNOT_MOUNT or b"unshare" in ended.stderr:
        pytest.skip("no disk may be mounted here")


def done(folder: Path, name: str) -> Done:
    """What a command of the story has left."""
    status, out, err = (
        (folder / f"{name}.{kind}").read_text() for kind in ("status", "out", "err")
    )
    return Done(int(status), out, err).private()
