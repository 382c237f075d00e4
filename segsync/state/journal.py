"""The journal: a run, its parts, segments and keyspaces, written ahead of the first byte."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from segsync.state.database import Database
from segsync.state.records import Keyspace, PartRecord, PartStatus, Run, RunStatus, StateSegment


@dataclass(frozen=True, slots=True)
class Journal:
    """A run to be made durable before its first byte is sent."""

    run: Run
    segments: tuple[StateSegment, ...]
    keyspaces: tuple[Keyspace, ...]


def write_journal(database: Database, journal: Journal) -> None:
    """Write a run, inside a transaction of the caller's."""
    _insert_segments(database, journal.segments)
    _insert_keyspaces(database, journal.keyspaces)
    _insert_run(database, journal.run)


def _insert_segments(database: Database, segments: Iterable[StateSegment]) -> None:
    for segment in segments:
        database.execute(
            "INSERT INTO segments (id, field, value, name, platform_id) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT (id) DO UPDATE SET name = excluded.name, "
            "platform_id = coalesce(excluded.platform_id, platform_id)",
            (
                segment.number,
                segment.address.field,
                segment.address.value,
                segment.name,
                segment.platform_id,
            ),
        )


def _insert_keyspaces(database: Database, keyspaces: Iterable[Keyspace]) -> None:
    for keyspace in keyspaces:
        database.execute(
            "INSERT INTO keyspaces VALUES (?, ?, ?, ?) ON CONFLICT (id) DO NOTHING",
            (keyspace.number, keyspace.segment, keyspace.kind.value, keyspace.compartment_id),
        )


def _insert_run(database: Database, run: Run) -> None:
    database.execute(
        "INSERT INTO runs (serial, reference, status, submitted_at, spec_sha256, commands, "
        "changes_seal) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            run.serial,
            run.reference,
            run.status.value,
            run.submitted_at_ms,
            run.spec_sha256,
            run.commands,
            run.changes_seal,
        ),
    )
    for part in run.parts:
        database.execute(
            "INSERT INTO parts (run, number, step, first_line, last_line, bytes, sha256, "
            "status) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (
                run.serial,
                part.number,
                part.step,
                part.first,
                part.last,
                part.size,
                part.sha256,
                part.status.value,
            ),
        )


def read_runs(database: Database, clause: str) -> list[Run]:
    """The runs, with their parts, that a WHERE or ORDER BY clause of ours asks for."""
    rows = database.rows(
        "SELECT serial, reference, status, submitted_at, spec_sha256, commands, changes_seal, "
        "coalesce(import_id, ''), coalesce(closed_at, 0), confirmed, rejected, unknown, unsent "
        f"FROM runs {clause}"
    )
    return [
        Run(
            serial, reference, RunStatus(status), submitted, spec, commands, seal,
            _read_parts(database, serial), import_id or None, closed or None, *counts,
        )
        for serial, reference, status, submitted, spec, commands, seal, import_id, closed,
        *counts in rows
    ]  # fmt: skip


def _read_parts(database: Database, serial: int) -> tuple[PartRecord, ...]:
    rows = database.rows(
        "SELECT number, step, first_line, last_line, bytes, sha256, status, "
        "coalesce(execution_id, ''), coalesce(total_success, -1), coalesce(total_failure, -1), "
        "executions, is_watched FROM parts WHERE run = ? ORDER BY number",
        (serial,),
    )
    return tuple(
        PartRecord(
            number, step, first, last, size, sha256,
            PartStatus(status), execution or None, _count(success), _count(failure), executions,
            bool(watched),
        )
        for number, step, first, last, size, sha256, status, execution, success, failure,
        executions, watched in rows
    )  # fmt: skip


def _count(number: int) -> int | None:
    return None if number < 0 else number
