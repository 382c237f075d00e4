"""What an answer may look like, what is tolerated in it, and what is never believed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segsync.destination import ExecutionState, SegmentProblem
from segsync.errors import NotSent, ProtocolError, Refused
from segsync.mediarithmics.envelope import cleaner, count, envelope, failure, identifier
from segsync.mediarithmics.exchange import Answer
from segsync.mediarithmics.paging import PAGE_ITEMS, read_all
from segsync.mediarithmics.resources import read_execution
from segsync.model import Address
from segsync.printable import printable
from segsync.secret import Redactor, Secret
from tests.support.platform import DATAMART, TOKEN, assert_clean, destination, fails
from tests.support.raw_server import RawServer, answer, head, ok, raw

CLEAN = cleaner(Redactor([TOKEN]))


def understood(body: bytes) -> dict[str, Any]:
    return envelope(Answer(200, {}, body), "ask", CLEAN)


# The envelope


@pytest.mark.parametrize(
    "body",
    [
        b'{"status":"ok","data":[]}',
        b'\xef\xbb\xbf{"status":"ok","data":[]}',
        b' \r\n{"data" : [ ], "status": "ok", "max_result": 50, "news": {"a": null}}\n',
        b'{"status":"ok","data":[],"count":"0","error":null}',
    ],
)
def test_what_is_harmless_in_an_answer_is_tolerated(body: bytes) -> None:
    assert understood(body)["data"] == []


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "(nothing)"),
        (b"   ", "not JSON"),
        (b"<!DOCTYPE html><h1>Log in</h1>", "not JSON: <!DOCTYPE html>"),
        (b'{"status":"ok","data":[', "not JSON"),
        (b'{"status":"ok","data":[]} {"status":"ok"}', "not JSON"),
        (b'{"status":"ok","data":NaN}', "NaN"),
        (b'{"status":"ok","data":[-Infinity]}', "Infinity"),
        (b'{"status":"error","data":[],"status":"ok"}', "repeated key"),
        (b'{"status":"ok","data":{"id":"1","id":"2"}}', "repeated key"),
        (b'{"status":"ok","data":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "too deeply"),
        (b'{"status":"ok","data":' + b'{"a":' * 100_000, "too deeply"),
        ('{"status":"ok","data":["é"]}'.encode("latin-1"), "not UTF-8"),
        ('{"status":"ok","data":[]}'.encode("utf-16"), "not UTF-8"),
        (b'{"status":"ok","data":' + b"9" * 5000 + b"}", "not JSON"),
        (b"[]", "no JSON object"),
        (b'"ok"', "no JSON object"),
        (b"null", "no JSON object"),
        (b'{"data":[]}', "lacks status"),
        (b'{"status":"OK","data":[]}', "lacks status"),
        (b'{"status":["ok"],"data":[]}', "lacks status"),
        (b'{"status":"ok"}', "lacks status"),
        (b'{"status":"ok","data":null}', "lacks status"),
    ],
)
def test_what_makes_no_sense_is_not_believed(body: bytes, words: str) -> None:
    with fails(ProtocolError, words):
        understood(body)


def test_a_success_that_says_error_is_a_refusal() -> None:
    body = b'{"status":"error","error":"Boom","error_id":"e-9","error_code":"X"}'
    with fails(Refused, "HTTP 200", "Boom", "e-9") as caught:
        understood(body)
    assert (caught[0].status, caught[0].error_id) == (200, "e-9")


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_foreign(body: bytes) -> None:
    try:
        understood(body)
    except (ProtocolError, Refused) as error:
        assert_clean(error)


@pytest.mark.parametrize(
    ("location", "shown"),
    [
        ("https://login.example.com/x?token=" + TOKEN, "login.example.com"),
        ("https://user:secret@evil.example/", "evil.example"),
        ("/elsewhere", "another path of its own"),
        ("", "another path of its own"),
        ("https://[::1", "an unreadable address"),
        ("https://\x1bcevil.example/", "\\x1bcevil.example"),
    ],
)
def test_a_redirect_names_the_host_and_nothing_else(location: str, shown: str) -> None:
    error = failure(Answer(302, {"location": location}, b""), "ask", CLEAN, Secret(TOKEN))
    assert isinstance(error, ProtocolError)
    assert shown in str(error)
    assert TOKEN not in str(error)
    assert "secret" not in str(error)


# Texts


@pytest.mark.parametrize(
    "body",
    [
        {"status": "error", "error": f"bad {TOKEN} \x1b[2J\u202e\u2028\x00" + "x" * 1000},
        {"status": "error", "error": {"deep": [TOKEN]}, "error_id": f"\x9b{TOKEN}"},
        {"error_code": TOKEN},
        f"<html>{TOKEN}\x1b]0;owned\x07".encode(),
        ("x" * 290 + TOKEN).encode(),
        b"\xff\xfe" + TOKEN.encode(),
    ],
)
def test_a_text_of_the_platform_is_short_printable_and_without_the_token(body: object) -> None:
    with RawServer(answer(body, 400)) as server, fails(Refused) as caught:
        destination(server.url).list_executions("1")
    text = str(caught[0])
    assert len(text) < 700
    assert TOKEN[:8] not in text


@given(st.text())
def test_what_is_shown_holds_printable_characters_only(text: str) -> None:
    assert printable(text).isprintable()


# Ids and numbers


@pytest.mark.parametrize(("value", "text"), [("77", "77"), (77, "77"), ("a-B_9", "a-B_9")])
def test_an_id_is_a_text_or_a_number(value: object, text: str) -> None:
    assert identifier(value) == text


@pytest.mark.parametrize(
    "value",
    [None, "", "..", "a/b", "1?x=y", "1#", "a b", "x" * 101, True, 1.0, [], "é", "1\n", "%2e"],
)
def test_what_is_no_id_is_not_put_into_a_path(value: object) -> None:
    with fails(ProtocolError):
        identifier(value)


@pytest.mark.parametrize(("value", "number"), [(0, 0), (7, 7), ("7", 7), ("007", 7)])
def test_a_count_is_a_number_or_digits(value: object, number: int) -> None:
    assert count(value) == number


@pytest.mark.parametrize(
    "value", [None, -1, "-1", True, 1.0, "1.0", "", " 1", "1e3", "\u0663", [], 10**30, "9" * 5000]
)
def test_what_is_no_count_is_none(value: object) -> None:
    assert count(value) is None


# Executions


def execution(**fields: object) -> dict[str, object]:
    return {"id": "9", "status": "RUNNING", **fields}


STATES = {
    "PENDING": ExecutionState.ACTIVE,
    "RUNNING": ExecutionState.ACTIVE,
    "SUCCEEDED": ExecutionState.SUCCEEDED,
    "SUCCESS": ExecutionState.SUCCEEDED,
    "FAILED": ExecutionState.FAILED,
    "CANCELED": ExecutionState.FAILED,
    "LOST": ExecutionState.ACTIVE,
    "EXECUTOR_NOT_RESPONDING": ExecutionState.ACTIVE,
    "WAITING_DEPENDENT_JOB": ExecutionState.ACTIVE,
    "SCHEDULED": ExecutionState.ACTIVE,
    "succeeded": ExecutionState.ACTIVE,
    "NEW_WORD": ExecutionState.ACTIVE,
    "": ExecutionState.ACTIVE,
}


@pytest.mark.parametrize("word", STATES)
def test_an_execution_is_over_only_if_its_status_surely_says_so(word: str) -> None:
    found = read_execution(execution(status=word), "77", CLEAN)
    assert (found.state, found.status) == (STATES[word], word)


@pytest.mark.parametrize("word", [None, 7, ["SUCCEEDED"], {"SUCCEEDED": 1}, True])
def test_a_status_that_is_no_word_is_not_an_end(word: object) -> None:
    assert read_execution(execution(status=word), "77", CLEAN).state is ExecutionState.ACTIVE


@pytest.mark.parametrize(
    ("fields", "totals"),
    [
        ({"result": {"total_success": 5, "total_failure": 1}}, (5, 1)),
        ({"result": {"total_success": "5", "total_failure": "0"}}, (5, 0)),
        ({"result": None, "parameters": {"total_success": 5, "total_failure": 1}}, (5, 1)),
        ({"result": {"total_success": 5}, "parameters": {"total_failure": 1}}, (5, 1)),
        ({"result": {"total_success": -1}, "parameters": {"total_success": 5}}, (None, None)),
        ({"result": {"total_success": True, "total_failure": 0.0}}, (None, None)),
        ({"result": [], "parameters": "x"}, (None, None)),
        ({}, (None, None)),
    ],
)
def test_counts_are_read_from_the_result_or_else_the_parameters(
    fields: dict[str, object], totals: tuple[int | None, int | None]
) -> None:
    found = read_execution(execution(**fields), "77", CLEAN)
    assert (found.total_success, found.total_failure) == totals


@pytest.mark.parametrize(
    ("completed", "tasks", "progress"),
    [
        (1, 4, 0.25),
        ("1", "4", 0.25),
        (0, 4, 0.0),
        (5, 4, 1.0),
        (1, 0, None),
        (None, 4, None),
        (1, None, None),
        (-1, 4, None),
        ("x", "4", None),
        ("nan", "4", None),
        (1, "inf", None),
        ([], {}, None),
        (10**400, 4, None),
    ],
)
def test_progress_is_a_share_or_unknown(
    completed: object, tasks: object, progress: float | None
) -> None:
    found = read_execution(execution(completed_tasks=completed, num_tasks=tasks), "77", CLEAN)
    assert found.progress == progress


def test_an_execution_of_another_import_is_not_believed() -> None:
    read_execution(execution(parameters={"document_import_id": 77}), "77", CLEAN)
    with fails(ProtocolError, "document import 78"):
        read_execution(execution(parameters={"document_import_id": 78}), "77", CLEAN)


def test_the_rest_of_an_execution_is_read_where_it_is_readable() -> None:
    found = read_execution(
        execution(
            id=9,
            creation_date="1700000000000",
            result={"error_file_uri": "mics://data_file/x"},
            error={"message": f"bad\n{TOKEN}"},
        ),
        "77",
        CLEAN,
    )
    assert (found.id, found.created_at_ms) == ("9", 1_700_000_000_000)
    assert (found.error_file_uri, found.error_message) == ("mics://data_file/x", "bad\\n***")
    bare = read_execution(
        execution(result={"error_file_uri": 7}, error="x", creation_date=-1), "7", CLEAN
    )
    assert (bare.error_file_uri, bare.error_message, bare.created_at_ms) == (None, "x", None)


def test_executions_are_listed_oldest_first() -> None:
    items = [
        execution(id="10", creation_date=5),
        execution(id="9", creation_date=5),
        execution(id="1", creation_date=7),
        execution(id="2"),
    ]
    with RawServer(ok(items, total=4)) as server:
        found = destination(server.url).list_executions("77")
    assert [one.id for one in found] == ["2", "9", "10", "1"]


@pytest.mark.parametrize(
    "data", [{}, "x", 7, [7], [None], [{}], [{"id": None}], [{"id": "a/b"}], [[{"id": "1"}]]]
)
def test_a_list_of_something_else_is_not_believed(data: object) -> None:
    with RawServer(ok(data)) as server, fails(ProtocolError):
        destination(server.url).list_executions("77")


# Pages


class Pages:
    """A platform's list: caps the page, may lie about the total, may ignore the offset."""

    def __init__(self, ids: list[int], cap: int = 50, **more: Any) -> None:
        self.ids, self.cap, self.more, self.asked = ids, cap, more, 0

    def __call__(self, params: dict[str, str]) -> dict[str, Any]:
        self.asked += 1
        first = 0 if self.more.get("deaf") else int(params["first_result"])
        size = min(self.cap, int(params["max_results"]))
        page: dict[str, Any] = {"data": [{"id": one} for one in self.ids[first : first + size]]}
        if "total" in self.more:
            page["total"] = self.more["total"]
        return page

    def read(self) -> list[int]:
        return [item["id"] for item in read_all(self, lambda _: True)]


def test_pages_shorter_than_asked_are_read_to_the_end() -> None:
    ids = list(range(163))
    for cap in (1, 50, PAGE_ITEMS, 1000):
        assert Pages(ids, cap).read() == ids
        assert Pages(ids, cap, total=163).read() == ids
        assert Pages(ids, cap, total="163").read() == ids


def test_a_total_saves_the_last_request() -> None:
    whole = Pages([1, 2, 3], total=3)
    whole.read()
    assert whole.asked == 1


def test_an_empty_list_is_empty() -> None:
    assert Pages([]).read() == []
    assert Pages([], total=0).read() == []


def test_an_ignored_offset_does_not_loop_and_is_not_taken_for_the_whole() -> None:
    assert Pages([1, 2, 3], deaf=True).read() == [1, 2, 3]
    deaf = Pages(list(range(163)), deaf=True, total=163)
    with fails(ProtocolError, "incomplete", "50 items of the 163"):
        deaf.read()
    assert deaf.asked == 2


def test_a_page_that_is_too_large_for_the_platform_is_asked_for_smaller() -> None:
    class Strict(Pages):
        def __call__(self, params: dict[str, str]) -> dict[str, Any]:
            if int(params["max_results"]) > 100:
                raise Refused("too many", status=400)
            return super().__call__(params)

    assert Strict(list(range(163))).read() == list(range(163))


def test_a_list_that_is_refused_is_refused() -> None:
    def fetch(_: dict[str, str]) -> dict[str, Any]:
        raise Refused("no", status=400)

    with fails(Refused):
        read_all(fetch, lambda _: True)


def test_items_that_move_between_pages_are_read_once() -> None:
    assert Pages([1, 2, 3, 3, 4, 4, 5], cap=3).read() == [1, 2, 3, 4, 5]


def pages(count: int, *totals: int) -> Callable[[dict[str, str]], dict[str, Any]]:
    """Fetches pages of 5,000 items; each says the next of these totals, then the last one."""

    def fetch(params: dict[str, str]) -> dict[str, Any]:
        first = int(params["first_result"])
        page: dict[str, Any] = {
            "data": [{"id": number} for number in range(first, min(first + 5000, count))]
        }
        if totals:
            page["total"] = totals[min(first // 5000, len(totals) - 1)]
        return page

    return fetch


@pytest.mark.parametrize("totals", [(), tuple(range(10_000, 10**7, 5_000))])
def test_a_list_without_end_is_given_up(totals: tuple[int, ...]) -> None:
    with fails(ProtocolError, "does not end"):
        read_all(pages(10**7, *totals), lambda _: False)


def test_a_list_may_be_as_long_as_the_platform_says() -> None:
    found = read_all(pages(450_000, 450_000), lambda item: item["id"] % 100_000 == 0)
    assert [item["id"] for item in found] == [0, 100_000, 200_000, 300_000, 400_000]


# Segments


def looked_up(address: Address, *items: dict[str, Any], total: int | None = None) -> Any:
    more = {} if total is None else {"total": total}
    with RawServer(ok(list(items), **more)) as server:
        return destination(server.url).look_up_segment(address)


NAME = Address("segment_technical_name", "vip")
ID = Address("segment_id", "88")


def segment(**fields: object) -> dict[str, Any]:
    return {
        "id": "88",
        "technical_name": "vip",
        "datamart_id": DATAMART,
        "type": "USER_LIST",
        "feed_type": "FILE_IMPORT",
        "paused": False,
        **fields,
    }


PROBLEMS: list[tuple[dict[str, object], SegmentProblem | None]] = [
    ({}, None),
    ({"datamart_id": int(DATAMART)}, None),
    ({"datamart_id": None, "type": None, "feed_type": None, "paused": None}, None),
    ({"paused": True}, SegmentProblem.PAUSED),
    ({"paused": "true"}, SegmentProblem.PAUSED),
    ({"type": "USER_QUERY"}, SegmentProblem.WRONG_TYPE),
    ({"feed_type": "TAG"}, SegmentProblem.WRONG_TYPE),
    ({"type": "USER_QUERY", "paused": True}, SegmentProblem.WRONG_TYPE),
    ({"datamart_id": "1"}, SegmentProblem.MISSING),
]


@pytest.mark.parametrize(("fields", "problem"), PROBLEMS)
def test_a_segment_is_judged_the_same_by_name_and_by_id(
    fields: dict[str, object], problem: SegmentProblem | None
) -> None:
    assert looked_up(NAME, segment(**fields), total=1).problem is problem
    with RawServer(ok(segment(**fields))) as server:
        found = destination(server.url).look_up_segment(ID)
    assert found.problem is problem
    assert found.address == ID
    assert "segment_id=88" in found.detail


def test_a_technical_name_must_be_exactly_the_one() -> None:
    names = ["VIP", "vip2", " vip", None]
    others = [segment(id=str(number), technical_name=name) for number, name in enumerate(names)]
    assert looked_up(NAME, *others, total=4).problem is SegmentProblem.MISSING
    assert looked_up(NAME, *others, segment(), total=5).problem is None


def test_two_segments_of_one_technical_name_are_ambiguous() -> None:
    found = looked_up(NAME, segment(), segment(id="89"), total=2)
    assert found.problem is SegmentProblem.AMBIGUOUS
    assert "88, 89" in found.detail
    elsewhere = segment(id="89", datamart_id="1")
    assert looked_up(NAME, segment(), elsewhere, total=2).problem is None


def test_one_segment_on_two_pages_is_one() -> None:
    assert looked_up(NAME, segment()).problem is None


def test_an_answer_about_another_segment_is_not_believed() -> None:
    with RawServer(ok(segment(id="89"))) as server, fails(ProtocolError, "another segment"):
        destination(server.url).look_up_segment(ID)


@pytest.mark.parametrize("value", ["../users", "1/2", "a b", ""])
def test_what_can_be_no_segment_id_is_not_asked_for(value: str) -> None:
    with RawServer(ok(segment())) as server:
        found = destination(server.url).look_up_segment(Address("segment_id", value))
    assert found.problem is SegmentProblem.MISSING
    assert server.requests == []


def test_an_unknown_id_is_a_missing_segment() -> None:
    with RawServer(answer({"status": "error", "error": "Resource Not Found"}, 404)) as server:
        found = destination(server.url).look_up_segment(ID)
    assert found.problem is SegmentProblem.MISSING


# Error files


@pytest.mark.parametrize(
    "uri",
    [
        "https://evil.example/x",
        "HTTP://127.0.0.1/x",
        "//evil.example/x",
        "\\\\evil.example\\x",
        "file:///etc/passwd",
        "mics:x\nHost: evil",
        "",
        "x" * 5000,
    ],
)
def test_an_error_file_elsewhere_is_not_fetched(uri: str, tmp_path: Path) -> None:
    with RawServer(answer(b"x")) as server, fails(ProtocolError):
        destination(server.url).fetch_error_file(uri, tmp_path / "errors")
    assert server.requests == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("uri", ["mics://data_file/tenants/1/é x&y", "data/x.errors", "/data/x"])
def test_an_error_file_is_asked_for_by_its_address_as_it_stands(uri: str, tmp_path: Path) -> None:
    with RawServer(answer(b"line\n")) as server:
        destination(server.url).fetch_error_file(uri, tmp_path / "errors")
    target = server.requests[0].target
    assert target.startswith("/v1/data_file/data?uri=")
    assert "/" not in target.removeprefix("/v1/data_file/data?uri=")
    assert (tmp_path / "errors").read_bytes() == b"line\n"
    assert (tmp_path / "errors").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"Content-Type": "text/html; charset=utf-8"}, b"<html>Log in</html>"),
        ({"Content-Encoding": "gzip"}, b"\x1f\x8b"),
    ],
)
def test_what_is_no_error_file_is_not_kept(
    headers: dict[str, str], body: bytes, tmp_path: Path
) -> None:
    with RawServer(answer(body, headers=headers)) as server, fails(ProtocolError, "no file"):
        destination(server.url).fetch_error_file("mics://x", tmp_path / "errors")
    assert list(tmp_path.iterdir()) == []


def test_an_error_in_place_of_the_error_file_is_told(tmp_path: Path) -> None:
    step = answer({"status": "error", "error": "gone"}, 200, {"Content-Type": "application/json"})
    with RawServer(step) as server, fails(Refused, "gone"):
        destination(server.url).fetch_error_file("mics://x", tmp_path / "errors")
    assert list(tmp_path.iterdir()) == []


def test_an_error_file_that_breaks_off_is_fetched_anew(tmp_path: Path) -> None:
    broken = raw(head(length=100) + b"half", how="close")
    with RawServer(broken, answer(b"whole")) as server:
        destination(server.url).fetch_error_file("mics://x", tmp_path / "errors")
    assert (tmp_path / "errors").read_bytes() == b"whole"


def test_an_error_file_never_replaces_a_file(tmp_path: Path) -> None:
    (tmp_path / "errors").write_text("mine")
    with RawServer(answer(b"x")) as server, fails(NotSent, "File exists"):
        destination(server.url).fetch_error_file("mics://x", tmp_path / "errors")
    assert (tmp_path / "errors").read_text() == "mine"
    assert server.requests == []


def test_an_empty_error_file_is_an_empty_file(tmp_path: Path) -> None:
    with RawServer(answer(b"")) as server:
        destination(server.url).fetch_error_file("mics://x", tmp_path / "errors")
    assert (tmp_path / "errors").read_bytes() == b""
