"""What whoever applies may choose: a part of the spec, to say no, to take an open run as ended; and
people who fail without a name until they are given up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from tests.simulation.place import BYSTANDERS, FORMS

if TYPE_CHECKING:
    from tests.simulation.story import Story


def apply_a_part(story: Story) -> None:
    """With --target or --exclude: the rest stays as it is, and in doubt where it was."""
    place = story.place
    key = story.random.choice(["targets", "excluded"])
    if not place.casts or (key == "excluded" and len(place.casts) < 2):
        return
    story.edit_rows()
    name = story.pick()
    place.chosen = {key: (name,)}
    story.tell(f"only a part is applied: {key} {name}")
    try:
        story.apply(faults=story.some_faults() if story.random.random() < 0.4 else ())
    finally:
        place.chosen = {}


def say_no(story: Story) -> None:
    """An open run is recovered all the same; nothing new is sent."""
    place = story.place
    story.edit_rows()
    uploads = len(place.uploads)
    place.answer = False
    try:
        story.apply()
    finally:
        place.answer = True
    assert len(place.uploads) == uploads, "something was sent though the answer was no"


def assume_finished(story: Story) -> None:
    """Whoever says that nothing of an open run is at work is believed, and is right here."""
    story.die()
    if story.missing or story.place.alive():
        return
    story.edit_rows()
    story.place.assumes_finished = True
    story.tell("the open run is taken as ended")
    try:
        story.apply(faults=story.some_faults() if story.random.random() < 0.2 else ())
    finally:
        story.place.assumes_finished = False


def fail_without_names(story: Story) -> None:
    """Bystanders are refused, and no error file says who was: everybody beside them is in doubt,
    until they are all taken as confirmed. What becomes of the bystanders nobody asserts.
    """
    place, emulator = story.place, story.place.emulator
    if not place.bystanders:
        return story.apply_over_a_bad_line()
    ways = story.random.choice([("UPDATE",), ("DELETE",), ("UPDATE", "DELETE")])
    emulator.accept_all()
    emulator.reject(
        [place.identifier(who, form) for who in BYSTANDERS for form in FORMS], operations=ways
    )
    emulator.behave(error_file="missing")
    story.tell(f"the platform refuses {', '.join(ways)} of bystanders, and names nobody")
    for _ in range(story.random.randint(1, 4)):
        meanwhile: list[Callable[[], object]] = [
            story.edit_rows,
            story.edit_rows,
            lambda: story.let_pass(0.5),
            lambda: None,
        ]
        story.random.choice(meanwhile)()
        applies: list[Callable[[], object]] = [
            *[story.apply] * 5,
            story.apply_over_a_bad_line,
            story.die,
        ]
        story.random.choice(applies)()
    emulator.behave(error_file="json_flat")
    if story.random.random() < 0.7:
        story.accept()
    return None
