"""A state is looked at before SQLite opens it: each look by itself, and what is told of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from segsync.errors import StateDamaged, StateError
from segsync.state import is_there
from segsync.state.file import check_file
from tests.support.rows import state_of

NOT_SQLITE = "it is not a SQLite file"
NOT_OURS = "it is a SQLite file, but not a state of segsync"
OTHER_PAGES = "its header gives pages of another size"
OTHER_JOURNAL = "its header says that it is not kept with a rollback journal"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with state_of(tmp_path / "state.db", {}) as state:
        check_file(state.path)
        return state.path


def flip(path: Path, place: int) -> None:
    """Change one byte."""
    content = bytearray(path.read_bytes())
    content[place] ^= 0x80
    path.write_bytes(content)


def refusal(path: Path) -> StateError:
    with pytest.raises(StateError) as caught:
        check_file(path)
    return caught.value


@pytest.mark.parametrize(
    ("places", "reason"),
    [
        (range(16), NOT_SQLITE), ((16, 17), OTHER_PAGES), ((18, 19), OTHER_JOURNAL),
        (range(68, 72), NOT_OURS), ((20, 27, 33, 67, 72, 99, 100), None),
    ],
    ids=["magic", "pages", "journal", "application", "elsewhere"],
)  # fmt: skip
def test_each_byte_of_the_header_that_says_what_the_file_is_must_be_right(
    path: Path, places: range | tuple[int, ...], reason: str | None
) -> None:
    """What stands elsewhere in the header is left to SQLite, and to the seals."""
    for place in places:
        flip(path, place)
        if reason is None:
            check_file(path)
        else:
            assert refusal(path).message == f"the state {path} is damaged: {reason}"
        flip(path, place)
    check_file(path)


def test_the_file_must_be_as_long_as_its_header_says_unless_a_journal_is_left(path: Path) -> None:
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"\0", whole[:100]):
        path.write_bytes(content)
        error = refusal(path)
        assert isinstance(error, StateDamaged)
        assert error.message == (
            f"the state {path} is damaged: it has {len(content):,} bytes, "
            f"and should have {len(whole):,}"
        )
        journal = path.with_name("state.db-journal")
        journal.touch()
        check_file(path)
        journal.unlink()
    for place in range(28, 32):
        path.write_bytes(whole)
        flip(path, place)
        assert f"it has {len(whole):,} bytes, and should have " in refusal(path).message


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"S", NOT_SQLITE), (bytes(4096), NOT_SQLITE)],
)
def test_a_file_without_a_header_is_told_so(path: Path, content: bytes, reason: str) -> None:
    path.write_bytes(content)
    assert refusal(path).message == f"the state {path} is damaged: {reason}"


def test_a_header_that_is_cut_off_is_none(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:99])
    assert refusal(path).message == f"the state {path} is damaged: {NOT_SQLITE}"


@pytest.mark.parametrize("bit", [0o040, 0o020, 0o010, 0o004, 0o002, 0o001])
def test_whatever_others_may_do_with_the_file_is_too_much(path: Path, bit: int) -> None:
    path.chmod(0o600 | bit)
    error = refusal(path)
    assert error.message == f"the state {path} can be read by others (mode {0o600 | bit:04o})"
    assert error.hint == f"it holds personal data: chmod 600 {path}"
    for mode in (0o400, 0o500, 0o700):
        path.chmod(mode)
        check_file(path)


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "message", "hint"),
    [
        (a_folder, "the state {} is not a regular file", "correct `state:`"),
        (
            lambda path: path.with_name("second.db").hardlink_to(path),
            "the state {} has a second name (a hard link)",
            "one state must have one name, or two applies could run at once: copy it instead",
        ),
        (
            lambda path: path.with_name("state.db-wal").touch(),
            "a write-ahead log lies beside the state: {}-wal",
            "segsync never makes one, so another program has had the file open: restore the "
            "state from a backup, without that log",
        ),
    ],
    ids=["folder", "hard link", "write-ahead log"],
)
def test_what_is_no_file_of_ours_alone_is_told_with_what_to_do(
    path: Path, change: Callable[[Path], None], message: str, hint: str
) -> None:
    change(path)
    error = refusal(path)
    assert (error.message, error.hint) == (message.format(path), hint)


def test_a_file_that_cannot_be_read_is_told_so() -> None:
    """As a disk does that fails: the memory at 0 is nobody's."""
    error = refusal(Path("/proc/self/mem"))
    assert error.message == "the state /proc/self/mem cannot be read: Input/output error"
    assert error.hint == "it must belong to the user who runs segsync"


def test_whether_there_is_a_state_is_known_or_told(path: Path) -> None:
    assert is_there(path) is True
    assert is_there(path.with_name("none.db")) is False
    assert is_there(path / "below" / "a.file") is False
    loop = path.with_name("loop.db")
    loop.symlink_to(loop)
    with pytest.raises(StateError) as caught:
        is_there(loop)
    assert caught.value.message == (
        f"the state {loop} cannot be looked at: Too many levels of symbolic links"
    )
    assert caught.value.hint == "its folder must belong to the user who runs segsync"
