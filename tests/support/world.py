"""A whole world on a fake clock: a shop's database, a spec, a state file, and the platform.

Everything between them is the real code: the spec is loaded from YAML, the queries run on SQLite,
and the destination speaks HTTP to the emulator over a socket. Only time is ours.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import get_ident
from typing import Any

from segsync import planfile, planning, reconcile
from segsync.destination import Destination
from segsync.emulator import Behaviour, Emulator, EmulatorServer
from segsync.emulator.people import Identifier, Membership
from segsync.emulator.world import Upload
from segsync.mediarithmics import Mediarithmics
from segsync.mediarithmics.exchange import Limits
from segsync.model import Spec
from segsync.own_state import writing_state
from segsync.plan import Plan
from segsync.planning import Planned, PlanOptions
from segsync.report import Report
from segsync.runs import Applying
from segsync.sending import Timing
from segsync.spec import load_spec
from segsync.state import RunStatus, State, hold, open_state
from tests.support.canary import FORMS_OF_TOKEN, TOKEN, secrets_under, tokens_in
from tests.support.hearing import (
    People,
    assert_plan_discreet,
    assert_report_discreet,
    listening,
)
from tests.support.receiver import Receiver, assert_journalled

SHOP = "sqlite:///shop.db"
STRANGER = "somebody else's"
"""A member of every segment, whom others have put there."""
START_MS = 1_790_000_000_000
TEXT_COLUMNS = (
    "user_account_id",
    "compartment_id",
    "email_hash",
    "user_agent_id",
    "email",
    "data_bag",
)
COLUMNS = (*TEXT_COLUMNS, "expiration_ts", "total")
Row = Sequence[Any]


class WorldClock:
    """The emulator's clock as everybody's: sleeping moves it, and nothing else does.

    `wrong_by_ms` is how far ours is ahead of the platform's.
    """

    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator
        self._slept = 0.0
        self.wrong_by_ms = 0

    def now_ms(self) -> int:
        return self._emulator.now_ms() + self.wrong_by_ms

    def monotonic(self) -> float:
        return self._slept

    def sleep(self, seconds: float) -> None:
        self._slept += seconds
        self._emulator.advance(seconds=seconds)


class Said:
    """Remembers what the user is told; what is only shown for a while is not kept."""

    def __init__(self) -> None:
        self.sentences: list[str] = []

    def say(self, sentence: str) -> None:
        self.sentences.append(sentence)

    def reading(self, segment: str) -> None:
        pass

    def read(self, segment: str, rows: int) -> None:
        pass

    def uploading(self, part: int, parts: int, size: int) -> None:
        pass

    def uploaded(self, size: int) -> None:
        pass

    def waiting(self, execution: str, status: str, share: float | None) -> None:
        pass


@dataclass
class Table:
    """What a segment's query returns, and the keys of the segment in the spec."""

    columns: tuple[str, ...]
    keys: dict[str, Any]
    rows: list[Row] = field(default_factory=list)


Wrap = Callable[[Destination], Destination]


class World:
    """Segments with their rows, and what one does with segsync."""

    def __init__(
        self,
        folder: Path,
        *,
        seed: int = 0,
        behaviour: Behaviour | None = None,
        url: str | None = None,
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.emulator = Emulator(token=TOKEN, seed=seed, behaviour=behaviour, frozen_at_ms=START_MS)
        # Its clock stands still, and is not that of the processes that some tests start.
        self.emulator.behave(dates=False)
        self.clock = WorldClock(self.emulator)
        self.tables: dict[str, Table] = {}
        self.removed: dict[str, str] = {}
        self.destination: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.timing = Timing()
        self.limits = Limits()
        self.said = Said()
        self.people = People()
        self.lineage: str | None = None
        self.wrap: Wrap = lambda destination: destination
        self.uploads: list[str] = []
        self.receiver = Receiver()
        self.stranger = self.emulator.account(STRANGER)
        self.stranger_number = self.emulator.declare_person([self.stranger])
        self._not_ours_alone: set[str] = set()
        self._planned: tuple[Any, Plan] | None = None
        self._stack = ExitStack()
        self._stack.callback(self.emulator.close)
        self.url = url or self._serve()
        self._shop = sqlite3.connect(self.folder / "shop.db")
        self._stack.callback(self._shop.close)
        self.emulator.on_upload(self._check_journal)

    def __enter__(self) -> World:
        return self

    def __exit__(self, kind: type[BaseException] | None = None, *_: object) -> None:
        self._stack.close()
        if kind is None:
            assert_kept_secret(self)

    def _serve(self) -> str:
        """Put the platform behind a socket; gives its address."""
        self.server = self._stack.enter_context(EmulatorServer(self.emulator))
        return self.server.url

    # ---------------------------------------------------------------- what there is

    def define(self, name: str, *columns: str, rows: Sequence[Row] = (), **keys: Any) -> None:
        """A segment of the spec, on the platform too, whose query returns these columns.

        `keys` are the segment's in the spec. Without columns it is one of accounts.
        """
        self._make_segment(name, keys.get("segment_id"))
        chosen = columns or ("user_account_id",)
        if "total" in chosen:
            keys = {"data_bag": ["total"], **keys}
        self.tables[name] = Table(chosen, keys)
        self.fill(name, rows)

    def _make_segment(self, name: str, identifier: str | None) -> None:
        there = self.emulator.world.segments.by_id.values()
        if identifier is None and name not in {segment.technical_name for segment in there}:
            self.emulator.add_segment(name)
        elif identifier is not None and identifier not in {segment.id for segment in there}:
            self.emulator.add_segment(None, id=identifier)
        where = self.emulator.world.segment(identifier or name).id
        members = self.emulator.world.memberships.of(where)
        members.setdefault(self.stranger_number, Membership(0, None, 0, 0))
        self._not_ours_alone.add(where)

    def drop(self, name: str, members: str | None = None) -> None:
        """Take a segment out of the spec; `members` puts it under `removed:`."""
        del self.tables[name]
        if members:
            self.removed[name] = members

    def fill(self, name: str, rows: Sequence[Row]) -> None:
        """What the segment's query returns from now on. A text is a row of one account."""
        table = self.tables[name]
        table.rows = [(row,) if isinstance(row, str) else tuple(row) for row in rows]
        self.people.note(table.columns, table.rows)
        columns = ", ".join(
            f'"{name}" {"INTEGER" if name in ("total", "expiration_ts") else "TEXT"}'
            for name in table.columns
        )
        with self._shop:
            self._shop.execute(f'DROP TABLE IF EXISTS "{name}"')
            self._shop.execute(f'CREATE TABLE "{name}" (row_number INTEGER PRIMARY KEY, {columns})')
            marks = ", ".join("?" * len(table.columns))
            self._shop.executemany(f'INSERT INTO "{name}" VALUES (NULL, {marks})', table.rows)

    def accounts(self, name: str, *identifiers: str) -> None:
        """The segment's query returns these accounts."""
        self.fill(name, identifiers)

    @property
    def state(self) -> Path:
        """The state file."""
        return self.folder / ".segsync" / "state.db"

    @property
    def spec(self) -> Spec:
        """The spec, written and loaded anew."""
        path = self.folder / "segments.yaml"
        draft = path.with_suffix(f".{get_ident()}")
        draft.write_text(json.dumps(self._document(), ensure_ascii=False))
        draft.replace(path)
        return load_spec(path, {"TOKEN": TOKEN, **self.sources})

    def _document(self) -> dict[str, Any]:
        destination = {"datamart_id": "1509", "api_token": "${TOKEN}", "api_url": self.url}
        return {
            "version": 1,
            "destination": destination | self.destination,
            "sources": {"shop": SHOP} | {name: f"${{{name}}}" for name in self.sources},
            "defaults": {"source": "shop"},
            "segments": {
                name: {"query": self._query(name, table), **table.keys}
                for name, table in self.tables.items()
            },
            "removed": self.removed,
        }

    def _query(self, name: str, table: Table) -> str:
        columns = ", ".join(f'"{column}"' for column in table.columns)
        return f'SELECT {columns} FROM "{name}" ORDER BY row_number'

    def advance(self, **amount: float) -> None:
        """Move everybody's time."""
        self.emulator.advance(**amount)

    # ---------------------------------------------------------------- what one does

    @contextmanager
    def planned(self, **options: Any) -> Iterator[Planned]:
        """A plan, and its engine while the context is open."""
        with (
            listening(self.said.sentences, self.people),
            planning.plan(self.spec, PlanOptions(**options), self.clock, self.said) as planned,
        ):
            assert_plan_discreet(planned.plan, self.people)
            yield planned

    def plan(self, **options: Any) -> Plan:
        """A plan, as a value."""
        with self.planned(**options) as planned:
            return planned.plan

    def apply(
        self,
        *,
        assume_finished: bool = False,
        confirm: Callable[[Plan], bool] = lambda _plan: True,
        **options: Any,
    ) -> Report:
        """One apply, as the command line does it. `options` are those of a plan."""
        spec = self.spec
        with listening(self.said.sentences, self.people), self._applying(spec) as (state, applying):
            applying = replace(applying, confirm=confirm, assume_finished=assume_finished)
            report = reconcile.apply(spec, state, PlanOptions(**options), applying)
        assert_report_discreet(report, self.people)
        return report

    def save(self, path: Path, **options: Any) -> Plan:
        """A plan, saved to a file."""
        with self.planned(**options) as planned:
            planfile.save(planned, path)
            return planned.plan

    def apply_saved(self, path: Path) -> Report:
        """One apply of a saved plan, as the command line does it."""
        spec = self.spec
        lineage = planfile.lineage_of(path, self.state)
        with (
            listening(self.said.sentences, self.people),
            self._applying(spec, lineage) as (state, applying),
        ):
            report = reconcile.apply_saved(spec, state, path, PlanOptions(), applying)
        assert_report_discreet(report, self.people)
        return report

    @contextmanager
    def _applying(self, spec: Spec, lineage: str | None = None) -> Iterator[tuple[State, Applying]]:
        with (
            hold(spec.state, "apply"),
            writing_state(spec, lineage) as state,
            self.connected(spec) as destination,
        ):
            self.lineage = self.lineage or state.identity.lineage
            self.receiver.note_journal(state)
            wrapped = self.wrap(destination)
            yield (
                state,
                Applying(
                    wrapped,
                    self.clock,
                    lambda _plan: True,
                    self.said,
                    self.timing,
                    assume_finished=False,
                ),
            )

    def connected(self, spec: Spec) -> AbstractContextManager[Mediarithmics]:
        """The platform as segsync sees it."""
        return Mediarithmics(
            spec.destination, self.clock, lambda: 0.5, limits=self.limits, notify=self.said.say
        )

    def settle(self, applies: int = 1, **options: Any) -> Report:
        """Apply without faults until nothing is left to be done; that must take one apply, or as
        many as are named here, where the first can only make way for the second."""
        self.emulator.faults.clear()
        self.wrap = lambda destination: destination
        for _ in range(applies):
            report = self.apply(**options)
            now = self._all_that_counts()
            plan = self.plan(**options)
            if not plan.changes_something:
                whole = options.keys() <= {"allowed"}
                self._planned = (now, plan) if whole else None
                return report
        raise AssertionError(f"not settled after {applies} applies: {plan.totals}")

    def plan_of_all(self) -> Plan:
        """A plan of all segments: the last one, if nothing has changed since."""
        now = self._all_that_counts()
        if self._planned and self._planned[0] == now:
            return self._planned[1]
        plan = self.plan(allowed=tuple(self.tables))
        self._planned = (now, plan)
        return plan

    def _all_that_counts(self) -> Any:
        """For a plan: it says the same as long as this is the same."""
        state = self.state.stat() if self.state.exists() else None
        rows = [(name, *map(repr, table.rows)) for name, table in self.tables.items()]
        file = state and (state.st_ino, state.st_mtime_ns, state.st_ctime_ns)
        asked = len(self.emulator.request_log)
        spec = (json.dumps(self._document()), *self.sources.values())
        return (file, self.clock.now_ms(), asked, spec, rows)

    # ---------------------------------------------------------------- what must be true

    def expected(self, name: str) -> dict[Identifier, str | None]:
        """The members that the segment's rows ask for, with their data bags."""
        table = self.tables[name]
        default = table.keys.get("compartment_id")
        found = {}
        for row in table.rows:
            values = dict(zip(table.columns, row, strict=True))
            if 0 < (values.get("expiration_ts") or 0) <= self.clock.now_ms():
                continue
            found[self._identifier(values, default, table)] = _bag(values, table)
        return found

    def _identifier(
        self, values: Mapping[str, Any], compartment: str | None, table: Table
    ) -> Identifier:
        if values.get("email_hash") is not None:
            return self.emulator.email(values["email_hash"])
        if values.get("user_agent_id") is not None:
            return self.emulator.agent(values["user_agent_id"])
        if values.get("email") is not None:
            text = values["email"].strip().lower().encode()
            return self.emulator.email(hashlib.new(table.keys["hash_email"], text).hexdigest())
        return self.emulator.account(
            values["user_account_id"], values.get("compartment_id") or compartment
        )

    def members(self, name: str) -> dict[Identifier, str | None]:
        """The members that the platform has, with their data bags."""
        table = self.tables.get(name)
        where = table.keys.get("segment_id", name) if table else name
        found = self.emulator.members(where)
        is_there = found.pop(self.stranger, None) is not None
        is_new = self.emulator.world.segment(where).id not in self._not_ours_alone
        assert is_there or is_new, "a member that is not ours was removed"
        return {
            who: m.data_bag and _canonical_or_none(json.loads(m.data_bag))
            for who, m in found.items()
        }

    def _check_journal(self, upload: Upload) -> None:
        assert_journalled(self.state, upload)
        self._receive(upload)

    def _receive(self, upload: Upload) -> None:
        self.receiver.take(upload.path.read_bytes())
        self.uploads.append(upload.sha256)

    def note_journal(self) -> None:
        """Whom a process that was killed was to say."""
        self.receiver.note_journal_at(self.state)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    state = open_state(path, read_only=True)
    try:
        yield state
    finally:
        state.close()


def _bag(values: Mapping[str, Any], table: Table) -> str | None:
    if "data_bag" in table.columns:
        return values["data_bag"] and _canonical_or_none(json.loads(values["data_bag"]))
    names = table.keys.get("data_bag")
    return canonical({name: values[name] for name in names}) if names else None


def _canonical_or_none(bag: Mapping[str, Any]) -> str | None:
    """None for an empty data bag, which is how a member loses one."""
    return canonical(bag) if bag else None


def canonical(bag: Mapping[str, Any]) -> str:
    """A data bag, so that those that mean the same are the same text."""
    return json.dumps(bag, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def assert_sound(world: World, *, converged: bool = True, in_flight: int = 1) -> None:
    """Everything that must be true between two commands, whatever went wrong before.

    `converged` asserts too that the platform has exactly the members that the queries return.
    """
    assert not world.emulator.crashes, world.emulator.crashes
    assert world.emulator.max_in_flight <= in_flight
    assert_private(world)
    if world.state.exists():
        assert_counted(world)
    plan = world.plan_of_all()
    for segment in plan.segments:
        segment.counts.check()
    if not converged:
        return
    assert not world.emulator.refused, world.emulator.refused
    for name in world.tables:
        assert world.members(name) == world.expected(name), name
    assert not plan.changes_something, plan.totals
    assert plan.open_run is None


def assert_counted(world: World) -> None:
    """Serials count the closed runs without a gap; the lineage never changes."""
    with _opened(world.state) as state:
        assert state.identity.lineage == (world.lineage or state.identity.lineage)
        runs = state.last_runs(1_000_000)
        closed = [run.serial for run in runs if run.status is not RunStatus.OPEN]
        assert closed == list(range(state.identity.serial, 0, -1))
        for run in runs:
            if run.status is not RunStatus.OPEN:
                decided = run.confirmed + run.rejected + run.unknown + run.unsent
                assert decided == run.commands, run
        state.check_whole()


def assert_private(world: World) -> None:
    """No file that others may read, none left behind, and no secret in any."""
    if not world.state.exists():
        return
    assert stat.S_IMODE(world.state.parent.stat().st_mode) == 0o700
    for path in world.state.parent.rglob("*"):
        assert path.name in ("state.db", "state.db.lock"), f"left behind: {path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    assert_kept_secret(world)


def assert_kept_secret(world: World) -> None:
    """Nothing has gone wrong at the platform unseen, and no secret is in a request or file."""
    assert not world.emulator.crashes, world.emulator.crashes
    imports = [one.name for one in world.emulator.imports]
    targets = [record.target for record in world.emulator.request_log]
    assert not tokens_in("\n".join(imports + targets).encode())
    found = secrets_under(world.folder, FORMS_OF_TOKEN)
    assert not found, found
