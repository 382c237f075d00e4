"""The plan as a value: what is shown is what is sent. And the guards, which refuse a plan."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Literal

from segsync.exits import Exit
from segsync.model import MINUTE_MS, Address, Guard, IdentifierKind, LineRange, Part

YAML_WORDS = {"y", "n", "yes", "no", "on", "off", "true", "false", "null"}
CLOCK_DIFFERENCE_MS = 5 * MINUTE_MS
"""So much may the clocks of machines differ that use one state."""
FEWEST_GUARDED_MEMBERS = 10
"""Below this many live members, `max_removed` is not looked at: any change is a large share."""


class SegmentStatus(str, Enum):
    """What a plan can do for a segment; only OK and REMOVED send commands."""

    OK = "ok"
    BLOCKED = "blocked"
    ERROR = "error"
    REMOVED = "removed"
    ORPHANED = "orphaned"


@dataclass(frozen=True, slots=True)
class Counts:
    """Members of one segment, or their sum.

    Always true: queried = duplicates + invalid + desired, and
    desired = add + update + renew + unchanged. `retry` counts commands that repeat one of unknown
    outcome, `reattempted` those that repeat a rejected one, `forget` members that lapsed and are no
    longer desired, `settled` rejects whose member needs no command any more, `spared` members that
    stay as they are because their row is invalid, `in_doubt` those of unknown outcome that were
    never confirmed, `deferred` (part of `unchanged`, or members still to be removed) commands that
    wait because they were rejected; `deferred_add` and `deferred_remove` are those that would add
    or remove.
    """

    queried: int = 0
    duplicates: int = 0
    invalid: int = 0
    desired: int = 0
    snapshot: int = 0
    add: int = 0
    update: int = 0
    renew: int = 0
    remove: int = 0
    unchanged: int = 0
    retry: int = 0
    reattempted: int = 0
    forget: int = 0
    settled: int = 0
    spared: int = 0
    in_doubt: int = 0
    deferred: int = 0
    deferred_add: int = 0
    deferred_remove: int = 0
    removed_live: int = 0

    @property
    def commands(self) -> int:
        """How many lines of the payload these changes become."""
        return self.add + self.update + self.renew + self.remove

    @property
    def dropped(self) -> int:
        """What leaves the state without a command."""
        return self.forget + self.settled

    @property
    def after(self) -> int:
        """Members on the platform once these commands are carried out."""
        return self.desired - self.deferred_add + self.deferred_remove + self.spared

    @property
    def removed_uncounted(self) -> int:
        """Removals of those who are not in `snapshot`: lapsed a short while ago, or in doubt."""
        return self.remove - (self.snapshot + self.add - self.after)

    @property
    def possible(self) -> int:
        """Members that are on the platform, or may be."""
        return self.snapshot + self.in_doubt

    @property
    def left_alone(self) -> int:
        """Desired members that are on the platform as they should be."""
        return self.unchanged - (self.deferred - self.deferred_remove)

    def check(self) -> None:
        """Assert that the counts add up: a plan whose figures do not is never shown or sent."""
        if self.queried != self.duplicates + self.invalid + self.desired:
            raise AssertionError(f"rows do not add up: {self}")
        if self.desired != self.add + self.update + self.renew + self.unchanged:
            raise AssertionError(f"members do not add up: {self}")


@dataclass(frozen=True, slots=True)
class Violation:
    """A guard that refuses a segment's plan: its name, the figures, the flag to type."""

    guard: str
    message: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Sample:
    """One member as an example of a change, a conflict or an invalid row.

    `label` is a change's symbol, "invalid" or "conflict"; `row` is the 1-based row of the query's
    result, and `column` that of its identifier, where these are known.
    """

    label: str
    kind: IdentifierKind | None
    compartment_id: str | None
    identifier: str | None
    reason: str
    row: int | None = None
    column: str | None = None


@dataclass(frozen=True, slots=True)
class SegmentPlan:
    """What happens to one segment.

    `number` is its id in the state. `keep` says that a removed segment's members stay on the
    platform, `waiting` that a removed segment cannot leave the state yet, though there is nothing
    to send. `renamed_from` is the name that the spec had for it before.
    """

    name: str
    address: Address
    number: int
    status: SegmentStatus
    counts: Counts = field(default_factory=Counts)
    violations: tuple[Violation, ...] = ()
    error: str | None = None
    hint: str | None = None
    samples: tuple[Sample, ...] = ()
    invalid_reasons: Mapping[str, int] = field(default_factory=dict)
    keep: bool = False
    waiting: bool = False
    renamed_from: str | None = None
    place: str | None = None

    @property
    def sends(self) -> bool:
        """Whether this segment's commands are part of the payload."""
        return self.status in (SegmentStatus.OK, SegmentStatus.REMOVED)


@dataclass(frozen=True)
class Plan:
    """Everything that one apply would do, and the state it was made for.

    `open_run` is the reference of a run whose outcome is not known yet, `watched` are those of runs
    of which an upload that was given up may still be executed; `partial` says that some segments
    of the spec were left out on purpose; `last_submitted_ms` is when the newest run was, 0 if there
    is none. What takes a pass over all segments is worked out once and kept, for which a plan must
    be without slots.
    """

    lineage: str
    serial: int
    spec_sha256: str
    datamart_id: str
    api_origin: str
    created_at_ms: int
    segments: tuple[SegmentPlan, ...]
    parts: tuple[Part, ...]
    ranges: tuple[LineRange, ...] = ()
    partial: bool = False
    open_run: str | None = None
    watched: tuple[str, ...] = ()
    last_submitted_ms: int = 0

    @property
    def is_out_of_time(self) -> bool:
        """Whether it was made for a time before the newest run: its expiries mean nothing."""
        return self.last_submitted_ms > self.created_at_ms + CLOCK_DIFFERENCE_MS

    @cached_property
    def totals(self) -> Counts:
        """The sums over the segments whose commands are sent."""
        sending = [segment.counts for segment in self.segments if segment.sends]
        names = Counts.__dataclass_fields__
        return Counts(**{name: sum(getattr(c, name) for c in sending) for name in names})

    @cached_property
    def size(self) -> int:
        """Bytes of the whole payload."""
        return sum(part.size for part in self.parts)

    @property
    def changes_something(self) -> bool:
        """Whether an apply would send a command or change the snapshot."""
        totals = self.totals
        return bool(totals.commands or totals.dropped or self.dropped)

    @cached_property
    def sending(self) -> frozenset[int]:
        """The numbers of the segments that this plan carries out."""
        return frozenset(segment.number for segment in self.segments if segment.sends)

    @cached_property
    def dropped(self) -> tuple[SegmentPlan, ...]:
        """Removed segments, which leave the state when the plan is carried out."""
        removed = self.with_status(SegmentStatus.REMOVED)
        return tuple(segment for segment in removed if not segment.waiting)

    @property
    def exits(self) -> set[Exit]:
        """What segments that send nothing say about the exit status."""
        found = set()
        if self.with_status(SegmentStatus.ERROR):
            found.add(Exit.ERROR)
        if self.with_status(SegmentStatus.BLOCKED):
            found.add(Exit.REFUSED)
        return found

    def with_status(self, *statuses: SegmentStatus) -> tuple[SegmentPlan, ...]:
        """The segments in one of these states."""
        return tuple(segment for segment in self.segments if segment.status in statuses)


def removed_entry(name: str, members: Literal["delete", "keep"]) -> str:
    """What to write in the spec to end a segment, in YAML that means it whatever its name is."""
    plain = re.fullmatch("[A-Za-z_][A-Za-z0-9_-]*", name) and name.lower() not in YAML_WORDS
    key = name if plain else json.dumps(name, ensure_ascii=False)
    return f"`removed: {{{key}: {members}}}`"


def check_guards(name: str, guard: Guard, counts: Counts) -> tuple[Violation, ...]:
    """The guards that refuse these counts. `--allow NAME` lets one plan through."""
    remedy = f"if this is intended, add --allow {shlex.quote(name)} to this invocation"
    found = []
    if counts.desired == 0 and counts.possible > 0 and not guard.allow_empty:
        found.append(
            Violation(
                "empty",
                f"the query returned no members, but the segment has {counts.possible:,}",
                f"{remedy}; where it may be empty as a rule, set "
                "`guard: {allow_empty: true, max_removed: 100%}`",
            )
        )
    elif counts.removed_live > _most_removed(guard, counts.possible):
        share = counts.removed_live / counts.possible
        found.append(
            Violation(
                "max_removed",
                f"{counts.removed_live:,} of {counts.possible:,} members ({share:.1%}) would be "
                f"removed; the limit is {_limit_text(guard)}",
                remedy,
            )
        )
    if guard.max_members is not None and counts.desired > guard.max_members:
        found.append(
            Violation(
                "max_members",
                f"the query returned {counts.desired:,} members; "
                f"the limit is {guard.max_members:,}",
                f"{remedy}, or raise `guard: {{max_members: …}}`",
            )
        )
    return tuple(found)


def _most_removed(guard: Guard, live: int) -> float:
    if isinstance(guard.max_removed, int):
        return guard.max_removed
    # A share such as 0.29 has no exact float: without rounding, 29 of 100 were more than 29 %.
    return round(guard.max_removed * live, 6) if live >= FEWEST_GUARDED_MEMBERS else live


def _limit_text(guard: Guard) -> str:
    if isinstance(guard.max_removed, int):
        return f"{guard.max_removed:,} members (`max_removed`)"
    return f"{guard.max_removed * 100:.4g} % (`max_removed`)"
