"""What the platform refuses stays visible and is tried again; what it does not name is repeated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segsync.emulator import Answer, Cut, ExecutionScript
from segsync.emulator.commands import Command
from segsync.render.status import read_status
from segsync.report import Exit, Report
from segsync.state import PartStatus, Reject, open_state
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import apply_until_killed
from tests.support.plans import reasons
from tests.support.world import START_MS, World, assert_sound

NAMING = ("json_flat", "json_nested", "csv", "input_lines", "identifiers")
NAMELESS = ("json_line_number", "text", "missing", "empty", "garbage", "expired", "half")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with in_one_thread(), LeanWorld(tmp_path) as made:
        yield made


def rejects_of(world: World) -> list[Reject]:
    state = open_state(world.state, read_only=True)
    try:
        return state.rejects(1000)
    finally:
        state.close()


def figures(report: Report) -> tuple[int, int, int, int]:
    assert report.run is not None
    outcome = report.run.outcome
    return outcome.confirmed, outcome.rejected, outcome.unknown, outcome.given_up


def heal(world: World) -> None:
    """The platform accepts everything from now on, and all pauses have passed."""
    world.emulator.accept_all()
    world.advance(days=8)
    world.settle()
    world.emulator.refused.clear()
    assert_sound(world)
    assert not rejects_of(world)


@pytest.mark.parametrize("shape", NAMING)
@pytest.mark.parametrize("bag", [False, True])
def test_rejects_that_an_error_file_names_are_kept_and_the_rest_is_confirmed(
    world: World, shape: Any, bag: bool
) -> None:
    world.emulator.behave(error_file=shape)
    columns = ("user_account_id", "total") if bag else ("user_account_id",)
    rows = [(f"customer-{n}", n) if bag else (f"customer-{n}",) for n in range(20)]
    world.define("vip", *columns, rows=rows)
    bad = {f"customer-{n}" for n in (0, 7, 19)}
    world.emulator.reject([world.emulator.account(name) for name in bad], "no such customer")
    report = world.apply()
    assert report.exit is Exit.REJECTED
    assert figures(report) == (17, 3, 0, 0)
    kept = rejects_of(world)
    assert {item.identifier for item in kept} == bad
    assert {item.attempts for item in kept} == {1}
    if shape not in ("input_lines", "identifiers"):
        assert all("no such customer" in item.reason for item in kept)
    assert not any(item.identifier in item.reason for item in kept)
    assert report.run is not None
    assert report.run.segments[0].rejected == 3
    assert_sound(world, converged=False)
    heal(world)


@pytest.mark.parametrize("shape", NAMELESS)
def test_failures_without_a_name_keep_the_whole_part_pending_and_are_given_up_after_three_runs(
    world: World, shape: Any
) -> None:
    world.emulator.behave(error_file=shape)
    world.define("vip", rows=[f"customer-{n}" for n in range(20)])
    bad = [world.emulator.account(f"customer-{n}") for n in (0, 7, 19)]
    world.emulator.reject(bad)
    for _ in range(2):
        report = world.apply()
        assert report.exit is Exit.UNKNOWN
        assert figures(report) == (0, 0, 20, 0)
        assert report.run is not None
        assert "counts 17 done and 3 failed of 20 commands" in report.run.problems[-1]
        assert world.plan().totals.retry == 20
        assert_sound(world, converged=False)
    report = world.apply()
    assert report.exit is Exit.REJECTED
    assert figures(report) == (20, 0, 0, 20)
    assert report.run is not None
    assert report.run.segments[0].confirmed == 20
    assert not world.plan().changes_something
    assert_sound(world, converged=False)


def test_nothing_is_given_up_while_removals_before_it_are_in_doubt(world: World) -> None:
    """`h` and `u` are one person, of whom the query returns one at a time. What adds `u` fails for
    the third time beside a removal that will be said again, and takes the person along.
    """
    emulator, missing = world.emulator, {"error_file": "missing"}
    emulator.declare_person([emulator.email("h"), emulator.account("u")])
    mail, account, bad, old = ("h", None), (None, "u"), (None, "bad"), ("old", None)
    columns = ("email_hash", "user_account_id")
    world.define("vip", *columns, rows=[old], guard={"max_removed": "100%"})
    world.apply()
    emulator.reject([emulator.account("bad")])
    emulator.behave(**missing)
    world.fill("vip", [old, account, bad])
    assert [world.apply().exit for _ in range(2)] == [Exit.UNKNOWN] * 2
    emulator.behave(error_file="json_flat")
    emulator.reject([emulator.account("u")], operations=("DELETE",))
    world.fill("vip", [old, mail, bad])
    assert world.apply().exit is Exit.REJECTED
    emulator.behave(**missing)
    emulator.accept_all()
    emulator.reject([emulator.account("bad")])
    emulator.reject([emulator.email("old")], operations=("DELETE",))
    world.fill("vip", [account, bad])
    report = world.apply()
    assert report.run is not None
    assert [part.status for part in report.run.parts] == [
        PartStatus.UNATTRIBUTED,
        PartStatus.UNKNOWN,
    ]
    assert not report.run.outcome.given_up
    emulator.accept_all()
    world.settle()
    assert emulator.is_member("vip", emulator.account("u"))


def test_failures_of_another_command_do_not_make_a_removal_confirmed(world: World) -> None:
    world.emulator.behave(error_file="missing")
    names = [f"customer-{n}" for n in range(20)]
    world.define("vip", rows=names)
    stays, goes = (world.emulator.account(name) for name in ("customer-0", "customer-1"))
    world.apply()
    world.emulator.reject([stays, goes])
    world.define("vip", rows=names, expiration="60d")
    for _ in range(2):
        assert figures(world.apply()) == (0, 0, 20, 0)
    world.accounts("vip", *(name for name in names if name != "customer-1"))
    report = world.apply()
    assert report.run is not None
    assert report.run.outcome.given_up == 19
    assert report.run.outcome.rejected == 1
    assert world.plan().totals.remove == 1


def test_an_execution_that_counts_nothing_is_never_taken_as_confirmed(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    nothing = {"total_success": 0, "total_failure": 0}
    for _ in range(4):
        world.emulator.faults.add("upload", ExecutionScript(patch={"result": nothing}))
        report = world.apply()
        assert figures(report) == (0, 0, 2, 0)
        assert report.run is not None
        assert "counts no command" in report.run.problems[-1]
    world.settle()
    assert_sound(world)


@pytest.mark.parametrize("shape", [*NAMELESS, "identifiers"])
def test_where_all_commands_failed_it_is_certain_which(world: World, shape: Any) -> None:
    """Without a name as well: taken as confirmed, they would never be said again."""
    emulator = world.emulator
    emulator.behave(error_file=shape)
    names = [f"customer-{n}" for n in range(20)]
    world.define("vip", rows=names, guard={"max_removed": "100%"})
    emulator.reject([emulator.account(name) for name in names])
    assert figures(world.apply()) == (0, 20, 0, 0)
    assert {item.identifier for item in rejects_of(world)} == set(names)
    emulator.accept_all()
    world.settle()
    emulator.refused.clear()
    assert_sound(world)
    emulator.reject([emulator.account(name) for name in names[:2]], operations=("DELETE",))
    world.accounts("vip", *names[2:])
    assert figures(world.apply()) == (0, 2, 0, 0)
    heal(world)


@pytest.mark.parametrize("shape", ["json_flat", "missing"])
def test_platform_that_accepts_in_the_second_run_ends_with_all_members(
    world: World, shape: Any
) -> None:
    world.emulator.behave(error_file=shape)
    world.define("vip", rows=["a", "b", "c"])
    world.emulator.reject([world.emulator.account("b")])
    world.apply()
    world.emulator.accept_all()
    world.settle()
    world.emulator.refused.clear()
    assert_sound(world)
    assert not rejects_of(world)


def test_numbers_of_lines_are_not_taken_for_identifiers(world: World) -> None:
    world.emulator.behave(error_file="text")
    world.define("vip", rows=[str(n) for n in range(30)])
    world.emulator.behave(error_file="csv", error_line_base=0)
    world.emulator.reject([world.emulator.account("3")])
    world.emulator.faults.clear()
    world.apply()
    assert {item.identifier for item in rejects_of(world)} <= {"3"}
    world.emulator.accept_all()
    world.settle()
    world.emulator.refused.clear()
    assert_sound(world)


def test_a_reject_is_tried_again_with_growing_pauses_until_it_is_accepted(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.emulator.reject([world.emulator.account("b")])
    world.apply()
    for hours in (0, 1, 4, 16, 64, 168, 168):
        if hours:
            assert not world.plan().totals.commands
            world.advance(hours=hours, seconds=-0.001)
            assert not world.plan().totals.commands
            world.advance(seconds=0.001)
        assert world.plan().totals.commands == 1
        assert world.apply().exit is Exit.REJECTED
    assert rejects_of(world)[0].attempts == 8
    heal(world)


def test_a_member_does_not_lapse_in_the_pause_after_a_renewal_that_was_rejected(
    world: World,
) -> None:
    world.define("vip", rows=[f"u{n}" for n in range(9)], expiration="2d")
    world.apply()
    world.advance(hours=24)
    world.emulator.reject([world.emulator.account(f"u{n}") for n in range(9)])
    for hours in range(30):
        if hours == 23:
            world.emulator.accept_all()
        world.apply()
        world.advance(hours=1)
        assert len(world.members("vip")) == 9
    assert not rejects_of(world)


def test_what_is_tried_again_is_told_apart_from_what_is_new(world: World) -> None:
    columns = ("user_account_id", "total", "expiration_ts")
    world.define("vip", *columns, rows=[("a", 1, None), ("b", 1, None), ("c", 1, None)])
    world.emulator.reject([world.emulator.account(who) for who in "bc"])
    world.apply()
    world.fill("vip", [("a", 1, None), ("b", 1, None), ("c", 2, None), ("d", 1, None)])
    plan = world.plan()
    assert plan.totals.reattempted == 1
    again, new = "rejected earlier, tried again", "new in the query"
    assert reasons(plan) == {("+", "b"): again, ("+", "c"): new, ("+", "d"): new}
    world.apply()
    assert reasons(world.plan()) == {("+", "c"): again}, "the pause of b has begun"
    world.fill("vip", [("a", 1, None)])
    world.emulator.reject([world.emulator.account("d")], operations=("DELETE",))
    world.apply()
    assert reasons(world.plan()) == {("-", "d"): again}
    world.fill("vip", [("a", 1, None), ("d", 1, "no time")])
    assert world.plan().totals.reattempted == 0, "the row is there, though it is invalid"
    world.drop("vip", "delete")
    assert reasons(world.plan())["-", "d"] == again
    heal(world)


def test_a_reject_never_blocks_other_changes(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.emulator.reject([world.emulator.account("b")])
    for _ in range(3):
        world.apply()
    world.accounts("vip", "b", "c")
    report = world.apply()
    assert figures(report) == (2, 0, 0, 0)
    assert world.members("vip").keys() == {world.emulator.account("c")}
    heal(world)


def test_a_changed_member_is_sent_at_once_though_an_earlier_command_was_rejected(
    world: World,
) -> None:
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 1)])
    world.emulator.reject([world.emulator.account("b")])
    for _ in range(3):
        world.apply()
    assert world.plan().totals.commands == 0
    world.fill("vip", [("a", 1), ("b", 2)])
    assert world.plan().totals.commands == 1
    assert world.apply().exit is Exit.REJECTED
    assert rejects_of(world)[0].attempts == 1
    heal(world)


def test_a_reject_that_nobody_desires_any_more_is_forgotten(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.emulator.reject([world.emulator.account("b")])
    world.apply()
    world.accounts("vip", "a")
    report = world.apply()
    assert report.plan is not None
    assert report.plan.totals.commands == 0
    assert not rejects_of(world)
    world.emulator.refused.clear()
    assert_sound(world)


def test_a_rejected_update_that_is_taken_back_leaves_the_confirmed_member_alone(
    world: World,
) -> None:
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 1)])
    world.apply()
    world.fill("vip", [("a", 1), ("b", 2)])
    world.emulator.reject([world.emulator.account("b")])
    assert world.apply().exit is Exit.REJECTED
    world.fill("vip", [("a", 1), ("b", 1)])
    report = world.apply()
    assert report.plan is not None
    assert report.plan.totals.commands == 0
    assert not rejects_of(world)
    world.emulator.refused.clear()
    assert_sound(world)


def test_a_rejected_removal_is_tried_again(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    world.accounts("vip", "a")
    world.emulator.reject([world.emulator.account("b")], operations=("DELETE",))
    assert world.apply().exit is Exit.REJECTED
    assert world.plan().totals.remove == 1
    assert world.emulator.is_member("vip", world.emulator.account("b"))
    heal(world)


def test_a_pending_member_is_sent_whatever_was_rejected_before(world: World) -> None:
    """b: rejected with 1, unknown with 2, desired with 1 again: it may be there with 2."""
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 1)])
    world.emulator.reject([world.emulator.account("b")])
    for _ in range(3):
        world.apply()
    world.emulator.accept_all()
    world.emulator.behave(error_file="missing")
    world.emulator.reject([world.emulator.account("a")])
    world.fill("vip", [("a", 2), ("b", 2)])
    assert world.apply().exit is Exit.UNKNOWN
    world.emulator.accept_all()
    world.fill("vip", [("a", 1), ("b", 1)])
    world.settle()
    world.emulator.refused.clear()
    assert_sound(world)


def test_rejects_of_several_segments_are_told_apart(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.define("reader", "user_account_id", rows=["a", "b"], segment_id="500")
    world.define("mail", "email_hash", rows=["a", "b"])

    def refuse_one(command: Any) -> str | None:
        return "no" if command.target[1] == "500" and command.identifier.value == "a" else None

    world.emulator.reject_when(refuse_one)
    report = world.apply()
    assert figures(report) == (5, 1, 0, 0)
    assert report.run is not None
    found = {item.name: (item.confirmed, item.rejected) for item in report.run.segments}
    assert found == {"vip": (2, 0), "reader": (1, 1), "mail": (2, 0)}
    assert [(item.segment, item.identifier) for item in rejects_of(world)] == [("reader", "a")]
    heal(world)


def test_bare_identifiers_that_stand_for_several_commands_name_none(world: World) -> None:
    world.emulator.behave(error_file="identifiers")
    world.define("vip", rows=["a", "b"])
    world.define("reader", rows=["a", "b"])

    def refuse_one(command: Any) -> str | None:
        return "no" if command.target[1] == "vip" and command.identifier.value == "a" else None

    world.emulator.reject_when(refuse_one)
    assert figures(world.apply()) == (0, 0, 4, 0)
    world.emulator.accept_all()
    world.settle()
    world.emulator.refused.clear()
    assert_sound(world)


@pytest.mark.parametrize("shape", NAMING)
def test_rejects_with_hostile_texts_are_named_or_everything_stays_pending(
    world: World, shape: Any
) -> None:
    world.emulator.behave(error_file=shape)
    hostile = ['a"b', "a,b", "a;b", "a\tb", "a\nb", " a ", "{}", '{"a":1}', "é\u2028", "null", "\\"]
    world.define("vip", rows=[*hostile, "plain"])
    world.emulator.reject([world.emulator.account(text) for text in hostile], "wrong; very\nwrong")
    report = world.apply()
    assert figures(report) in [(1, len(hostile), 0, 0), (0, 0, len(hostile) + 1, 0)]
    assert {item.identifier for item in rejects_of(world)} <= set(hostile)
    assert_sound(world, converged=False)
    heal(world)


@pytest.mark.parametrize("share", ["none", "one", "half", "all"])
@pytest.mark.parametrize("operation", ["UPDATE", "DELETE"])
def test_any_number_of_commands_may_be_rejected(world: World, share: str, operation: str) -> None:
    names = [f"u{n}" for n in range(8)]
    world.define("vip", rows=names, guard={"allow_empty": True})
    if operation == "DELETE":
        world.apply()
        world.accounts("vip")
    count = {"none": 0, "one": 1, "half": 4, "all": 8}[share]
    world.emulator.reject([world.emulator.account(name) for name in names[:count]])
    assert figures(world.apply()) == (8 - count, count, 0, 0)
    heal(world)


def test_every_reject_is_counted_however_many_reasons_there_are(world: World) -> None:
    for name in ("vip", "fans"):
        world.define(name, rows=[f"{name}{n}" for n in range(120)])
        for n in range(120):
            account = world.emulator.account(f"{name}{n}")
            world.emulator.reject([account], reason=f"reason {n}")
    assert world.apply().exit is Exit.REJECTED
    with closing(open_state(world.state, read_only=True)) as state:
        found = read_status(world.spec, state, START_MS, exists=True)
        assert len(state.reject_reasons()) == 100
    assert [segment.rejects for segment in found.segments] == [120, 120]


def test_an_identifier_in_a_reason_is_hidden_however_it_is_spelt(world: World) -> None:
    world.define("vip", rows=["Acc.1+(x)", "b"])
    account = world.emulator.account("Acc.1+(x)")
    world.emulator.reject([account], reason="user ACC.1+(X) (acc.1+(x)) is in quarantine")
    assert world.apply().exit is Exit.REJECTED
    [reject] = rejects_of(world)
    assert reject.reason == "user … (…) is in quarantine"


def test_what_a_reason_says_of_others_is_hidden_wherever_it_is_shown(world: World) -> None:
    world.define("vip", rows=["person-1", "b"])
    said = "jane.doe@example.com has the hash 5d41402abc4b2a76b9719d911017c592, user_account_id: x9"
    world.emulator.reject([world.emulator.account("person-1")], reason=said)
    world.apply()
    hidden = "*** has the hash ***, user_account_id: ***"
    assert [reject.reason for reject in rejects_of(world)] == [hidden]
    with closing(open_state(world.state, read_only=True)) as state:
        assert state.reject_reasons() == [("vip", hidden, 1)]


def test_a_reason_names_no_other_member(world: World) -> None:
    world.define("vip", rows=["person-1", "person-2", "a.b:7", "12345", "1234567"])
    said = "Conflict of person-1 with person-2, a.b:7; (1234567) at line 12345. Not person-22."
    world.emulator.reject([world.emulator.account("person-1")], reason=said)
    world.apply()
    hidden = "Conflict of … with ***, ***; (***) at line 12345. Not ***."
    assert [reject.reason for reject in rejects_of(world)] == [hidden]


@pytest.mark.parametrize("said", ["merged with account:{}", "{}/main is the same", "see {}-eu"])
def test_a_reason_names_no_other_member_as_a_piece_of_a_word(world: World, said: str) -> None:
    world.define("vip", rows=["person-1", "Berthold"])
    world.emulator.reject([world.emulator.account("person-1")], reason=said.format("Berthold"))
    world.apply()
    assert [reject.reason for reject in rejects_of(world)] == [said.format("***")]


def test_nobody_is_named_in_free_text_though_the_state_does_not_know_them(world: World) -> None:
    """What else it says stays readable: names of segments, short numbers, technical words."""
    said = (
        "HTTP 409: vip2 has net:9:12345 (0612345678), merged into ab-99x at line 12, code E-17/204"
        "; sha256 of UTF-8, 3.5 kB, retry in 30s"
    )
    hidden = (
        "HTTP 409: vip2 has *** (***), merged into *** at line 12, code ***/204;"
        " sha256 of UTF-8, 3.5 kB, retry in 30s"
    )
    world.define("vip2", rows=["person-1", "b"])
    world.emulator.reject([world.emulator.account("person-1")], reason=said)
    world.apply()
    assert [reject.reason for reject in rejects_of(world)] == [hidden]
    with closing(open_state(world.state, read_only=True)) as state:
        assert state.reject_reasons() == [("vip2", hidden, 1)]
        assert state.reject_reasons(show_ids=True) == [("vip2", said, 1)]
        assert [reject.reason for reject in state.rejects(9, show_ids=True)] == [said]
    body = json.dumps({"status": "error", "error": "account 0612345678 of cust-88 is locked"})
    world.emulator.faults.add("upload", Answer(400, body, {"Content-Type": "application/json"}))
    world.accounts("vip2", "person-1", "b", "c")
    refused = world.apply().run
    assert refused is not None
    assert "account *** of *** is locked" in refused.problems[0]


@pytest.mark.parametrize("identifier", ["cust-7", "Zoe 2.O", "1234567", "a:b", "x" * 100])
@pytest.mark.parametrize("text", ["unknown account {}.", "bad value '{}' in line 1", "id={};retry"])
def test_a_member_that_the_platform_names_in_free_text_is_hidden(
    world: World, identifier: str, text: str
) -> None:
    said = text.format(identifier)
    world.define("vip", rows=[identifier, "other"])
    body = json.dumps({"status": "error", "error": said})
    headers = {"Content-Type": "application/json"}
    world.emulator.faults.add("upload", Answer(400, body, headers))
    refused = world.apply().run
    world.emulator.faults.add(
        "upload", ExecutionScript(ends_as="FAILED", patch={"error": {"message": said.upper()}})
    )
    failed = world.apply().run
    assert refused is not None
    assert failed is not None
    assert text.format("***") in refused.problems[0]
    assert text.format("***").upper() in failed.problems[0]
    for problem in (*refused.problems, *failed.problems):
        assert identifier.lower() not in problem.lower()


def test_short_numbers_and_our_own_words_are_never_hidden(world: World) -> None:
    """Account numbers are in every text: without its status and its error id it says nothing."""
    world.define("vip", rows=[*map(str, range(1, 1000)), "upload", "platform", "123456"])
    body = json.dumps(
        {"status": "error", "error": "no 7, no 10, no 123456", "error_id": "platform-17"}
    )
    world.emulator.faults.add("upload", Answer(400, body, {"Content-Type": "application/json"}))
    report = world.apply()
    assert report.run is not None
    assert report.run.problems == (
        "could not upload part-1: the platform refused it (HTTP 400): no 7, no 10, no *** "
        "[error id platform-17] (where it says that the file is too large, set a lower "
        "destination.max_upload_bytes; where it names a line, `segsync plan --commands FILE` "
        "writes them, and --exclude leaves a segment out)",
    )


def test_the_state_tells_of_the_parts_of_a_run_what_its_report_tells(world: World) -> None:
    world.define("vip", "email_hash", "user_account_id", rows=[("h1", None), ("h2", None)])
    world.apply()
    world.fill("vip", [(None, f"u{n}") for n in range(4)])
    world.emulator.reject([world.emulator.account("u1")])
    world.destination["max_upload_bytes"] = 250
    report = world.apply(allowed=("vip",))
    assert report.run is not None
    assert [part.step for part in report.run.parts] == [1, 2, 2]
    assert [part.total_failure for part in report.run.parts] == [0, 1, 0]
    with closing(open_state(world.state, read_only=True)) as state:
        assert state.last_runs(1)[0].parts == report.run.parts


@pytest.mark.parametrize("learnt", ["by the apply", "by a recovery"])
def test_what_one_of_two_executions_refused_the_other_may_have_taken(
    world: World, learnt: str
) -> None:
    """Taken as a reject, `b` would be forgotten with its row, and stay a member for ever."""
    world.define("vip", rows=["a", "b", "c"], guard={"max_removed": "100%"})
    seen: list[str] = []

    def refuse_one_each(command: Command) -> str | None:
        seen.append(command.identifier.value)
        execution = (len(seen) - 1) // 3
        return "not now" if (execution, seen[-1]) in ((0, "b"), (1, "c")) else None

    world.emulator.reject_when(refuse_one_each)
    world.emulator.faults.add("upload", ExecutionScript(duplicates=1))
    if learnt == "by the apply":
        world.emulator.faults.add("upload", Cut("after_apply"))
        assert figures(world.apply()) == (0, 0, 3, 0)
    else:
        assert apply_until_killed(world, "after upload")
        world.emulator.run_all()
    world.emulator.accept_all()
    world.accounts("vip", "a")
    world.settle()
    world.emulator.refused.clear()
    assert_sound(world, in_flight=2)
