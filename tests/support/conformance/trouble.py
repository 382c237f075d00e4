"""Checks of what a destination does where something goes wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from segsync.destination import Destination, ExecutionState
from segsync.emulator import Answer, Cut, Emulator, html_page, http_error
from segsync.errors import DestinationError, OutcomeUnknown, ProtocolError, Refused
from segsync.model import Address
from tests.support.conformance.scene import (
    command,
    finished,
    payload,
    prepared,
    segment,
    uploaded,
)

LONG_AGO = "Sat, 01 Jan 2000 00:00:00 GMT"
EMPTY = '{"status":"ok","data":[],"count":0,"total":0}'


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
    made, adding = prepared(destination, emulator, folder, "unsure")
    emulator.faults.add("upload", Cut("after_apply"))
    with pytest.raises(OutcomeUnknown):
        destination.upload(made, adding)
    assert finished(destination, made).state is ExecutionState.SUCCEEDED
    assert len(destination.list_executions(made)) == 1


def an_upload_that_meets_trouble_is_unknown_and_not_repeated(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    made, adding = prepared(destination, emulator, folder, "troubled")
    for status in (408, 429, 500, 502, 503, 504):
        emulator.faults.add("upload", http_error(status))
        with pytest.raises(OutcomeUnknown):
            destination.upload(made, adding)
    assert destination.list_executions(made) == []


def an_upload_that_is_refused_is_refused(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    made, adding = prepared(destination, emulator, folder, "refused")
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
    made, adding = prepared(destination, emulator, folder, "trouble")
    begun = destination.upload(made, adding)
    emulator.faults.add("list_executions", http_error(503))
    emulator.faults.add("list_executions", Cut("before_apply"), call=2)
    emulator.faults.add("list_executions", Cut("answer"), call=3)
    assert [one.id for one in destination.list_executions(made)] == [begun.id]


def what_is_not_there_is_refused(
    destination: Destination, _emulator: Emulator, folder: Path
) -> None:
    with pytest.raises(Refused) as refused:
        destination.list_executions("999999")
    assert refused.value.status == 404
    errors = folder / "errors"
    with pytest.raises(Refused):
        destination.fetch_error_file("mics://data_file/nowhere", errors)
    assert not errors.exists()


def an_error_file_elsewhere_is_not_fetched(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    asked = len(emulator.request_log)
    errors = folder / "errors"
    for uri in ("https://example.org/errors", "file:///etc/passwd", "ftp://a/b"):
        with pytest.raises(ProtocolError):
            destination.fetch_error_file(uri, errors)
    assert not errors.exists()
    assert len(emulator.request_log) == asked


def half_an_error_file_is_asked_for_again(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    emulator.behave(error_file="json_flat")
    unknown = payload(folder, *(command("UPDATE", f"u{n}", "segment-of-nobody") for n in range(9)))
    ended = uploaded(destination, "segsync-halves", unknown)
    emulator.faults.add("error_file", Cut("answer", how="fin"))
    errors = folder / "errors"
    destination.fetch_error_file(ended.error_file_uri or "", errors)
    assert len(errors.read_text().splitlines()) == 9


def an_import_that_is_refused_is_not_asked_for_again(
    destination: Destination, emulator: Emulator, _folder: Path
) -> None:
    asked = len(emulator.request_log)
    for status in (400, 401, 403, 422):
        emulator.faults.add("create_import", http_error(status))
        with pytest.raises(Refused) as refused:
            destination.create_import("segsync-unwelcome")
        assert refused.value.status == status
    assert len(emulator.request_log) - asked == 4


def a_page_that_is_no_answer_is_an_error(
    destination: Destination, emulator: Emulator, folder: Path
) -> None:
    name = segment(emulator, "paged")
    made = destination.create_import("segsync-paged").id
    for status in (200, 302):
        emulator.faults.add("any", html_page(status))
        with pytest.raises(ProtocolError):
            destination.list_executions(made)
        emulator.faults.add("any", html_page(status))
        with pytest.raises(ProtocolError):
            destination.look_up_segment(Address("segment_technical_name", name))
    emulator.faults.add("upload", html_page())
    with pytest.raises(OutcomeUnknown):
        destination.upload(made, payload(folder, command("UPDATE", "u1", name)))


def trouble_that_does_not_end_is_given_up(
    destination: Destination, emulator: Emulator, _folder: Path
) -> None:
    made = destination.create_import("segsync-given-up").id
    emulator.faults.add("any", http_error(503, retry_after="1"), call=None)
    asked = len(emulator.request_log)
    with pytest.raises(DestinationError):
        destination.list_executions(made)
    assert 1 < len(emulator.request_log) - asked <= 5


def a_wrong_clock_is_an_error(destination: Destination, emulator: Emulator, _folder: Path) -> None:
    """Expirations would be computed from it."""
    emulator.faults.add("list_imports", Answer(200, EMPTY, {"Date": LONG_AGO}), call=None)
    with pytest.raises(ProtocolError):
        destination.find_imports("segsync-clock")


CHECKS = (
    a_token_without_rights_to_segments_is_told,
    an_import_whose_answer_was_lost_is_found_and_not_made_twice,
    an_import_that_was_never_made_is_made_again,
    an_upload_whose_answer_was_lost_is_unknown_and_sent_once,
    an_upload_that_meets_trouble_is_unknown_and_not_repeated,
    an_upload_that_is_refused_is_refused,
    reading_outlasts_passing_trouble,
    what_is_not_there_is_refused,
    an_error_file_elsewhere_is_not_fetched,
    half_an_error_file_is_asked_for_again,
    an_import_that_is_refused_is_not_asked_for_again,
    a_page_that_is_no_answer_is_an_error,
    trouble_that_does_not_end_is_given_up,
    a_wrong_clock_is_an_error,
)
