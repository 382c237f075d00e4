"""Apply under every answer to what the platform's documentation leaves open."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from segsync.emulator import Behaviour
from segsync.errors import OutcomeUnknown, SegsyncError
from segsync.exits import Exit
from segsync.model import DAY_MS
from tests.simulation.place import LeanWorld
from tests.simulation.speed import in_one_thread
from tests.support.open_questions import ANSWERS, LATER, PLAIN, Answer
from tests.support.size import FULL
from tests.support.world import START_MS, World


def alone(switch: str, value: Any, rows: Sequence[Answer]) -> Iterator[Any]:
    for number, answer in enumerate(rows):
        yield pytest.param(
            {**answer.also, switch: value}, answer, id=f"{switch}={value}" + "+" * number
        )


def plain_ones(together: bool) -> Iterator[Any]:
    """The values that change nothing for whoever applies: each alone, or as few as may be at once:
    of each switch one."""
    found = {
        switch: [value for value, rows in answers.items() if rows is PLAIN]
        for switch, answers in ANSWERS.items()
    }
    if together:
        for number in range(max(map(len, found.values()))):
            settings = {name: values[number] for name, values in found.items() if values[number:]}
            yield pytest.param(settings, PLAIN[0], id=f"plain {number}")
    else:
        for switch, values in found.items():
            for value in values:
                yield from alone(switch, value, PLAIN)


CASES = [
    case
    for switch, answers in ANSWERS.items()
    for value, rows in answers.items()
    if rows is not PLAIN
    for case in alone(switch, value, rows)
]
CASES += plain_ones(together=not FULL)


def test_every_answer_has_a_row() -> None:
    hints = get_type_hints(Behaviour)
    assert ANSWERS.keys() == {switch.name for switch in fields(Behaviour)}
    for switch in fields(Behaviour):
        hint, answers = hints[switch.name], ANSWERS[switch.name].keys()
        if get_origin(hint) is Literal:
            assert answers == set(get_args(hint)), switch.name
        else:
            assert switch.default in answers, switch.name
            assert len(answers) > 1, switch.name


def begin(world: World) -> None:
    for n in range(60):
        world.emulator.add_import(f"segsync of somebody else {n}")
    for name in ("VIP", "vip 2"):
        world.emulator.add_segment(name)
    accounts = [(f"u{n}", n) for n in range(6)]
    bags = [("h0", '{"a":1,"b":2}'), ("h1", '{"a":1}'), ("h2", None)]
    world.define("vip", "user_account_id", "total", rows=accounts)
    world.define("bags", "email_hash", "data_bag", rows=bags, expiration="60d")
    world.define("dated", "user_agent_id", "expiration_ts", rows=[("vec:0", 0), ("vec:1", LATER)])
    world.define("loser", "user_account_id", "total", rows=[("l0", 1), ("l1", 2)])


def change(world: World) -> None:
    """Some come, leave, change; data bags lose a key, or are gone, as that of a whole segment."""
    world.fill("vip", [("u1", 1), ("u2", 99), *((f"u{n}", n) for n in range(3, 8))])
    world.fill("bags", [("h0", '{"a":1}'), ("h1", None), ("h2", '{"c":1}')])
    past = ("vec:2", START_MS - DAY_MS)
    world.fill("dated", [("vec:0", 0), ("vec:1", LATER), past])
    world.define("loser", rows=[("l0",), ("l1",)])


def exit_of(world: World) -> Exit:
    """How one apply ends at the command line."""
    try:
        report = world.apply(allowed=tuple(world.tables), samples=0, parallelism=1)
    except SegsyncError as error:
        world.said.say(f"{error} ({error.hint})")
        return Exit.UNKNOWN if isinstance(error, OutcomeUnknown) else Exit.ERROR
    for segment in report.plan.segments if report.plan else ():
        world.said.say(segment.error or "")
    for problem in report.run.problems if report.run else ():
        world.said.say(problem)
    return report.exit


@pytest.mark.parametrize(("settings", "answer"), CASES)
def test_apply_ends_well_or_is_told_under_every_answer(
    tmp_path: Path, settings: Mapping[str, Any], answer: Answer
) -> None:
    with in_one_thread(), LeanWorld(tmp_path / "world") as world:
        world.emulator.behave(**settings)
        begin(world)
        answer.asks(world)
        exits = [exit_of(world)]
        change(world)
        exits += [exit_of(world), exit_of(world)]
        answer.remedy(world)
        exits.append(exit_of(world))
        assert tuple(exits) == answer.exits, world.said.sentences
        answer.end(world)
        assert any(answer.told in sentence for sentence in world.said.sentences) or not answer.told
