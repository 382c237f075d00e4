"""What an apply did, as text."""

from __future__ import annotations

from segsync.exits import Exit
from segsync.plan import SegmentStatus
from segsync.render import figures
from segsync.render.columns import columns_of, number
from segsync.render.lines import EMPTY, Line, Span, Style, line, wrapped
from segsync.render.printable import printable
from segsync.report import Report, RunReport, SegmentOutcome
from segsync.state import Outcome

_HEADINGS = ("confirmed", "rejected", "unknown", "not sent")


def report_text(report: Report, *, columns: int) -> list[Line]:
    """The outcome by segment, how long it took, under which ids, and what to do next."""
    rows: list[Line] = []
    if report.recovered:
        rows += _run(report.recovered, columns, "Recovered an earlier run")
    if report.run:
        rows += _run(report.run, columns, "Applied")
    if not report.agreed:
        rows += [EMPTY, line(Span("Nothing was sent.", Style.STRONG))]
    return rows + [
        item
        for sentence in next_steps(report)
        for item in wrapped(sentence, columns, indent="  ", first="→ ", style=Style.STRONG)
    ]


def next_steps(report: Report) -> list[str]:
    """What the reader has to do after this apply, if anything."""
    steps = []
    if report.exit is Exit.UNKNOWN:
        steps.append(
            "Run `segsync apply` again: it says once more what is in doubt, which does no harm."
        )
        if _concerns_several(report):
            steps.append(
                "Where it ends so again, one segment may hold up the others: leave it out with "
                "`--exclude NAME`; `segsync plan --commands FILE` writes the lines to look at."
            )
    if report.run and report.run.outcome.unsent:
        steps.append("Nothing is lost: run `segsync apply` again when the cause is gone.")
    if any(run.outcome.rejected for run in (report.run, report.recovered) if run):
        steps.append(
            "`segsync state rejects` names the reasons. Later applies try these commands again, "
            "with growing pauses."
        )
    if report.plan and report.plan.with_status(SegmentStatus.BLOCKED):
        steps.append("Blocked segments were left out: the plan above names the flag for each.")
    if report.plan and report.plan.with_status(SegmentStatus.ERROR):
        steps.append("Segments with an error were left out: see the plan above.")
    return steps


def _concerns_several(report: Report) -> bool:
    """Whether several segments have no command whose outcome is known, but for one bad one, say."""
    run = report.run
    return run is not None and sum(item.unknown > 0 for item in run.segments) > 1


def _run(run: RunReport, columns: int, title: str) -> list[Line]:
    outcome = run.outcome
    doubtful = outcome.unknown or outcome.doubted or outcome.given_up
    clean = not (outcome.rejected or outcome.unsent or doubtful)
    done = title if clean or outcome.confirmed else f"{title}, without success"
    headline = f"{done}: {_figures(outcome)} in {figures.seconds(run.seconds)}."
    rows = [EMPTY, *(_table(run.segments, columns) if run.segments else [])]
    rows += wrapped(headline, columns, style=Style.GOOD if clean else Style.WARNING)
    rows += _ids(run)
    for text in _problems(run):
        rows += wrapped(text, columns, indent="  ", first="! ")
    return rows


def _figures(outcome: Outcome) -> str:
    counts = (
        (outcome.confirmed, "confirmed"),
        (outcome.rejected, "rejected"),
        (outcome.unknown, "of unknown outcome"),
        (outcome.unsent, "not sent"),
    )
    return ", ".join(f"{count:,} {word}" for count, word in counts if count) or "nothing to send"


def _problems(run: RunReport) -> list[str]:
    texts = [printable(text) for text in run.problems]
    if run.outcome.given_up:
        texts.append(
            f"{figures.plural(run.outcome.given_up, 'command')} taken as confirmed although some "
            "of them failed: the platform did not say which, three times"
        )
    if run.outcome.doubted:
        texts.append(
            "a removal that was rejected before was accepted: the person may be one of the "
            f"{figures.plural(run.outcome.doubted, 'member')} that the same segment knows by "
            "another kind of identifier, so these are said once more"
        )
    return texts


def _ids(run: RunReport) -> list[Line]:
    executions = [part.execution_id for part in run.parts if part.execution_id]
    if run.import_id is None:
        return []
    label = "execution" if len(executions) == 1 else "executions"
    ids = f"import {run.import_id}" + (f", {label} {', '.join(executions)}" if executions else "")
    return [line(Span(printable(f"{run.reference}: {ids}"), Style.DIM))]


def _table(segments: tuple[SegmentOutcome, ...], columns: int) -> list[Line]:
    rows = [
        (
            printable(item.name),
            tuple(map(number, (item.confirmed, item.rejected, item.unknown, item.unsent))),
        )
        for item in segments
    ]
    return columns_of(("segment", *_HEADINGS), rows, columns)
