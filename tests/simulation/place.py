"""A world for the simulation: no sockets, and people whom the platform knows by several names."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from segsync import planning
from segsync.emulator.executions import Execution
from segsync.emulator.people import Identifier
from segsync.emulator.world import Upload
from segsync.model import MINUTE_MS, Spec
from segsync.own_state import writing_state
from segsync.planning import PlanOptions
from segsync.report import Report
from segsync.runs import Applying
from segsync.sending import Timing
from segsync.state import PartStatus
from tests.simulation.lean import LeanDatabase, deaths, shops
from tests.simulation.trouble import FOR_EVER, Killed, Mortal, Trouble, Troubled
from tests.support.direct import Direct
from tests.support.world import World

PEOPLE = 6
TWINS = ("twin", "other twin")
BYSTANDERS = ("bystander", "other bystander")
"""In stories that have them, they may fail without a name until they are given up."""
FORMS = ("account", "default", "second", "email", "renumbered")
"""What a query may know a person by: an account without compartment, the same account with its
compartment named, one in another compartment, an e-mail hash, a new number for the account."""
SHAPES = {
    "accounts": ("user_account_id",),
    "accounts, total": ("user_account_id", "total"),
    "accounts, expiry": ("user_account_id", "expiration_ts", "total"),
    "hashes": ("email_hash", "total"),
    "any identifier": ("user_account_id", "compartment_id", "email_hash", "total"),
}
TIMING = Timing(longest_poll=3600.0)


@dataclass
class Row:
    """What the query says of one person."""

    form: str = "account"
    total: int = 1
    expires_ms: int | None = None
    is_invalid: bool = False
    """It has two identifiers."""


@dataclass
class Cast:
    """A segment's people, in the shape in which its query tells of them."""

    shape: str
    rows: dict[str, Row] = field(default_factory=dict)


class LeanWorld(World):
    """A world for `in_one_thread`: no database is asked for rows, and a spec is loaded once."""

    def __init__(self, folder: Path, *, seed: int = 0) -> None:
        super().__init__(folder, seed=seed)
        self._loaded: tuple[str, Spec] | None = None
        shops[folder] = self.tables
        self._stack.callback(shops.pop, folder)

    def fill(self, name: str, rows: Sequence[Sequence[Any]]) -> None:
        """What the segment's query returns from now on."""
        table = self.tables[name]
        table.rows = [(row,) if isinstance(row, str) else row for row in rows]
        self.people.note(table.columns, table.rows)

    @property
    def spec(self) -> Spec:
        """The spec; loaded anew when it has changed."""
        assert not any("query" in table.keys for table in self.tables.values()), "none is run here"
        document = json.dumps(self._document())
        if self._loaded is None or self._loaded[0] != document:
            self._loaded = (document, super().spec)
        return self._loaded[1]


class Place(LeanWorld):
    """The whole world in one process; an apply may be given trouble."""

    def __init__(self, folder: Path, random: Random) -> None:
        super().__init__(folder, seed=random.randrange(1000))
        self.timing = TIMING
        self.casts: dict[str, Cast] = {}
        self.trouble: Trouble | None = None
        self.guarded = False
        self.chosen: dict[str, tuple[str, ...]] = {}
        self.answer = True
        self.assumes_finished = False
        self.bystanders: tuple[str, ...] = ()
        self.latest_ms = random.choice([24, 24, 72]) * 60 * MINUTE_MS
        self.destination["execution_max_age"] = f"{self.latest_ms // MINUTE_MS}m"
        self.hidden_imports: set[str] = set()
        self.emulator.behave(
            line_order=random.choice(["random", "file", "reversed"]),
            expiration_starts=random.choice(["processing", "upload"]),
            lists_until_seen=random.choice([0, 0, 0, 1, 3]),
            list_order=random.choice(["newest", "random"]),
            error_file=random.choice(["json_flat", "json_nested", "input_lines"]),
            absent_data_bag="kept" if self.emulator.world.seed % 2 else "cleared",
        )
        emulator = self.emulator
        for who in (*(f"u{n}" for n in range(PEOPLE)), *BYSTANDERS):
            emulator.declare_person([self.identifier(who, form) for form in FORMS])
        emulator.declare_person([emulator.account(name) for name in TWINS])

    def _serve(self) -> str:
        return "https://api.mediarithmics.com"

    def identifier(self, person: str, form: str) -> Identifier:
        """What the platform understands by a person's row."""
        if form == "email":
            return self.emulator.email(f"h-{person}")
        return self.emulator.account(_number(person, form), "2000" if form == "second" else None)

    # ---------------------------------------------------------------- what there is

    def cast(self, name: str, shape: str, rows: dict[str, Row], **keys: Any) -> None:
        """A segment of the spec, and whom its query returns."""
        self.casts[name] = Cast(shape, rows)
        self.define(name, *SHAPES[shape], **keys)
        self.show(name)

    def show(self, name: str) -> None:
        """Let the query return what the cast says."""
        cast = self.casts[name]
        columns = SHAPES[cast.shape]
        for row in cast.rows.values():
            if cast.shape == "hashes":
                row.form = "email"
            elif cast.shape != "any identifier" and row.form != "renumbered":
                row.form = "account"
        self.fill(name, [_values(columns, who, row) for who, row in cast.rows.items()])

    def drop(self, name: str, members: str | None = None) -> None:
        super().drop(name, members)
        del self.casts[name]

    @property
    def saved(self) -> Path:
        """Where a plan is saved."""
        return self.folder / "plan"

    @property
    def options(self) -> dict[str, Any]:
        """What every plan and apply is given."""
        allowed = () if self.guarded else tuple(self.tables)
        return {"allowed": allowed, "samples": 0, "parallelism": 1, **self.chosen}

    def alive(self) -> list[Execution]:
        """Executions that may still take effect."""
        active = self.emulator.world.executions.active()
        return [one for one in active if one.script.starts_after_polls < FOR_EVER]

    # ---------------------------------------------------------------- what one does

    def attempt(self, trouble: Trouble, saved: Path | None) -> Report | None:
        """An apply, or one of a saved plan, in trouble; no report where it died. Raises what apply
        raises."""
        self._show_imports()
        self.trouble = trouble
        deaths[self.state.resolve()] = trouble.statement
        try:
            if saved:
                return self.apply_saved(saved)
            return self.apply(
                assume_finished=self.assumes_finished,
                confirm=lambda _plan: self.answer,
                **self.options,
            )
        except Killed:
            trouble.restore()
            return None
        finally:
            self.trouble = None
            del deaths[self.state.resolve()]

    def _show_imports(self) -> None:
        """A new import is missing from lists for seconds, not until the next apply."""
        world = self.emulator.world
        shown = world.executions.imports.keys() - self.hidden_imports
        world.unseen.update({f"DocumentImport/{one}": FOR_EVER for one in shown})

    @contextmanager
    def _applying(self, spec: Spec, lineage: str | None = None) -> Iterator[tuple[Any, Applying]]:
        trouble = self.trouble or Trouble(self.emulator, self.state)

        def agree(_plan: object) -> bool:
            return True

        with writing_state(spec, lineage) as state:
            self.lineage = self.lineage or state.identity.lineage
            self.receiver.note_journal(state)
            destination = Troubled(Direct(self.emulator), trouble)
            applying = Applying(
                destination, self.clock, agree, self.said, self.timing, assume_finished=False
            )
            yield Mortal(state, trouble), applying

    def what_is_planned(self) -> Any:
        """A plan, its counts checked."""
        spec = self.spec
        with planning.plan(spec, PlanOptions(**self.options), self.clock, self.said) as planned:
            for segment in planned.plan.segments:
                segment.counts.check()
            return planned.plan

    # ---------------------------------------------------------------- what must be true

    def _check_journal(self, upload: Upload) -> None:
        """Asserted by the receiver: the journal is durable, and nothing else is under way."""
        assert not self.alive(), "two executions in flight"
        database = LeanDatabase(self.state, read_only=True)
        try:
            found = database.rows(
                "SELECT p.bytes, p.status, r.import_id, p.first_line, p.last_line FROM parts p "
                "JOIN runs r ON r.serial = p.run WHERE r.status = 'open' AND r.reference = ? "
                "AND p.sha256 = ? AND p.status = ?",
                (upload.import_name, upload.sha256, PartStatus.SENDING.value),
            )
            assert found, "an upload that is not in the journal"
            size, _, import_id, first, last = found[0]
            assert (size, import_id) == (upload.size, upload.import_id)
            lines = "SELECT count(*) FROM changes WHERE line BETWEEN ? AND ?"
            [[count]] = database.rows(lines, (first, last))
            assert count == last - first + 1, "lines that are not in the journal"
        finally:
            database.close()
        self._receive(upload)


def _number(person: str, form: str) -> str:
    return f"{person}-new" if form == "renumbered" else person


def _values(columns: tuple[str, ...], who: str, row: Row) -> list[Any]:
    both = row.is_invalid and "email_hash" in columns and "user_account_id" in columns
    values = {
        "user_account_id": _number(who, row.form) if row.form != "email" or both else None,
        "compartment_id": {"default": "1000", "second": "2000"}.get(row.form),
        "email_hash": f"h-{who}" if row.form == "email" or both else None,
        "expiration_ts": row.expires_ms,
        "total": row.total,
    }
    return [values[column] for column in columns]
