"""Longer turns of a story: each leads to where one promise of the product is put to the test."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING

from segsync.emulator import ExecutionScript, runs
from segsync.emulator.executions import Execution
from segsync.errors import DestinationError, PlanFileError, StateStale
from segsync.model import MINUTE_MS
from segsync.plan import SegmentStatus
from tests.simulation import oracle
from tests.simulation.lean import LeanDatabase
from tests.simulation.place import TWINS, Row
from tests.simulation.trouble import FOR_EVER, MISSING, Fault
from tests.support.canary import PERSON

if TYPE_CHECKING:
    from tests.simulation.story import Story

CROWD = [PERSON, *(f"c{n}" for n in range(11))]
"""So many that a guard of 30 % keeps them."""


# ---------------------------------------------------------------- uploads that act late


def act_late(story: Story) -> None:
    """An upload is given up, or sent again; what came of it acts when others have spoken."""
    fault = Fault("upload", 1, story.random.choice(MISSING), story.random.choice([1, 1, 2, 3]))
    story.edit_rows()
    story.apply(faults=(fault,))
    for _ in range(story.random.choice([0, 1, 1, 2])):
        _meanwhile(story)
    for execution in list(story.missing):
        if _may_still_come(story, execution):
            _show_up(story, execution)
        story.missing.remove(execution)


def _meanwhile(story: Story) -> None:
    deeds: list[Callable[[], object]] = [
        lambda: _edit_and_apply(story),
        lambda: _edit_and_apply(story),
        story.apply_over_a_bad_line,
        story.die,
        story.edit_spec,
        story.refuse,
        story.accept,
        lambda: story.let_pass(0.3),
    ]
    story.random.choice(deeds)()


def _edit_and_apply(story: Story) -> None:
    story.edit_rows()
    story.apply()


def _may_still_come(story: Story, execution: Execution) -> bool:
    """Whether it is within what was promised; then the product must still wait for it."""
    place = story.place
    reference = place.emulator.world.executions.imports[execution.import_id].name
    with closing(LeanDatabase(place.state, read_only=True)) as database:
        waited_for = database.rows(
            "SELECT 1 FROM runs WHERE reference = ? AND (status = 'open' "
            "OR serial IN (SELECT run FROM watched)) LIMIT 1",
            (reference,),
        )
    if place.emulator.now_ms() - execution.created_ms >= place.latest_ms:
        return False
    assert waited_for, "an upload that may still act is not waited for"
    return True


def _show_up(story: Story, execution: Execution) -> None:
    """It acts, and shows at once or later; or it shows before it acts."""
    world = story.place.emulator.world
    way = story.random.choice(["acts", "acts, unseen", "shows"])
    with world.lock:
        if way == "shows":
            execution.script = ExecutionScript(starts_after_polls=story.random.randint(1, 12))
        else:
            execution.started_ms = world.now_ms()
            runs.finish(world, execution, world.now_ms())
    story.tell(f"execution {execution.id} {way}")
    if way == "acts, unseen":
        _edit_and_apply(story)
    world.unseen[f"Execution/{execution.id}"] = FOR_EVER


# ---------------------------------------------------------------- members that lapse


def let_lapse(story: Story) -> None:
    """The platform handles lines hours after they were sent, and so keeps members for longer."""
    names = [name for name in sorted(story.place.casts) if oracle.minutes_of(story.place, name)]
    if not names:
        return
    name = story.random.choice(names)
    story.edit_rows(name)
    what = story.random.choice(["late", "very late", "very late"])
    story.apply(faults=(Fault("upload", story.random.choice([1, 1, 2]), what),))
    ends = oracle.next_lapse_ms(story.place, name)
    if ends is None:
        return
    story.let_pass((ends - story.place.emulator.now_ms() + MINUTE_MS) / oracle.DAY_MS)
    cast = story.place.casts[name]
    cast.rows = {who: row for who, row in cast.rows.items() if story.random.random() < 0.5}
    story.place.show(name)
    story.tell(f"rows of {name}: {story.shown(name)}")
    story.apply()


# ---------------------------------------------------------------- invalid rows


def break_rows(story: Story) -> None:
    """Rows are there, but invalid: whom they name stays as it is."""
    place = story.place
    if not place.casts:
        return
    name = story.pick()
    story.edit_segment(name, "any identifier")
    if not story.is_clean(story.apply()):
        return
    cast, members = place.casts[name], place.emulator.members(name)
    there = [
        who
        for who, row in cast.rows.items()
        if who not in TWINS and place.identifier(who, row.form) in members
    ]
    broken = story.random.sample(there, story.random.randint(0, len(there)))
    for who in [one for one in cast.rows if one not in broken]:
        if story.random.random() < 0.4:
            del cast.rows[who]
    for who in broken:
        cast.rows[who].is_invalid = True
    place.show(name)
    story.tell(f"rows of {name}: {story.shown(name)}")
    story.apply()
    left = place.emulator.members(name)
    for who in broken:
        there_still = place.identifier(who, cast.rows[who].form) in left
        assert there_still, f"{who} was removed from {name}, though a row that is invalid names it"


# ---------------------------------------------------------------- saved plans


def apply_a_saved_plan(story: Story) -> None:
    """Sent exactly as it was shown, or refused; never refused where nothing has changed."""
    place = story.place
    story.edit_rows()
    path = place.saved
    path.unlink(missing_ok=True)
    plan = place.save(path, **place.options)
    story.tell(f"a plan is saved: {plan.totals.commands} commands")
    before = _what_a_plan_is_for(story)
    for _ in range(story.random.choice([0, 0, 1])):
        between: list[Callable[[], object]] = [
            story.edit_rows,
            story.apply,
            story.edit_spec,
            lambda: story.let_pass(0.5),
        ]
        story.random.choice(between)()
    now = _what_a_plan_is_for(story)
    is_stale = oracle.serial(place) != plan.serial or now[1] != before[1]
    uploads = len(place.uploads)
    faults = story.some_faults() if story.random.random() < 0.3 else ()
    try:
        report = story.apply(faults=faults, saved=path)
    except PlanFileError as error:
        story.tell(f"the plan is refused: {str(error)[-70:]}")
        is_right = plan.open_run is not None or now != before or bool(faults)
        assert is_right, "a plan was refused though nothing has changed"
        assert len(place.uploads) == uploads, "a plan was refused, and something sent"
        return
    if report and report.run:
        assert not is_stale, "a stale plan was sent"
        came_to = report.run.outcome
        sent = came_to.confirmed + came_to.rejected + came_to.unknown + came_to.unsent
        assert sent == plan.totals.commands, "what was shown is not what was sent"


def _what_a_plan_is_for(story: Story) -> tuple[bytes | None, str]:
    state = story.place.state
    return (state.read_bytes() if state.exists() else None), story.place.spec.sha256


# ---------------------------------------------------------------- guards


def meet_a_guard(story: Story) -> None:
    """A crowd that may not leave, or may not come: nothing is sent for its segment."""
    name = story.aside.choice(sorted(story.place.casts))
    story.aside.choice([_let_a_crowd_leave, _let_a_crowd_leave, _let_a_crowd_come])(story, name)


def _let_a_crowd_leave(story: Story, name: str) -> None:
    place, cast = story.place, story.place.casts[name]
    cast.rows |= {who: Row() for who in CROWD}
    place.show(name)
    story.tell(f"a crowd comes to {name}")
    if not story.is_clean(story.apply()):
        return
    rest = {who: row for who, row in cast.rows.items() if who not in CROWD}
    cast.rows = story.aside.choice([{}, rest])
    place.show(name)
    story.tell(f"rows of {name}: {story.shown(name)}")
    _assert_blocked(story, name)


def _let_a_crowd_come(story: Story, name: str) -> None:
    """It is sent by the next apply: by then there is no such guard any more."""
    place, cast = story.place, story.place.casts[name]
    if not story.is_clean(story.apply()):
        return
    cast.rows |= {who: Row() for who in CROWD}
    place.show(name)
    story.tell(f"a crowd comes to {name}, which may have {len(CROWD) - 1}")
    place.tables[name].keys["guard"] = {"max_members": len(CROWD) - 1}
    try:
        _assert_blocked(story, name)
    finally:
        del place.tables[name].keys["guard"]


def _assert_blocked(story: Story, name: str) -> None:
    place = story.place
    arrived = len(place.receiver.addressed)
    place.guarded = True
    try:
        report = story.apply()
    finally:
        place.guarded = False
    assert report
    assert report.plan
    blocked = {item.address for item in report.plan.with_status(SegmentStatus.BLOCKED)}
    assert name in {address.value for address in blocked}, "a guard has let a crowd pass"
    for addressed in place.receiver.addressed[arrived:]:
        assert not addressed & blocked, "something was sent for a segment that is blocked"


# ---------------------------------------------------------------- two copies of one state


def fork(story: Story) -> None:
    """Two copies of one state are both used, each before the platform shows the other's run."""
    place = story.place
    story.let_pass(0.02)
    if not story.is_clean(story.apply()) or not place.casts:
        return
    ours, uploads = place.state.read_bytes(), len(place.uploads)
    story.edit_rows()
    story.apply()
    theirs = place.state.read_bytes()
    if len(place.uploads) == uploads:
        return
    place.state.write_bytes(ours)
    world = place.emulator.world
    hidden = place.emulator.imports[-1]
    world.unseen[f"DocumentImport/{hidden.id}"] = -FOR_EVER
    place.hidden_imports.add(hidden.id)
    uploads = len(place.uploads)
    story.edit_rows()
    story.apply()
    place.hidden_imports.clear()
    world.unseen[f"DocumentImport/{hidden.id}"] = FOR_EVER
    if len(place.uploads) > uploads:
        story.tell("two copies of the state were both used")
        for copy in (place.state.read_bytes(), theirs):
            _assert_refused(story, copy)
        _begin_anew(story)
    else:
        place.state.write_bytes(theirs)


def _assert_refused(story: Story, copy: bytes) -> None:
    place, uploads = story.place, len(story.place.uploads)
    place.state.write_bytes(copy)
    try:
        story.apply()
    except StateStale:
        assert len(place.uploads) == uploads, "one of two copies has sent something"
        return
    except DestinationError:
        return
    raise AssertionError("one of two copies of a state was not refused")


def _begin_anew(story: Story) -> None:
    """What the message says: the state is moved away. People take out those it does not know."""
    place = story.place
    story.copy = None
    place.state.unlink()
    place.lineage = None
    for name in {*place.casts, *story.deleted}:
        where = place.emulator.world.segment(name).id
        table = place.emulator.world.memberships.of(where)
        for person in [one for one in table if one != place.stranger_number]:
            del table[person]
    story.tell("the state is moved away")
