"""The bytes of a payload: exactly what the platform documents, and exactly the members' values."""

from __future__ import annotations

import csv
import functools
import hashlib
import io
import itertools
import json
import random
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsync.engine import Layout, Target, header_for
from segsync.engine.fingerprint import fingerprint_of
from segsync.errors import SegsyncError
from segsync.model import DAY_MS, MINUTE_MS, NEVER, Address
from segsync.payload import write_parts
from segsync.report import Exit
from tests.support.comparing import NOW_MS, Bench, accounts, segment
from tests.support.size import size
from tests.support.world import World, assert_sound, canonical

MONTH = 30 * 24 * 60
HOSTILE = [
    *('"', "'", "\\", "/", ",", ";", "\n", "\r", "\r\n", "\t", "\x01", "\x1f", "\x7f", "\x85"),
    *("\u2028", "\u2029", "\ufeff", "\u200d", "\u202e", "é", "e\u0301", "😀", "👩‍👧", "ﬁ", "ß"),
    *("null", "NULL", "true", "0", "00", "-0", "1e9", "NaN", " ", " a ", "a b", "{}", "[]", "%s"),
    *("${HOME}", "{{x}}", "=cmd|' /C calc'!A0", "</script>", "'; DROP TABLE members; --"),
    *("\x1b[2J", 'x\n{"operation":"DELETE"}', 'x"}\n{"operation":"DELETE"', "x\r\nDELETE,,"),
    "a" * 65_536,
    "😀" * 16_384,
]  # fmt: skip
ALPHABET = [
    chr(n) for n in (*range(1, 0x300), *range(0x2000, 0x2100), *range(0xE000, 0x110000, 97))
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        yield made


def payload(wire: str, *cases: tuple[Any, ...]) -> str:
    """The commands of these segments: segment, columns, rows, and the rest for Bench.compare."""
    with Bench() as bench:
        for chosen, columns, rows, more in cases:
            bench.compare(rows, columns, of=chosen, **more)
        return bench.lines(bench.arrange(wire))


def of_account(chosen: Any, **more: Any) -> tuple[Any, ...]:
    return chosen, ("user_account_id",), accounts("u1"), more


# -------------------------------------------------------------------- lines


def test_fields_stand_in_the_order_of_the_documentation_and_absent_ones_are_left_out() -> None:
    everything = segment(
        address=Address("segment_id", "88123"), compartment_id="é", data_bag=("total", "name")
    )
    columns = ("user_account_id", "expiration_ts", "total", "name")
    row = {
        "user_account_id": "u1",
        "expiration_ts": NOW_MS + 90_000,
        "total": 5,
        "name": '"A"',
    }
    assert payload("ndjson", (everything, columns, [row], {})) == (
        '{"operation":"UPDATE","compartment_id":"é","user_account_id":"u1",'
        '"segment_id":"88123","expiration_duration":2,'
        f'"expiration_ts":{NOW_MS + 90_000},'
        '"data_bag":"{\\"name\\":\\"A\\",\\"total\\":5}"}\n'
    )


@pytest.mark.parametrize(
    ("column", "compartment"),
    [("user_account_id", None), ("email_hash", "1000"), ("user_agent_id", "1000")],
)
def test_there_is_exactly_one_identifier_and_only_accounts_have_a_compartment(
    column: str, compartment: str | None
) -> None:
    chosen = segment(compartment_id=compartment)
    assert payload("ndjson", (chosen, (column,), [{column: "x"}], {})) == (
        f'{{"operation":"UPDATE","{column}":"x","segment_technical_name":"vip",'
        '"expiration_duration":0}\n'
    )


def test_a_removal_carries_no_data_bag_and_no_expiry() -> None:
    chosen = segment(expiration_minutes=MONTH, data_bag=("total",), compartment_id="1")
    more = {"snapshot": {"u1": (1, 0)}}
    assert payload("ndjson", (chosen, ("user_account_id", "total"), [], more)) == (
        '{"operation":"DELETE","compartment_id":"1","user_account_id":"u1",'
        '"segment_technical_name":"vip","expiration_duration":0}\n'
    )


@pytest.mark.parametrize(
    ("expires_in", "minutes", "duration"),
    [
        (None, NEVER, 0),
        (None, MONTH, 0),
        (0, MONTH, 0),
        (1, NEVER, 1),
        (60_000, MONTH, 1),
        (60_001, MONTH, 2),
        (DAY_MS, NEVER, 1440),
        (DAY_MS + 1, NEVER, 1441),
    ],
)
def test_the_duration_agrees_with_the_expiry_of_the_row(
    expires_in: int | None, minutes: int, duration: int
) -> None:
    expires = NOW_MS + expires_in if expires_in else expires_in
    row = {"user_account_id": "u1", "expiration_ts": expires}
    chosen = segment(expiration_minutes=minutes)
    line = json.loads(payload("ndjson", (chosen, tuple(row), [row], {})))
    assert line["expiration_duration"] == duration
    assert line.get("expiration_ts") == (expires or None)


def test_without_an_expiry_of_its_own_a_row_has_the_segments_duration() -> None:
    line = json.loads(payload("ndjson", of_account(segment(expiration_minutes=MONTH))))
    assert line["expiration_duration"] == MONTH
    assert "expiration_ts" not in line


def test_a_data_bag_is_an_escaped_json_text_with_sorted_keys() -> None:
    row = {"user_account_id": "u1", "data_bag": '{ "b": {"y": 1},\n"a": "é\\n\\"", "B": null }'}
    text = payload("ndjson", (segment(), tuple(row), [row], {}))
    bag = json.loads(text)["data_bag"]
    assert bag == '{"B":null,"a":"é\\n\\"","b":{"y":1}}'
    assert text.count("\n") == 1


@pytest.mark.parametrize("wire", ["ndjson", "csv"])
def test_one_command_is_one_line_whatever_the_values_are(wire: str) -> None:
    rows = [{"user_account_id": text, "data_bag": json.dumps({"x": text})} for text in HOSTILE]
    chosen = segment(compartment_id='a"\n,b')
    text = payload(wire, (chosen, ("user_account_id", "data_bag"), rows, {}))
    if wire == "ndjson":
        lines = [json.loads(line) for line in text.split("\n") if line]
        assert text.count("\n") == len(HOSTILE)
    else:
        lines = list(csv.DictReader(io.StringIO(header_for("csv").decode() + text, newline="")))
    assert len(lines) == len(HOSTILE)
    assert {line["user_account_id"] for line in lines} == set(HOSTILE)
    for line in lines:
        assert line["operation"] == "UPDATE"
        assert line["compartment_id"] == 'a"\n,b'
        assert json.loads(line["data_bag"]) == {"x": line["user_account_id"]}


def test_csv_has_the_documented_names_as_its_header_and_quotes_what_it_must() -> None:
    assert header_for("ndjson") == b""
    assert header_for("csv") == (
        b"operation,compartment_id,user_account_id,email_hash,user_agent_id,segment_id,"
        b"segment_technical_name,expiration_duration,expiration_ts,data_bag\r\n"
    )
    row = {"user_account_id": 'a"b,c', "expiration_ts": NOW_MS + 60_000, "data_bag": '{"a":"b"}'}
    chosen = segment(compartment_id="1000", address=Address("segment_id", "5"))
    removed = {"snapshot": {"gone": (1, 0)}}
    assert payload("csv", (chosen, tuple(row), [row], removed)) == (
        "DELETE,1000,gone,,,5,,0,,\r\n"
        f'UPDATE,1000,"a""b,c",,,5,,1,{NOW_MS + 60_000},"{{""a"":""b""}}"\r\n'
    )


def test_csv_says_the_same_as_ndjson() -> None:
    later = NOW_MS + DAY_MS
    rows: list[dict[str, Any]] = [
        {"user_account_id": "u1", "compartment_id": "1000", "expiration_ts": later},
        {"user_account_id": "u2", "data_bag": '{"a":1}', "expiration_ts": 0},
        {"email_hash": "h", "data_bag": "{}"},
        {"user_agent_id": "vec:1"},
    ]
    columns = ("user_account_id", "compartment_id", "email_hash", "user_agent_id")
    known = {"snapshot": {"gone": (1, 0)}}
    monthly = segment(expiration_minutes=MONTH, address=Address("segment_id", "5"))
    cases = [
        (segment(), (*columns, "expiration_ts", "data_bag"), rows, known),
        (monthly, ("user_account_id",), accounts("u1"), known),
    ]
    lines = [json.loads(line) for line in payload("ndjson", *cases).splitlines()]
    table = header_for("csv").decode() + payload("csv", *cases)
    filled = [{k: v for k, v in row.items() if v} for row in csv.DictReader(table.splitlines())]
    assert filled == [{name: str(value) for name, value in line.items()} for line in lines]
    assert len(filled) == 7


@pytest.mark.parametrize("wire", ["ndjson", "csv"])
@pytest.mark.parametrize("is_saved", [False, True])
def test_the_platform_reads_exactly_the_values_that_the_query_returned(
    world: World, wire: str, is_saved: bool, tmp_path: Path
) -> None:
    """Whether the plan went through a file or not; the state gives them back, or more is sent."""
    world.destination["format"] = wire
    chance = random.Random(4)
    made = {
        "".join(chance.choices(ALPHABET, k=chance.randrange(1, 9)))
        for _ in range(size(1_000, 50_000))
    }
    texts = sorted(made | set(HOSTILE))
    world.emulator.behave(data_bag_max_bytes=1_000_000)
    bags = [json.dumps({text[:99]: text, "n": n}) for n, text in enumerate(texts)]
    rows = list(zip(texts, bags, strict=True))
    world.define("vip", "user_account_id", "data_bag", rows=rows)
    world.define("mail", "email_hash", rows=texts)
    if is_saved:
        world.save(tmp_path / "plan")
        world.apply_saved(tmp_path / "plan")
    else:
        world.apply()
    assert_sound(world)
    world.fill("vip", rows[::2])
    world.fill("mail", texts[1::2])
    world.apply(allowed=("vip", "mail"))
    assert_sound(world)


LARGE = {
    "a text of a megabyte": {"x": "é" * 500_000},
    "seventy thousand keys": {f"k{n}": n for n in range(70_000)},
    "a hundred levels": functools.reduce(lambda inner, _: {"x": inner}, range(100), {}),
    "numbers at their ends": {"a": 2**63 - 1, "b": -(2**63), "c": 5e-324, "d": 1e308, "e": 0.1},
}


@pytest.mark.parametrize("name", LARGE)
def test_a_data_bag_of_any_size_and_depth_arrives_as_it_is(world: World, name: str) -> None:
    world.emulator.behave(data_bag_max_bytes=10_000_000)
    world.define("vip", "user_account_id", "data_bag", rows=[("a", canonical(LARGE[name]))])
    world.apply()
    assert [json.loads(bag or "") for bag in world.members("vip").values()] == [LARGE[name]]
    assert_sound(world)


def test_a_data_bag_beyond_a_mebibyte_is_an_invalid_row_and_sends_nothing(world: World) -> None:
    bag = canonical({"x": "é" * 600_000})
    world.define("vip", "user_account_id", "data_bag", rows=[("a", bag), ("b", "{}")])
    report = world.apply()
    assert report.exit is Exit.ERROR
    assert report.plan is not None
    assert "data bag larger than 1048576 bytes" in str(report.plan.segments[0].error)
    assert not world.uploads


# -------------------------------------------------------------------- order and parts


def test_lines_are_in_order_of_segment_and_identifier_in_any_amount() -> None:
    names = [f"u{n:06d}" for n in range(130_000)]
    random.Random(1).shuffle(names)
    with Bench() as bench:
        bench.compare(accounts(*names[:65_000]))
        bench.compare(accounts(*names[65_000:]), of=segment(name="b"))
        parts = bench.arrange(part_limit=3_000_000)
        assert len(parts) > 3
        lines = [json.loads(line)["user_account_id"] for line in bench.lines(parts).splitlines()]
        ranges = bench.engine.ranges()
    assert lines == sorted(names[:65_000]) + sorted(names[65_000:])
    assert [(item.segment, item.first, item.last) for item in ranges] == [
        (1, 1, 65_000),
        (2, 65_001, 130_000),
    ]


@settings(max_examples=size(15, 300), deadline=None, suppress_health_check=list(HealthCheck))
@given(
    lengths=st.lists(st.integers(1, 60), min_size=1, max_size=60),
    spare=st.integers(0, 300),
    wire=st.sampled_from(["ndjson", "csv"]),
)
def test_parts_are_as_few_as_stay_below_the_limit(
    lengths: list[int], spare: int, wire: Any
) -> None:
    names = [f"{n:02d}{'x' * length}" for n, length in enumerate(lengths)]
    header = len(header_for(wire))
    with Bench() as bench:
        bench.compare(accounts(*names))
        targets = [Target(1, Address("segment_technical_name", "vip"), NEVER)]
        limit = header + 200 + spare
        parts = bench.engine.arrange(targets, Layout(wire, NOW_MS, limit))
        texts = [bench.lines([part]) for part in parts]
    ends = "\n" if wire == "ndjson" else "\r\n"
    lines = "".join(texts).split(ends)[:-1]
    assert len(lines) == len(names)
    assert [part.number for part in parts] == list(range(1, len(parts) + 1))
    assert [part.first for part in parts] == [1, *(part.last + 1 for part in parts[:-1])]
    assert parts[-1].last == len(names)
    for part, text in zip(parts, texts, strict=True):
        assert part.size == header + len(text) < limit
        assert text.count(ends) == part.lines
    for before, following in itertools.pairwise(texts):
        assert header + len(before) + len(following.split(ends)[0]) + len(ends) >= limit


@pytest.mark.parametrize("before", [0, 3])
def test_a_command_that_no_part_can_hold_is_an_error(before: int) -> None:
    with Bench() as bench:
        bench.compare(accounts(*map(str, range(before)), "x" * 500))
        with pytest.raises(SegsyncError, match="more than the 400 bytes"):
            bench.arrange(part_limit=400)


def test_a_part_is_one_private_file_and_its_digest(tmp_path: Path) -> None:
    with Bench() as bench:
        bench.compare(accounts(*(f"é{n}" for n in range(100))))
        parts = bench.arrange(part_limit=3_000)
        files = write_parts(bench.engine, parts, tmp_path, b"")
        whole = bench.lines(parts)
        other = replace(parts[0], number=99, size=parts[0].size + 1)
        with pytest.raises(AssertionError, match="part 99 has"):
            write_parts(bench.engine, [other], tmp_path, b"")
        with pytest.raises(SegsyncError):
            write_parts(bench.engine, parts, tmp_path, b"")
        with pytest.raises(SegsyncError) as caught:
            write_parts(bench.engine, parts, tmp_path / "nowhere", b"")
    assert caught.value.hint
    assert [file.part.number for file in files] == list(range(1, len(parts) + 1))
    assert b"".join(file.path.read_bytes() for file in files).decode() == whole
    for file in files:
        content = file.path.read_bytes()
        assert file.sha256 == hashlib.sha256(content).hexdigest()
        assert file.part.size == len(content)
        assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_the_journal_is_of_the_same_lines(tmp_path: Path) -> None:
    with Bench() as bench:
        of = segment(expiration_minutes=MONTH)
        bench.compare(accounts("b", "a"), of=of, snapshot={"c": (1, 0), "a": (1, 0)})
        parts = bench.arrange()
        lines = [json.loads(line) for line in bench.lines(parts).splitlines()]
        with bench.engine.journal(NOW_MS) as journal:
            rows = [row for batch in journal for row in batch.to_pylist()]
    assert [row["line"] for row in rows] == [1, 2, 3]
    assert rows[0]["fingerprint"] == 0
    lapse = NOW_MS + MONTH * MINUTE_MS
    assert [row["expires_at"] for row in rows] == [0, lapse, lapse]
    assert [(row["identifier"], row["change"] == "remove") for row in rows] == [
        (line["user_account_id"], line["operation"] == "DELETE") for line in lines
    ]
    assert tmp_path.exists()


# -------------------------------------------------------------------- data bags that are lost


def bags_sent(columns: tuple[str, ...], row: dict[str, Any], **more: Any) -> list[str | None]:
    """The data bag of the one command for `u1`, in either format."""
    chosen = segment(data_bag=("total",) if "total" in columns else ())
    case = (chosen, columns, [{"user_account_id": "u1"} | row], more)
    [line] = map(json.loads, payload("ndjson", case).splitlines())
    [cells] = csv.reader(io.StringIO(payload("csv", case)))
    return [line.get("data_bag"), cells[-1] or None]


def test_who_loses_the_data_bag_is_sent_an_empty_one() -> None:
    """Whether the platform keeps one that is left out is not documented."""
    had = {"u1": (fingerprint_of('never|{"total":1}'), 0)}
    columns = ("user_account_id",)
    assert bags_sent(columns, {}, snapshot=had) == ["{}", "{}"]
    assert bags_sent((*columns, "data_bag"), {"data_bag": None}, snapshot=had) == ["{}", "{}"]
    assert bags_sent(columns, {}, pending=["u1"]) == ["{}", "{}"]


def test_who_never_had_a_data_bag_is_sent_none() -> None:
    columns, later = ("user_account_id", "expiration_ts"), NOW_MS + DAY_MS
    row = {"expiration_ts": later}
    assert bags_sent(columns, row) == [None, None]
    for policy, expires in ((f"ts:{later + 1}|", later + 1), ("never|", 0)):
        before = {"u1": (fingerprint_of(policy), expires)}
        assert bags_sent(columns, row, snapshot=before) == [None, None]
