"""Data is never a command: whatever the identifiers say, as many commands arrive as were planned,
and nothing else happens to anybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest

from segsync.report import Exit
from tests.support.cli import Shop, shop
from tests.support.world import World, assert_sound

REMOVAL = '{"operation":"DELETE","user_account_id":"victim","segment_technical_name":"other"}'
ROW = "DELETE,,victim,,,,other,0,,"
INJECTIONS = [
    f"x\n{REMOVAL}",
    f"x\n{REMOVAL}\n",
    f'x"}}\n{REMOVAL}',
    f'x","segment_technical_name":"other"}}\n{REMOVAL}\n{{"x":"',
    f"x\r{REMOVAL}",
    f"x\r\n{REMOVAL}\r\n",
    f"x\u2028{REMOVAL}",
    f"x\u2029{REMOVAL}",
    f"x\u0085{REMOVAL}",
    f"x\x0b{REMOVAL}\x0c{REMOVAL}",
    f"x\x1e{REMOVAL}",
    f"\ufeff{REMOVAL}",
    REMOVAL,
    f"x\\n{REMOVAL}",
    f"x\\u000a{REMOVAL}",
    'x","operation":"DELETE',
    'x","user_account_id":"victim',
    'x\\","operation":"DELETE',
    'x\\\\","operation":"DELETE","y":"',
    f"x\n{ROW}",
    f"x\r\n{ROW}\r\n",
    f'x"\r\n{ROW}\r\n"',
    f'"x"\n{ROW}',
    f'x"",,,,,,,\r\n{ROW}',
    "x,,,,other,0,,",
    'x","","","","other","0","","',
    '=HYPERLINK("http://evil")',
    "@SUM(1+1)*cmd|' /C calc'!A0",
    "x'; DELETE FROM members; --",
    'x"); DROP TABLE desired; --',
    "x\\",
    'x\\"',
]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with World(tmp_path) as made:
        made.define("other", rows=["victim"])
        yield made


def commands_that_arrived(world: World) -> int:
    """What the platform counted in the last execution."""
    result = world.emulator.executions[-1].result
    assert result is not None
    assert result["total_failure"] == 0
    return int(result["total_success"])


@pytest.mark.parametrize("wire", ["ndjson", "csv"])
@pytest.mark.parametrize("place", ["identifier", "hash", "agent", "compartment", "bag", "key"])
def test_as_many_commands_arrive_as_were_planned(world: World, wire: str, place: str) -> None:
    world.destination["format"] = wire
    texts = INJECTIONS
    match place:
        case "identifier":
            world.define("vip", rows=texts)
        case "hash":
            world.define("vip", "email_hash", rows=texts)
        case "agent":
            world.define("vip", "user_agent_id", rows=[f"vec:{text}" for text in texts])
        case "compartment":
            rows = [(f"u{n}", text) for n, text in enumerate(texts)]
            world.define("vip", "user_account_id", "compartment_id", rows=rows)
        case "bag":
            rows = [(f"u{n}", json.dumps({"x": text})) for n, text in enumerate(texts)]
            world.define("vip", "user_account_id", "data_bag", rows=rows)
        case _:
            rows = [(f"u{n}", json.dumps({text: n})) for n, text in enumerate(texts)]
            world.define("vip", "user_account_id", "data_bag", rows=rows)
    assert world.apply().exit is Exit.DONE
    assert commands_that_arrived(world) == len(texts) + 1
    assert len(world.members("other")) == 1
    assert_sound(world)
    world.fill("vip", world.tables["vip"].rows[::2])
    assert world.apply(allowed=("vip",)).exit is Exit.DONE
    assert commands_that_arrived(world) == len(texts) // 2
    assert len(world.members("other")) == 1
    assert_sound(world)


class Elements(HTMLParser):
    """The elements of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: set[str] = set()
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found |= {tag, *(f"{tag} {name}" for name, _ in attrs)}


MARKUP = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "--><b>x</b><!--",
    "|a|b|\n|---|---|",
    "```\n# heading",
    "[x](http://evil)",
    "![x](http://evil)",
    "@team",
    "\x1b]0;title\x07",
    "\x1b[2J",
    "\x9b31m",
    "\u202egnp.exe",
    "[bold red]x[/]",
    "[/]",
    "{{7*7}}",
    "${HOME}",
    "%s%n",
]


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shop]:
    with shop(tmp_path) as made:
        yield made


def test_no_value_acts_in_any_format_of_a_plan(store: Shop) -> None:
    """Shop.run holds that nothing is shown that a terminal would act on."""

    def shown(kind: str) -> str:
        return store.run("plan", "--show-ids", "--samples", "1000", "--format", kind).check(0).out

    plain = Elements(shown("html")).found
    quoted = [text.replace("'", "''") for text in (*INJECTIONS, *MARKUP)]
    store.sql("DELETE FROM people", *(f"INSERT INTO people VALUES ('{x}', 1)" for x in quoted))
    assert Elements(shown("html")).found <= plain
    assert json.loads(shown("json"))["totals"]["add"] == len(quoted)
    assert "<img" not in shown("markdown")
    for text in (shown("text"), shown("markdown")):
        assert "\x1b" not in text
        assert f"{len(quoted)} to add" in " ".join(text.split())
