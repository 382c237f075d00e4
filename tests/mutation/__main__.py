"""`python -m tests.mutation`: the product is broken in one place after the other, and tests see it.

The exit status is 0 if no mutant survived but those in accepted.toml.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from tests.mutation import python_rules, sql_rules
from tests.mutation.accepted import Key, key, reasons
from tests.mutation.modules import HERE, TESTS
from tests.mutation.mutant import Mutant
from tests.mutation.trial import Trial, Verdict, private_copy


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("--module", action="append", choices=TESTS, metavar="FILE")
    parser.add_argument("--sample", type=int, metavar="N", help="so many of all, by chance")
    parser.add_argument("--seed", type=int, default=1, help="of the sample (default %(default)s)")
    parser.add_argument("--only", action="append", metavar="MODULE:NUMBER", help="this mutant")
    parser.add_argument(
        "--seconds", type=float, default=3600, metavar="SECONDS",
        help="of tests for each mutant, those that pay best: try survivors again without this",
    )  # fmt: skip
    parser.add_argument(
        "--keep", type=Path, metavar="FILE", help="what tests reach, for the next time"
    )
    parser.add_argument("--list", action="store_true", help="show the mutants, run nothing")
    return parser.parse_args()


def mutants_of(module: str) -> list[Mutant]:
    """All mutants of a module, in the order of its lines."""
    text = (HERE / module).read_text()
    edits = [*python_rules.edits(text), *sql_rules.edits(text)]
    found: dict[str, Mutant] = {}
    for edit in sorted(edits, key=lambda item: (item.start, item.end, item.put)):
        mutant = Mutant(module, text, edit, len(found) + 1)
        if mutant.mutated != text and mutant.mutated not in found and _compiles(mutant):
            found[mutant.mutated] = mutant
    return list(found.values())


def _compiles(mutant: Mutant) -> bool:
    try:
        compile(mutant.mutated, mutant.module, "exec")
    except SyntaxError:
        return False
    return True


def chosen(options: argparse.Namespace) -> dict[str, list[Mutant]]:
    """The mutants that were asked for, by module."""
    if options.only:
        options.module = list(dict.fromkeys(name.rpartition(":")[0] for name in options.only))
    found = {module: mutants_of(module) for module in options.module or TESTS}
    if options.only:
        names = set(options.only)
    else:
        every = [mutant for mutants in found.values() for mutant in mutants]
        order = sorted(every, key=lambda mutant: _lot(options.seed, mutant))
        names = {mutant.name for mutant in order[: options.sample]}
    return {
        module: [mutant for mutant in mutants if mutant.name in names]
        for module, mutants in found.items()
    }


def _lot(seed: int, mutant: Mutant) -> bytes:
    """What draws the sample: the lots of all other lines stay the same where a line is changed."""
    return hashlib.sha256(repr((seed, *key(mutant))).encode()).digest()


@dataclass
class Score:
    """How the mutants of one module fared."""

    words: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        tried = self.words.total()
        return (
            f"{tried} tried, {self.words['killed']} killed, {self.words['timeout']} timeouts, "
            f"{self.words['accepted']} accepted, {self.words['survived']} survived"
        )


def try_module(trial: Trial, module: str, mutants: list[Mutant], known: dict[Key, str]) -> Score:
    """Judge these mutants of a module one after the other."""
    score = Score()
    if failed := trial.check(module):
        sys.exit(f"{module}: its tests fail without a mutant: {failed}")
    print(f"{module}: {len(mutants)} mutants", flush=True)
    for mutant in mutants:
        if key(mutant) in known:
            score.words["accepted"] += 1
            continue
        verdict = trial.judge(mutant)
        score.words[verdict.word] += 1
        tell(mutant, verdict)
    return score


def tell(mutant: Mutant, verdict: Verdict) -> None:
    """One line for a mutant that was noticed, the whole diff for one that was not."""
    place = f"{mutant.name} (line {mutant.line}, {mutant.edit.rule})"
    print(f"  {verdict.word:8} {verdict.seconds:5.1f} s  {place}  {verdict.by}", flush=True)
    if verdict.word == "survived":
        print(mutant.diff())
        print(f"again: python -m tests.mutation --only {mutant.name}", flush=True)


def main() -> int:
    """See above."""
    options = arguments()
    found = chosen(options)
    known = reasons()
    if options.list:
        for mutant in (mutant for mutants in found.values() for mutant in mutants):
            word = "accepted" if key(mutant) in known else ""
            print(f"{mutant.name}  line {mutant.line}, {mutant.edit.rule} {word}")
            print(f"  - {mutant.was}\n  + {mutant.becomes}")
        print({module: len(mutants) for module, mutants in found.items()})
        return 0
    scores: dict[str, Score] = {}
    with private_copy(options.seconds, options.keep) as trial:
        for module, mutants in found.items():
            scores[module] = try_module(trial, module, mutants, known)
    for module, score in scores.items():
        print(f"{module}: {score}")
    return int(any(score.words["survived"] for score in scores.values()))


if __name__ == "__main__":
    sys.exit(main())
