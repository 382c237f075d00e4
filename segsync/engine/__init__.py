"""The engine: all work that is done once per member, in DuckDB. All SQL over members is here."""

from segsync.engine.engine import Engine
from segsync.engine.facts import Difference, Example, Policy, Rows, SnapshotFacts, Target
from segsync.engine.keyspaces import Keyspaces, Place
from segsync.engine.session import EngineError

__all__ = [
    "Difference",
    "Engine",
    "EngineError",
    "Example",
    "Keyspaces",
    "Place",
    "Policy",
    "Rows",
    "SnapshotFacts",
    "Target",
]
