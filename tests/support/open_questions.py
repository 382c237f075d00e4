"""What the platform's documentation leaves open, and how applies end under every answer to it.

ANSWERS has a row for each value of each switch of the emulator: how four applies end under it, and
what the members are then: those that the queries return, or exactly which others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from segsync.destination import Destination, Execution
from segsync.emulator import LocalClient
from segsync.exits import Exit
from segsync.model import DAY_MS
from tests.support.crash import Passing
from tests.support.world import START_MS, World, assert_sound

LATER = START_MS + 3000 * DAY_MS
DONE, ERROR, REJECTED, UNKNOWN = Exit.DONE, Exit.ERROR, Exit.REJECTED, Exit.UNKNOWN
ALL_DONE = (DONE, DONE, DONE, DONE)
REFUSED = (ERROR, ERROR, ERROR, DONE)
IN_DOUBT = (UNKNOWN, UNKNOWN, UNKNOWN, DONE)
TWICE = (REJECTED, REJECTED, DONE, DONE)
"""A reject is tried again at once, and then waits; the last apply is days later."""
EXECUTIONS = "/v1/datamarts/1509/document_imports/{}/executions"
Deed = Callable[[World], None]


def nothing(_world: World) -> None:
    pass


def sound(world: World) -> None:
    """The members and data bags are those that the queries return, and nothing is left to do."""
    world.emulator.refused.clear()
    assert_sound(world, in_flight=2)


@dataclass(frozen=True)
class Answer:
    """`asks` brings the question up, `remedy` is what sets it right before the last of four
    applies, if something can. `told` must be among what the user is told.
    """

    exits: tuple[Exit, ...] = ALL_DONE
    asks: Deed = nothing
    remedy: Deed = nothing
    end: Deed = sound
    told: str = ""
    also: Mapping[str, Any] = field(default_factory=dict)


# -------------------------------------------------------------------- what brings a question up


def a_bad_line(world: World) -> None:
    world.emulator.reject([world.emulator.account("u1")])


def no_bad_line_any_more(world: World) -> None:
    world.emulator.accept_all()
    world.advance(days=8)


def a_paused_segment(world: World) -> None:
    world.emulator.change_segment("vip", paused=True)


def it_goes_on(world: World) -> None:
    world.emulator.change_segment("vip", paused=False)
    world.advance(days=8)


def another_type(world: World) -> None:
    world.emulator.change_segment("vip", type="USER_QUERY")


def the_right_type(world: World) -> None:
    world.emulator.change_segment("vip", type="USER_LIST")
    world.advance(days=8)


def no_segment(world: World) -> None:
    world.emulator.remove_segment("vip")


def it_is_made(world: World) -> None:
    world.emulator.add_segment("vip")
    world.advance(days=8)


def no_segments(world: World) -> None:
    for name in world.tables:
        world.emulator.remove_segment(name)


def all_but_one_are_known(world: World) -> None:
    emulator = world.emulator
    for n in range(7):
        emulator.declare_person([emulator.account(f"u{n}")])
    for n in range(3):
        emulator.declare_person([emulator.email(f"h{n}")])
        emulator.declare_person([emulator.agent(f"vec:{n}")])
        emulator.declare_person([emulator.account(f"l{n}")])


def one_who_leaves_is_unknown(world: World) -> None:
    world.emulator.behave(unknown_identifier="skipped")
    for n in range(1, 8):
        world.emulator.declare_person([world.emulator.account(f"u{n}")])
    for n in range(3):
        world.emulator.declare_person([world.emulator.email(f"h{n}")])
        world.emulator.declare_person([world.emulator.agent(f"vec:{n}")])
        world.emulator.declare_person([world.emulator.account(f"l{n}")])


def the_last_one_is_known(world: World) -> None:
    world.emulator.declare_person([world.emulator.account("u7")])
    world.advance(days=8)


def durations_instead(world: World) -> None:
    """The query gives no `expiration_ts` any more, and the segment has an `expiration`."""
    world.define("dated", "user_agent_id", rows=[("vec:0",), ("vec:1",)], expiration="90d")


def a_lower_limit(world: World) -> None:
    world.destination["max_upload_bytes"] = 500


def csv(world: World) -> None:
    world.destination["format"] = "csv"


def somebody_elses_execution(world: World) -> None:
    """It is at work for two seconds when ours is uploaded."""
    path = EXECUTIONS.format(world.emulator.add_import("somebody else's").id)
    headers = {"Content-Type": "application/x-ndjson"}
    hooks = world.emulator.world.upload_hooks
    ours = hooks.copy()
    hooks.clear()
    assert LocalClient(world.emulator).request("POST", path, b"\n", headers).status == 200
    hooks.extend(ours)


def a_wrong_token(world: World) -> None:
    world.emulator.world.token = "another"


class Cancelling(Passing):
    """A destination, of whose execution somebody asks the platform to cancel it in that state."""

    def __init__(self, inner: Destination, world: World, status: str) -> None:
        super().__init__(inner)
        self._world = world
        self._status = status

    def list_executions(self, document_import: str) -> list[Execution]:
        found = self._inner.list_executions(document_import)
        if [item.status for item in found] == [self._status]:
            path = EXECUTIONS.format(document_import) + f"/{found[0].id}/action"
            headers = {"Content-Type": "application/json"}
            LocalClient(self._world.emulator).request("POST", path, b'{"action":"CANCEL"}', headers)
        return found


def somebody_cancels(status: str) -> Deed:
    def cancel(world: World) -> None:
        world.emulator.behave(polls_until_running=2, polls_until_finished=4)
        world.wrap = lambda destination: Cancelling(destination, world, status)

    return cancel


def nobody_cancels(world: World) -> None:
    world.wrap = lambda destination: destination


# -------------------------------------------------------------------- how it ends


def all_but(*missing: str) -> Deed:
    """All members are there but these accounts of `vip`, and segsync does not know of it."""

    def check(world: World) -> None:
        for name in world.tables:
            gone = {world.emulator.account(value) for value in missing if name == "vip"}
            expected = {k: v for k, v in world.expected(name).items() if k not in gone}
            assert world.members(name) == expected
        assert not world.plan().changes_something

    return check


def nobody(world: World) -> None:
    assert all(world.members(name) == {} for name in world.tables)


def keys_stay(world: World) -> None:
    """Who is there is right, and each key that is wanted; those that went from a data bag stay."""
    emulator = world.emulator
    assert world.members("bags") == {
        emulator.email("h0"): '{"a":1,"b":2}',
        emulator.email("h1"): '{"a":1}',
        emulator.email("h2"): '{"c":1}',
    }
    assert world.members("loser") == {
        emulator.account("l0"): '{"total":1}',
        emulator.account("l1"): '{"total":2}',
    }
    for name in ("vip", "dated"):
        assert world.members(name) == world.expected(name)
    assert not world.plan().changes_something


def stays_for_ages(world: World) -> None:
    sound(world)
    member = world.emulator.members("dated")[world.emulator.agent("vec:1")]
    assert member.expires_at_ms == LATER * 1000


# -------------------------------------------------------------------- every answer

PLAIN = [Answer()]
HEALED = {"remedy": no_bad_line_any_more, "asks": a_bad_line}
NAMED = [Answer(TWICE, **HEALED)]
NAMELESS = [Answer(IN_DOUBT, end=all_but("u1"), told="cannot be told", **HEALED)]
"""After three such runs the whole part is taken as confirmed, with a warning."""
BEFORE_IT_RUNS = Answer(IN_DOUBT, somebody_cancels("PENDING"), nobody_cancels)
NO_RIGHTS = {"segment_rights": False}
TOO_LARGE = {
    "asks": nothing,
    "remedy": a_lower_limit,
    "told": "destination.max_upload_bytes",
    "also": {"max_upload_bytes": 500},
}


def unfit(asks: Deed, remedy: Deed, told: str) -> dict[Any, list[Answer]]:
    """For a segment that cannot take members: noticed where the token may read segments."""
    noticed = Answer(REFUSED, asks, remedy, told=told)
    unread = {"asks": asks, "remedy": remedy, "also": NO_RIGHTS}
    return {
        "failed": [noticed, Answer((REJECTED, REJECTED, REJECTED, DONE), **unread)],
        "skipped": [
            noticed,
            Answer(ALL_DONE, end=nothing, told="is not checked", **unread),
        ],
        "refuses_file": [noticed, Answer(IN_DOUBT, **unread)],
    }


ANSWERS: dict[str, dict[Any, Sequence[Answer]]] = {
    "bad_line": {
        "counted": NAMED,
        "refuses_upload": [Answer(REFUSED, **HEALED)],
        "fails_execution": [Answer(IN_DOUBT, **HEALED)],
    },
    "failed_execution_applies": {
        value: [Answer(IN_DOUBT, also={"bad_line": "fails_execution"}, **HEALED)]
        for value in ("nothing", "good_lines")
    },
    "unknown_identifier": {
        "created": [Answer(asks=all_but_one_are_known)],
        "skipped": [Answer(asks=all_but_one_are_known, end=all_but("u7"))],
        "failed": [
            Answer(
                (DONE, REJECTED, REJECTED, DONE),
                asks=all_but_one_are_known,
                remedy=the_last_one_is_known,
            )
        ],
    },
    "unknown_identifier_on_delete": {
        "skipped": [Answer(asks=one_who_leaves_is_unknown)],
        "failed": [Answer((DONE, REJECTED, REJECTED, DONE), asks=one_who_leaves_is_unknown)],
    },
    "unknown_segment": unfit(no_segment, it_is_made, "is not in datamart"),
    "paused_segment": unfit(a_paused_segment, it_goes_on, "paused"),
    "wrong_type_segment": unfit(another_type, the_right_type, "USER_QUERY"),
    "create_segments": {
        False: [Answer((ERROR,) * 4, asks=no_segments, end=nothing, told="is not in datamart")],
        True: [Answer(asks=no_segments)],
    },
    "two_identifiers": {"failed": PLAIN, "first": PLAIN},
    "no_identifier": {"failed": PLAIN, "skipped": PLAIN},
    "both_segment_fields": {"failed": PLAIN, "id_wins": PLAIN, "name_wins": PLAIN},
    "both_expirations": {
        "ts_wins": PLAIN,
        "duration_wins": PLAIN,
        "failed": [Answer(TWICE, remedy=durations_instead)],
    },
    "missing_duration_on_update": {"failed": PLAIN, "default_ttl": PLAIN, "never": PLAIN},
    "duration_optional_with_ts": {False: PLAIN, True: PLAIN},
    "missing_duration_on_delete": {"failed": PLAIN, "accepted": PLAIN},
    "expiration_ts_unit": {"ms": PLAIN, "s": [Answer(end=stays_for_ages)]},
    "past_expiration": {"lapses_at_once": PLAIN, "failed": PLAIN},
    "expiration_starts": {"upload": PLAIN, "processing": PLAIN},
    "data_bag_on_update": {"replaced": PLAIN, "merged": [Answer(end=keys_stay)]},
    "absent_data_bag": {"cleared": PLAIN, "kept": PLAIN},
    "data_bag_max_bytes": {65_536: PLAIN, 12: [Answer((REJECTED, DONE, DONE, DONE))]},
    "unknown_fields": {"failed": PLAIN, "ignored": PLAIN},
    "null_fields": {"failed": PLAIN, "absent": PLAIN},
    "blank_lines": {"failed": PLAIN, "ignored": PLAIN},
    "csv_header_case": {"exact": [Answer(asks=csv)], "any": [Answer(asks=csv)]},
    "line_order": {"random": PLAIN, "file": PLAIN, "reversed": PLAIN},
    "timing": {
        "polls": PLAIN,
        "clock": PLAIN,
        "real": [Answer(also={"starts_after_ms": 0, "finishes_after_ms": 20})],
    },
    "polls_until_running": {1: PLAIN, 0: PLAIN},
    "polls_until_finished": {2: PLAIN, 0: PLAIN, 20: PLAIN},
    "starts_after_ms": {n: [Answer(also={"timing": "clock"})] for n in (1_000, 0)},
    "finishes_after_ms": {n: [Answer(also={"timing": "clock"})] for n in (2_000, 0, 7_200_000)},
    "execution_order": {"independent": PLAIN, "one_by_one": PLAIN},
    "cancel_running": {
        "refused": [Answer(asks=somebody_cancels("RUNNING")), BEFORE_IT_RUNS],
        "nothing_applied": [Answer(IN_DOUBT, somebody_cancels("RUNNING"), nobody_cancels)],
        "half_applied": [Answer(IN_DOUBT, somebody_cancels("RUNNING"), nobody_cancels)],
    },
    "max_active_executions": {
        None: PLAIN,
        1: [Answer(asks=somebody_elses_execution, also={"timing": "clock"})],
    },
    "retry_after": {
        value: [
            Answer(
                asks=somebody_elses_execution, also={"timing": "clock", "max_active_executions": 1}
            )
        ]
        for value in (None, "5", "soon")
    },
    "error_file": {
        "json_flat": NAMED,
        "json_nested": NAMED,
        "json_line_number": NAMELESS,
        "csv": NAMED,
        "text": NAMELESS,
        "input_lines": NAMED,
        "identifiers": NAMED,
        "missing": NAMELESS,
        "empty": NAMELESS,
        "garbage": NAMELESS,
        "expired": NAMELESS,
        "half": NAMED,
    },
    "error_line_base": {
        base: [replace(NAMELESS[0], also={"error_file": "json_line_number"})] for base in (1, 0)
    },
    "create_status": {200: PLAIN, 201: PLAIN},
    "bad_token_status": {
        status: [Answer((ERROR,) * 4, asks=a_wrong_token, end=nobody, told="api_token")]
        for status in (401, 403)
    },
    "segment_rights": {True: PLAIN, False: [Answer(told="is not checked")]},
    "dates": {True: PLAIN, False: PLAIN},
    "get_execution": {True: PLAIN, False: PLAIN},
    "max_upload_bytes": {
        100_000_000: PLAIN,
        104_857_600: PLAIN,
        500: [Answer(REFUSED, remedy=a_lower_limit, told="destination.max_upload_bytes")],
    },
    "too_large_status": {status: [Answer(REFUSED, **TOO_LARGE)] for status in (413, 400)},
    "too_large_answer": {
        moment: [Answer(REFUSED, **TOO_LARGE)] for moment in ("early", "after_body")
    },
    "import_keywords": dict.fromkeys(("contains", "exact", "prefix", "ignored", "nothing"), PLAIN),
    "lists_until_seen": {0: PLAIN, 3: PLAIN},
    "segment_name_filter": dict.fromkeys(("exact", "contains", "any_case", "ignored"), PLAIN),
    "default_page_size": {50: PLAIN, 1: PLAIN},
    "max_page_size": {500: PLAIN, 7: PLAIN},
    "oversized_page": {
        value: [Answer(also={"max_page_size": 50})] for value in ("clamped", "refused")
    },
    "list_total": {True: PLAIN, False: PLAIN},
    "list_order": {"newest": PLAIN, "oldest": PLAIN, "random": PLAIN},
    "num_tasks": {"number": PLAIN, "string": PLAIN, "null": PLAIN, "absent": PLAIN},
    "status_words": {"public": PLAIN, "wide": PLAIN},
    "extra_fields": {False: PLAIN, True: PLAIN},
    "sink": {False: PLAIN, True: [Answer(end=nobody)]},
    "upload_bytes_per_second": {None: PLAIN, 100_000: PLAIN},
    "answer_bytes_per_second": {None: PLAIN, 100_000: PLAIN},
}
