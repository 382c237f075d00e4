"""What is shown of a plan, in every format."""

from __future__ import annotations

import json
from html.parser import HTMLParser

import pytest

from segsync.model import MINUTE_MS, RemovedSegment
from segsync.plan import Plan, SegmentStatus
from segsync.render.html import plan_html
from segsync.render.lines import plain
from segsync.render.markdown import LONGEST, plan_markdown
from segsync.render.notes import Surroundings
from segsync.render.plan_json import plan_json
from segsync.render.plan_text import plan_text
from segsync.render.printable import width
from tests.support.plans import blocked, failed, plan, sample, segment

HUGE = {
    "queried": 123_456_789,
    "desired": 123_456_789,
    "snapshot": 123_456_000,
    "add": 100_000_789,
    "remove": 99_999_999,
    "update": 11_111_111,
    "renew": 12_344_100,
    "unchanged": 789,
}
LONG_NAME = "customers_of_the_north_" * 4 + "end"
HOSTILE = "<script>alert(1)</script>|`\x1b[2J\u202e@team"
AROUND = Surroundings(".segsync/state.db")
HOSTILE_AROUND = Surroundings(HOSTILE, HOSTILE, (RemovedSegment(f"{HOSTILE}s", "keep", HOSTILE),))


def text_of(shown: Plan, columns: int = 80) -> str:
    return plain(plan_text(shown, AROUND, columns=columns, show_ids=False))


def table_of(text: str) -> list[str]:
    lines = text.splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("segment"))
    return lines[start : lines.index("", start)]


@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_the_table_fits_with_a_hundred_million_members_and_long_names(columns: int) -> None:
    table = table_of(text_of(plan(segment(LONG_NAME, **HUGE), segment("b", **HUGE)), columns))
    assert max(map(width, table)) <= max(columns, 61)
    assert len({len(line) for line in table}) == 1, "the columns line up"
    if columns == 200:
        assert LONG_NAME in table[1]
        assert "123,456,789" in table[1]
    else:
        assert "…" in table[1]


def test_the_exact_figures_are_at_the_end_where_the_table_rounds_them() -> None:
    text = text_of(plan(segment("a", **HUGE)), 60)
    assert "100M" in text
    assert "100,000,789 to add, 11,111,111 to update, 12,344,100 to renew" in " ".join(text.split())


def test_troubles_come_last_and_the_worst_at_the_very_end() -> None:
    gone = segment("gone", status=SegmentStatus.REMOVED, snapshot=5, remove=5)
    kept = segment("kept", status=SegmentStatus.REMOVED, keep=True, snapshot=5)
    lost = segment("lost", status=SegmentStatus.ORPHANED, error="it is in the state", hint="do")
    text = text_of(plan(failed("bad"), blocked("held"), lost, gone, kept, segment("fine")))
    headlines = [line for line in text.splitlines() if line[:2] in ("✗ ", "! ")]
    assert headlines == [
        "! gone is removed: 5 members to remove",
        "! kept is removed: it is forgotten, its members stay on the platform",
        "! lost is orphaned: nothing is sent for it",
        "✗ held is blocked by a guard: nothing is sent for it",
        "✗ bad has an error: nothing is sent for it",
    ]
    flat = " ".join(text.split())
    assert flat.endswith("1 segment orphaned. 1 segment blocked. 1 segment in error.")
    rows = [line.split()[0] for line in table_of(text)]
    assert rows == ["segment", "gone", "kept", "fine", "bad", "held", "lost", "total"]


def test_a_plan_without_changes_says_no_changes() -> None:
    quiet = segment("quiet", queried=5, desired=5, snapshot=5, unchanged=5)
    assert text_of(plan(quiet)).endswith("\nNo changes.\n")
    assert text_of(plan(quiet, failed("bad"))).endswith(
        "\nNo changes in the other segments.\n1 segment in error.\n"
    )
    assert "Nothing can be done." in text_of(plan(failed("bad")))
    assert text_of(plan()).endswith("No changes.\n")
    forget = segment("quiet", queried=5, desired=5, snapshot=5, unchanged=5, forget=2)
    assert text_of(plan(forget)).endswith("\nNothing to send: only the state changes.\n")


def test_commands_that_wait_are_not_taken_for_members_that_are_as_they_should_be() -> None:
    """Two additions, an update and a removal were rejected and wait."""
    waiting = segment(
        "fans", queried=10, desired=10, snapshot=9, unchanged=10,
        deferred=4, deferred_add=2, deferred_remove=1,
    )  # fmt: skip
    text = text_of(plan(waiting))
    assert table_of(text)[1].split() == ["fans", "9", "9", "–", "–", "–", "–", "7"]
    assert text.endswith(
        "\nNothing to send now: 4 commands that the platform rejected must wait.\n"
    )


def test_many_segments_without_a_change_are_one_row() -> None:
    idle = [
        segment(f"idle_{i}", queried=5, desired=5, snapshot=5, unchanged=5) for i in range(1000)
    ]
    text = text_of(plan(*idle, segment("busy")))
    assert table_of(text)[2].split() == [
        "1,000", "others", "without", "a", "change", "5,000", "5,000", "–", "–", "–", "–", "5,000",
    ]  # fmt: skip
    assert len(text.splitlines()) < 15


def test_a_plan_of_a_time_before_the_last_apply_says_that_its_expiries_mean_nothing() -> None:
    made = 1_790_000_000_000
    for last, told in ((0, False), (made + 5 * MINUTE_MS, False), (made + 6 * MINUTE_MS, True)):
        shown = plan(segment("a"), created_at_ms=made, last_submitted_ms=last)
        text = " ".join(text_of(shown, 200).split())
        assert ("before the last apply of 2026-09-21 14:19 UTC" in text) == told, text


def test_what_is_out_of_the_ordinary_is_said() -> None:
    odd = segment(
        "odd",
        queried=110, duplicates=5, invalid=5, desired=100, snapshot=90, add=10, unchanged=90,
        retry=4, reattempted=1, deferred=3, forget=2, settled=1, spared=2,
        invalid_reasons={"its expiration_ts has passed": 5},
    )  # fmt: skip
    runs = {"open_run": "segsync-abc-00000007", "watched": ("segsync-abc-00000006",)}
    text = " ".join(text_of(plan(odd, partial=True, **runs), 200).split())
    for sentence in (
        "! Run segsync-abc-00000007 is not finished",
        "! Run segsync-abc-00000006 was cut off, or its upload seemed lost",
        "of the 4 commands below that say something again, it leaves out what is done",
        "! This plan is partial",
        "5 of 110 rows left out: 5 × its expiration_ts has passed",
        "5 of 110 rows repeat another one",
        "4 commands said again",
        "1 command rejected earlier, and tried again now (`segsync state rejects`)",
        "3 commands rejected earlier, waiting for the next attempt (`segsync state rejects`)",
        "2 members lapsed and in no valid row of the query: dropped without a command",
        "1 rejected command no longer needed: dropped",
        "2 members left as they are, not renewed: their rows may be invalid ones",
    ):
        assert sentence in text


def test_who_lapsed_and_left_is_told() -> None:
    counts = {"queried": 1, "desired": 1, "snapshot": 1, "unchanged": 1, "forget": 1}
    text = text_of(plan(segment("vip", **counts)), 200)
    assert "1 member lapsed and no longer in the query: dropped without a command" in text


def test_removals_of_whom_now_does_not_count_are_told() -> None:
    """Or now + add - remove = after would not hold."""
    counts = {"queried": 42, "desired": 42, "snapshot": 0, "add": 42, "remove": 8}
    text = text_of(plan(segment("lapsed", **counts)), 200)
    assert table_of(text)[1].split()[:7] == ["lapsed", "0", "42", "42", "–", "–", "8"]
    assert "8 of 8 removals not counted in `now`" in text
    text = text_of(plan(segment("live", **counts | {"snapshot": 8})), 200)
    assert "not counted" not in text


def test_samples_of_one_reason_share_a_line() -> None:
    samples = tuple(sample("+", f"customer-{i:03}") for i in range(3))
    shown = plan(segment("fans", samples=(*samples, sample("+", "customer-999", "lapsed"))))
    text = text_of(shown)
    assert "  + new in the query: user_account_id cu…00, cu…01, cu…02\n" in text
    assert "  + lapsed: user_account_id cu…99\n" in text
    assert "customer-000" in plain(plan_text(shown, AROUND, columns=80, show_ids=True))


def hostile() -> Plan:
    return plan(
        segment(HOSTILE, samples=(sample("+", HOSTILE, HOSTILE),), invalid=1, queried=1,
                invalid_reasons={HOSTILE: 1}),
        failed(HOSTILE, error=f"{HOSTILE}\n{HOSTILE}"),
        open_run=HOSTILE,
    )  # fmt: skip


def test_text_of_others_cannot_act_on_a_terminal() -> None:
    for show_ids in (False, True):
        text = plain(plan_text(hostile(), HOSTILE_AROUND, columns=80, show_ids=show_ids))
        assert text.replace("\n", "").isprintable()
        assert "\\x1b[2J" in text


class Reader(HTMLParser):
    """Collects elements, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        values = dict(attrs)
        if values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""

    def handle_data(self, data: str) -> None:
        self.text += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def test_an_html_page_has_the_same_elements_whatever_the_data() -> None:
    harmless = plan(
        segment(
            "a", samples=(sample("+", "b", "c"),), invalid=1, queried=1, invalid_reasons={"d": 1}
        ),
        failed("e", error="f\ng"),
        open_run="h",
    )
    for show_ids in (False, True):
        page = read(plan_html(hostile(), HOSTILE_AROUND, show_ids=show_ids))
        assert (
            page.tags == read(plan_html(harmless, Surroundings("s", "w"), show_ids=show_ids)).tags
        )
        assert page.attributes <= {"lang", "charset", "http-equiv", "content", "name", "title",
                                   "colspan", "class"}  # fmt: skip
        assert page.policy.startswith("default-src 'none'")
        assert "<script>alert(1)</script>" in page.text


def test_markdown_has_no_element_from_the_data_and_no_row_is_broken() -> None:
    text = plan_markdown(hostile(), HOSTILE_AROUND, show_ids=True)
    assert "<script" not in text
    assert "@team" not in text
    rows = [line for line in text.splitlines() if line.startswith("| ")]
    assert {row.count("|") for row in rows} == {9}


@pytest.mark.parametrize("count", [1, 50, 2000])
def test_markdown_is_never_longer_than_a_comment_may_be(count: int) -> None:
    long = [
        segment(f"{LONG_NAME}_{i}", samples=tuple(sample("+", f"x{j:0300}") for j in range(9)))
        for i in range(count)
    ]
    bad = [failed(f"{LONG_NAME}_{i}", error="e" * 3000) for i in range(count)]
    for shown in (
        plan(*long),
        plan(*bad),
        plan(*long, *bad, *(blocked(f"b{i}") for i in range(count))),
    ):
        text = plan_markdown(shown, AROUND, show_ids=True)
        assert len(text) <= LONGEST
        assert text.count("<details>") == text.count("</details>")
        assert "**Plan&#58;" in text or "Nothing can be done" in text
        assert (" more segments" in text) == (count > 50 or "more segments" in text)


def test_what_does_not_fit_into_markdown_is_counted() -> None:
    shown = plan(*(segment(f"{LONG_NAME}_{i}") for i in range(2000)))
    text = plan_markdown(shown, AROUND, show_ids=False)
    rows = sum(line.startswith("| <code>") for line in text.splitlines())
    assert f"… {2000 - rows:,} more segments" in text
    assert rows > 100
    assert "2,468,000 to add" in text


def test_the_json_of_a_plan_survives_anything() -> None:
    text = json.dumps(plan_json(hostile()), ensure_ascii=True, allow_nan=False)
    assert json.loads(text)["segments"][0]["name"] == HOSTILE


def test_totals_are_those_of_the_segments_that_send() -> None:
    document = plan_json(plan(segment("a"), blocked("b"), failed("c")))
    assert document["totals"]["add"] == 1234
    assert document["totals"]["remove"] == 0
    assert document["totals"]["commands"] == 1234
    assert [item["status"] for item in document["segments"]] == ["ok", "blocked", "error"]
    assert document["segments"][1]["remove"] == 1_000_000
