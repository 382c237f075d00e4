"""What must be true when all faults are over: membership, attributes, the state, and an empty plan.

Two accounts of one person are one member to the platform, so that the removal of one takes the
person along; the product cannot see that. Of such twins only the other direction is asserted: one
of whom nobody is desired is no member.
"""

from __future__ import annotations

import json
import stat
from contextlib import closing
from typing import Any

from segsync.emulator.people import Identifier, Member
from segsync.model import MINUTE_MS
from segsync.scratch import PREFIX
from tests.simulation.lean import LeanDatabase
from tests.simulation.place import BYSTANDERS, FORMS, TWINS, Place, Row
from tests.support.world import assert_private

DAY_MS = 24 * 60 * MINUTE_MS


def assert_members(place: Place, *, after: str = "") -> None:
    """The platform has exactly those whom the queries return, with their attributes."""
    for name, cast in place.casts.items():
        found = place.emulator.members(name)
        now_ms = place.emulator.now_ms()
        twins = [place.emulator.account(twin) for twin in TWINS]
        for bystander in bystanders(place):
            found.pop(bystander, None)
        wanted = {
            who: row
            for who, row in cast.rows.items()
            if who not in BYSTANDERS and not _is_over(row, now_ms)
        }
        names = place.tables[name].keys
        for who, row in wanted.items():
            if who not in TWINS:
                member = found.pop(place.identifier(who, row.form), None)
                assert member, f"{who} is not in {name}{after}"
                _assert_attributes(place, name, who, row, member)
        if wanted.keys() & set(TWINS):
            for twin in twins:
                found.pop(twin, None)
        left = _without_other_names(place, found, wanted)
        assert not left, f"{sorted(map(str, left))} should not be in {name}{after} ({names})"


def bystanders(place: Place) -> set[Identifier]:
    """Those of whom nothing is asserted."""
    return {place.identifier(who, form) for who in BYSTANDERS for form in FORMS}


def _without_other_names(
    place: Place, found: dict[Identifier, Member], wanted: dict[str, Row]
) -> set[Identifier]:
    """Whom the platform has beyond the people who are wanted: it names each by all identifiers."""
    people = place.emulator.world.people
    known = {people.number_of[place.identifier(who, row.form)] for who, row in wanted.items()}
    left = {one for one in found if people.number_of[one] not in known}
    assert place.stranger in left, "a member that is not ours was removed"
    return left - {place.stranger}


def _assert_attributes(place: Place, name: str, who: str, row: Row, member: Member) -> None:
    bag = json.loads(member.data_bag or "{}")
    expected = {"total": row.total} if "total" in place.tables[name].columns else {}
    assert bag == expected, f"{who} in {name} has {bag}"
    now_ms = place.emulator.now_ms()
    if "expiration_ts" in place.tables[name].columns:
        assert member.expires_at_ms == (row.expires_ms or 0), f"the expiry of {who} in {name}"
        return
    minutes = minutes_of(place, name)
    latest = now_ms + minutes * MINUTE_MS
    assert (member.expires_at_ms == 0) == (minutes == 0), f"the expiry of {who} in {name}"
    assert member.expires_at_ms <= latest, f"{who} stays too long in {name}"


def minutes_of(place: Place, name: str) -> int:
    """A segment's expiration, 0 for never."""
    text = place.tables[name].keys.get("expiration", "never")
    return {"never": 0, "2d": 2 * 24 * 60, "30d": 30 * 24 * 60}[text]


def assert_snapshot(place: Place) -> None:
    """The expiry in the state is a lower bound of the platform's, and the runs add up."""
    with closing(LeanDatabase(place.state, read_only=True)) as database:
        rows = database.rows(
            "SELECT s.value, k.kind, coalesce(k.compartment_id, ''), m.identifier, m.expires_at "
            "FROM confirmed m JOIN keyspaces k ON k.id = m.keyspace "
            "JOIN segments s ON s.id = k.segment"
        )
        runs: list[tuple[Any, ...]] = database.rows(
            "SELECT serial, commands, confirmed + rejected + unknown + unsent, status FROM runs "
            "ORDER BY serial"
        )
        [[serial, lineage]] = database.rows("SELECT serial, lineage FROM identity")
    assert lineage == place.lineage, "the lineage has changed"
    assert [run[0] for run in runs] == list(range(1, serial + 1)), "serials with a gap"
    for number, commands, decided, _ in runs:
        assert commands == decided, f"the counts of run {number} do not add up"
    for segment, kind, compartment, identifier, expires_at in rows:
        if segment not in place.casts or identifier in TWINS:
            continue
        one = Identifier(kind, compartment or None, identifier)
        if kind == "user_account_id":
            one = place.emulator.account(identifier, compartment or None)
        if one in bystanders(place):
            continue
        member = place.emulator.members(segment).get(one)
        if member is None or expires_at == 0:
            assert member is None or member.expires_at_ms == 0, f"the expiry of {identifier}"
            continue
        lasts = member.expires_at_ms or 2**62
        assert expires_at <= lasts, f"the state thinks that {identifier} stays longer"


def serial(place: Place) -> int:
    """The state's serial, 0 where there is none yet."""
    if not place.state.exists():
        return 0
    with closing(LeanDatabase(place.state, read_only=True)) as database:
        [[found]] = database.rows("SELECT serial FROM identity")
    return int(found)


def assert_nothing_left(place: Place) -> None:
    """By the state alone, nothing is under way, in doubt or refused, and the members are those whom
    the queries return: what an empty plan says, but for attributes, at a tenth of its price.

    A segment that the spec does not mention any more keeps what it has.
    """
    known = "SELECT s.value FROM {} t JOIN keyspaces k ON k.id = t.keyspace JOIN segments s"
    with closing(LeanDatabase(place.state, read_only=True)) as database:
        open_runs = database.rows("SELECT serial FROM runs WHERE status = 'open'")
        left = {
            table: {name for (name,) in database.rows(f"{known.format(table)} ON s.id = k.segment")}
            for table in ("pending", "rejects")
        }
        members = database.rows(
            "SELECT s.value, k.kind, k.compartment_id, m.identifier FROM confirmed m "
            "JOIN keyspaces k ON k.id = m.keyspace JOIN segments s ON s.id = k.segment"
        )
    now_ms = place.emulator.now_ms()
    assert not open_runs, "a run is open"
    for table, names in left.items():
        assert not names & place.casts.keys(), f"{table}: {names}"
    for name, cast in place.casts.items():
        wanted = {
            _key(who, row.form) for who, row in cast.rows.items() if not _is_over(row, now_ms)
        }
        found = {(kind, place, identifier) for s, kind, place, identifier in members if s == name}
        assert found == wanted, f"the state's members of {name} are not the desired ones"


def _key(who: str, form: str) -> tuple[str, str | None, str]:
    """A member's kind, compartment and identifier as the state has them."""
    if form == "email":
        return "email_hash", None, f"h-{who}"
    number = f"{who}-new" if form == "renumbered" else who
    return "user_account_id", {"default": "1000", "second": "2000"}.get(form), number


def _is_over(row: Row, now_ms: int) -> bool:
    return 0 < (row.expires_ms or 0) <= now_ms


def assert_empty_plan(place: Place) -> int:
    """Nothing is left to be done but renewals that came due in the last seconds: their number."""
    plan = place.what_is_planned()
    totals = plan.totals
    assert plan.open_run is None, "a run is open"
    assert totals.commands == totals.renew, f"not settled: {totals}"
    assert totals.renew or not plan.changes_something, f"not settled: {totals}"
    return totals.renew


def assert_discreet(place: Place) -> None:
    """No file that others may read, none left behind, no secret in any."""
    assert_private(place)
    if place.saved.exists():
        assert stat.S_IMODE(place.saved.stat().st_mode) == 0o600, "others may read the plan"
    left = [path.name for path in place.folder.parent.glob(f"{PREFIX}*")]
    assert not left, f"left behind: {left}"


def assert_platform(place: Place) -> None:
    """The emulator saw no mistake of ours."""
    assert not place.emulator.crashes, place.emulator.crashes
    wrong = set(place.emulator.refused) - {"rejected"}
    assert not wrong, f"the platform refused lines: {wrong}"


def next_expiry_ms(place: Place) -> int | None:
    """When the next row's own expiry passes."""
    now_ms = place.emulator.now_ms()
    found = [
        row.expires_ms
        for cast in place.casts.values()
        for row in cast.rows.values()
        if row.expires_ms and row.expires_ms > now_ms
    ]
    return min(found, default=None)


def next_lapse_ms(place: Place, name: str) -> int | None:
    """When, by the state, the next member of a segment lapses."""
    if not place.state.exists():
        return None
    sql = (
        "SELECT min(m.expires_at) FROM confirmed m JOIN keyspaces k ON k.id = m.keyspace "
        "JOIN segments s ON s.id = k.segment WHERE s.value = ? AND m.expires_at > ?"
    )
    with closing(LeanDatabase(place.state, read_only=True)) as database:
        [[found]] = database.rows(sql, (name, place.emulator.now_ms()))
    return None if found is None else int(found)


def asserted_anew(place: Place) -> list[str]:
    """Segments that have members, all of which are due to be said again though nothing changed."""
    if not place.state.exists():
        return []
    with closing(LeanDatabase(place.state, read_only=True)) as database:
        begun = {
            name for (name,) in database.rows("SELECT value FROM segments WHERE reasserted_at > 0")
        }
    return [
        name
        for name, cast in place.casts.items()
        if name in begun and cast.rows and "reassert" in place.tables[name].keys
    ]
