"""Whatever happens on the way, one more apply makes the members those that the queries return."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from segsync.emulator import Answer, Cut, ExecutionScript, LocalClient, Stall, http_error
from segsync.errors import DestinationError, NotSent, OutcomeUnknown, UsageError
from segsync.exits import Exit
from segsync.mediarithmics.exchange import Limits
from segsync.mediarithmics.retry import ATTEMPTS
from segsync.render.report_text import next_steps
from segsync.render.status_text import outcome
from segsync.sending import StillRunning
from segsync.state import PartStatus, open_state
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.crash import apply_until_killed
from tests.support.size import size
from tests.support.world import World, assert_sound

QUICK = Limits(request_seconds=0.3, upload_seconds=0.3, error_file_seconds=0.3)
IMPORTS = "/v1/datamarts/1509/document_imports"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with in_one_thread(), LeanWorld(tmp_path) as made:
        yield made


# -------------------------------------------------------------------- what an apply may have to do


def a_first_apply(world: World) -> dict[str, Any]:
    world.define("vip", "user_account_id", "total", rows=[(f"u{n}", n) for n in range(9)])
    world.define("mail", "email_hash", rows=[f"h{n}" for n in range(5)], expiration="30d")
    return {}


def some_changes(world: World) -> dict[str, Any]:
    rows = [(f"u{n}", n) for n in range(9)]
    world.define("vip", "user_account_id", "total", rows=rows)
    world.define("gone", rows=["x", "y"])
    world.apply()
    world.fill("vip", [*rows[2:8], ("u8", -1), ("new", 1)])
    world.drop("gone", "delete")
    return {}


def a_change_of_identifiers(world: World) -> dict[str, Any]:
    people = [(f"h{n}", f"u{n}") for n in range(6)]
    for mail, account in people:
        emulator = world.emulator
        emulator.declare_person([emulator.email(mail), emulator.account(account)])
    world.define("vip", "email_hash", "user_account_id", rows=[(mail, None) for mail, _ in people])
    world.apply()
    world.fill("vip", [(None, account) for _, account in people])
    return {"allowed": ("vip",)}


def several_parts(world: World) -> dict[str, Any]:
    world.define("vip", rows=[f"u{n}" for n in range(24)])
    world.destination["max_upload_bytes"] = 900
    return {}


def some_rejects(world: World) -> dict[str, Any]:
    world.define("vip", rows=["a", "b", "c"])
    world.apply()
    world.accounts("vip", "b", "c", "d", "e")
    world.emulator.reject([world.emulator.account("e")])
    return {}


Scenario = Callable[[World], dict[str, Any]]
SCENARIOS: tuple[Scenario, ...] = (
    a_first_apply,
    some_changes,
    a_change_of_identifiers,
    several_parts,
    some_rejects,
)


def assert_healed(world: World, options: dict[str, Any]) -> None:
    """One apply is enough, once the platform takes everything."""
    world.emulator.accept_all()
    world.settle(**options)
    world.emulator.refused.clear()
    if world.tables["vip"].columns == ("email_hash", "user_account_id"):
        assert_all_are_members(world)
    else:
        assert_sound(world)


def assert_all_are_members(world: World) -> None:
    """Where identifiers are one person's, the platform shows more of them than were sent."""
    assert_sound(world, converged=False)
    assert world.members("vip").keys() >= world.expected("vip").keys()


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_process_may_die_at_any_moment(tmp_path: Path, scenario: Scenario) -> None:
    for at in itertools.count(1):
        with in_one_thread(), LeanWorld(tmp_path / str(at), seed=at) as world:
            options = scenario(world)
            if not apply_until_killed(world, at, **options):
                break
            world.plan(**options)
            assert_healed(world, options)
    assert at > 12


@pytest.mark.parametrize("scenario", [a_first_apply, a_change_of_identifiers])
def test_the_recovery_may_die_as_well(tmp_path: Path, scenario: Scenario) -> None:
    for at in ("after create_import", "after upload", "before list_executions"):
        with in_one_thread(), LeanWorld(tmp_path / at) as world:
            options = scenario(world)
            assert apply_until_killed(world, at, **options)
            for again in itertools.count(1):
                if not apply_until_killed(world, again, **options):
                    break
            assert_healed(world, options)


# -------------------------------------------------------------------- the wire

ENDPOINTS = ("segment_lookup", "list_imports", "create_import", "upload", "list_executions")
ONCE: dict[str, Any] = {
    "nothing arrived": Cut("head"),
    "broken at the first byte": Cut("body", fraction=0.0),
    "broken in the middle": Cut("body", fraction=0.5),
    "broken at the last byte": Cut("body", fraction=1.0),
    "arrived and not done": Cut("before_apply"),
    "done and not answered": Cut("after_apply"),
    "done and not answered, closed in peace": Cut("after_apply", how="fin"),
    "half an answer": Cut("answer", fraction=0.5),
    "503 and not done": http_error(503),
    "502 and done": Answer(502, "<html>", {"Content-Type": "text/html"}, applied=True),
    "429": http_error(429, retry_after="7"),
}
FOR_EVER: dict[str, Any] = {
    "nothing arrived": Cut("head"),
    "503": http_error(503),
    "403": http_error(403),
    "400": http_error(400),
}


def once(endpoint: str) -> dict[str, Any]:
    """What may happen once to its requests: those that only read have no body to break off."""
    has_body = endpoint in ("create_import", "upload")
    return {name: fault for name, fault in ONCE.items() if has_body or "broken" not in name}


def has_struck(world: World, fault: Any) -> bool:
    return any(fault in request.faults for request in world.emulator.request_log)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
def test_one_lost_answer_does_no_harm(world: World, endpoint: str) -> None:
    """The answer to the first of its requests in an apply, or to the second where there are two."""
    world.define("vip", "user_account_id", "total")
    several = endpoint in ("upload", "list_executions")
    for number, fault in enumerate(once(endpoint).values()):
        world.fill("vip", [("u1", number), ("u2", 0), (f"new{number}", 1)])
        world.emulator.faults.add(endpoint, fault, call=1 + number % 2 if several and number else 1)
        report = world.apply(allowed=("vip",))
        assert has_struck(world, fault)
        assert report.exit is Exit.DONE
        assert report.run is not None
        assert_sound(world)
        world.emulator.faults.clear()


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("fault", FOR_EVER)
def test_a_platform_that_stays_away_is_caught_up_with_later(
    world: World, endpoint: str, fault: str
) -> None:
    options = some_changes(world)
    world.emulator.faults.add(endpoint, FOR_EVER[fault], call=None)
    try:
        report = world.apply(**options)
    except DestinationError:
        pass
    else:
        allowed = (endpoint, fault) == ("segment_lookup", "403")
        assert allowed or report.exit is not Exit.DONE
    assert has_struck(world, FOR_EVER[fault])
    assert_sound(world, converged=False)
    world.settle(**options)
    assert_sound(world)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.parametrize("moment", ["before_apply", "after_apply"])
def test_a_timeout_does_no_harm(world: World, endpoint: str, moment: Any) -> None:
    world.limits = QUICK
    options = some_changes(world)
    world.emulator.faults.add(endpoint, Stall(moment))
    assert world.apply(**options).exit is Exit.DONE
    assert has_struck(world, Stall(moment))
    assert_sound(world)


@pytest.mark.parametrize("fault", once("error_file"))
def test_a_lost_error_file_keeps_the_part_pending_or_is_asked_for_again(
    world: World, fault: str
) -> None:
    some_rejects(world)
    world.emulator.faults.add("error_file", ONCE[fault])
    assert world.apply().exit in (Exit.REJECTED, Exit.UNKNOWN)
    assert has_struck(world, ONCE[fault])
    assert_sound(world, converged=False)
    assert_healed(world, {})


@pytest.mark.parametrize("then", [NotSent, "refused"])
def test_an_upload_in_doubt_is_not_forgotten_when_the_next_attempt_is_refused(
    world: World, then: Any
) -> None:
    """The first attempt arrives much later than anybody looks for it."""
    world.define("vip", rows=["a", "b"])
    world.emulator.behave(lists_until_seen=50)
    world.emulator.faults.add("upload", Cut("after_apply"))
    if then == "refused":
        world.emulator.faults.add("upload", http_error(400), call=2, times=9)
    else:
        world.emulator.faults.add("upload", Answer(413, early=True), call=2, times=9)
    with pytest.raises(StillRunning):
        world.apply()
    assert world.plan().totals.retry == 2
    world.emulator.behave(lists_until_seen=0)
    world.accounts("vip", "b")
    world.emulator.run_all()
    world.settle()
    assert_sound(world)


def test_what_is_in_doubt_where_the_spec_looks_no_more_is_not_the_recovered_runs(
    tmp_path: Path,
) -> None:
    with World(tmp_path) as world:
        world.define("kept", rows=["a"])
        world.define("dropped", rows=["b"])
        world.emulator.faults.add("upload", ExecutionScript(ends_as="CANCELED"))
        assert world.apply().exit is Exit.UNKNOWN
        world.drop("dropped")
        assert apply_until_killed(world, "after upload")
        report = world.apply()
        assert report.recovered
        assert report.exit is Exit.DONE


# -------------------------------------------------------------------- executions


@pytest.mark.parametrize("page", [1, 2, 3])
def test_a_page_of_executions_that_cannot_be_read_decides_nothing(world: World, page: int) -> None:
    """Three executions of one upload, each on a page of its own: that page is never there."""
    options = some_rejects(world)
    world.emulator.behave(max_page_size=1)
    world.emulator.faults.add("upload", ExecutionScript(duplicates=2))
    for reading in range(99):
        first = page + reading * (page - 1 + ATTEMPTS)
        world.emulator.faults.add("list_executions", http_error(503), call=first, times=ATTEMPTS)
    with pytest.raises(StillRunning, match="list the executions"):
        world.apply(**options)
    assert_sound(world, converged=False, in_flight=3)
    with closing(open_state(world.state, read_only=True)) as state:
        run = state.open_run()
        assert run is not None
        assert [part.status for part in run.parts] == [PartStatus.SENT, PartStatus.WAITING]
    world.emulator.faults.clear()
    world.emulator.accept_all()
    world.settle(**options)
    assert_sound(world, in_flight=3)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(
    "script",
    [
        ExecutionScript(starts_after_polls=40),
        ExecutionScript(duplicates=1),
        ExecutionScript(shown=("PENDING", "RUNNING", "LOST", "NEW_WORD", "RUNNING")),
        ExecutionScript(patch={"result": None}, patch_when="ended", starts_after_polls=3),
    ],
    ids=["late", "twice", "strange words", "no result"],
)
def test_executions_may_be_late_doubled_and_strange(
    tmp_path: Path, seed: int, script: ExecutionScript
) -> None:
    with in_one_thread(), LeanWorld(tmp_path / "world", seed=seed) as world:
        options = some_changes(world)
        world.emulator.faults.add("upload", script)
        world.emulator.faults.add("upload", Cut("after_apply"))
        world.apply(**options)
        world.settle(**options)
        assert_sound(world, in_flight=1 + script.duplicates)


@pytest.mark.parametrize("seed", range(size(5, 20)))
@pytest.mark.parametrize("learnt", ["by the answer", "by the list", "by a recovery"])
@pytest.mark.parametrize("end", ["FAILED", "CANCELED"])
def test_an_execution_may_end_badly_and_have_applied_some_lines(
    tmp_path: Path, seed: int, learnt: str, end: Any
) -> None:
    """Which of them nobody knows; and the query has changed before the next apply."""
    with in_one_thread(), LeanWorld(tmp_path / "world", seed=seed) as world:
        some_changes(world)
        script = ExecutionScript(ends_as=end, applies="some")
        world.emulator.faults.add("upload", script, times=2)
        if learnt == "by a recovery":
            assert apply_until_killed(world, "after upload")
        else:
            if learnt == "by the list":
                world.emulator.faults.add("upload", Cut("after_apply"))
            assert world.apply().exit is Exit.UNKNOWN
        world.fill("vip", [("u0", 0), ("u5", 5), ("late", 1)])
        world.settle(allowed=("vip",))
        assert_sound(world)


@pytest.mark.parametrize("moment", ["after create_import", "before upload", "after upload"])
def test_an_import_may_be_found_twice_by_its_reference(world: World, moment: str) -> None:
    """The first seemed not to be there when its answer was lost, so that another one was made."""
    world.define("vip", rows=["a", "b"])
    world.emulator.behave(lists_until_seen=2)
    world.emulator.faults.add("create_import", Cut("after_apply"))
    assert apply_until_killed(world, moment)
    world.emulator.behave(lists_until_seen=0)
    assert len({made.name for made in world.emulator.imports}) == 1
    assert len(world.emulator.imports) == 2
    world.accounts("vip", "b")
    world.settle()
    assert_sound(world)


@pytest.mark.parametrize(
    "result",
    [
        {"total_success": 2, "total_failure": 0},
        {"total_success": 4, "total_failure": 0},
        {"total_success": "many", "total_failure": 0},
    ],
)
def test_counts_that_do_not_add_up_confirm_nothing(world: World, result: dict[str, Any]) -> None:
    world.define("vip", rows=["a", "b", "c"])
    world.emulator.faults.add("upload", ExecutionScript(patch={"result": result}))
    report = world.apply()
    assert report.exit is Exit.UNKNOWN
    assert world.plan().totals.retry == 3
    world.settle()
    assert_sound(world)


def test_a_run_that_was_killed_before_it_sent_anything_leaves_nothing_in_doubt(
    world: World,
) -> None:
    rows = ["a", "b"]
    for moment in ("before create_import", "after create_import", "before upload"):
        rows.append(moment)
        world.define("vip", rows=rows)
        assert apply_until_killed(world, moment)
        report = world.apply()
        assert report.recovered is not None
        unsent = report.recovered.outcome.unsent
        assert report.plan is not None
        assert report.plan.totals.retry == (0 if unsent else report.plan.totals.commands)
        assert bool(unsent) == (moment != "before upload")
        assert_sound(world)


def test_an_upload_of_a_killed_apply_may_take_a_while_to_show(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    assert apply_until_killed(world, "after upload")
    world.emulator.behave(lists_until_seen=5)
    world.accounts("vip", "b", "c")
    report = world.apply()
    assert [
        said for said in world.said.sentences if "does not show it yet: looking for 30 s" in said
    ]
    assert report.recovered is not None
    assert report.recovered.outcome.confirmed == 2
    assert_sound(world)


def test_a_recovered_run_is_the_last_one_of_its_own_segments_only(world: World) -> None:
    world.define("vip", rows=["a"])
    world.define("other", rows=["x"])
    world.apply()
    world.accounts("vip", "a", "b")
    assert apply_until_killed(world, "after upload")
    assert world.apply().run is None
    with closing(open_state(world.state, read_only=True)) as state:
        assert {segment.name: segment.last_run for segment in state.segments()} == {
            "vip": 2,
            "other": 1,
        }


def test_a_recovery_stays_within_the_memory_limit_as_well(world: World) -> None:
    """One that is no size is noticed before the run is ended."""
    world.define("vip", rows=["a"])
    assert apply_until_killed(world, "after upload")
    with pytest.raises(UsageError, match="memory limit"):
        world.apply(memory_limit="much")
    assert world.plan().open_run is not None
    world.settle()
    assert_sound(world)


def test_an_unsent_run_that_nobody_wants_any_more_leaves_nothing_to_be_told(world: World) -> None:
    world.define("vip", rows=["a"])
    world.apply()
    world.accounts("vip", "a", "b")
    assert apply_until_killed(world, "after create_import")
    world.accounts("vip", "a")
    report = world.apply()
    assert report.recovered is not None
    assert report.recovered.outcome.unsent == 1
    assert report.run is None
    assert report.exit is Exit.DONE
    assert not next_steps(report)
    assert_sound(world)


@pytest.mark.parametrize("moment", ["after create_import", "after upload", "before upload"])
def test_of_a_run_that_was_killed_between_two_executions_only_what_was_sent_is_in_doubt(
    world: World, moment: str
) -> None:
    """What plan, status and apply say of it is the same, though the query has changed since."""
    options = {"allowed": ("vip",)}
    world.define("vip", rows=["gone", "stays"])
    world.apply()
    world.accounts("vip", "stays", "wanted", "unwanted")
    # The removal is one execution, the additions are the next, which is never begun.
    assert apply_until_killed(world, moment, **options)
    world.accounts("vip", "stays", "wanted")
    sent = moment != "after create_import"
    with closing(open_state(world.state, read_only=True)) as state:
        run = state.open_run()
        assert run is not None
        assert [part.status is PartStatus.WAITING for part in run.parts] == [not sent, True]
        assert sum(state.pending_counts().values()) == run.sent == sent
        assert outcome(run) == (
            "1 of unknown outcome, 2 not sent yet" if sent else "3 not sent yet"
        )
    shown = world.plan(**options).totals
    assert (shown.add, shown.remove, shown.retry) == (1, 1, sent)
    report = world.apply(**options)
    assert report.plan is not None
    told = report.plan.totals
    assert told.add == 1
    assert (told.remove, told.retry) == ((0, 0) if moment == "after upload" else (1, sent))
    assert_sound(world)


def a_recovered_run_of_unknown_outcome(world: World) -> None:
    world.define("vip", rows=["a"])
    world.define("mail", "email_hash", rows=["h"])
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    assert apply_until_killed(world, "after upload")
    world.fill("mail", ["h", "h2"])


def test_what_is_still_in_doubt_of_a_recovered_run_is_told_whatever_else_was_sent(
    world: World,
) -> None:
    a_recovered_run_of_unknown_outcome(world)
    report = world.apply(targets=("mail",))
    assert report.run is not None
    assert not report.run.outcome.unknown
    assert report.exit is Exit.UNKNOWN
    assert "again" in next_steps(report)[0]
    assert world.apply().exit is Exit.DONE
    assert_sound(world)


def test_what_the_same_apply_has_said_again_is_not_in_doubt_any_more(world: World) -> None:
    a_recovered_run_of_unknown_outcome(world)
    report = world.apply()
    assert report.recovered is not None
    assert report.recovered.outcome.unknown == 2
    assert report.exit is Exit.DONE
    assert not next_steps(report)
    assert_sound(world)


def test_whoever_says_no_after_a_recovery_is_told_that_something_is_in_doubt(world: World) -> None:
    a_recovered_run_of_unknown_outcome(world)
    assert world.apply(confirm=lambda _plan: False).exit is Exit.UNKNOWN
    world.settle()
    assert world.apply(confirm=lambda _plan: False).exit is Exit.ERROR


@pytest.mark.parametrize(("targets", "told"), [(("mail",), Exit.REJECTED), ((), Exit.DONE)])
def test_rejects_of_a_recovered_run_are_told_while_they_are_there(
    world: World, targets: tuple[str, ...], told: Exit
) -> None:
    world.define("vip", rows=["a"])
    world.define("mail", "email_hash", rows=["h"])
    world.apply()
    world.accounts("vip", "a", "b")
    world.emulator.reject([world.emulator.account("b")])
    assert apply_until_killed(world, "after upload")
    world.accounts("vip", "a")
    report = world.apply(targets=targets)
    assert report.recovered is not None
    assert report.recovered.outcome.rejected == 1
    assert report.exit is told


def test_an_execution_that_the_list_shows_late_is_waited_for(world: World) -> None:
    options = some_changes(world)
    world.emulator.behave(lists_until_seen=4)
    assert world.apply(**options).exit is Exit.DONE
    assert_sound(world)


def test_an_upload_that_shows_after_it_was_sent_again_does_no_harm(world: World) -> None:
    options = a_first_apply(world)
    world.emulator.behave(lists_until_seen=12)
    world.emulator.faults.add("upload", Cut("after_apply"))
    with pytest.raises(StillRunning):
        world.apply(**options)
    world.settle(**options)
    assert len(world.emulator.executions) == 2
    assert_sound(world, in_flight=2)


@pytest.mark.parametrize("endpoint", ["create_import", "upload"])
def test_what_the_platform_refuses_is_told_with_its_reason(world: World, endpoint: str) -> None:
    world.define("vip", rows=["a"])
    world.emulator.faults.add(endpoint, http_error(400), call=None)
    report = world.apply()
    assert report.run is not None
    [problem] = report.run.problems
    assert "400" in problem
    assert report.run.outcome.unsent == 1


def test_a_failed_execution_is_said_again(world: World) -> None:
    options = some_changes(world)
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    report = world.apply(**options)
    assert report.exit is Exit.UNKNOWN
    assert_sound(world, converged=False)
    world.settle(**options)
    assert_sound(world)


def test_after_a_part_that_failed_the_later_ones_are_not_sent(world: World) -> None:
    options = several_parts(world)
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"), call=2)
    report = world.apply(**options)
    assert report.run is not None
    statuses = [part.status for part in report.run.parts]
    assert statuses[:2] == [PartStatus.CONFIRMED, PartStatus.UNKNOWN]
    assert set(statuses[2:]) == {PartStatus.UNSENT}
    assert_sound(world, converged=False)
    world.settle(**options)
    assert_sound(world)


def test_an_execution_that_does_not_end_keeps_the_run_open_and_nothing_else_is_sent(
    world: World,
) -> None:
    world.define("vip", rows=["a"])
    world.destination["execution_max_age"] = "30d"
    world.timing = type(world.timing)(longest_poll=3600.0, patience=1)
    world.emulator.faults.add("upload", ExecutionScript(starts_after_polls=100))
    world.emulator.faults.add("list_executions", http_error(503), call=50, times=5)
    with pytest.raises(StillRunning):
        world.apply()
    uploads = len(world.uploads)
    world.accounts("vip", "a", "b")
    report = world.apply()
    assert report.recovered is not None
    assert report.recovered.outcome.confirmed == 1
    assert len(world.uploads) == uploads + 1
    assert_sound(world)


def leave_open(world: World) -> str:
    """An apply that is killed when its upload has been noted; gives the import's id."""
    world.define("vip", rows=["a", "b"])
    assert apply_until_killed(world, "before list_executions")
    state = open_state(world.state, read_only=True)
    run = state.open_run()
    state.close()
    assert run is not None
    assert run.parts[0].status is PartStatus.SENT
    assert run.import_id is not None
    return run.import_id


@pytest.mark.parametrize("way", ["assume finished", "a day later"])
def test_a_vanished_import_stops_until_it_cannot_matter_any_more(world: World, way: str) -> None:
    import_id = leave_open(world)
    world.emulator.run_all()
    LocalClient(world.emulator).request("DELETE", f"{IMPORTS}/{import_id}")
    world.accounts("vip", "b")
    with pytest.raises(StillRunning) as caught:
        world.apply()
    assert "--assume-finished" in (caught.value.hint or "")
    assert world.plan().open_run is not None
    if way == "a day later":
        world.advance(days=1, seconds=1)
        world.apply()
    else:
        world.apply(assume_finished=True)
    assert_sound(world)


def test_an_execution_that_its_import_does_not_list_any_more_stops_as_well(world: World) -> None:
    leave_open(world)
    world.emulator.run_all()
    world.emulator.behave(lists_until_seen=100_000)
    world.accounts("vip", "b")
    with pytest.raises(StillRunning):
        world.apply()
    world.emulator.behave(lists_until_seen=0)
    world.settle()
    assert_sound(world)


@pytest.mark.parametrize("status", [503, 403])
def test_a_platform_that_is_away_during_a_recovery_leaves_the_run_open(
    world: World, status: int
) -> None:
    """What it refuses for good is not asked for again and again."""
    leave_open(world)
    world.emulator.faults.add("list_executions", http_error(status), call=None)
    before = world.clock.monotonic()
    with pytest.raises(OutcomeUnknown):
        world.apply()
    waited = world.clock.monotonic() - before
    assert (waited > world.timing.patience) == (status == 503)
    told = [said for said in world.said.sentences if said.endswith("asking again for 15 min")]
    assert len(told) == (status == 503)
    assert world.plan().open_run is not None
    world.settle()
    assert_sound(world)
