"""Options that several commands share, and what their texts mean."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from segsync.errors import UsageError

Format = Literal["text", "json"]
PlanFormat = Literal["text", "json", "markdown", "html"]
MOST_PARALLEL = 64
FIRST_YEAR, LAST_YEAR = 2000, 3000
"""Of --now: an expiration of up to a hundred years is added to it."""
LEAST_MEMORY = 16 * 10**6
"""Bytes. With less the engine cannot even begin."""

File = Annotated[
    Path | None,
    typer.Option(
        "-f", "--file", metavar="PATH", help="The spec. [default: $SEGSYNC_FILE, or segments.yaml]"
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option("--target", metavar="NAME", help="Only this segment; repeatable."),
]
Excluded = Annotated[
    list[str] | None,
    typer.Option("--exclude", metavar="NAME", help="All but this segment; repeatable."),
]
Allowed = Annotated[
    list[str] | None,
    typer.Option(
        "--allow",
        metavar="NAME",
        help="Let this segment pass its guards, this time only; repeatable.",
    ),
]
Samples = Annotated[
    int,
    typer.Option(
        "--samples", metavar="N", min=0, max=1000, help="Examples of each kind of change."
    ),
]
ShowIds = Annotated[
    bool, typer.Option("--show-ids", help="Show identifiers whole: they are personal data.")
]
Parallelism = Annotated[
    int,
    typer.Option(
        "--parallelism",
        metavar="N",
        min=1,
        max=MOST_PARALLEL,
        help="Queries of one source at a time.",
    ),
]
MemoryLimit = Annotated[
    str, typer.Option("--memory-limit", metavar="SIZE", help="Beyond it, members go to disk.")
]
Now = Annotated[
    str | None,
    typer.Option(
        "--now",
        metavar="TIME",
        help="As if it were this time (ISO 8601; UTC unless it says otherwise). apply takes it on "
        "an emulator only: the expiries that it records would be wrong elsewhere.",
    ),
]
JsonFormat = Annotated[Format, typer.Option("--format", help="text, or json for programs.")]


def check_memory_limit(text: str) -> str:
    """A size that the engine takes. Raises UsageError."""
    from segsync.engine import size_of

    if size_of(text) < LEAST_MEMORY:
        raise UsageError(
            f"--memory-limit {text}: less than 16MB is too little", hint="write it like 500MB"
        )
    return text


def moment_ms(text: str) -> int:
    """ISO 8601 text as epoch milliseconds; without a zone it is UTC. Raises UsageError."""
    hint = "write it like 2026-11-24T08:00:00Z"
    try:
        moment = datetime.fromisoformat(text.strip())
        aware = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        found = int(aware.timestamp() * 1000)
    except (ValueError, OverflowError):
        raise UsageError(f"--now {text}: not a time", hint=hint) from None
    if not FIRST_YEAR <= aware.year < LAST_YEAR:
        raise UsageError(f"--now {text}: not between {FIRST_YEAR} and {LAST_YEAR}", hint=hint)
    return found
