"""A seed becomes a story: what people change, what segsync does, and what goes wrong in it.

Each step takes its randomness from a number of its own, so that a story stays a story when steps
are left out: that is how one that ends badly is shortened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from segsync.emulator import runs
from segsync.emulator.executions import Execution
from segsync.errors import DestinationError, StateStale
from segsync.report import Report
from tests.simulation import choosing, deeds, oracle
from tests.simulation.place import BYSTANDERS, FORMS, PEOPLE, SHAPES, TWINS, Place, Row
from tests.simulation.trouble import ERRORS, NAMELESS, SCRIPTS, Fault, Trouble
from tests.support.layering import MODES, layered

DAY_MS = oracle.DAY_MS
MOST_STATEMENTS = 40
"""Of the transactions of an apply: about half of those that send something have more."""
EXPIRATIONS = ("30d", "30d", "2d", "never")
LIMIT_OF_NAMELESS = 2
"""After three runs with failures that cannot be named the product takes a command as confirmed."""
METHODS = (
    *("upload", "upload", "upload", "create_import", "list_executions", "list_executions"),
    *("find_imports", "look_up_segment"),
)
WEIGHTS = {
    "edit rows": 3,
    "edit spec": 3,
    "change identifiers": 2,
    "plan": 1,
    "apply": 2,
    "apply over a bad line": 5,
    "apply and die": 5,
    "refuse people": 2,
    "accept people": 1,
    "let time pass": 3,
    "keep a copy": 1,
    "apply while a copy is made": 1,
    "put back the copy": 1,
    "an upload acts late": 3,
    "members lapse": 1,
    "rows are invalid": 1,
    "apply a saved plan": 2,
    "use two copies": 1,
    "apply a part": 2,
    "say no": 1,
    "assume finished": 1,
    "fail without names": 4,
}
REASSERTED = (None, None, "2d", "5d")


@dataclass(frozen=True)
class Step:
    """What kind of thing happens, and the number that decides how."""

    kind: str
    seed: int


def steps_of(seed: int) -> list[Step]:
    """The steps of a seed's story."""
    random = Random(seed)
    kinds = random.choices(list(WEIGHTS), list(WEIGHTS.values()), k=random.randint(1, 5))
    return [Step(kind, random.randrange(2**32)) for kind in kinds]


@dataclass
class Story:
    """One story under way; `told` are its lines."""

    place: Place
    random: Random
    aside: Random = field(default_factory=Random)
    """For what was thought of later: a seed's other choices stay what they were."""
    told: list[str] = field(default_factory=list)
    applies: int = 0
    nameless: int = 0
    copy: bytes | None = None
    deleted: set[str] = field(default_factory=set)
    gone: set[str] = field(default_factory=set)
    """Names that are not used again: their members were left alone."""
    missing: list[Execution] = field(default_factory=list)
    """Of uploads that arrived, and of which nothing is seen yet."""

    def tell(self, line: str) -> None:
        self.told.append(line)

    def begin(self) -> None:
        """A world with a segment or two; the first apply is the story's business."""
        if limit := self.random.choice([None, None, 700]):
            self.place.destination["max_upload_bytes"] = limit
        if self.random.random() < 0.3:
            self.place.bystanders = BYSTANDERS
            self.nameless = LIMIT_OF_NAMELESS
        for _ in range(self.random.choice([1, 1, 2])):
            self._add_segment()

    def happen(self, step: Step) -> None:
        """Let a step happen."""
        self.random, self.aside = Random(step.seed), Random(f"aside {step.seed}")
        how: dict[str, Callable[[], None]] = {
            "edit rows": self.edit_rows,
            "edit spec": self.edit_spec,
            "change identifiers": self._change_identifiers,
            "plan": self._plan,
            "apply": self._apply,
            "apply over a bad line": self.apply_over_a_bad_line,
            "apply and die": self.die,
            "refuse people": self.refuse,
            "accept people": self.accept,
            "let time pass": self._pass_time,
            "keep a copy": self._keep_copy,
            "apply while a copy is made": self._apply_and_copy,
            "put back the copy": self._put_back_copy,
            "an upload acts late": lambda: deeds.act_late(self),
            "members lapse": lambda: deeds.let_lapse(self),
            "rows are invalid": lambda: deeds.break_rows(self),
            "apply a saved plan": lambda: deeds.apply_a_saved_plan(self),
            "use two copies": lambda: deeds.fork(self),
            "apply a part": lambda: choosing.apply_a_part(self),
            "say no": lambda: choosing.say_no(self),
            "assume finished": lambda: choosing.assume_finished(self),
            "fail without names": lambda: choosing.fail_without_names(self),
        }
        how[step.kind]()
        oracle.assert_platform(self.place)

    # ---------------------------------------------------------------- what people change

    def _add_segment(self) -> None:
        free = self._free_names()
        if not free:
            return
        name, shape = free[0], self.random.choice(list(SHAPES))
        self.place.removed.pop(name, None)
        self.deleted.discard(name)
        keys = self._some_keys(shape, {})
        self.place.cast(name, shape, self._some_rows(shape, {}), **keys)
        self.tell(f"segment {name} ({shape}, {keys}): {self.shown(name)}")

    def _free_names(self) -> list[str]:
        names = [f"s{n}" for n in range(4)]
        return [name for name in names if name not in self.place.casts.keys() | self.gone]

    def _some_keys(self, shape: str, before: dict[str, Any]) -> dict[str, Any]:
        """A segment's keys in the spec: its expiration, and when it is asserted anew."""
        keys = {key: before[key] for key in ("expiration",) if key in before}
        if shape != "accounts, expiry":
            keys["expiration"] = self.random.choice(EXPIRATIONS)
        reassert = self.random.choice(REASSERTED)
        if reassert and keys.get("expiration", "never") == "never":
            keys["reassert"] = reassert
        if shape == "any identifier":
            keys["invalid_rows"] = "skip"
        return keys

    def _some_rows(self, shape: str, before: dict[str, Row]) -> dict[str, Row]:
        """Each person stays as it was, changes, comes or goes."""
        found = {}
        people = [*(f"u{n}" for n in range(PEOPLE)), *self.place.bystanders]
        if shape != "accounts, expiry" and self.random.random() < 0.3:
            people += TWINS
        for who in people:
            fate = self.random.random()
            if fate < 0.35:
                continue
            if fate < 0.65 and who in before:
                found[who] = before[who]
                continue
            form = "account" if who in TWINS else self.random.choice(FORMS)
            total = 1 if who in TWINS else self.random.randint(1, 3)
            expires = None
            if shape == "accounts, expiry" and self.random.random() < 0.7:
                now_ms = self.place.emulator.now_ms()
                expires = now_ms + self.random.choice([-3, 1, 5, 20]) * DAY_MS + 12_345_678
            found[who] = Row(form, total, expires)
        return found

    def shown(self, name: str) -> str:
        cast = self.place.casts[name]
        now_ms = self.place.emulator.now_ms()
        texts = []
        for who, row in cast.rows.items():
            days = f" {(row.expires_ms - now_ms) / DAY_MS:+.1f}d" if row.expires_ms else ""
            invalid = " invalid" if row.is_invalid else ""
            texts.append(f"{who}/{row.form}={row.total}{days}{invalid}")
        return ", ".join(texts) or "nobody"

    def pick(self) -> str:
        return self.random.choice(sorted(self.place.casts))

    def edit_rows(self, name: str | None = None) -> None:
        """The query of a segment returns others from now on."""
        if not self.place.casts:
            return
        name = name or self.pick()
        cast = self.place.casts[name]
        if self.random.random() < 0.2 and cast.shape == "any identifier":
            form = self.random.choice(FORMS)
            cast.rows = {
                who: Row("account" if who in TWINS else form, row.total)
                for who, row in cast.rows.items()
            }
        else:
            cast.rows = self._some_rows(cast.shape, cast.rows)
        self.place.show(name)
        self.tell(f"rows of {name}: {self.shown(name)}")

    def edit_spec(self) -> None:
        place, what = self.place, self.random.choice(["expiration", "shape", "add", "drop"])
        if self.aside.random() < 0.2:
            self._rename_segment()
        elif what == "add":
            self._add_segment()
        elif what == "drop" and len(place.casts) > 1:
            name, members = self.pick(), self.random.choice(["delete", "delete", "keep", None])
            place.drop(name, members)
            (self.deleted if members == "delete" else self.gone).add(name)
            self.tell(f"dropped {name}, members: {members}")
        elif place.casts:
            name = self.pick()
            self.edit_segment(name, self.random.choice(list(SHAPES)) if what == "shape" else None)

    def _rename_segment(self) -> None:
        """To the platform another technical name is another segment."""
        place, free = self.place, self._free_names()
        if not place.casts or not free:
            return
        name = self.aside.choice(sorted(place.casts))
        cast, keys = place.casts[name], place.tables[name].keys
        place.drop(name, "delete")
        self.deleted.add(name)
        place.removed.pop(free[0], None)
        self.deleted.discard(free[0])
        place.cast(free[0], cast.shape, cast.rows, **keys)
        self.tell(f"{name} is called {free[0]} from now on")

    def edit_segment(self, name: str, shape: str | None) -> None:
        """Another expiration, and another shape where one is named."""
        cast, table = self.place.casts[name], self.place.tables[name]
        if shape:
            cast.rows = {who: row for who, row in cast.rows.items() if who not in TWINS}
            for row in cast.rows.values():
                row.expires_ms = None
        shape = shape or cast.shape
        keys = self._some_keys(shape, table.keys)
        self.place.cast(name, shape, cast.rows, **keys)
        self.tell(f"segment {name} is now {shape}, {keys}: {self.shown(name)}")

    def _change_identifiers(self) -> None:
        """Everybody is known by another identifier than the platform was told; then trouble."""
        names = [name for name, c in self.place.casts.items() if c.shape == "any identifier"]
        if not names:
            return
        cast = self.place.casts[names[0]]
        cast.rows = {f"u{n}": Row("email", n) for n in range(PEOPLE - 1)}
        first, second = self.random.sample(FORMS, 2)
        for form in (first, second):
            for row in cast.rows.values():
                row.form = form
            self.place.show(names[0])
            self.tell(f"rows of {names[0]}: {self.shown(names[0])}")
            if form == first:
                self.apply()
        if self.random.random() < 0.5:
            what = self.random.choice(["fails", "is canceled", "answer lost", "request lost"])
            self.apply(faults=(Fault("upload", 1, what),))
        else:
            self._refuse_removal(self.random.choice(list(cast.rows)))

    def _refuse_removal(self, who: str) -> None:
        names = [self.place.identifier(who, form) for form in FORMS]
        self.place.emulator.reject(names, operations=("DELETE",))
        self.tell(f"the platform refuses DELETE of {who}")
        self.apply()
        self.accept()

    def _pass_time(self) -> None:
        self.let_pass(self.random.choice([0.001, 0.5, 2, 6, 12, 20, 33, 50]))

    def let_pass(self, days: float) -> None:
        """Time passes, and it is told."""
        self.advance(days)
        self.tell(f"{days:.3g} days pass")

    def advance(self, days: float) -> None:
        """No execution is at work for hours: what is late ends before."""
        world = self.place.emulator.world
        with world.lock:
            for execution in self.place.alive() if days > 0.01 else []:
                execution.started_ms = execution.started_ms or world.now_ms()
                runs.finish(world, execution, world.now_ms())
        self.place.advance(days=days)

    def refuse(self) -> None:
        everybody = [f"u{n}" for n in range(PEOPLE)]
        who = self.random.sample(everybody, self.random.randint(1, 3))
        ways = self.random.choice([("UPDATE",), ("DELETE",), ("UPDATE", "DELETE")])
        shape, faults = "named", self._unread_errors()
        if faults:
            who = everybody
        elif self.nameless < LIMIT_OF_NAMELESS and self.random.random() < 0.3:
            shape = self.random.choice(["text", "missing", "half"])
            self.place.emulator.behave(error_file=shape)
        emulator = self.place.emulator
        emulator.reject(
            [self.place.identifier(one, form) for one in who for form in FORMS], operations=ways
        )
        self.tell(f"the platform refuses {', '.join(ways)} of {', '.join(who)} ({shape})")
        self._have_something_to_do()
        self.apply(faults=faults)
        if faults or shape != "named":
            self.nameless += 1
            self.accept()
            emulator.behave(error_file="json_flat")

    def _unread_errors(self) -> tuple[Fault, ...]:
        """Sometimes the error file cannot be had."""
        if self.nameless >= LIMIT_OF_NAMELESS or self.random.random() < 0.3:
            return ()
        what = self.random.choice(list(ERRORS))
        return (Fault("fetch_error_file", 1, what, self.random.choice([1, 300])),)

    def accept(self) -> None:
        self.place.emulator.accept_all()
        self.tell("the platform accepts everybody")

    # ---------------------------------------------------------------- what segsync does

    def _plan(self) -> None:
        plan = self.place.what_is_planned()
        self.tell(f"plan: {plan.totals.commands} commands")

    def _apply(self) -> None:
        if self.place.casts and self.aside.random() < 0.15:
            deeds.meet_a_guard(self)
        self.apply()

    def some_faults(self) -> tuple[Fault, ...]:
        return tuple(self._fault() for _ in range(self.random.choice([1, 1, 2, 3])))

    def _fault(self) -> Fault:
        method = self.random.choice(METHODS)
        kinds = list(ERRORS)
        if method == "upload":
            kinds += [*SCRIPTS, *SCRIPTS]
        what = self.random.choice(kinds)
        if what in NAMELESS:
            if self.nameless >= LIMIT_OF_NAMELESS:
                what, method = "request lost", "upload"
            else:
                self.nameless += 1
        if method == "upload" and what == "nonsense answered":
            what = "answer lost"
        times = self.random.choice([1, 1, 1, 2, 300]) if what in ERRORS else 1
        return Fault(method, self.random.choice([1, 1, 1, 2, 3]), what, times)

    def _have_something_to_do(self) -> None:
        if self.random.random() < 0.8:
            self.edit_rows()

    def apply_over_a_bad_line(self) -> None:
        self._have_something_to_do()
        self.apply(faults=self.some_faults())

    def die(self) -> None:
        self._have_something_to_do()
        faults = self.some_faults() if self.random.random() < 0.3 else ()
        dies_at = self.random.randint(1, 26)
        if self.random.random() < 0.5:
            self.apply(faults=faults, dies_in=self.random.randint(1, MOST_STATEMENTS))
        else:
            self.apply(faults=faults, dies_at=dies_at)

    def _apply_and_copy(self) -> None:
        """What a backup of the whole disk may catch: a state between two writes of an apply."""
        self._have_something_to_do()
        moment = self.random.randint(1, 20)
        self.apply(copied_at=moment)
        self.tell(f"    a copy of the state was made at moment {moment}")

    def apply(
        self,
        faults: tuple[Fault, ...] = (),
        dies_at: int = 0,
        dies_in: int = 0,
        copied_at: int = 0,
        saved: Path | None = None,
    ) -> Report | None:
        """One apply, in trouble or not; no report where it died or ended in an error."""
        self.applies += 1
        place = self.place
        trouble = Trouble(place.emulator, place.state, faults, dies_at, dies_in, copied_at)
        try:
            report = place.attempt(trouble, saved)
        except DestinationError as error:
            if not faults and not self.place.alive() and "has not finished" not in str(error):
                raise
            self.tell(f"apply ended with {type(error).__name__}: {str(error)[:90]}")
            self._tell_faults(faults)
            return None
        finally:
            self.copy = trouble.copy or self.copy
            self.missing += trouble.missing
        self.tell(_shown_apply(report, trouble))
        self._tell_faults(faults)
        if report and report.run and report.run.outcome.given_up and not place.bystanders:
            raise AssertionError("given up, though failures without a name were few")
        is_blind = place.hidden_imports or any(execution.ended for execution in self.missing)
        is_partial = place.guarded or place.chosen or not place.answer
        if not (faults or saved or is_blind or is_partial) and self.is_clean(report):
            oracle.assert_members(place, after=" after an apply without a fault")
        return report

    def is_clean(self, report: Report | None) -> bool:
        """Whether an apply has left nothing in doubt, refused or unsaid."""
        if report is None or report.pending or report.rejects:
            return False
        rows = [row for cast in self.place.casts.values() for row in cast.rows.values()]
        return not any(row.is_invalid for row in rows)

    def _tell_faults(self, faults: tuple[Fault, ...]) -> None:
        if faults:
            self.tell(f"    with {'; '.join(map(str, faults))}")

    # ---------------------------------------------------------------- old copies

    def _keep_copy(self) -> None:
        if self.place.state.exists():
            self.copy = self.place.state.read_bytes()
            self.tell("a copy of the state is kept")

    def _put_back_copy(self) -> None:
        """Refused as stale, or the copy is as good as the newest."""
        if self.copy is None:
            self._keep_copy()
            self.edit_rows()
            self.apply()
            self.edit_rows()
        if self.copy is None:
            return
        state, uploads = self.place.state, len(self.place.uploads)
        newest = state.read_bytes()
        state.write_bytes(self.copy)
        try:
            self.apply()
        except StateStale as error:
            is_mistaken = "two copies" in str(error)
            assert not is_mistaken, "an old copy is taken for one of two"
            assert len(self.place.uploads) == uploads, "an old copy has sent something"
            self.tell(f"the old copy is refused: it {str(error).partition(': it ')[2]}")
        else:
            if len(self.place.uploads) > uploads:
                self.tell("the copy was put back, and goes on")
                return
            self.tell("the copy was put back, and had nothing to do")
        state.write_bytes(newest)

    # ---------------------------------------------------------------- in the end

    def heal(self) -> None:
        """All faults are over and all pauses have passed: one apply is enough, or a second one
        where the first let a removal through that had been refused."""
        place = self.place
        place.emulator.accept_all()
        for name, cast in place.casts.items():
            for row in cast.rows.values():
                row.is_invalid = False
            place.show(name)
        self.advance(8)
        while (coming := oracle.next_expiry_ms(place)) and coming < self._soon_ms():
            self.advance(1.5)
        self.tell("all is well again")
        self._lose_members()
        self._settle()
        self._assert_settled("")
        if self.random.random() < 0.15:
            self._look_again_later()

    def _lose_members(self) -> None:
        """The platform drops some whom it had confirmed: they are asserted anew where that is asked
        for, all of them after a rest of a whole period.
        """
        for name in oracle.asserted_anew(self.place):
            lost = self.random.sample(sorted(self.place.casts[name].rows), 1)
            where = self.place.emulator.world.segment(name).id
            table = self.place.emulator.world.memberships.of(where)
            people = self.place.emulator.world.people
            for who in lost:
                row = self.place.casts[name].rows[who]
                table.pop(people.number_of.get(self.place.identifier(who, row.form), 0), None)
            self.tell(f"the platform loses {', '.join(lost)} of {name}")

    def _soon_ms(self) -> int:
        return self.place.emulator.now_ms() + 2 * DAY_MS

    def _settle(self) -> None:
        report = self.apply()
        assert report
        if report.recovered and report.recovered.outcome.rejected:
            # Refused long ago, but learnt just now: that is when the pause begins.
            self.advance(8)
            report = self.apply()
            assert report
        if report.run and report.run.outcome.doubted:
            self.apply()
        oracle.assert_nothing_left(self.place)
        if self.random.random() < 0.5 and oracle.assert_empty_plan(self.place):
            self.apply()
            oracle.assert_empty_plan(self.place)

    def _assert_settled(self, after: str) -> None:
        oracle.assert_platform(self.place)
        oracle.assert_members(self.place, after=after)
        oracle.assert_snapshot(self.place)
        oracle.assert_discreet(self.place)
        for name in self.deleted:
            left = set(self.place.emulator.members(name)) - oracle.bystanders(self.place)
            left.discard(self.place.emulator.account("x"))
            assert len(left) == 1, f"{name} was removed, and has {len(left)} members"

    def _look_again_later(self) -> None:
        """Nobody lapses within half of the shortest duration; renewals then keep everybody."""
        place = self.place
        minutes = [oracle.minutes_of(place, name) for name in place.casts]
        days = min((m for m in minutes if m), default=40 * 24 * 60) / (24 * 60) * 0.49
        self.advance(days)
        self.tell(f"{days:.1f} days pass quietly")
        oracle.assert_members(place, after=f" {days:.1f} days later")
        self._settle()
        self._assert_settled(" after a renewal")


def _shown_apply(report: Report | None, trouble: Trouble) -> str:
    if report is None:
        return f"apply is killed at {trouble.died}"
    recovered = f"recovered {_outcome(report.recovered)}, " if report.recovered else ""
    return f"apply: {recovered}{_outcome(report.run) if report.run else 'nothing to do'}"


def _outcome(run: Any) -> str:
    parts = ", ".join(f"{part.last - part.first + 1} {part.status.value}" for part in run.parts)
    rejected = f", {run.outcome.rejected} rejected" if run.outcome.rejected else ""
    doubted = f", {run.outcome.doubted} doubted" if run.outcome.doubted else ""
    return f"run {run.reference[-8:]} ({parts}{rejected}{doubted})"


@dataclass(frozen=True)
class Ending:
    """How a seed's story ended; `failure` is empty where it ended well."""

    seed: int
    failure: str
    told: tuple[str, ...]
    applies: int


def play(seed: int, folder: Path, kept: Iterable[int] | None = None) -> Ending:
    """Tell the story of a seed, or only these steps of it."""
    steps = steps_of(seed)
    chosen = range(len(steps)) if kept is None else list(kept)
    random = Random(f"world {seed}")
    story, failure = None, ""
    try:
        with layered(seed % len(MODES)), Place(folder, random) as place:
            story = Story(place, random)
            story.begin()
            for number in chosen:
                story.tell(f"{number}. {steps[number].kind}")
                story.happen(steps[number])
            story.random = Random(f"end {seed}")
            story.heal()
    except Exception as error:
        failure = f"{type(error).__name__}: {error}"
    assert story
    return Ending(seed, failure, tuple(story.told), story.applies)
