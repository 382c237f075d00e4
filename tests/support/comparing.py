"""One engine, fed by hand: what a query returned, what the state has, and what comes out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from segsync.engine import Asked, Difference, Engine, Keyspaces, Layout, Policy, Rows, Target
from segsync.engine.normalising import DesiredColumn
from segsync.model import DAY_MS, NEVER, Address, IdentifierKind, Part, Segment

NOW_MS = 1_790_000_000_000
ACCOUNT = IdentifierKind.USER_ACCOUNT_ID
Snapshot = Mapping[str, tuple[int, int]]
"""Identifier to fingerprint and expiry, in the first keyspace of the segment."""


def segment(**fields: Any) -> Segment:
    """A segment of accounts."""
    given: dict[str, Any] = {
        "name": "vip",
        "address": Address("segment_technical_name", "vip"),
        "source": "shop",
        "query": "SELECT",
        "place": "segments.yaml:1:1",
        "query_place": "segments.yaml:2:1",
    }
    return Segment(**given | fields)


def policy(**fields: Any) -> Policy:
    """How long members stay; never, unless it is said."""
    given: dict[str, Any] = {
        "now_ms": NOW_MS,
        "certain_after_ms": DAY_MS,
        "expiration_minutes": NEVER,
        "renew_at": 0.5,
        "reassert_minutes": NEVER,
        "reasserted_at_ms": NOW_MS,
    }
    return Policy(**given | fields)


@dataclass(frozen=True)
class Change:
    """One row of the journal."""

    keyspace: int
    identifier: str
    word: str
    fingerprint: int
    expires_at: int
    digest: int


@dataclass
class Compared:
    """What the engine says of one segment."""

    number: int
    rows: Rows
    difference: Difference
    digest: int
    live: int


@dataclass
class Bench:
    """Compares segments, one number after the other, in one engine."""

    engine: Engine = field(default_factory=lambda: Engine(Keyspaces([])))
    segments: dict[int, Segment] = field(default_factory=dict)

    def __enter__(self) -> Bench:
        return self

    def __exit__(self, *_: object) -> None:
        self.engine.__exit__()

    def keyspace(
        self, number: int, kind: IdentifierKind = ACCOUNT, compartment: str | None = None
    ) -> int:
        """The number of a keyspace of a segment."""
        return self.engine.keyspaces.number((number, kind, compartment))

    def compare(
        self,
        rows: Sequence[Mapping[str, Any]],
        columns: Sequence[str] = ("user_account_id",),
        *,
        of: Segment | None = None,
        snapshot: Snapshot | None = None,
        pending: Iterable[str] = (),
        newcomers: Iterable[str] = (),
        rejects: Sequence[tuple[str, str, int, int]] = (),
        under: Policy | None = None,
        doubted_in: int | None = None,
        beside: tuple[int, Snapshot] | None = None,
        spares_invalid: bool = False,
    ) -> Compared:
        """The difference between rows (by column) and a snapshot; see `changes`.

        `rejects` are identifier, operation, fingerprint and the time of the next attempt; they and
        `pending` are in the keyspace `doubted_in`, if not in the first, where the `newcomers` are.
        `beside` are members that are confirmed in another keyspace.
        """
        chosen = of or segment()
        number = len(self.segments) + 1
        self.segments[number] = chosen
        under = under or policy(expiration_minutes=chosen.expiration_minutes)
        first = self.keyspace(number, compartment=chosen.compartment_id)
        doubted = doubted_in or first
        doubts = [(doubted, name, 1) for name in pending]
        doubts += [(first, name, 0) for name in newcomers]
        loaded = self.engine.load_desired(
            number,
            chosen,
            tuple(DesiredColumn(name, json_of(name)) for name in columns),
            desired_stream(rows, columns),
            under.now_ms,
        )
        asked = Asked(
            under,
            chosen.on_conflict,
            (lambda: nullcontext(doubted_stream(doubts))) if doubts else None,
            (lambda: nullcontext(reject_stream(rejects, doubted))) if rejects else None,
            spares_invalid,
        )
        places = [(first, snapshot or {}), *([beside] if beside else [])]
        with closing(
            self.engine.open_snapshot(
                lambda _: nullcontext(snapshot_stream(places)), None, under.now_ms
            )
        ) as read:
            difference = self.engine.compare(number, read, asked)
        facts = read.facts
        return Compared(number, loaded, difference, facts.digest, facts.live)

    def arrange(self, wire: Any = "ndjson", part_limit: int = 10**8) -> tuple[Part, ...]:
        """Put the changes of all segments in order. Once."""
        targets = [
            Target(number, chosen.address, chosen.expiration_minutes)
            for number, chosen in self.segments.items()
        ]
        return self.engine.arrange(targets, Layout(wire, NOW_MS, part_limit))

    def changes(self) -> dict[int, list[Change]]:
        """All changes by segment number; after `arrange`."""
        places = dict(self.engine.keyspaces.all())
        found: dict[int, list[Change]] = {number: [] for number in self.segments}
        with self.engine.journal(NOW_MS) as journal:
            for batch in journal:
                for row in batch.to_pylist():
                    number = places[row["keyspace"]][0]
                    found[number].append(
                        Change(
                            row["keyspace"],
                            row["identifier"],
                            row["change"],
                            row["fingerprint"],
                            row["expires_at"],
                            row["digest"],
                        )
                    )
        return found

    def lines(self, parts: Iterable[Part]) -> str:
        """The payload of these parts as one text."""
        texts = []
        with ExitStack() as stack:
            for part in parts:
                for batch in stack.enter_context(self.engine.lines(part)):
                    texts += batch.column(0).to_pylist()
        return "".join(texts)


def one(rows: Sequence[Mapping[str, Any]], *columns: str, **more: Any) -> tuple[Compared, Any]:
    """One comparison in an engine of its own: what it says, and the change of each identifier."""
    with Bench() as bench:
        compared = bench.compare(rows, columns or ("user_account_id",), **more)
        bench.arrange()
        return compared, {change.identifier: change.word for change in bench.changes()[1]}


def accounts(*names: str | None) -> list[dict[str, Any]]:
    """Rows of one account each."""
    return [{"user_account_id": name} for name in names]


def json_of(name: str) -> str:
    """What the source says of a column: numbers as they are."""
    return f'to_json("{name}")::VARCHAR' if name == "total" else f'"{name}"'


def desired_stream(
    rows: Sequence[Mapping[str, Any]], columns: Sequence[str]
) -> pa.RecordBatchReader:
    """What a source gives: the query's columns, and `__invalid`."""
    schema = pa.schema(
        [
            *((n, pa.int64() if n in ("total", "expiration_ts") else pa.utf8()) for n in columns),
            ("__invalid", pa.utf8()),
        ]
    )
    table = pa.table({name: [row.get(name) for row in rows] for name in schema.names}, schema)
    return table.to_reader(max_chunksize=max(7, len(rows) // 10))


def snapshot_stream(places: Iterable[tuple[int, Snapshot]]) -> pa.RecordBatchReader:
    """What the state gives: confirmed members, by keyspace."""
    schema = pa.schema(
        [
            ("keyspace", pa.int64()),
            ("identifier", pa.utf8()),
            ("fingerprint", pa.int64()),
            ("expires_at", pa.int64()),
        ]
    )
    rows = [
        (keyspace, name, fingerprint, expires)
        for keyspace, snapshot in places
        for name, (fingerprint, expires) in snapshot.items()
    ]
    columns = zip(*rows, strict=True) if rows else [()] * 4
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema).to_reader()


def doubted_stream(rows: Sequence[tuple[int, str, int]]) -> pa.RecordBatchReader:
    """What the state gives: members of unknown outcome, and newcomers."""
    names = ("keyspace", "identifier", "is_pending")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows]).to_reader()


def reject_stream(
    rejects: Sequence[tuple[str, str, int, int]], keyspace: int
) -> pa.RecordBatchReader:
    """What the state gives: rejects."""
    names = ("identifier", "operation", "fingerprint", "next_attempt_at")
    rows = [{"keyspace": keyspace} | dict(zip(names, row, strict=True)) for row in rejects]
    return pa.Table.from_pylist(rows).to_reader()


def with_guard(base: Segment, **fields: Any) -> Segment:
    """The segment with other limits."""
    return replace(base, guard=replace(base.guard, **fields))


def changes_stream(changes: Sequence[tuple[int, int, str, str]]) -> pa.RecordBatchReader:
    """What the state gives of an open run: line, keyspace, identifier, change."""
    names = ("line", "keyspace", "identifier", "change")
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in changes]).to_reader()
