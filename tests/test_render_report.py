"""What is shown of an apply, of errors, of numbers and of progress."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterator
from threading import Thread
from typing import Any

import pytest

from segsync.errors import Locked, Problem, SegsyncError, SpecError
from segsync.render import figures
from segsync.render.errors import error_lines
from segsync.render.lines import Line, Span, Style, line, plain, wrapped
from segsync.render.progress import BarProgress, LineProgress, make_progress
from segsync.render.report_json import report_json
from segsync.render.report_text import report_text
from segsync.render.terminal import Terminal
from segsync.report import Exit, Report, RunReport, SegmentOutcome
from segsync.secret import Redactor
from segsync.state import Outcome, PartRecord, PartStatus
from tests.support.plans import blocked, failed, plan, segment


def run(outcome: Outcome, **more: Any) -> RunReport:
    part = PartRecord(1, 1, 1, 12, 999, "00", PartStatus.CONFIRMED, "5001", 12, 0)
    chosen: dict[str, Any] = {
        "reference": "segsync-abc-00000007",
        "import_id": "1001",
        "parts": (part,),
        "segments": (SegmentOutcome("fans", 1000, 200, 30, 4),),
        "problems": (),
        "seconds": 75.0,
    }
    return RunReport(outcome=outcome, **{**chosen, **more})


def text_of(report: Report) -> str:
    return plain(report_text(report, columns=80))


def test_a_report_has_the_outcome_of_every_segment_the_time_and_the_ids() -> None:
    text = text_of(Report(plan(segment("fans")), run(Outcome(1000, 200, 30, 4)), None))
    assert "fans         1,000       200       30         4" in text
    flat = " ".join(text.split())
    assert "1,000 confirmed, 200 rejected, 30 of unknown outcome, 4 not sent in 75 s." in flat
    assert "segsync-abc-00000007: import 1001, execution 5001" in text


def test_a_report_says_what_to_do_next() -> None:
    def steps(*counts: int) -> str:
        return " ".join(text_of(Report(plan(), run(Outcome(*counts)), None)).split())

    assert "→" not in steps(5, 0, 0, 0)
    assert "→ Run `segsync apply` again: it says once more what is in doubt" in steps(5, 0, 1, 0)
    assert "→ Nothing is lost: run `segsync apply` again" in steps(5, 0, 0, 1)
    assert "→ `segsync state rejects` names the reasons" in steps(5, 1, 0, 0)
    left_out = text_of(Report(plan(blocked("a"), failed("b")), None, None))
    assert "→ Blocked segments were left out" in left_out
    assert "→ Segments with an error were left out" in left_out


def test_what_was_not_done_is_not_called_applied() -> None:
    def headline(*counts: int) -> str:
        return text_of(Report(plan(), run(Outcome(*counts), segments=()), None)).splitlines()[1]

    assert headline(5, 0, 0, 0) == "Applied: 5 confirmed in 75 s."
    assert headline(5, 0, 1, 0) == "Applied: 5 confirmed, 1 of unknown outcome in 75 s."
    assert headline(0, 0, 0, 9) == "Applied, without success: 9 not sent in 75 s."
    assert headline(0, 0, 0, 0) == "Applied: nothing to send in 75 s."


def test_a_report_tells_problems_and_what_was_given_up() -> None:
    found = run(Outcome(5, 0, 0, 0, {1: 5}), problems=("execution 5001 \x1b[2J",))
    text = text_of(Report(plan(), found, None))
    assert "! execution 5001 \\x1b[2J" in text
    assert "! 5 commands taken as confirmed although some of them failed" in text


def test_the_json_of_a_report_has_the_recovered_run_too() -> None:
    report = Report(None, None, run(Outcome(1, 0, 1, 0)))
    document = json.loads(json.dumps(report_json(report, Exit.UNKNOWN)))
    assert document["exit_status"] == 5
    assert document["plan"] is document["run"] is None
    assert document["recovered"]["execution_ids"] == ["5001"]
    assert document["recovered"]["unknown"] == 1


def test_an_error_has_its_place_and_a_hint() -> None:
    error = SegsyncError("it is wrong", hint="do it right", place="a.yaml:3:5")
    assert plain(error_lines(error, 80)) == "Error: a.yaml:3:5: it is wrong\nhint: do it right\n"
    assert plain(error_lines(Locked("busy\nwith \x1b[2J"), 80)) == "Error: busy\n  with \\x1b[2J\n"


def test_every_problem_of_a_spec_is_a_line_that_editors_can_follow() -> None:
    problems = [Problem("b.yaml", 2, 1, "second", "h"), Problem("a.yaml", 9, 4, "first")]
    assert plain(error_lines(SpecError(problems), 80)) == (
        "a.yaml:9:4: first\nb.yaml:2:1: second\n  hint: h\nError: the spec has 2 problems\n"
    )


def test_a_flag_stays_on_the_line_of_its_value() -> None:
    for columns in range(30, 80):
        text = plain(wrapped("if this is intended, add --allow some_name to this", columns))
        assert "--allow some_name" in text


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.count(1234567), "1,234,567"),
        (figures.short_count(999), "999"),
        (figures.short_count(9_999), "9999"),
        (figures.short_count(12_345), "12.3k"),
        (figures.short_count(1_000_000), "1M"),
        (figures.short_count(123_456_789), "123M"),
        (figures.plural(1, "query"), "1 query"),
        (figures.plural(2, "query"), "2 queries"),
        (figures.plural(1000, "row"), "1,000 rows"),
        (figures.size(999), "999 bytes"),
        (figures.size(92_345), "92.3 kB"),
        (figures.size(99_999_999), "100.0 MB"),
        (figures.size(12_300_000_000), "12.3 GB"),
        (figures.seconds(0.25), "0.2 s"),
        (figures.seconds(75), "75 s"),
        (figures.seconds(200), "3 min 20 s"),
        (figures.seconds(7500), "2 h 5 min"),
        (figures.moment(0), "1970-01-01 00:00 UTC"),
        (figures.iso_moment(1_790_000_000_123), "2026-09-21T14:13:20Z"),
        (figures.ago(0, 59_000), "just now"),
        (figures.ago(0, 60_000), "1 minute ago"),
        (figures.ago(0, 3 * 86_400_000), "3 days ago"),
    ],
)
def test_figures_are_as_people_read_them(shown: str, expected: str) -> None:
    assert shown == expected


# ---------------------------------------------------------------- progress and the terminal


class Screen(io.StringIO):
    """Standard error as somebody's terminal."""

    def isatty(self) -> bool:
        return True


def test_progress_is_lines_where_nobody_watches(capsys: pytest.CaptureFixture[str]) -> None:
    progress = make_progress(Terminal({}))
    assert isinstance(progress, LineProgress)
    progress.reading("fans")
    progress.read("fans", 1234)
    progress.say("careful: \x1b[2J")
    progress.uploading(1, 1, 99_000)
    progress.uploaded(50_000)
    progress.uploading(2, 3, 2_000_000)
    for _ in range(5):
        progress.waiting("5001", "RUNNING", 0.25)
    progress.waiting("5001", "SUCCEEDED", None)
    progress.close()
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.splitlines() == [
        "read fans: 1,234 rows",
        "careful: \\x1b[2J",
        "uploading 99.0 kB",
        "uploading part 2 of 3, 2.0 MB",
        "execution 5001 is RUNNING (25%)",
        "execution 5001 is SUCCEEDED",
    ]


def test_progress_takes_several_threads_and_always_gives_the_terminal_back(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    progress = make_progress(Terminal({"TERM": "xterm"}))
    assert isinstance(progress, BarProgress)

    def work(number: int) -> None:
        progress.reading(f"segment_{number}")
        progress.say(f"sentence {number}")
        progress.read(f"segment_{number}", 10)

    threads = [Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    progress.uploading(1, 2, 100)
    progress.uploaded(50)
    progress.uploading(2, 2, 100)
    progress.waiting("[bold]5001[/]", "RUNNING", None)
    progress.close()
    progress.close()
    shown = screen.getvalue()
    assert all(f"sentence {number}" in shown for number in range(8))
    assert "[bold]5001[/]" in shown, "nothing of it is markup"
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h")
    assert capsys.readouterr().out == ""


def test_no_secret_is_printed_in_any_way(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    terminal = Terminal({"TERM": "xterm"})
    terminal.redact = Redactor(["hunter22"])
    shown = [line("a ", Span("hunter22", Style.ERROR), " [red]b[/red] :smile:")]
    terminal.show(shown)
    terminal.tell(shown)
    terminal.write("hunter22")
    terminal.write_json({"a": ["hunter22", 1, None, {"b": "x hunter22"}]})
    assert "hunter22" not in capsys.readouterr().out + screen.getvalue()
    assert "[red]b[/red] :smile:" in screen.getvalue()
    assert "\x1b[1;31m***" in screen.getvalue()


def test_a_long_result_is_printed_while_it_is_made(capsys: pytest.CaptureFixture[str]) -> None:
    terminal = Terminal({})
    seen = []

    def lines() -> Iterator[Line]:
        for number in range(25_000):
            seen.append(len(capsys.readouterr().out.splitlines()))
            yield line(f"line {number}")

    terminal.show(lines())
    seen.append(len(capsys.readouterr().out.splitlines()))
    assert sum(seen) == 25_000
    assert max(seen) == 10_000
