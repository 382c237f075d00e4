"""`python -m tests.protocol`: tell every schedule of each setting, and break each law.

With --quick, of two applies instead of three; with --setting WORDS, of one setting only.
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace

from tests.protocol.cases import MUTANTS, SETTINGS, told


def main() -> int:
    """Print a table; 1 where a schedule diverged, or a broken law was not noticed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--setting", choices=SETTINGS)
    arguments = parser.parse_args()
    wrong = 0
    for name, setting in SETTINGS.items():
        if arguments.setting in (None, name):
            begun = time.monotonic()
            count = told(replace(setting, applies=2 if arguments.quick else 3))
            wrong += count.diverged
            print(
                f"| {name} | {count.schedules:,} | {count.worlds:,} | {count.diverged:,} "
                f"| {time.monotonic() - begun:.0f} s |",
                flush=True,
            )
    for mutant in () if arguments.setting else MUTANTS:
        count = told(mutant.setting, *mutant.broken)
        wrong += not count.diverged
        names = " and ".join(mutant.broken)
        print(f"| without {names} | {count.diverged:,} of {count.schedules:,} |", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
