"""What watches the tests sees what it is to see: a removal by surprise, a secret, a name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from segsync.errors import SegsyncError
from tests.support.canary import PERSON, TOKEN
from tests.support.crash import apply_until_killed
from tests.support.hearing import People, listening
from tests.support.receiver import Receiver
from tests.support.world import STRANGER, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path / "world") as made:
        made.define("vip", rows=["a", "b"])
        made.define("other", rows=["c"])
        yield made


def line(operation: str, identifier: str, segment: str = "vip") -> bytes:
    command = {
        "operation": operation,
        "user_account_id": identifier,
        "segment_technical_name": segment,
    }
    return json.dumps(command).encode() + b"\n"


@pytest.mark.parametrize("removed", [("c", "vip"), ("a", "other"), (STRANGER, "vip")])
def test_who_was_never_said_in_a_segment_may_not_be_removed(
    world: World, removed: tuple[str, str]
) -> None:
    world.apply()
    world.receiver.take(line("DELETE", "a"))
    with pytest.raises(AssertionError, match="never said"):
        world.receiver.take(line("DELETE", *removed))


def test_who_was_to_be_said_by_a_run_that_was_killed_may_be_removed(world: World) -> None:
    assert apply_until_killed(world, "before upload")
    assert not world.receiver.said
    world.note_journal()
    world.receiver.take(line("DELETE", "a"))


def test_both_formats_are_read() -> None:
    receiver = Receiver()
    head = b"operation,compartment_id,user_account_id,segment_id\r\n"
    receiver.take(head + b'UPDATE,2,"a"",\r\n",70\r\n')
    receiver.take(head + b'DELETE,2,"a"",\r\n",70\r\n')
    with pytest.raises(AssertionError, match="never said"):
        receiver.take(head + b'DELETE,,"a"",\r\n",70\r\n')


def test_a_member_of_others_must_stay(world: World) -> None:
    world.apply()
    members = world.emulator.world.memberships.of(world.emulator.world.segment("vip").id)
    del members[world.stranger_number]
    with pytest.raises(AssertionError, match="not ours"):
        world.members("vip")


def test_a_secret_in_a_payload_is_noticed() -> None:
    with pytest.raises(AssertionError, match="secret"):
        Receiver().take(line("UPDATE", TOKEN))


@pytest.mark.parametrize(
    "text", [f"the token {TOKEN}", f"about {PERSON}", TOKEN[::-1], "of customer-00007"]
)
def test_what_is_said_and_raised_names_nobody_and_no_secret(text: str) -> None:
    sentences, people = ["before"], People()
    people.note(("total", "user_account_id"), [("total-00001", "customer-00007"), ("x", "short")])
    assert people.told_in("total-00001 and short") == []
    with pytest.raises(AssertionError), listening(sentences, people):
        sentences.append(text)
    with pytest.raises(AssertionError), listening(sentences, people):
        raise SegsyncError("it failed", hint=text)


@pytest.mark.parametrize("where", ["file", "request"])
def test_a_secret_that_a_world_leaves_is_noticed(tmp_path: Path, where: str) -> None:
    world = World(tmp_path / "world")
    if where == "file":
        (world.folder / "left").write_text(TOKEN.encode().hex())
    else:
        world.emulator.add_import(TOKEN)
    with pytest.raises(AssertionError):
        world.__exit__()
    (world.folder / "left").unlink(missing_ok=True)
