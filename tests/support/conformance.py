"""What any destination must do for `apply`, whatever it is made of.

`check_destination` carries out CHECKS against a destination whose platform is the emulator. A
destination waits between attempts on its own clock: give it one that does not really wait.
"""

from __future__ import annotations

import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from segsync.destination import Destination, Execution, ExecutionState, SegmentProblem
from segsync.emulator import Behaviour, Cut, Emulator, http_error
from segsync.errors import DestinationError, OutcomeUnknown, Refused
from segsync.model import Address

MakeDestination = Callable[[], Destination]
Check = Callable[[Destination, Emulator, Path], None]

POLLS = 10


def check_destination(make_destination: MakeDestination, emulator: Emulator) -> None:
    """Every check, each with a destination of its own on the one emulator."""
    for check in CHECKS:
        run_check(check, make_destination, emulator)


def run_check(check: Check, make_destination: MakeDestination, emulator: Emulator) -> None:
    """One check, and afterwards the emulator behaves and goes well again."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            check(make_destination(), emulator, Path(folder))
        finally:
            emulator.faults.clear()
            emulator.accept_all()
            emulator.behave(segment_rights=Behaviour().segment_rights)


def command(operation: str, account: str, segment: str) -> str:
    return (
        f'{{"operation":"{operation}","user_account_id":"{account}",'
        f'"segment_technical_name":"{segment}","expiration_duration":0}}\n'
    )


def payload(folder: Path, *commands: str) -> Path:
    path = folder / f"part-{len(list(folder.iterdir()))}.ndjson"
    path.write_text("".join(commands))
    return path


def segment(emulator: Emulator, name: str) -> str:
    """A segment of this name, new unless it is there."""
    try:
        emulator.members(name)
    except KeyError:
        emulator.add_segment(name)
    return name


def finished(destination: Destination, document_import: str) -> Execution:
    """The last execution of an import, when it has ended."""
    for _ in range(POLLS):
        last = destination.list_executions(document_import)[-1]
        if last.state is not ExecutionState.ACTIVE:
            return last
    raise AssertionError(f"still {last.status} after {POLLS} polls")


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


def a_token_without_rights_to_segments_is_told(
    destination: Destination, emulator: Emulator, _folder: Path
) -> None:
    emulator.behave(segment_rights=False)
    for address in (Address("segment_id", "1"), Address("segment_technical_name", "a")):
        with pytest.raises(Refused) as refused:
            destination.look_up_segment(address)
        assert refused.value.status == 403


def an_import_whose_answer_was_lost_is_found_and_not_made_twice(
    destination: Destination, emulator: Emulator, _folder: Path
) -> None:
    emulator.faults.add("create_import", Cut("after_apply"))
    made = destination.create_import("segsync-lost")
    assert destination.find_imports("segsync-lost") == [made]


def an_import_that_was_never_made_is_made_again(
    destination: Destination, emulator: Emulator, _folder: Path
) -> None:
    emulator.faults.add("create_import", Cut("before_apply"))
    emulator.faults.add("create_import", http_error(503), call=2)
    made = destination.create_import("segsync-unmade")
    assert destination.find_imports("segsync-unmade") == [made]


def an_upload_whose_answer_was_lost_is_unknown_and_sent_once(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "unsure")
    made = destination.create_import("segsync-unsure").id
    adding = payload(folder, command("UPDATE", "u1", name))
    emulator.faults.add("upload", Cut("after_apply"))
    with pytest.raises(OutcomeUnknown):
        destination.upload(made, adding)
    assert finished(destination, made).state is ExecutionState.SUCCEEDED
    assert len(destination.list_executions(made)) == 1


def an_upload_that_meets_trouble_is_unknown_and_not_repeated(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "troubled")
    made = destination.create_import("segsync-troubled").id
    adding = payload(folder, command("UPDATE", "u1", name))
    for status in (408, 429, 500, 502, 503, 504):
        emulator.faults.add("upload", http_error(status))
        with pytest.raises(OutcomeUnknown):
            destination.upload(made, adding)
    assert destination.list_executions(made) == []


def an_upload_that_is_refused_is_refused(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "refused")
    made = destination.create_import("segsync-refused").id
    adding = payload(folder, command("UPDATE", "u1", name))
    for status in (400, 401, 403, 413, 422):
        emulator.faults.add("upload", http_error(status))
        with pytest.raises(Refused) as refused:
            destination.upload(made, adding)
        assert refused.value.status == status
        assert refused.value.error_id == f"scripted-{status}"
    assert destination.list_executions(made) == []
    with pytest.raises(Refused):
        destination.upload("999999", adding)


def reading_outlasts_passing_trouble(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "trouble")
    made = destination.create_import("segsync-trouble").id
    begun = destination.upload(made, payload(folder, command("UPDATE", "u1", name)))
    emulator.faults.add("list_executions", http_error(503))
    emulator.faults.add("list_executions", Cut("before_apply"), call=2)
    emulator.faults.add("list_executions", Cut("answer"), call=3)
    assert [one.id for one in destination.list_executions(made)] == [begun.id]


CHECKS: tuple[Check, ...] = (
    an_import_is_found_by_the_start_of_its_name,
    a_new_import_has_no_executions,
    a_payload_takes_effect,
    executions_are_listed_oldest_first,
    what_the_platform_rejects_is_counted_and_can_be_read,
    segments_are_looked_up,
    a_token_without_rights_to_segments_is_told,
    an_import_whose_answer_was_lost_is_found_and_not_made_twice,
    an_import_that_was_never_made_is_made_again,
    an_upload_whose_answer_was_lost_is_unknown_and_sent_once,
    an_upload_that_meets_trouble_is_unknown_and_not_repeated,
    an_upload_that_is_refused_is_refused,
    reading_outlasts_passing_trouble,
)
