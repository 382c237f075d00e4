"""What the rounds of a line amount to, as a table and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.bar import Line, Round

HEADINGS = ("line", "work", "bar", "median [min – max]", "best", "peak MB", "")


@dataclass(frozen=True, slots=True)
class Result:
    """A line, and the rounds in which it was measured."""

    line: Line
    rounds: tuple[Round, ...]

    @property
    def values(self) -> list[float]:
        """One value for each round."""
        return [self.line.value(one) for one in self.rounds]

    @property
    def best(self) -> float:
        """The value of the fastest run of each kind: what others on the machine disturbed least."""
        fastest = {
            name: min((one[name] for one in self.rounds), key=lambda run: run.seconds)
            for name in self.line.needs
        }
        return self.line.value(fastest)

    @property
    def verdict(self) -> str:
        """Whether the median is within the bar."""
        if self.line.bar is None:
            return ""
        return "ok" if median(self.values) <= self.line.bar else "over"

    @property
    def peak_mb(self) -> float:
        """The highest peak of the line's own run."""
        return max(one[self.line.subject].peak_mb for one in self.rounds)

    def row(self) -> tuple[str, ...]:
        """The table's row."""
        values = [_figure(value, self.line.unit) for value in sorted(self.values)]
        middle = _figure(median(self.values), self.line.unit)
        bar = "" if self.line.bar is None else f"≤ {_figure(self.line.bar, self.line.unit)}"
        measured = f"{middle} {self.line.unit} [{values[0]} – {values[-1]}]"
        return (
            self.line.name,
            self.line.work,
            f"{bar} {self.line.unit}" if bar else "",
            measured,
            _figure(self.best, self.line.unit),
            f"{self.peak_mb:.0f}",
            self.verdict,
        )

    def as_json(self) -> dict[str, Any]:
        """Everything that was measured, CPU seconds included."""
        return {
            "name": self.line.name,
            "work": self.line.work,
            "bar": self.line.bar,
            "unit": self.line.unit,
            "values": [round(value, 4) for value in self.values],
            "median": round(median(self.values), 4),
            "best": round(self.best, 4),
            "peak_mb": round(self.peak_mb, 1),
            "verdict": self.verdict,
            "runs": {
                name: [one[name].as_json() for one in self.rounds] for name in self.line.needs
            },
        }


def table(results: Iterable[Result]) -> str:
    """Columns that line up."""
    rows = [HEADINGS, *(result.row() for result in results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def save(path: Path, results: Sequence[Result], settings: dict[str, Any]) -> None:
    """Write the JSON."""
    content = {
        "machine": {
            "cpus": os.cpu_count(),
            "processor": platform.machine(),
            "python": platform.python_version(),
            "load": os.getloadavg(),
        },
        "settings": settings,
        "lines": [result.as_json() for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _figure(value: float, unit: str) -> str:
    return f"{value:,.2f}" if unit == "×" else f"{value:,.0f}" if unit == "MB" else f"{value:,.1f}"
