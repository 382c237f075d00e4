"""How an import is looked at until its executions have ended: how often, for how long, and what
is said of those that do not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from segsync.destination import Execution, ExecutionState
from segsync.errors import DestinationError, NotSent, OutcomeUnknown, ProtocolError, Refused
from segsync.sending import Sending, StillRunning, Timing
from segsync.state import Identity, Run, RunStatus, State, create, open_state
from tests.support.world import Said

Listing = Callable[[float], list[Execution]]
"""What the import shows after so many seconds; or it raises."""
AGAIN = "run `segsync apply` again"


class Watched:
    """A destination with one import, and the clock by which it is asked."""

    def __init__(self, listing: Listing) -> None:
        self.listing = listing
        self.asked: list[float] = []
        self._now = 0.0

    def list_executions(self, document_import: str) -> list[Execution]:
        assert document_import == "9"
        self.asked.append(self._now)
        return self.listing(self._now)

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def monotonic(self) -> float:
        return self._now

    def now_ms(self) -> int:
        return round(1000 * self._now)

    def sleep(self, seconds: float) -> None:
        self._now += seconds


class Shown(Said):
    """Remembers which execution was shown as running."""

    def __init__(self) -> None:
        super().__init__()
        self.executions: list[tuple[str, str, float | None]] = []

    def waiting(self, execution: str, status: str, share: float | None) -> None:
        self.executions.append((execution, status, share))


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[State]:
    path: Path = tmp_path_factory.mktemp("waiting") / "state.db"
    create(path, Identity("0123456789abcdef01234567", 0, "1509", "https://api.example", 7))
    with closing(open_state(path, read_only=True)) as opened:
        yield opened


@pytest.fixture
def make(state: State) -> Callable[..., tuple[Sending, Watched, Shown]]:
    """A run of one hour on its way, which is polled every ten seconds."""

    def made(
        listing: Listing, *, age_minutes: int = 0, timing: Timing | None = None
    ) -> tuple[Sending, Watched, Shown]:
        watched, shown = Watched(listing), Shown()
        run = Run(1, "r", RunStatus.OPEN, 0, "", 0, "", import_id="9")
        timing = timing or Timing(first_poll=10)
        sending = Sending(state, watched, watched, timing, shown, run, 60, age_minutes)
        return sending, watched, shown

    return made


Make = Callable[..., tuple[Sending, Watched, Shown]]
NOBODY: frozenset[str] = frozenset()


def running(identifier: str) -> Execution:
    return Execution(identifier, ExecutionState.ACTIVE, "RUNNING", progress=0.25)


def ended(identifier: str, failures: int | None = 0, status: str = "SUCCEEDED") -> Execution:
    state = ExecutionState[status]
    return Execution(identifier, state, status, total_success=1, total_failure=failures)


def ids(executions: list[Execution]) -> list[str]:
    return [item.id for item in executions]


def test_the_usual_times(make: Make) -> None:
    assert Timing() == Timing(0.2, 10.0, 30.0, 900.0, 30.0, 3)
    sending, watched, _ = make(lambda seconds: [ended("5")] * (seconds > 3), timing=Timing())
    sending.look_for("9", NOBODY)
    assert watched.asked == pytest.approx([0, 0.2, 0.6, 1.4, 3.0, 6.2])


def test_the_pauses_are_doubled_up_to_the_longest(make: Make) -> None:
    timing = Timing(first_poll=1, longest_poll=10)
    pauses = [1, 2, 4, 8, 10, 10]

    def busy(seconds: float) -> list[Execution]:
        return [running("5")] if seconds < 35 else [ended("5")]

    sending, watched, _ = make(busy, timing=timing)
    sending.wait("9", NOBODY, NOBODY)
    assert [b - a for a, b in pairwise(watched.asked)] == pauses
    sending, watched, _ = make(lambda seconds: busy(seconds)[: seconds > 34], timing=timing)
    sending.look_for("9", NOBODY)
    assert [b - a for a, b in pairwise(watched.asked)] == pauses
    sending, watched, _ = make(away_until(35, NotSent("no connection")), timing=timing)
    sending.wait("9", NOBODY, NOBODY)
    assert [b - a for a, b in pairwise(watched.asked)] == pauses


def away_until(moment: float, error: DestinationError) -> Listing:
    def listing(seconds: float) -> list[Execution]:
        if seconds < moment:
            raise error
        return [ended("5")]

    return listing


# -------------------------------------------------------------------- wait


def test_all_executions_are_waited_for_and_those_that_are_known_are_left_out(make: Make) -> None:
    def listing(seconds: float) -> list[Execution]:
        return [ended("4"), ended("5"), running("6") if seconds < 20 else ended("6", 3)]

    sending, watched, shown = make(listing)
    found = sending.wait("9", frozenset(["4"]), frozenset(["6"]))
    assert found == [ended("5"), ended("6", 3)]
    assert watched.asked == [0, 10, 20]
    assert shown.executions == [("6", "RUNNING", 0.25)] * 2
    assert sending.unfinished is None
    assert shown.sentences == sending.problems == []


def test_of_several_that_run_the_first_is_shown(make: Make) -> None:
    sending, _, shown = make(lambda s: [running("7"), running("6")] if s < 10 else [])
    assert sending.wait("9", NOBODY, NOBODY) == []
    assert shown.executions == [("7", "RUNNING", 0.25)]


@pytest.mark.parametrize(("age", "seconds"), [(0, 3600), (59, 60), (60, 0), (61, 0), (500, 0)])
def test_one_that_does_not_end_is_waited_for_until_the_run_is_old(
    make: Make, age: int, seconds: int
) -> None:
    sending, watched, _ = make(lambda _: [ended("4"), running("5"), running("6")], age_minutes=age)
    with pytest.raises(StillRunning) as caught:
        sending.wait("9", NOBODY, NOBODY)
    assert watched.asked[-1] == seconds
    assert caught.value.message == ("execution 5 of import 9 has not finished within 60 minutes")
    assert caught.value.hint == f"{AGAIN}: it goes on waiting before anything is sent"
    assert sending.unfinished == "5"


@pytest.mark.parametrize(("made", "seconds"), [(0, 0), (10, 3610), (40, 3640)])
def test_one_that_was_made_lately_is_waited_for_though_its_run_is_old(
    make: Make, made: int, seconds: int
) -> None:
    """A run of many parts takes long. One without a date is as old as its run."""
    late = replace(running("6"), created_at_ms=1000 * made or None)
    sending, watched, _ = make(lambda _: [running("5"), late], age_minutes=500)
    with pytest.raises(StillRunning):
        sending.wait("9", NOBODY, NOBODY)
    assert watched.asked[-1] == seconds


@pytest.mark.parametrize(
    ("shown", "expected", "awaited"),
    [
        ([ended("4")], ["7", "6"], "6"),
        ([ended("4"), ended("5", None)], ["6"], "6"),
        ([ended("4"), ended("5", None), ended("6", None)], ["4"], "5"),
        ([ended("4", None), running("5"), running("3")], ["2"], "5"),
    ],
)
def test_of_an_old_run_whatever_was_waited_for_is_named(
    make: Make, shown: list[Execution], expected: list[str], awaited: str
) -> None:
    """Nothing can be waited for any more, and it may not even be there."""
    sending, watched, _ = make(lambda _: shown, age_minutes=60)
    with pytest.raises(StillRunning, match=f"^execution {awaited} of import 9 has not finished"):
        sending.wait("9", NOBODY, frozenset(expected))
    assert watched.asked == [0]
    assert sending.unfinished == (awaited if running(awaited) in shown else None)


def test_one_that_is_expected_and_does_not_show_is_looked_for_half_a_minute(make: Make) -> None:
    sending, watched, _ = make(lambda _: [ended("5"), running("8")])
    with pytest.raises(StillRunning) as caught:
        sending.wait("9", NOBODY, frozenset(["5", "7", "6"]))
    assert watched.asked == [0, 10, 20, 30]
    assert caught.value.message == "execution 6 of import 9 cannot be found"
    assert caught.value.hint == f"{AGAIN}: it looks once more before anything is sent"
    assert sending.unfinished is None


def test_one_that_shows_in_time_is_found(make: Make) -> None:
    sending, watched, _ = make(lambda seconds: [ended("5")] if seconds >= 20 else [])
    assert ids(sending.wait("9", NOBODY, frozenset(["5"]))) == ["5"]
    assert watched.asked == [0, 10, 20]


@pytest.mark.parametrize(
    ("ends_after", "shown_after", "returns_after"),
    [(0, 0, 30), (40, 0, 60), (0, 20, 40), (20, 20, 40), (30, 20, 50)],
)
def test_counts_are_waited_for_half_a_minute_after_it_was_last_seen_at_work(
    make: Make, ends_after: float, shown_after: float, returns_after: float
) -> None:
    def listing(seconds: float) -> list[Execution]:
        if seconds < shown_after:
            return []
        return [running("5") if seconds < ends_after else ended("5", None), ended("6")]

    sending, watched, _ = make(listing)
    assert ids(sending.wait("9", NOBODY, frozenset(["5"]))) == ["5", "6"]
    assert watched.asked[-1] == returns_after


@pytest.mark.parametrize(
    ("execution", "seconds"), [(ended("5"), 0), (ended("5", 2), 0), (ended("5", None, "FAILED"), 0)]
)
def test_one_whose_counts_are_there_or_do_not_matter_is_not_waited_for(
    make: Make, execution: Execution, seconds: int
) -> None:
    sending, watched, _ = make(lambda _: [execution])
    assert sending.wait("9", NOBODY, NOBODY) == [execution]
    assert watched.asked == [seconds]


def test_counts_that_come_later_are_taken(make: Make) -> None:
    sending, watched, _ = make(lambda seconds: [ended("5", None if seconds < 20 else 0)])
    assert sending.wait("9", NOBODY, NOBODY) == [ended("5", 0)]
    assert watched.asked == [0, 10, 20]


# -------------------------------------------------------------------- look for


def test_what_is_not_there_is_looked_for_half_a_minute_and_told_once(make: Make) -> None:
    timing = Timing(first_poll=10, longest_poll=20)
    sending, watched, shown = make(lambda _: [ended("4")], timing=timing)
    assert sending.look_for("9", frozenset(["4"])) == []
    assert watched.asked == [0, 10, 30]
    assert shown.sentences == ["import 9 does not show it yet: looking for 30 s whether it arrived"]


def test_what_is_there_is_found_at_once_and_told_to_nobody(make: Make) -> None:
    sending, watched, shown = make(lambda _: [ended("4"), running("5"), running("6")])
    assert ids(sending.look_for("9", frozenset(["4"]))) == ["5", "6"]
    assert watched.asked == [0]
    assert shown.sentences == []


# -------------------------------------------------------------------- out of reach


@pytest.mark.parametrize(
    "error",
    [
        NotSent("away"),
        OutcomeUnknown("away"),
        ProtocolError("away"),
        *(Refused("away", status=status) for status in (408, 429, 500, 503)),
    ],
)
def test_who_is_away_is_asked_for_a_quarter_of_an_hour_and_that_is_told_once(
    make: Make, error: DestinationError
) -> None:
    sending, watched, shown = make(away_until(10**6, error))
    with pytest.raises(StillRunning) as caught:
        sending.wait("9", NOBODY, NOBODY)
    assert watched.asked == list(range(0, 901, 10))
    assert caught.value.message == "the executions of import 9 cannot be read: away"
    assert caught.value.hint == f"{AGAIN} when the platform answers"
    assert shown.sentences == ["away; asking again for 15 min"]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 407, 409, 428, 430, 499])
def test_who_says_no_for_good_is_asked_once(make: Make, status: int) -> None:
    sending, watched, shown = make(away_until(10**6, Refused("no", status=status)))
    with pytest.raises(StillRunning, match="cannot be read: no"):
        sending.wait("9", NOBODY, NOBODY)
    assert watched.asked == [0]
    assert shown.sentences == []


def test_who_is_away_at_the_very_first_is_not_waited_for(make: Make) -> None:
    sending, watched, _ = make(away_until(10, NotSent("no connection")))
    with pytest.raises(StillRunning) as caught:
        sending.check_reach("9")
    assert caught.value.message == ("what became of an earlier run cannot be asked: no connection")
    assert caught.value.hint == f"{AGAIN} when the platform answers"
    for error in (Refused("no", status=404), OutcomeUnknown("cut off"), ProtocolError("what?")):
        sending, watched, _ = make(away_until(10, error))
        sending.check_reach("9")
        assert watched.asked == [0]
