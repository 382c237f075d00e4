"""Mutants that no test can kill, each with its reason: accepted.toml."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.mutation.mutant import Mutant

FILE = Path(__file__).with_name("accepted.toml")

Key = tuple[str, str, str]


def reasons() -> dict[Key, str]:
    """Why each is accepted, by module, the line as it is, and the line that the mutant makes."""
    entries = tomllib.loads(FILE.read_text())["mutant"] if FILE.exists() else []
    return {(e["module"], e["was"], e["becomes"]): e["reason"] for e in entries}


def key(mutant: Mutant) -> Key:
    """Where a mutant is looked for."""
    return mutant.module, mutant.was, mutant.becomes
