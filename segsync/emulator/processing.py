"""Carrying out one payload: every line takes effect, is passed over, or fails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random

from segsync.emulator.commands import Command, Refusal, Target, refuse
from segsync.emulator.options import Behaviour
from segsync.emulator.payloads import Line, PayloadReader
from segsync.emulator.people import Identifier, Membership, Memberships, People
from segsync.emulator.segments import Segment

Rejecter = Callable[[Command], str | None]
"""Gives the reason why the platform refuses a well-formed command, or None."""
SegmentFinder = Callable[[Target], Segment | None]


@dataclass(frozen=True, slots=True)
class Failure:
    """A line that failed: its number from 1, itself (a CSV row by columns), its identifier."""

    number: int
    line: bytes | dict[str, str]
    code: str
    reason: str
    identifier: Identifier | None


@dataclass(slots=True)
class Outcome:
    """What a payload has done. `refused_file` is why the whole file is refused."""

    success: int = 0
    failures: list[Failure] = field(default_factory=list)
    refused_file: str | None = None

    def codes(self) -> Counter[str]:
        """How many lines failed for which reason."""
        return Counter(failure.code for failure in self.failures)


class FileRefused(Exception):
    """One line makes the platform refuse the whole file."""


class Processing:
    """The places that a payload changes, and the rules by which it does."""

    def __init__(
        self,
        behaviour: Behaviour,
        people: People,
        memberships: Memberships,
        find_segment: SegmentFinder,
        rejecters: list[Rejecter],
    ) -> None:
        self._behaviour = behaviour
        self._people = people
        self._memberships = memberships
        self._find_segment = find_segment
        self._rejecters = rejecters
        self._targets: dict[Target, Segment | None] = {}
        self._rule_on_update = behaviour.unknown_identifier
        self._rule_on_delete = behaviour.unknown_identifier_on_delete

    def check(self, reader: PayloadReader) -> Outcome:
        """What would fail; changes nothing."""
        return self._each_line(reader, Random(0), lambda _command: None)

    def carry_out(
        self, reader: PayloadReader, random: Random, *, now_ms: int, lines: int | None = None
    ) -> Outcome:
        """Apply the payload, or its first `lines` lines in the order in which they are taken."""

        def apply(command: Command) -> None:
            self._apply(command, now_ms)

        return self._each_line(reader, random, apply, lines)

    def _each_line(
        self,
        reader: PayloadReader,
        random: Random,
        apply: Callable[[Command], None],
        limit: int | None = None,
    ) -> Outcome:
        outcome = Outcome()
        try:
            for chunk in reader.chunks(self._behaviour, random):
                for number, line in chunk:
                    if limit is not None and outcome.success + len(outcome.failures) >= limit:
                        return outcome
                    failure = self._line(number, line, reader, apply)
                    if failure is None:
                        outcome.success += 1
                    else:
                        outcome.failures.append(failure)
        except (FileRefused, Refusal) as refusal:
            outcome.refused_file = str(refusal)
        outcome.failures.sort(key=lambda failure: failure.number)
        return outcome

    def _line(
        self,
        number: int,
        line: Line,
        reader: PayloadReader,
        apply: Callable[[Command], None],
    ) -> Failure | None:
        command = None
        try:
            command = reader.command(line)
            if command is not None:
                self._check(command)
                apply(command)
        except Refusal as refusal:
            identifier = command.identifier if command else None
            content = reader.content(line)
            return Failure(number, content, refusal.code, refusal.text, identifier)
        return None

    def _check(self, command: Command) -> None:
        for rejecter in self._rejecters:
            reason = rejecter(command)
            if reason is not None:
                refuse("rejected", reason)
        self._segment(command.target)
        on_update = command.operation == "UPDATE"
        rule = self._rule_on_update if on_update else self._rule_on_delete
        if rule == "failed" and command.identifier not in self._people.number_of:
            refuse("unknown_identifier", f"no user point has {command.identifier}")

    def _segment(self, target: Target) -> Segment | None:
        """The segment that a line is for; None where such lines are passed over."""
        if target not in self._targets:
            segment = self._find_segment(target)
            rule, code, text = self._unfit(segment, target)
            if rule == "refuses_file":
                raise FileRefused(text)
            if rule == "failed":
                refuse(code, text)
            self._targets[target] = segment if rule == "fit" else None
        return self._targets[target]

    def _unfit(self, segment: Segment | None, target: Target) -> tuple[str, str, str]:
        """What happens to lines for a segment that cannot take them: rule, code, text."""
        name = "=".join(target)
        if segment is None:
            return self._behaviour.unknown_segment, "unknown_segment", f"no segment has {name}"
        if not segment.takes_imports:
            text = f"segment {name} is of a type that takes no imports"
            return self._behaviour.wrong_type_segment, "wrong_type_segment", text
        if segment.paused:
            return self._behaviour.paused_segment, "paused_segment", f"segment {name} is paused"
        return "fit", "", ""

    def _apply(self, command: Command, now_ms: int) -> None:
        segment = self._segment(command.target)
        if segment is None:
            return
        person = self._person(command)
        if person is None:
            return
        table = self._memberships.of(segment.id)
        if command.operation == "DELETE":
            changed = table.pop(person, None) is not None
        else:
            changed = self._update(table, person, command, segment, now_ms)
        if changed:
            self._memberships.touch(segment.id, person)

    def _person(self, command: Command) -> int | None:
        if command.operation == "UPDATE" and self._rule_on_update == "created":
            return self._people.meet(command.identifier)
        return self._people.number_of.get(command.identifier)

    def _update(
        self,
        table: dict[int, Membership],
        person: int,
        command: Command,
        segment: Segment,
        now_ms: int,
    ) -> bool:
        before = table.get(person)
        if before is not None and not before.live(now_ms):
            before = None
        if before is None and person in self._people.quarantined:
            return False
        expires_at_ms = command.expires_at_ms
        if expires_at_ms is None:
            expires_at_ms = now_ms + segment.default_ttl if segment.default_ttl else 0
        table[person] = Membership(
            expires_at_ms,
            self._data_bag(command.data_bag, before),
            before.created_ms if before else now_ms,
            now_ms,
        )
        return True

    def _data_bag(self, new: str | None, before: Membership | None) -> str | None:
        old = before.data_bag if before else None
        if new is None:
            return old if self._behaviour.absent_data_bag == "kept" else None
        if old is None or self._behaviour.data_bag_on_update == "replaced":
            return new
        return merged(old, new)


def merged(old: str, new: str) -> str:
    """Two data bags as one; the new one's values win."""
    return json.dumps({**json.loads(old), **json.loads(new)}, sort_keys=True)
