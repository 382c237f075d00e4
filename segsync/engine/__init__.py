"""The engine: all work that is done once per member, in DuckDB. All SQL over members is here."""

from segsync.engine.engine import Engine
from segsync.engine.facts import (
    PART_LIMIT,
    Difference,
    Example,
    Layout,
    Policy,
    Rows,
    SnapshotFacts,
    Target,
)
from segsync.engine.keyspaces import Keyspaces, Place
from segsync.engine.session import EngineError

__all__ = [
    "PART_LIMIT",
    "Difference",
    "Engine",
    "EngineError",
    "Example",
    "Keyspaces",
    "Layout",
    "Place",
    "Policy",
    "Rows",
    "SnapshotFacts",
    "Target",
]
