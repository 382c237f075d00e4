"""What any destination must do for `apply`, whatever it is made of.

`check_destination` carries out CHECKS against a destination whose platform is the emulator. A
destination waits between attempts on its own clock: give it one that does not really wait.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

from segsync.destination import Destination
from segsync.emulator import Emulator
from tests.support.conformance import effects, trouble

MakeDestination = Callable[[], Destination]
Check = Callable[[Destination, Emulator, Path], None]

CHECKS: tuple[Check, ...] = (*effects.CHECKS, *trouble.CHECKS)

CHANGED = ("segment_rights", "polls_until_finished", "error_file")
"""Of the emulator's behaviour, by checks."""


def check_destination(make_destination: MakeDestination, emulator: Emulator) -> None:
    """Every check, each with a destination of its own on the one emulator."""
    for check in CHECKS:
        run_check(check, make_destination, emulator)


def run_check(check: Check, make_destination: MakeDestination, emulator: Emulator) -> None:
    """One check, and afterwards the emulator behaves and goes well again."""
    behaviour = emulator.behaviour
    with tempfile.TemporaryDirectory() as folder:
        try:
            check(make_destination(), emulator, Path(folder))
        finally:
            emulator.faults.clear()
            emulator.accept_all()
            emulator.behave(**{name: getattr(behaviour, name) for name in CHANGED})
