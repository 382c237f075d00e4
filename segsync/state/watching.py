"""Uploads that were given up, or sent again: their executions may still show up, and run late.

The platform orders executions by no rule: a late one undoes what newer runs have said. So its
identifiers are kept for as long as it may come, and said once more after it has.
"""

from __future__ import annotations

from collections.abc import Iterable

from segsync.state.database import Database
from segsync.state.journal import read_runs
from segsync.state.late_removals import forget_newcomers
from segsync.state.records import PartRecord, Run
from segsync.state.seal import write_seals


def watch(database: Database, serial: int, parts: Iterable[PartRecord]) -> None:
    """Keep the identifiers of parts of which an upload may still arrive."""
    for part in parts:
        if part.is_watched:
            database.execute(
                "INSERT INTO watched SELECT c.keyspace, c.identifier, ? FROM changes c "
                "WHERE c.line BETWEEN ? AND ?",
                (serial, part.first, part.last),
            )


def watched_runs(database: Database) -> list[Run]:
    """The runs of which an execution may still show up."""
    return read_runs(database, "WHERE serial IN (SELECT run FROM watched) ORDER BY serial")


def say_again(database: Database, run: Run, executions: int) -> int:
    """Make what is watched of a run pending: it has so many executions now. Returns how many."""
    watched = "watched WHERE run = ? AND keyspace IN (SELECT id FROM keyspaces)"
    with database.transaction():
        # What was refused before says nothing of what the platform has now.
        database.execute(
            "DELETE FROM rejects WHERE (keyspace, identifier) IN "
            "(SELECT keyspace, identifier FROM watched WHERE run = ?) "
            "AND (keyspace, identifier) NOT IN (SELECT keyspace, identifier FROM pending)",
            (run.serial,),
        )
        database.execute(
            "INSERT INTO pending SELECT keyspace, identifier, 'UPDATE', 0, 0 "
            f"FROM {watched} ON CONFLICT (keyspace, identifier) DO NOTHING",
            (run.serial,),
        )
        database.execute(
            "UPDATE parts SET executions = executions + ? WHERE run = ? AND number = 1",
            (executions - run.executions, run.serial),
        )
        write_seals(database, backlog=True)
    return int(database.rows(f"SELECT count(*) FROM {watched}", (run.serial,))[0][0])


def end_watch(database: Database, run: Run) -> None:
    """Nothing of this run can come any more."""
    with database.transaction():
        database.execute("DELETE FROM watched WHERE run = ?", (run.serial,))
        forget_newcomers(database)
        write_seals(database, backlog=True)
