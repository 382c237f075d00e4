"""An apply from the first to the hundredth, on a platform that does what its documentation says."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from segsync.emulator import Answer, ExecutionScript, http_error
from segsync.errors import Refused, UsageError
from segsync.model import DAY_MS, IdentifierKind
from segsync.plan import Counts, Plan, SegmentPlan, SegmentStatus
from segsync.report import Exit
from segsync.state import open_state
from tests.support.plans import reasons
from tests.support.world import START_MS, Row, Said, World, assert_sound


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def test_the_first_apply_adds_every_member_and_the_second_does_nothing(world: World) -> None:
    world.define("vip", "user_account_id", "total", rows=[(f"u{n}", n) for n in range(50)])
    first = world.apply()
    assert first.exit is Exit.DONE
    assert first.run is not None
    assert first.run.outcome.confirmed == 50
    assert_sound(world)
    uploads = len(world.uploads)
    second = world.apply()
    assert second.run is None
    assert len(world.uploads) == uploads


def test_only_what_changed_is_sent(world: World) -> None:
    rows = {f"u{n}": n for n in range(50)}
    world.define("vip", "user_account_id", "total", rows=list(rows.items()))
    world.apply()
    rows["u1"] = -1
    del rows["u2"]
    rows["new"] = 7
    world.fill("vip", list(rows.items()))
    report = world.apply()
    assert report.plan is not None
    totals = report.plan.totals
    assert (totals.add, totals.update, totals.renew, totals.remove) == (1, 1, 0, 1)
    assert_sound(world)


def test_nothing_is_sent_when_the_user_says_no(world: World) -> None:
    world.define("vip", rows=["a"])
    report = world.apply(confirm=lambda _plan: False)
    assert not report.agreed
    assert report.run is None
    assert not world.uploads
    assert not world.emulator.imports
    assert world.plan().totals.add == 1


def test_the_user_is_shown_what_is_sent(world: World) -> None:
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 2)])
    shown = []

    def confirm(plan: Plan) -> bool:
        shown.append(plan)
        assert not world.emulator.imports
        return True

    report = world.apply(confirm=confirm)
    assert shown == [report.plan]
    [record] = [r for r in world.emulator.request_log if r.endpoint == "upload"]
    assert record.body_size == shown[0].size


class Reading(Said):
    """Remembers the queries that were read, and how many rows they gave."""

    def __init__(self) -> None:
        super().__init__()
        self.told: list[tuple[str, int | None]] = []

    def reading(self, segment: str) -> None:
        self.told.append((segment, None))

    def read(self, segment: str, rows: int) -> None:
        self.told.append((segment, rows))


def test_the_user_is_told_what_is_read_and_how_much_it_was(world: World) -> None:
    world.said = reading = Reading()
    world.define("vip", rows=["a", "b", "b"])
    world.plan()
    assert reading.told == [("vip", None), ("vip", 3)]


def test_several_segments_go_out_in_one_execution(world: World) -> None:
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("b", 2)])
    world.define("mail", "email_hash", rows=["h1", "h2"], expiration="30d")
    world.define("agents", "user_agent_id", rows=["vec:1"], segment_id="88123")
    world.define("hashed", "email", rows=[" A@b.C "], hash_email="sha1")
    world.define(
        "mixed",
        "user_account_id",
        "compartment_id",
        "email_hash",
        "expiration_ts",
        "data_bag",
        rows=[
            ("a", None, None, None, '{"b":1,"a":[true,null]}'),
            ("a", "2000", None, START_MS + DAY_MS, None),
            (None, None, "h1", 0, "{}"),
        ],
        compartment_id="3000",
    )
    world.apply()
    assert len(world.uploads) == 1
    assert_sound(world)
    mixed = world.emulator.members("mixed")
    assert mixed[world.emulator.account("a", "2000")].expires_at_ms == START_MS + DAY_MS
    assert mixed[world.emulator.account("a", "3000")].expires_at_ms == 0


def test_csv_carries_the_same_commands(world: World) -> None:
    world.destination["format"] = "csv"
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ('b",\n', 2)])
    world.define("mail", "email_hash", rows=["h1", "h2"], expiration="30d")
    world.apply()
    assert_sound(world)
    world.fill("vip", [('b",\n', 3)])
    world.apply(allowed=("vip",))
    assert_sound(world)


def test_several_parts_are_sent_one_after_the_other(world: World) -> None:
    world.define("vip", rows=[f"u{n}" for n in range(100)])
    world.destination["max_upload_bytes"] = 2000
    report = world.apply()
    assert report.plan is not None
    assert len(report.plan.parts) > 5
    assert len(world.uploads) == len(report.plan.parts)
    assert_sound(world)
    sizes = [r.body_size for r in world.emulator.request_log if r.endpoint == "upload"]
    assert max(sizes) < 2000


# -------------------------------------------------------------------- what cannot be filled


@pytest.mark.parametrize("problem", ["missing", "paused", "type", "feed"])
def test_a_segment_that_cannot_take_members_is_an_error_and_the_others_go_on(
    world: World, problem: str
) -> None:
    world.define("vip", rows=["a"])
    world.define("reader", rows=["a"])
    if problem == "missing":
        world.emulator.remove_segment("vip")
    else:
        changes: dict[str, dict[str, Any]] = {
            "paused": {"paused": True},
            "type": {"type": "USER_QUERY"},
            "feed": {"feed_type": "TAG"},
        }
        world.emulator.change_segment("vip", **changes[problem])
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert report.plan is not None
    [failed] = report.plan.with_status(SegmentStatus.ERROR)
    assert failed.name == "vip"
    assert failed.error
    assert world.members("reader") == world.expected("reader")
    assert not world.emulator.refused


def test_a_token_that_may_not_read_segments_is_told_once_and_goes_on(world: World) -> None:
    world.emulator.behave(segment_rights=False)
    for name in ("vip", "reader", "mail"):
        world.define(name, rows=["a"])
    assert world.apply().exit is Exit.DONE
    assert len([text for text in world.said.sentences if "may not read segments" in text]) == 1
    lookups = [r for r in world.emulator.request_log if r.endpoint == "segment_lookup"]
    assert len(lookups) == 1
    assert_sound(world)


def test_a_look_up_that_is_refused_otherwise_ends_the_apply(world: World) -> None:
    world.define("vip", rows=["a"])
    world.emulator.faults.add("segment_lookup", Answer(401))
    with pytest.raises(Refused):
        world.apply()
    assert not world.emulator.imports


def test_segments_without_changes_are_not_looked_up(world: World) -> None:
    world.define("vip", rows=["a"])
    world.define("reader", rows=["a"])
    world.apply()
    before = len(world.emulator.request_log)
    world.accounts("vip", "a", "b")
    world.apply()
    lookups = [r for r in world.emulator.request_log[before:] if r.endpoint == "segment_lookup"]
    assert len(lookups) == 1


# -------------------------------------------------------------------- segments that leave the spec


def test_a_removed_segment_loses_its_members_and_leaves_the_state(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.define("reader", rows=["a"])
    world.apply()
    world.drop("vip", "delete")
    report = world.apply()
    assert report.plan is not None
    assert [s.status for s in report.plan.segments] == [SegmentStatus.OK, SegmentStatus.REMOVED]
    removed = report.plan.segments[1]
    assert removed.counts == Counts(snapshot=2, remove=2, removed_live=2)
    assert len(removed.samples) == 2
    assert not world.members("vip")
    assert_sound(world)
    assert [s.name for s in world.plan().segments] == ["reader"]


def test_a_removed_segment_without_members_leaves_the_state(world: World) -> None:
    world.define("vip", rows=["a"])
    world.define("reader", rows=["a"])
    world.apply()
    world.accounts("vip")
    world.apply(allowed=("vip",))
    world.drop("vip", "delete")
    world.apply()
    assert [s.name for s in world.plan().segments] == ["reader"]


def test_a_removed_segment_may_keep_its_members(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.define("reader", rows=["a"])
    world.apply()
    world.drop("vip", "keep")
    report = world.apply()
    assert report.run is not None
    assert report.run.outcome.confirmed == 0
    assert report.plan is not None
    assert report.plan.segments[1].counts == Counts(snapshot=2)
    assert len(world.members("vip")) == 2
    assert_sound(world)


def test_a_removed_segment_with_rejected_removals_stays_until_they_are_done(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.define("reader", rows=["a"])
    world.apply()
    world.drop("vip", "delete")
    world.emulator.reject([world.emulator.account("b")], operations=("DELETE",))
    assert world.apply().exit is Exit.REJECTED
    world.emulator.accept_all()
    world.emulator.refused.clear()
    world.settle()
    assert not world.members("vip")
    assert_sound(world)


def test_a_removed_name_means_the_segment_that_had_it_and_not_one_with_that_address(
    world: World,
) -> None:
    world.define("vip", rows=["a"], segment_id="88")
    world.define("88", rows=["b"])
    world.apply()
    world.drop("vip")
    world.drop("88", "delete")
    plan = world.plan()
    assert {s.name: s.status for s in plan.segments} == {
        "88": SegmentStatus.REMOVED,
        "vip": SegmentStatus.ORPHANED,
    }
    world.removed = {"vip": "delete"}
    assert {s.name for s in world.plan().segments if s.status is SegmentStatus.REMOVED} == {"vip"}


def test_a_removed_segment_may_be_named_by_its_address(world: World) -> None:
    world.define("vip", rows=["a"], segment_id="88")
    world.define("reader", rows=["a"])
    world.apply()
    world.drop("vip")
    world.removed = {"88": "delete"}
    world.apply()
    assert not world.members("88")
    assert [s.name for s in world.plan().segments] == ["reader"]


def test_a_segment_that_comes_back_starts_anew(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.define("reader", rows=["a"])
    world.apply()
    world.drop("vip", "delete")
    world.apply()
    world.removed.clear()
    world.define("vip", rows=["b", "c"])
    world.apply()
    assert_sound(world)


def test_an_orphaned_segment_is_told_and_left_alone(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.define("reader", rows=["a"])
    world.apply()
    world.drop("vip")
    report = world.apply()
    assert report.exit is Exit.DONE
    assert report.run is None
    assert report.plan is not None
    [orphan] = report.plan.with_status(SegmentStatus.ORPHANED)
    assert "removed: {vip: delete}" in (orphan.hint or "")
    assert "removed: {vip: keep}" in (orphan.hint or "")
    assert len(world.members("vip")) == 2


@pytest.mark.parametrize("name", ["no", "été 2026", "spring-1"])
def test_the_remedy_for_an_orphan_is_yaml_that_means_it(world: World, name: str) -> None:
    world.define(name, rows=["a"])
    world.apply()
    world.drop(name)
    [orphan] = world.plan().with_status(SegmentStatus.ORPHANED)
    found = re.search(r"`removed: (.*?: delete\})`", orphan.hint or "")
    assert found
    world.removed = yaml.safe_load(found[1])
    assert world.removed == {name: "delete"}
    world.apply(allowed=())
    assert_sound(world)
    assert not world.plan().segments


def test_a_segment_that_got_another_address_is_told_what_to_do(world: World) -> None:
    world.define("vip", rows=["a"])
    world.apply()
    world.define("vip", rows=["a"], segment_id="500")
    [orphan] = world.plan().with_status(SegmentStatus.ORPHANED)
    assert "segment_technical_name=vip" in (orphan.error or "")
    assert "segment_id=500" in (orphan.hint or "")
    assert '`removed: {"segment_technical_name=vip": delete}`' in (orphan.hint or "")


def test_a_segment_may_get_another_name_in_the_spec(world: World) -> None:
    world.define("vip", "user_account_id", rows=["a", "b"], segment_id="500")
    world.apply()
    world.drop("vip")
    world.define("very_important", "user_account_id", rows=["a", "b"], segment_id="500")
    assert not world.plan().changes_something
    assert_sound(world)


def test_a_new_name_is_written_down_though_nothing_has_to_be_sent(world: World) -> None:
    world.define("old", rows=["a", "b"], segment_id="500")
    world.apply()
    world.drop("old")
    world.define("new", rows=["a", "b"], segment_id="500")
    before = world.state.read_bytes()
    world.plan()
    assert world.state.read_bytes() == before
    assert world.apply().run is None
    assert_sound(world)
    world.drop("new", "delete")
    report = world.apply()
    assert report.plan is not None
    assert [s.status for s in report.plan.segments] == [SegmentStatus.REMOVED]
    assert not world.members("500")
    assert_sound(world)


def test_a_name_that_a_segment_once_had_does_not_delete_its_members(world: World) -> None:
    world.define("vip", rows=["a", "b"], segment_id="77")
    world.apply()
    world.drop("vip")
    world.define("very_important", rows=["a", "b"], segment_id="77")
    world.apply()
    world.define("vip", rows=["n"])
    world.drop("very_important")
    world.apply()
    world.drop("vip", "delete")
    report = world.apply()
    assert report.plan is not None
    assert {str(s.address): s.status for s in report.plan.segments} == {
        "segment_technical_name=vip": SegmentStatus.REMOVED,
        "segment_id=77": SegmentStatus.ORPHANED,
    }
    assert not world.members("vip")
    assert len(world.members("77")) == 2


def two_of_one_name(world: World) -> None:
    """The segment vip got another address, and both were taken out of the spec."""
    world.define("reader", rows=["a"])
    world.define("vip", rows=["a", "b"])
    world.apply()
    world.define("vip", rows=["c"], segment_id="77")
    world.apply()
    world.drop("vip", "delete")


def test_a_removed_name_that_two_segments_had_is_an_error_that_names_their_addresses(
    world: World,
) -> None:
    two_of_one_name(world)
    world.accounts("reader", "a", "z")
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert report.plan is not None
    unclear = report.plan.with_status(SegmentStatus.ERROR)
    assert len(unclear) == 2
    for segment in unclear:
        assert "segment_technical_name=vip, segment_id=77" in (segment.error or "")
        assert '`removed: {"segment_technical_name=vip": delete}`' in (segment.hint or "")
    assert (len(world.members("vip")), len(world.members("77"))) == (2, 1)
    assert len(world.members("reader")) == 2


@pytest.mark.parametrize(
    ("removed", "left"),
    [
        ({"segment_technical_name=vip": "delete"}, (0, 1)),
        ({"segment_id=77": "delete"}, (2, 0)),
        ({"77": "delete"}, (2, 0)),
        ({"77": "delete", "vip": "delete"}, (0, 0)),
        ({"vip": "keep", "segment_id=77": "delete"}, (2, 0)),
    ],
)
def test_of_two_segments_of_one_name_an_address_means_one(
    world: World, removed: dict[str, str], left: tuple[int, int]
) -> None:
    two_of_one_name(world)
    world.removed = removed
    assert world.apply().exit is Exit.DONE
    assert (len(world.members("vip")), len(world.members("77"))) == left


# -------------------------------------------------------------------- guards and errors


def twenty(world: World, **keys: Any) -> None:
    world.define("vip", rows=[f"u{n}" for n in range(20)], **keys)
    world.define("reader", rows=["a"])
    world.apply()
    world.accounts("reader", "b", "a")


@pytest.mark.parametrize(
    ("left", "guard", "blocked"),
    [
        (14, None, False),
        (13, None, True),
        (0, None, True),
        (9, {"max_removed": "55%"}, False),
        (8, {"max_removed": "55%"}, True),
        (19, {"max_removed": 0}, True),
        (17, {"max_removed": 3}, False),
        (16, {"max_removed": 3}, True),
        (0, {"allow_empty": True}, True),
        (0, {"allow_empty": True, "max_removed": "100%"}, False),
    ],
)
def test_a_guard_blocks_its_segment_and_lets_the_others_through(
    world: World, left: int, guard: Any, blocked: bool
) -> None:
    twenty(world, **({"guard": guard} if guard else {}))
    world.accounts("vip", *(f"u{n}" for n in range(left)))
    report = world.apply()
    assert report.plan is not None
    assert report.exit is (Exit.REFUSED if blocked else Exit.DONE)
    assert world.members("reader") == world.expected("reader")
    if blocked:
        [segment] = report.plan.with_status(SegmentStatus.BLOCKED)
        [violation] = segment.violations
        may_be_empty = left or (guard or {}).get("allow_empty")
        assert violation.guard == ("max_removed" if may_be_empty else "empty")
        assert " 20" in violation.message
        assert "--allow vip" in violation.remedy
        assert len(world.members("vip")) == 20
        assert world.apply(allowed=("vip",)).exit is Exit.DONE
    assert_sound(world)


@pytest.mark.parametrize(("members", "result"), [(9, Exit.DONE), (10, Exit.REFUSED)])
def test_below_ten_members_any_share_may_go(world: World, members: int, result: Exit) -> None:
    world.define("vip", rows=[f"u{n}" for n in range(members)])
    world.apply()
    world.accounts("vip", "u1")
    assert world.apply().exit is result
    assert len(world.members("vip")) == (1 if result is Exit.DONE else members)


def test_members_that_have_lapsed_are_not_guarded(world: World) -> None:
    world.define("vip", rows=[f"u{n}" for n in range(20)], expiration="30d")
    world.apply()
    world.advance(days=30, seconds=1)
    world.accounts("vip", "u1")
    report = world.apply()
    assert report.exit is Exit.DONE
    assert_sound(world)


def test_a_new_segment_may_be_empty(world: World) -> None:
    world.define("vip")
    assert world.apply().exit is Exit.DONE
    assert_sound(world)


def test_a_guard_counts_members_that_may_be_there(world: World) -> None:
    """A first apply of unknown outcome must not leave everybody unguarded."""
    world.define("vip", rows=[f"u{n}" for n in range(100)])
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    assert world.apply().exit is Exit.UNKNOWN
    for rows in ([], [f"u{n}" for n in range(50)]):
        world.accounts("vip", *rows)
        report = world.apply()
        assert report.exit is Exit.REFUSED
        assert report.run is None
    world.accounts("vip", *(f"u{n}" for n in range(80)))
    assert world.apply().exit is Exit.DONE
    assert_sound(world)


def test_too_many_members_are_blocked(world: World) -> None:
    world.define("vip", rows=["a", "b", "c"], guard={"max_members": 2})
    report = world.apply()
    assert report.exit is Exit.REFUSED
    assert report.plan is not None
    [violation] = report.plan.segments[0].violations
    assert violation.guard == "max_members"
    assert violation.message == "the query returned 3 members; the limit is 2"
    assert not world.members("vip")
    assert world.apply(allowed=("vip",)).exit is Exit.DONE
    assert_sound(world)


def test_no_examples_are_shown_where_none_are_asked_for(world: World) -> None:
    world.define("vip", rows=["a"])
    assert world.plan().segments[0].samples
    assert world.plan(samples=0).segments[0].samples == ()


def test_digests_of_another_version_of_the_engine_are_made_anew_by_an_apply(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    places = [("a", "1"), ("b", "2")]
    world.define("places", "user_account_id", "compartment_id", rows=places)
    world.apply()
    with closing(open_state(world.state, read_only=False)) as state:
        state.replace_digests({segment.number: 7 for segment in state.segments()}, 1)
    assert not world.plan().changes_something
    world.accounts("vip", "a", "b", "c")
    assert world.apply().exit is Exit.DONE
    assert_sound(world)


HALF_WAY = (
    "WITH RECURSIVE numbers(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 200000) "
    "SELECT 'u' || CASE n WHEN 150000 THEN abs(-9223372036854775807 - 1) ELSE n END "
    "AS user_account_id FROM numbers"
)
"""There is no such number as is asked for in the middle of it."""


@pytest.mark.many_rows
@pytest.mark.parametrize("query", ["SELECT user_account_id FROM nowhere", HALF_WAY])
def test_a_segment_whose_query_fails_sends_nothing_and_the_others_go_on(
    world: World, query: str
) -> None:
    twenty(world)
    world.tables["vip"].keys["query"] = query
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert len(world.members("vip")) == 20
    assert world.members("reader") == world.expected("reader")


def test_a_source_that_cannot_be_opened_is_an_error_of_its_segments(world: World) -> None:
    twenty(world)
    shop = world.folder / "shop.db"
    shop.rename(shop.with_suffix(".away"))
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert report.plan is not None
    for name, segment in zip(world.tables, report.plan.segments, strict=True):
        assert (segment.name, segment.status) == (name, SegmentStatus.ERROR)
        assert segment.error
        assert segment.place
    assert len(world.members("vip")) == 20


def test_of_a_segment_whose_query_fails_the_members_that_have_not_lapsed_are_counted(
    world: World,
) -> None:
    world.define("vip", rows=["a", "b"], expiration="30d")
    world.define("fans", rows=["c"], expiration="never")
    world.apply()
    for table in world.tables.values():
        table.keys["query"] = "SELECT user_account_id FROM nowhere"
    assert [segment.counts.snapshot for segment in world.plan().segments] == [2, 1]
    world.advance(days=30)
    assert [segment.counts.snapshot for segment in world.plan().segments] == [0, 1]


def test_invalid_rows_are_an_error_unless_they_are_skipped(world: World) -> None:
    world.define("vip", rows=["a", "", (None,)])
    world.define("reader", rows=["a"])
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert report.plan is not None
    [failed] = report.plan.with_status(SegmentStatus.ERROR)
    assert (failed.error or "").endswith(
        "2 of 3 rows are invalid: 1 × no identifier: every identifier column is NULL; "
        "1 × empty identifier"
    )
    invalid = [sample for sample in failed.samples if sample.label == "invalid"]
    assert [(sample.row, sample.identifier, sample.column) for sample in invalid] == [
        (2, "", "user_account_id"),
        (3, None, "user_account_id"),
    ]
    world.tables["vip"].keys["invalid_rows"] = "skip"
    report = world.apply()
    assert report.exit is Exit.DONE
    assert world.members("vip").keys() == {world.emulator.account("a")}
    del world.tables["vip"].keys["invalid_rows"]
    world.accounts("vip", "a", "")
    [one] = world.plan().with_status(SegmentStatus.ERROR)
    assert (one.error or "").endswith("1 of 2 rows is invalid: 1 × empty identifier")


def test_conflicting_rows_are_an_error_unless_they_are_resolved(world: World) -> None:
    world.define("vip", "user_account_id", "total", rows=[("a", 1), ("a", 2), ("b", 1)])
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert report.plan is not None
    [failed] = report.plan.with_status(SegmentStatus.ERROR)
    assert [(s.label, s.identifier) for s in failed.samples if s.label == "conflict"] == [
        ("conflict", "a")
    ]
    world.tables["vip"].keys["on_conflict"] = "any"
    assert world.apply().exit is Exit.DONE
    assert len(world.members("vip")) == 2
    assert not world.plan().changes_something


def test_a_sample_tells_of_which_kind_its_identifier_is(world: World) -> None:
    world.define("vip", rows=["a"], compartment_id="1000")
    world.define("mail", "email_hash", rows=["h"])
    samples = [sample for segment in world.plan().segments for sample in segment.samples]
    assert [(sample.kind, sample.compartment_id, sample.identifier) for sample in samples] == [
        (IdentifierKind.USER_ACCOUNT_ID, "1000", "a"),
        (IdentifierKind.EMAIL_HASH, None, "h"),
    ]


def test_every_sample_says_why_its_member_is_changed(world: World) -> None:
    rows = [("changed", 1), ("gone", 1), ("renewed", 1)]
    world.define("vip", "user_account_id", "total", rows=rows, expiration="30d")
    world.apply()
    lapse = datetime.fromtimestamp(START_MS / 1000, UTC).date() + timedelta(days=30)
    world.advance(days=16)
    world.fill("vip", [("changed", 2), ("new", 1), ("renewed", 1)])
    assert reasons(world.plan()) == {
        ("+", "new"): "new in the query",
        ("~", "changed"): "data bag or expiry changed",
        ("↻", "renewed"): f"stays, and would lapse on {lapse}",
        ("-", "gone"): "no longer in the query",
    }
    world.advance(days=15)
    assert reasons(world.plan())["+", "renewed"] == f"lapsed on {lapse}"
    world.emulator.faults.add("upload", ExecutionScript(ends_as="FAILED"))
    world.apply()
    assert set(reasons(world.plan()).values()) == {"the outcome of an earlier run is unknown"}
    world.settle()
    world.drop("vip", "delete")
    assert set(reasons(world.plan()).values()) == {"the segment is removed"}


@pytest.mark.parametrize("option", ["targets", "excluded", "allowed"])
def test_a_name_that_is_not_in_the_spec_is_refused(world: World, option: str) -> None:
    world.define("vip", rows=["a"])
    for name, hint in (("vpi", "did you mean 'vip'?"), ("reader", "it has: vip")):
        with pytest.raises(UsageError, match=f"no segment '{name}'") as caught:
            world.plan(**{option: (name,)})
        assert caught.value.hint == hint


def test_a_selection_of_nothing_is_refused(world: World) -> None:
    world.define("vip", rows=["a"])
    with pytest.raises(UsageError, match="leave no segment") as caught:
        world.plan(targets=("vip",), excluded=("vip",))
    assert caught.value.hint == "the spec has: vip"


def test_only_the_targets_are_changed(world: World) -> None:
    for name in ("one", "two", "three"):
        world.define(name, rows=["a"])
    world.apply(targets=("one", "two"), excluded=("two",))
    assert [len(world.members(name)) for name in ("one", "two", "three")] == [1, 0, 0]
    assert world.plan(targets=("one",)).partial
    world.apply()
    assert_sound(world)


def test_a_plan_touches_nothing(world: World) -> None:
    world.define("vip", rows=["a"])
    world.apply()
    world.accounts("vip", "b")
    files = {path: path.stat() for path in world.folder.rglob("*")}
    world.spec.path.touch()
    requests = len(world.emulator.request_log)
    plan = world.plan()
    assert plan.totals.commands == 2
    assert len(world.emulator.request_log) == requests
    for path, before in files.items():
        if path.name != "segments.yaml":
            after = path.stat()
            assert (after.st_mtime_ns, after.st_size) == (before.st_mtime_ns, before.st_size), path


def test_a_plan_before_the_first_apply_leaves_no_state_behind(world: World) -> None:
    world.define("vip", rows=["a"])
    assert world.plan().totals.add == 1
    assert not world.state.parent.exists()


def test_one_segment_known_by_id_and_by_name_is_refused(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    identifier = next(
        segment.id
        for segment in world.emulator.world.segments.by_id.values()
        if segment.technical_name == "vip"
    )
    world.define("twin", rows=["c"], segment_id=identifier)
    uploads = len(world.uploads)
    report = world.apply()
    assert report.plan is not None
    [twin] = [segment for segment in report.plan.segments if segment.name == "twin"]
    assert twin.status is SegmentStatus.ERROR
    assert twin.error is not None
    assert "segment_technical_name=vip" in twin.error
    assert report.exit is Exit.ERROR
    assert len(world.uploads) == uploads
    world.drop("twin")
    assert world.apply().exit is Exit.DONE


INVALID_ROWS: dict[str, tuple[tuple[str, ...], Row, Row]] = {
    "infinite": (("user_account_id", "total"), ("x", 1), ("x", math.inf)),
    "no time": (("user_account_id", "expiration_ts"), ("x", 0), ("x", "soon")),
    "seconds": (("user_account_id", "expiration_ts"), ("x", 0), ("x", 1_900_000_000)),
    "two": (("user_account_id", "email_hash"), (None, "x"), ("other", "x")),
    "two, account": (("user_account_id", "email_hash"), ("x", None), ("x", "other")),
}


@pytest.mark.parametrize("fault", INVALID_ROWS)
def test_a_member_whose_row_is_invalid_stays_as_it_is(world: World, fault: str) -> None:
    columns, good, bad = INVALID_ROWS[fault]
    world.define("vip", *columns, rows=[good], invalid_rows="skip", guard={"allow_empty": True})
    world.apply()
    world.fill("vip", [bad])
    report = world.apply()
    assert report.plan is not None
    assert report.plan.segments[0].counts.spared == 1
    assert [i.value for i in world.members("vip")] == ["x"]


@pytest.mark.parametrize("confirmed", [True, False])
def test_who_is_in_doubt_and_whose_row_is_invalid_is_not_removed(
    world: World, confirmed: bool
) -> None:
    columns = ("user_account_id", "email_hash", "total")
    rows = [("x", None, 1), ("y", None, 1)]
    world.define("vip", *columns, rows=rows[1 - confirmed :], invalid_rows="skip")
    world.apply()
    world.fill("vip", [("x", None, 2), ("y", None, 1)])
    world.emulator.faults.add("upload", ExecutionScript(patch={"result": {"total_success": 9}}))
    assert world.apply().exit is Exit.UNKNOWN
    world.fill("vip", [("x", "two", 2), ("y", None, 1)])
    assert world.plan().totals.removed_uncounted == 0
    for _ in range(2):
        world.apply()
        assert {i.value for i in world.members("vip")} == {"x", "y"}
    assert not world.plan().changes_something
    world.fill("vip", [("y", None, 1)])
    world.settle()
    assert_sound(world)


def test_a_column_that_is_no_compartment_is_an_error_of_its_segment(world: World) -> None:
    rows = [(f"u{n}", f"c{n}") for n in range(1001)]
    world.define("vip", "user_account_id", "compartment_id", rows=rows)
    world.define("other", rows=["x"])
    report = world.apply()
    assert report.plan is not None
    errors = {segment.name: segment.error for segment in report.plan.segments}
    assert errors["other"] is None
    assert "more than 1,000 different values of compartment_id" in (errors["vip"] or "")
    assert world.members("other")
    world.fill("vip", rows[:1000])
    assert world.apply().exit is Exit.DONE


def test_a_segment_that_is_known_by_its_id_takes_nothing_by_its_name(world: World) -> None:
    """Else the removals of one would take the members of the other, whose plan is empty."""
    by_id = world.emulator.add_segment("vip").id
    world.define("mine", rows=["x", "y"], segment_id=by_id)
    world.apply()
    world.define("vip", rows=["x", "z"])
    report = world.apply()
    assert report.plan is not None
    [vip] = [segment for segment in report.plan.segments if segment.name == "vip"]
    assert f"segment_id={by_id}" in (vip.error or "")
    world.accounts("mine", "x", "w")
    world.apply(allowed=("mine",))
    assert {i.value for i in world.members("vip")} == {"x", "w"}


@pytest.mark.parametrize(("status", "times"), [(400, 2), (422, 1), (499, 1)])
def test_a_look_up_that_is_refused_is_an_error_of_its_segment(
    world: World, status: int, times: int
) -> None:
    """After 400 it is asked once more, for fewer at once."""
    world.define("vip", rows=["a"])
    world.define("other", rows=["x"])
    world.emulator.faults.add("segment_lookup", http_error(status), call=1, times=times)
    report = world.apply()
    assert report.plan is not None
    vip, other = report.plan.segments
    assert f"HTTP {status}" in str(vip.error)
    assert other.error is None
    assert report.exit is Exit.ERROR
    assert world.members("other")
    world.settle()


@pytest.mark.parametrize("forbidden", [1, 2])
def test_one_segment_that_may_not_be_read_does_not_end_the_look_at_the_others(
    world: World, forbidden: int
) -> None:
    """Where the very first may not be read, the token may read none: nobody asks in vain."""
    for name in ("a", "b", "c"):
        world.define(name, rows=["x"])
    world.emulator.change_segment("c", paused=True)
    world.emulator.faults.add("segment_lookup", http_error(403), call=forbidden, times=1)
    report = world.apply()
    assert report.plan is not None
    paused = report.plan.segments[-1].error
    assert (paused is not None) == (forbidden == 2)
    assert any("may not read" in text for text in world.said.sentences)


def last_error(world: World) -> str:
    """What an apply says of the last segment of its plan."""
    plan = world.apply().plan
    assert plan is not None
    return plan.segments[-1].error or ""


def test_a_segment_that_was_made_anew_on_the_platform_is_noticed(world: World) -> None:
    """It has the same name, and none of the members that the state knows."""
    world.define("vip", rows=["a", "b"])
    world.define("other", rows=["x"])
    world.apply()
    old = world.emulator.world.segment("vip")
    world.emulator.remove_segment("vip")
    new = world.emulator.add_segment("vip")
    world.accounts("vip", "a", "b", "c")
    report = world.apply()
    assert report.plan is not None
    [error] = [segment.error or "" for segment in report.plan.segments if segment.name == "vip"]
    assert f"another one (id {new.id})" in error
    assert f"(id {old.id})" in error
    assert not world.members("vip")
    table = world.tables["vip"]
    world.drop("vip", "delete")
    assert "write `removed: {vip: keep}`" in last_error(world)
    world.removed["vip"] = "keep"
    world.settle()
    world.removed.clear()
    world.tables["vip"] = table
    world.settle()
    assert_sound(world)


def test_the_members_of_a_segment_that_is_gone_need_not_be_deleted(world: World) -> None:
    world.define("vip", rows=["a", "b"])
    world.define("other", rows=["x"])
    world.apply()
    world.emulator.remove_segment("vip")
    world.emulator.behave(create_segments=False)
    world.drop("vip", "delete")
    assert "write `removed: {vip: keep}`" in last_error(world)


def test_of_two_new_segments_that_are_one_none_is_sent(world: World) -> None:
    by_id = world.emulator.add_segment("vip").id
    world.define("mine", rows=["x"], segment_id=by_id)
    world.define("vip", rows=["y"])
    report = world.apply()
    assert report.plan is not None
    assert all("out of the spec" in (item.error or "") for item in report.plan.segments)
    assert not world.uploads


def test_two_stored_segments_that_are_one_can_be_ended_without_losing_members(
    world: World,
) -> None:
    """A token that may not read segments had let both in."""
    emulator = world.emulator
    by_id = emulator.add_segment("vip").id
    emulator.behave(segment_rights=False)
    world.define("mine", rows=["x", "y"], segment_id=by_id)
    world.define("vip", rows=["x", "y"])
    world.define("other", rows=["x"])
    world.apply()
    emulator.behave(segment_rights=True)
    world.accounts("mine", "x", "y", "w")
    plan = world.apply().plan
    assert plan is not None
    [error] = [segment.error for segment in plan.segments if segment.name == "mine"]
    for found in re.findall(r"`removed: (.*?)`", error or ""):
        world.removed |= yaml.safe_load(found)
    mine = world.tables["mine"]
    world.drop("mine")
    world.drop("vip")
    world.settle()
    assert not world.members("vip")
    world.removed.clear()
    world.tables["mine"] = mine
    world.settle()
    assert {i.value for i in world.members("vip")} == {"x", "y", "w"}


def test_the_remedy_for_two_addresses_of_one_segment_depends_on_what_the_state_has(
    world: World,
) -> None:
    world.define("vip", rows=["a"])
    [platform] = world.emulator.world.segments.by_id.values()
    world.define("twin", rows=["b"], segment_id=platform.id)

    def remedies() -> set[str]:
        plan = world.apply().plan
        assert plan is not None
        errors = [segment.error or "" for segment in plan.with_status(SegmentStatus.ERROR)]
        return {error.partition("keep one of the two. ")[2] for error in errors}

    assert remedies() == {"Take the other one out of the spec"}
    world.emulator.behave(segment_rights=False)
    world.apply()
    world.emulator.behave(segment_rights=True)
    world.accounts("vip", "a", "x")
    world.accounts("twin", "b", "y")
    found = remedies()
    assert len(found) == 2
    for remedy in found:
        assert remedy.startswith("Both have members in the state: end both, with ")
        assert '`removed: {"segment_technical_name=vip": delete}`' in remedy
        assert f'`removed: {{"segment_id={platform.id}": delete}}`' in remedy


def test_the_remedy_for_a_segment_known_by_id_and_by_name_leaves_nobody_behind(
    world: World,
) -> None:
    world.define("vip", rows=["a", "b"])
    world.apply()
    [platform] = world.emulator.world.segments.by_id.values()
    world.drop("vip")
    world.define("twin", rows=["a", "c"], segment_id=platform.id)
    plan = world.apply().plan
    assert plan is not None
    [error] = [segment.error for segment in plan.segments if segment.name == "twin"]
    assert "To keep this one, end the other with" in (error or "")
    found = re.search(r"`removed: (.*?)`", error or "")
    assert found
    world.removed = yaml.safe_load(found[1])
    world.settle(applies=2)  # the one must be out of the state before the other can be in it
    assert_sound(world)


@pytest.mark.parametrize("to", ["id", "technical name"])
@pytest.mark.parametrize("status", [SegmentStatus.ERROR, SegmentStatus.ORPHANED])
def test_the_remedies_for_an_entry_that_got_another_address_work_as_they_are_told(
    world: World, to: str, status: SegmentStatus
) -> None:
    """The segment has one name in the spec all the time: that cannot be under `removed`, too."""
    by_id = world.emulator.add_segment("vip").id
    before, after = ({}, {"segment_id": by_id}) if to == "id" else ({"segment_id": by_id}, {})
    world.define("vip", rows=["a", "b"], **before)
    world.apply()
    world.define("vip", rows=["a", "c"], **after)
    plan = world.apply().plan
    assert plan is not None
    [told] = plan.with_status(status)
    remedy = re.search(r"`removed: (.*?)`", f"{told.error} {told.hint}")
    assert remedy
    world.removed = yaml.safe_load(remedy[1])
    world.settle(applies=2)
    assert_sound(world)


def test_a_segment_whose_name_another_one_has_now_leaves_nobody_behind(world: World) -> None:
    """Its members are where it is called otherwise, and can be deleted there."""
    world.define("other", rows=["x"])
    world.define("vip", rows=["a", "b"])
    world.apply()
    world.emulator.change_segment("vip", technical_name="vip_2025")
    world.emulator.add_segment("vip")
    world.accounts("vip", "a", "c")
    assert "filled under segment_technical_name=vip " in last_error(world)
    world.drop("vip", "delete")
    error = last_error(world)
    assert "Give it the old one back there" in error
    assert "keep" not in error
    world.emulator.change_segment("vip", technical_name="vip_2026")
    world.emulator.change_segment("vip_2025", technical_name="vip")
    world.settle()
    assert not world.members("vip")


def test_a_segment_that_was_renamed_on_the_platform_leaves_nobody_behind(world: World) -> None:
    """Under its new name it seems to be another one, and the old one to be gone for good."""
    world.define("vip", rows=["a", "b"])
    world.apply()
    world.emulator.change_segment("vip", technical_name="vips")
    world.accounts("vip", "a", "c")
    assert "filled under segment_technical_name=vip " in last_error(world)
    world.drop("vip")
    world.define("vips", rows=["a"])
    [error] = [segment.error or "" for segment in plan_of(world) if segment.name == "vips"]
    assert "filled under segment_technical_name=vip " in error
    found = re.search(r"`removed: (.*?)`", error)
    assert found
    world.removed = yaml.safe_load(found[1])
    error = last_error(world)
    assert "filled under segment_technical_name=vip " in error
    assert "nobody" not in error
    world.emulator.change_segment("vips", technical_name="vip")
    world.apply()
    world.emulator.change_segment("vip", technical_name="vips")
    world.settle()
    assert_sound(world)


def plan_of(world: World) -> tuple[SegmentPlan, ...]:
    plan = world.apply().plan
    assert plan is not None
    return plan.segments


def test_a_removed_segment_takes_no_members_of_one_that_is_the_same_on_the_platform(
    world: World,
) -> None:
    """A token that may not read segments had let both in."""
    world.emulator.behave(segment_rights=False)
    world.define("vip", rows=["a", "b"])
    [platform] = world.emulator.world.segments.by_id.values()
    world.define("mine", rows=["a", "b"], segment_id=platform.id)
    world.apply()
    world.emulator.behave(segment_rights=True)
    world.drop("vip", "delete")
    assert "end both" in last_error(world)
    assert {i.value for i in world.members("vip")} == {"a", "b"}


def test_of_an_orphan_without_members_none_are_told(world: World) -> None:
    world.define("vip", rows=["a"])
    world.define("nobody")
    world.apply()
    world.drop("nobody")
    assert last_error(world) == "the state has it, but the spec does not mention it"
