"""A datamart that outlives its process: one SQLite file, and a folder beside it for payloads.

Switches and fault scripts are not kept: they belong to whoever starts the emulator.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segsync.emulator.executions import DocumentImport, Execution
from segsync.emulator.faults import ExecutionScript
from segsync.emulator.files import UploadedFile
from segsync.emulator.people import Identifier, Membership
from segsync.emulator.segments import Segment
from segsync.emulator.settings import with_settings
from segsync.emulator.world import World
from segsync.errors import SegsyncError

VERSION = 1
SCHEMA = """
CREATE TABLE IF NOT EXISTS things (
    kind TEXT NOT NULL, id TEXT NOT NULL, content TEXT NOT NULL, PRIMARY KEY (kind, id)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS identifiers (
    kind TEXT NOT NULL, compartment TEXT NOT NULL, value TEXT NOT NULL, person INTEGER NOT NULL,
    PRIMARY KEY (kind, compartment, value)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS memberships (
    segment TEXT NOT NULL, person INTEGER NOT NULL, expires_at_ms INTEGER NOT NULL,
    data_bag TEXT, created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL,
    PRIMARY KEY (segment, person)
) WITHOUT ROWID;
"""
OWN_TABLES = {"things", "identifiers", "memberships"}
PUT_MEMBERSHIP = "INSERT OR REPLACE INTO memberships VALUES (?, ?, ?, ?, ?, ?)"


class Storage:
    """Keeps a world in a file of mode 0600. Raises SegsyncError where that cannot be."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: dict[tuple[str, str], str] = {}
        self._last_person = 0
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._database = sqlite3.connect(
                path, isolation_level=None, check_same_thread=False, timeout=0.2
            )
            self._database.execute("PRAGMA locking_mode = EXCLUSIVE")
            self._database.execute("BEGIN IMMEDIATE")
            self._database.execute("COMMIT")
            self._refuse_foreign()
            self._database.executescript(SCHEMA)
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            raise SegsyncError(
                f"the emulator's data file cannot be used: {reason}",
                place=str(path),
                hint="name another file; or is another emulator at work on it?",
            ) from None

    def _refuse_foreign(self) -> None:
        """Leave a database alone that somebody needs for something else, such as a state."""
        sql = "SELECT tbl_name FROM sqlite_schema"
        if not OWN_TABLES.issuperset(name for (name,) in self._database.execute(sql)):
            self._database.close()
            raise SegsyncError(
                "this is a database, and not the data file of an emulator",
                place=str(self._path),
                hint="name another file",
            )

    def load(self, world: World) -> None:
        """Put what the file holds into a new world. Raises SegsyncError."""
        things = self._things("world")
        if things:
            self._check(things["world"], world)
            restore_counters(world, things["world"])
        for fields in self._things("segment").values():
            world.segments.put(Segment(**fields))
        for fields in self._things("import").values():
            world.executions.imports[fields["id"]] = DocumentImport(**fields)
        for fields in in_order(self._things("execution").values()):
            execution = restored_execution(fields, world.files.folder)
            world.executions.by_id[execution.id] = execution
        self._load_people(world)
        for segment, person, *fields in self._database.execute("SELECT * FROM memberships"):
            world.memberships.of(segment)[person] = Membership(*fields)
        world.memberships.track()

    def save(self, world: World) -> None:
        """Write what has changed since the last time."""
        self._database.execute("BEGIN")
        self._put_things("world", {"world": counters(world)})
        self._put_things("segment", {one.id: asdict(one) for one in world.segments})
        imports = world.executions.imports
        self._put_things("import", {one.id: asdict(one) for one in imports.values()})
        executions = world.executions.by_id.values()
        self._put_things("execution", {one.id: stored_execution(one) for one in executions})
        self._save_people(world)
        self._save_memberships(world)
        self._database.execute("COMMIT")

    def close(self) -> None:
        """Let the file go."""
        self._database.close()

    def _check(self, stored: dict[str, Any], world: World) -> None:
        if stored["version"] != VERSION or stored["datamart_id"] != world.datamart_id:
            raise SegsyncError(
                f"the emulator's data file is of datamart {stored['datamart_id']},"
                f" version {stored['version']}, not of datamart {world.datamart_id},"
                f" version {VERSION}",
                place=str(self._path),
                hint="name another file, or delete this one",
            )

    def _things(self, kind: str) -> dict[str, dict[str, Any]]:
        found = {}
        for name, content in self._database.execute(
            "SELECT id, content FROM things WHERE kind = ?", (kind,)
        ):
            self._written[kind, name] = content
            found[name] = json.loads(content)
        return found

    def _put_things(self, kind: str, things: dict[str, dict[str, Any]]) -> None:
        for name, fields in things.items():
            content = json.dumps(fields, sort_keys=True)
            if self._written.get((kind, name)) != content:
                self._written[kind, name] = content
                row = (kind, name, content)
                self._database.execute("INSERT OR REPLACE INTO things VALUES (?, ?, ?)", row)
        for gone in [key for key in self._written if key[0] == kind and key[1] not in things]:
            del self._written[gone]
            self._database.execute("DELETE FROM things WHERE kind = ? AND id = ?", gone)

    def _load_people(self, world: World) -> None:
        people = world.people
        rows = self._database.execute("SELECT * FROM identifiers ORDER BY person, kind, value")
        for kind, compartment, value, person in rows:
            identifier = Identifier(kind, compartment or None, value)
            people.number_of[identifier] = person
            before = people.identifiers_of.get(person, ())
            people.identifiers_of[person] = (*before, identifier)
        self._last_person = people.last_number

    def _save_people(self, world: World) -> None:
        people = world.people
        if people.united:
            self._last_person = 0
            people.united = False
        fresh = range(self._last_person + 1, people.last_number + 1)
        self._database.executemany(
            "INSERT OR REPLACE INTO identifiers VALUES (?, ?, ?, ?)",
            (
                (identifier.kind, identifier.compartment or "", identifier.value, person)
                for person in fresh
                for identifier in people.identifiers_of.get(person, ())
            ),
        )
        self._last_person = people.last_number

    def _save_memberships(self, world: World) -> None:
        for segment, person in world.memberships.changes():
            membership = world.memberships.of(segment).get(person)
            if membership is None:
                key = (segment, person)
                self._database.execute(
                    "DELETE FROM memberships WHERE segment = ? AND person = ?", key
                )
            else:
                self._database.execute(PUT_MEMBERSHIP, (segment, person, *membership))


def counters(world: World) -> dict[str, Any]:
    """The small things of a world."""
    return {
        "version": VERSION,
        "datamart_id": world.datamart_id,
        "frozen_at_ms": world.clock.frozen_at_ms,
        "offset_ms": world.clock.offset_ms,
        "last_person": world.people.last_number,
        "quarantined": sorted(world.people.quarantined),
        "last_import_id": world.executions.last_import_id,
        "last_execution_id": world.executions.last_execution_id,
    }


def restore_counters(world: World, stored: dict[str, Any]) -> None:
    """Put the small things back."""
    world.clock.frozen_at_ms = stored["frozen_at_ms"]
    world.clock.offset_ms = stored["offset_ms"]
    world.people.last_number = stored["last_person"]
    world.people.quarantined = set(stored["quarantined"])
    world.executions.last_import_id = stored["last_import_id"]
    world.executions.last_execution_id = stored["last_execution_id"]


def stored_execution(execution: Execution) -> dict[str, Any]:
    """An execution as JSON; its file by name only, so that the folder may move."""
    fields = asdict(execution)
    del fields["arrived"]
    return {**fields, "payload": {**fields["payload"], "path": execution.payload.path.name}}


def restored_execution(fields: dict[str, Any], folder: Path) -> Execution:
    """An execution from JSON."""
    payload, script = fields["payload"], fields["script"]
    script["shown"] = tuple(script["shown"])
    return Execution(
        **{
            **fields,
            "payload": UploadedFile(folder / payload["path"], payload["size"], payload["sha256"]),
            "script": with_settings(ExecutionScript(), script),
        }
    )


def in_order(executions: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Executions, oldest first."""
    return sorted(executions, key=lambda fields: int(fields["id"]))
