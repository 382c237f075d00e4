"""The settings of which every schedule is told, and for each law one that shows it is needed."""

from __future__ import annotations

from dataclasses import dataclass, replace

from tests.protocol.faults import NONE, At, Fault, Upload
from tests.protocol.records import Laws
from tests.protocol.schedules import TOGETHER, Count, Setting, tell

EXPIRING = Setting(duration=4, ticks=(1, 3))
SETTINGS = {
    "two people": Setting(),
    "one person with two identifiers": Setting(person_of=TOGETHER),
    "members that expire": EXPIRING,
    "a part for each member": Setting(part_for_each=True),
    "copies of the state": Setting(copies=True),
    "copies, a part for each member": Setting(copies=True, part_for_each=True),
    "copies, one person": Setting(copies=True, person_of=TOGETHER),
    "one person who expires": replace(EXPIRING, person_of=TOGETHER),
}


def told(setting: Setting, *broken: str, stop_at_first: bool = False) -> Count:
    """All schedules of a setting, under all laws but the broken ones."""
    return tell(
        setting, replace(Laws(), **dict.fromkeys(broken, False)), stop_at_first=stop_at_first
    )


@dataclass(frozen=True)
class Mutant:
    """Laws that are broken together, and where that is noticed. `why` more than one is broken."""

    broken: tuple[str, ...]
    setting: Setting
    why: str = ""


_ONE = Setting(applies=2)
_ONE_PERSON = Setting(person_of=TOGETHER)
_AGAIN = Fault(upload=Upload.SHOWS_LATE_AND_IS_SENT_AGAIN)
_LATE_AND_KILLED = Fault(At.UPLOAD, upload=Upload.LATE)
_REFUSED = tuple(Fault(refused=frozenset({identifier})) for identifier in (0, 1))
MUTANTS = (
    Mutant(("journals",), _ONE),
    Mutant(("says_pending_again",), _ONE),
    Mutant(("confirms_after_the_result",), _ONE),
    Mutant(("waits_for_executions",), _ONE),
    Mutant(("looks_before_sending_again",), _ONE),
    Mutant(("keeps_rejects",), _ONE),
    Mutant(("tries_rejects_again",), _ONE),
    Mutant(("believes_only_named_failures",), _ONE),
    Mutant(("compares_data_bags",), _ONE),
    Mutant(("judges_each_part",), replace(_ONE, part_for_each=True)),
    Mutant(("finds_runs_by_reference",), replace(_ONE, copies=True)),
    Mutant(("doubts_what_a_copy_thinks_unsent",), replace(_ONE, copies=True, part_for_each=True)),
    Mutant(("stops_at_a_part_in_doubt",), replace(_ONE, copies=True, part_for_each=True)),
    Mutant(("removes_first",), replace(_ONE_PERSON, applies=2)),
    Mutant(("watches_what_may_arrive",), Setting(only=(NONE, Fault(upload=Upload.SHOWS_LATE)))),
    Mutant(("watches_behind_a_repeat",), replace(_ONE_PERSON, only=(NONE, _AGAIN))),
    Mutant(("notes_newcomers",), replace(_ONE_PERSON, only=(NONE, *_REFUSED))),
    Mutant(("says_again_who_stayed",), replace(_ONE_PERSON, only=(NONE, *_REFUSED))),
    Mutant(
        ("holds_later_steps", "stops_at_a_part_in_doubt"),
        _ONE_PERSON,
        why="nothing is sent behind a removal in doubt, so that nothing is there to be held: "
        "either law is enough here",
    ),
    Mutant(("renews",), replace(EXPIRING, ticks=(2,), only=(NONE,))),
    Mutant(("adds_who_lapsed",), replace(EXPIRING, only=(NONE, _LATE_AND_KILLED))),
    Mutant(("counts_from_submission",), replace(EXPIRING, only=(NONE, Fault(At.UPLOAD)))),
    Mutant(("forgets_after_the_longest_run",), replace(EXPIRING, only=(NONE, _LATE_AND_KILLED))),
    Mutant(
        ("watches_what_a_copy_thinks_unsent",),
        Setting(copies=True, only=(NONE, Fault(At.UPLOAD, upload=Upload.SHOWS_LATE))),
    ),
    Mutant(("refuses_old_copies",), Setting(copies=True, only=(NONE, _LATE_AND_KILLED))),
)
