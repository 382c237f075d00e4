"""The engine: all work that is done once per member, in DuckDB. All SQL over members is here."""

from segsync.engine.engine import Engine
from segsync.engine.facts import (
    Asked,
    Difference,
    Example,
    Layout,
    Policy,
    Rows,
    SnapshotFacts,
    Target,
)
from segsync.engine.keyspaces import Keyspaces, Place
from segsync.engine.session import EngineError, size_of
from segsync.engine.snapshot import Snapshot
from segsync.engine.wire_text import header_for

__all__ = [
    "Asked",
    "Difference",
    "Engine",
    "EngineError",
    "Example",
    "Keyspaces",
    "Layout",
    "Place",
    "Policy",
    "Rows",
    "Snapshot",
    "SnapshotFacts",
    "Target",
    "header_for",
    "size_of",
]
