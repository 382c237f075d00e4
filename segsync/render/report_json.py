"""What an apply did, as JSON."""

from __future__ import annotations

from typing import Any

from segsync.exits import Exit
from segsync.render.plan_json import FORMAT_VERSION, plan_json
from segsync.report import Report, RunReport


def report_json(report: Report, status: Exit) -> dict[str, Any]:
    """The document that `apply --format json` writes.

    `run` and `recovered` (a run that an earlier apply left open) are null where there was none.
    `exit_status` is that of the command. `given_up` (part of `confirmed`) were taken as confirmed
    although some failed; `doubted` are members who may have left with one that was removed late.
    """
    return {
        "format_version": FORMAT_VERSION,
        "exit_status": int(status),
        "agreed": report.agreed,
        "run": _run(report.run),
        "recovered": _run(report.recovered),
        "plan": plan_json(report.plan) if report.plan else None,
    }


def _run(run: RunReport | None) -> dict[str, Any] | None:
    if run is None:
        return None
    outcome = run.outcome
    return {
        "reference": run.reference,
        "import_id": run.import_id,
        "execution_ids": [part.execution_id for part in run.parts if part.execution_id],
        "seconds": round(run.seconds, 3),
        "confirmed": outcome.confirmed,
        "rejected": outcome.rejected,
        "unknown": outcome.unknown,
        "unsent": outcome.unsent,
        "given_up": outcome.given_up,
        "doubted": outcome.doubted,
        "segments": [
            {
                "name": item.name,
                "confirmed": item.confirmed,
                "rejected": item.rejected,
                "unknown": item.unknown,
                "unsent": item.unsent,
            }
            for item in run.segments
        ],
        "problems": list(run.problems),
    }
