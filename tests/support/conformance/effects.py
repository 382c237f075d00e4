"""Checks of what a destination does, and of what it reads."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from segsync.destination import Destination, ExecutionState, SegmentProblem
from segsync.emulator import Emulator, ExecutionScript
from segsync.errors import DestinationError
from segsync.model import Address
from tests.support.conformance.scene import (
    POLLS,
    command,
    finished,
    payload,
    prepared,
    segment,
    uploaded,
)


def an_import_is_found_by_the_start_of_its_name(
    destination: Destination, _emulator: Emulator, _folder: Path
) -> None:
    first = destination.create_import("segsync-find-1")
    second = destination.create_import("segsync-find-2")
    destination.create_import("other-segsync-find-3")
    assert first.name == "segsync-find-1"
    assert first.id != second.id
    assert {one.id for one in destination.find_imports("segsync-find")} == {first.id, second.id}
    assert destination.find_imports("segsync-find-2") == [second]
    assert destination.find_imports("segsync-nothing") == []


def a_new_import_has_no_executions(
    destination: Destination, _emulator: Emulator, _folder: Path
) -> None:
    assert destination.list_executions(destination.create_import("segsync-new").id) == []


def a_payload_takes_effect(destination: Destination, emulator: Emulator, folder: Path) -> None:
    name = segment(emulator, "taken")
    made = destination.create_import("segsync-taken").id
    adding = payload(folder, command("UPDATE", "u1", name), command("UPDATE", "u2", name))
    begun = destination.upload(made, adding)
    ended = finished(destination, made)
    assert ended.id == begun.id
    assert ended.state is ExecutionState.SUCCEEDED
    assert (ended.total_success, ended.total_failure) == (2, 0)
    assert set(emulator.members(name)) == {emulator.account("u1"), emulator.account("u2")}
    destination.upload(made, payload(folder, command("DELETE", "u1", name)))
    finished(destination, made)
    assert set(emulator.members(name)) == {emulator.account("u2")}


def executions_are_listed_oldest_first(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "ordered")
    made = destination.create_import("segsync-ordered").id
    begun = [
        destination.upload(made, payload(folder, command("UPDATE", f"u{number}", name))).id
        for number in range(3)
    ]
    assert [one.id for one in destination.list_executions(made)] == begun


def what_the_platform_rejects_is_counted_and_can_be_read(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "rejecting")
    emulator.reject([emulator.account("bad")], reason="not wanted")
    made = destination.create_import("segsync-rejecting").id
    both = payload(folder, command("UPDATE", "good", name), command("UPDATE", "bad", name))
    destination.upload(made, both)
    ended = finished(destination, made)
    assert (ended.total_success, ended.total_failure) == (1, 1)
    assert ended.error_file_uri is not None
    errors = folder / "errors"
    destination.fetch_error_file(ended.error_file_uri, errors)
    assert "bad" in errors.read_text()
    assert stat.S_IMODE(errors.stat().st_mode) == 0o600
    with pytest.raises(DestinationError):
        destination.fetch_error_file(ended.error_file_uri, errors)


def segments_are_looked_up(destination: Destination, emulator: Emulator, _folder: Path) -> None:
    good = segment(emulator, "looked-up")
    emulator.add_segment("looked-up-paused", paused=True)
    emulator.add_segment("looked-up-query", type="USER_QUERY")
    emulator.add_segment("looked-up-tag", feed_type="TAG")
    by_id = emulator.add_segment("looked-up-too").id
    expected = {
        Address("segment_technical_name", good): None,
        Address("segment_id", by_id): None,
        Address("segment_technical_name", "looked-up-paused"): SegmentProblem.PAUSED,
        Address("segment_technical_name", "looked-up-query"): SegmentProblem.WRONG_TYPE,
        Address("segment_technical_name", "looked-up-tag"): SegmentProblem.WRONG_TYPE,
        Address("segment_technical_name", "looked"): SegmentProblem.MISSING,
        Address("segment_technical_name", "LOOKED-UP"): SegmentProblem.MISSING,
        Address("segment_technical_name", by_id): SegmentProblem.MISSING,
        Address("segment_id", "999999"): SegmentProblem.MISSING,
        Address("segment_id", good): SegmentProblem.MISSING,
    }
    found = {address: destination.look_up_segment(address) for address in expected}
    assert {address: one.problem for address, one in found.items()} == expected
    assert all(one.address == address and one.detail for address, one in found.items())


def a_removal_says_nothing_of_other_segments(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    here, there = segment(emulator, "here"), segment(emulator, "there")
    adding = payload(folder, command("UPDATE", "u1", here), command("UPDATE", "u1", there))
    assert uploaded(destination, "segsync-both", adding).total_success == 2
    uploaded(destination, "segsync-one", payload(folder, command("DELETE", "u1", here)))
    assert set(emulator.members(here)) == set()
    assert set(emulator.members(there)) == {emulator.account("u1")}


def the_bytes_of_a_payload_arrive_as_they_are(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "bytes")
    path = payload(folder, *(command("UPDATE", f"é\U0001f642{n}", name) for n in range(3_000)))
    arrived: list[bytes] = []
    emulator.on_upload(lambda upload: arrived.append(upload.path.read_bytes()))
    assert uploaded(destination, "segsync-bytes", path).total_success == 3_000
    assert arrived[:1] == [path.read_bytes()]


def all_of_many_imports_are_found(
    destination: Destination, _emulator: Emulator, _folder: Path
) -> None:
    made = {destination.create_import(f"segsync-many-{number}").id for number in range(23)}
    assert {one.id for one in destination.find_imports("segsync-many-")} == made


def imports_are_found_by_several_starts(
    destination: Destination, _emulator: Emulator, _folder: Path
) -> None:
    made = {destination.create_import(f"segsync-{word}-1").id for word in ("red", "blue")}
    destination.create_import("segsync-green-1")
    found = destination.find_imports("segsync-red", "segsync-blue", "segsync-reddish")
    assert {one.id for one in found} == made
    assert len(found) == 2


def all_of_many_executions_are_listed(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "many")
    made = destination.create_import("segsync-executions").id
    path = payload(folder, command("UPDATE", "u1", name))
    begun = [destination.upload(made, path).id for _ in range(7)]
    assert [one.id for one in destination.list_executions(made)] == begun


def an_execution_is_active_until_it_has_ended(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    made, adding = prepared(destination, emulator, folder, "active")
    emulator.behave(polls_until_finished=4)
    begun = destination.upload(made, adding)
    assert begun.state is ExecutionState.ACTIVE
    seen = [destination.list_executions(made)[-1] for _ in range(POLLS)]
    ended = [one.state is not ExecutionState.ACTIVE for one in seen]
    assert ended == sorted(ended)
    assert ended[-1]
    assert seen[-1].total_success == 1


def the_executions_of_one_upload_are_all_listed(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    made, adding = prepared(destination, emulator, folder, "doubled")
    emulator.faults.add("upload", ExecutionScript(duplicates=2))
    begun = destination.upload(made, adding)
    listed = [one.id for one in destination.list_executions(made)]
    assert begun.id in listed
    assert len(set(listed)) == 3


def what_ends_badly_has_failed(destination: Destination, emulator: Emulator, folder: Path) -> None:
    name = segment(emulator, "failing")
    adding = payload(folder, command("UPDATE", "u1", name))
    emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    emulator.faults.add("upload", ExecutionScript(ends_as="CANCELED"), call=2)
    for word in ("FAILED", "CANCELED"):
        ended = uploaded(destination, f"segsync-{word}", adding)
        assert (ended.state, ended.status) == (ExecutionState.FAILED, word)


def a_status_that_nobody_knows_is_active(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    made, adding = prepared(destination, emulator, folder, "wordy")
    emulator.faults.add("upload", ExecutionScript(shown=("LOST",), then="last"))
    destination.upload(made, adding)
    for _ in range(POLLS):
        [execution] = destination.list_executions(made)
        assert (execution.state, execution.status) == (ExecutionState.ACTIVE, "LOST")


def counts_that_are_missing_are_not_invented(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "countless")
    nothing = {"total_success": None, "total_failure": None}
    patch = {"result": None, "parameters": nothing}
    emulator.faults.add("upload", ExecutionScript(patch=patch))
    ended = uploaded(
        destination, "segsync-countless", payload(folder, command("UPDATE", "u1", name))
    )
    assert ended.state is ExecutionState.SUCCEEDED
    assert (ended.total_success, ended.total_failure, ended.error_file_uri) == (None, None, None)


CHECKS = (
    an_import_is_found_by_the_start_of_its_name,
    a_new_import_has_no_executions,
    a_payload_takes_effect,
    executions_are_listed_oldest_first,
    what_the_platform_rejects_is_counted_and_can_be_read,
    segments_are_looked_up,
    a_removal_says_nothing_of_other_segments,
    the_bytes_of_a_payload_arrive_as_they_are,
    all_of_many_imports_are_found,
    imports_are_found_by_several_starts,
    all_of_many_executions_are_listed,
    an_execution_is_active_until_it_has_ended,
    the_executions_of_one_upload_are_all_listed,
    what_ends_badly_has_failed,
    a_status_that_nobody_knows_is_active,
    counts_that_are_missing_are_not_invented,
)
