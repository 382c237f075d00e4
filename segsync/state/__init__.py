"""The state file: what the platform last confirmed, kept in SQLite."""

from segsync.state.closing import Closing, Outcome
from segsync.state.file import create, drafts_of, is_there
from segsync.state.journal import Journal
from segsync.state.lock import apply_at_work, hold
from segsync.state.opening import empty_state, open_state
from segsync.state.reading import StateMoved
from segsync.state.records import (
    Identity,
    Keyspace,
    PartRecord,
    PartStatus,
    Reject,
    Run,
    RunStatus,
    StateSegment,
)
from segsync.state.store import State

__all__ = [
    "Closing",
    "Identity",
    "Journal",
    "Keyspace",
    "Outcome",
    "PartRecord",
    "PartStatus",
    "Reject",
    "Run",
    "RunStatus",
    "State",
    "StateMoved",
    "StateSegment",
    "apply_at_work",
    "create",
    "drafts_of",
    "empty_state",
    "hold",
    "is_there",
    "open_state",
]
