"""What the state tells: everything that is asked of it without writing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from threading import Lock
from typing import TYPE_CHECKING, Any

from segsync.errors import StateDamaged, StateError, StateForeign
from segsync.model import Address, IdentifierKind
from segsync.state.confirmed import Wanted, stream_members
from segsync.state.database import Database, damaged, named
from segsync.state.hiding import hide_in_reasons, hide_sent
from segsync.state.journal import read_runs
from segsync.state.layers import confirmed_as_sql, count_sql
from segsync.state.open_changes import MAY_HAVE_LEFT, Span, lines_sql, spans_by_keyspace
from segsync.state.records import Identity, Keyspace, Reject, Run, StateSegment
from segsync.state.seal import check_changes
from segsync.state.watching import watched_runs

if TYPE_CHECKING:
    import pyarrow

SIGNS_OF_DAMAGE = (
    "malformed", "not a database", "mismatch", "Conversion Error", "unicode", "utf-8",
)  # fmt: skip
"""In what the engine says of a stream of members; it may be the first to look at the values."""


class StateMoved(StateError):
    """Another process committed while the state was being read: read it again."""


class StateReader:
    """One state file, as it was when it was opened. `identity` says whose it is."""

    def __init__(self, database: Database, identity: Identity, *, read_only: bool) -> None:
        self._database = database
        self.read_only = read_only
        self.path = database.path
        self.identity = identity
        self._moment = moment_of(database)
        self._looking = Lock()
        self._open_spans: Mapping[int, Sequence[Span]] = {}

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def check_belongs(self, datamart_id: str, api_origin: str) -> None:
        """Raise StateForeign unless this state describes that datamart at that API."""
        mine = (self.identity.datamart_id, self.identity.api_origin)
        if mine != (datamart_id, api_origin):
            raise StateForeign(
                f"the state {self.path} belongs to datamart {mine[0]} at {mine[1]}, "
                f"the spec to datamart {datamart_id} at {api_origin}",
                hint="a state describes one datamart at one API: name another file, such as "
                "`state: .segsync/other.db`, or move this one away",
            )

    def check_whole(self) -> None:
        """Let SQLite check the structure of the whole file. Raises StateDamaged.

        Opening has looked at the small tables, and members that are read are checked by their
        digests: this is for what nobody has read.
        """
        reader = Database(self.path, read_only=True)
        try:
            found = [row[0] for row in reader.rows("PRAGMA quick_check(1)")]
        finally:
            reader.close()
        if found != ["ok"]:
            raise damaged(self.path, str(found[0]))

    def damage(self, reason: str) -> StateDamaged:
        """The error to raise where this state's content is not what was written."""
        return damaged(self.path, reason)

    def raise_if_damage(self, text: str) -> None:
        """Raise StateDamaged if an error's text, from a stream of this state, speaks of damage."""
        if any(sign in text for sign in SIGNS_OF_DAMAGE):
            raise self.damage("its members cannot be read")

    def segments(self) -> tuple[StateSegment, ...]:
        """Every segment that has, or may have, members, by number."""
        rows = self._database.rows(
            "SELECT id, field, value, name, digest, reasserted_at, coalesce(last_run, 0), "
            "coalesce(platform_id, '') FROM segments ORDER BY id"
        )
        return tuple(
            StateSegment(
                number,
                Address(field, value),
                name,
                digest,
                reasserted,
                last or None,
                platform or None,
            )
            for number, field, value, name, digest, reasserted, last, platform in rows
        )

    def keyspaces(self) -> tuple[Keyspace, ...]:
        """Every keyspace, by number."""
        rows = self._database.rows(
            "SELECT id, segment, kind, coalesce(compartment_id, ''), compartment_id IS NULL "
            "FROM keyspaces ORDER BY id"
        )
        return tuple(
            Keyspace(number, segment, IdentifierKind(kind), None if absent else compartment)
            for number, segment, kind, compartment, absent in rows
        )

    def member_counts(self) -> dict[int, int]:
        """Confirmed members by segment number, lapsed ones included."""
        rows = self._database.rows(
            f"SELECT k.segment, sum(({count_sql(['true'], 'keyspace = k.id')})) "
            "FROM keyspaces k GROUP BY k.segment"
        )
        return {int(segment): int(count) for segment, count in rows}

    def live_members(self, segment: int, now_ms: int) -> int:
        """Confirmed members of one segment that have not lapsed."""
        live = f"expires_at = 0 OR expires_at > {int(now_ms)}"
        return self._counted(segment, [live])[0]

    def expiring(self, segment: int, moments: Sequence[int]) -> list[int]:
        """How many confirmed members of a segment expire before each of the moments."""
        before = [f"expires_at <> 0 AND expires_at < {int(moment)}" for moment in moments]
        return self._counted(segment, before)

    def _counted(self, segment: int, conditions: Sequence[str]) -> list[int]:
        keyspaces = f"keyspace IN (SELECT id FROM keyspaces WHERE segment = {int(segment)})"
        return [int(count) for count in self._database.rows(count_sql(conditions, keyspaces))[0]]

    def pending_counts(self, *, of_open_run: bool = True) -> dict[int, int]:
        """Members of unknown outcome by segment number, also of what an open run may have sent."""
        more = f"UNION {MAY_HAVE_LEFT}" if of_open_run else ""
        rows = self._database.rows(
            "SELECT k.segment, count(*) FROM (SELECT keyspace, identifier FROM pending "
            f"{more}) p JOIN keyspaces k ON k.id = p.keyspace GROUP BY k.segment"
        )
        return {int(segment): int(count) for segment, count in rows}

    def rejects(self, limit: int, *, show_ids: bool = False) -> list[Reject]:
        """The rejects that are still to be accepted, oldest first.

        With `show_ids` their reasons are as the platform gave them, whoever is named there.
        """
        rows = self._database.rows(
            "SELECT s.name, k.kind, coalesce(k.compartment_id, ''), r.identifier, r.operation, "
            "r.reason, r.attempts, r.first_at, r.next_attempt_at FROM rejects r "
            "JOIN keyspaces k ON k.id = r.keyspace JOIN segments s ON s.id = k.segment "
            "ORDER BY r.first_at, s.name, r.identifier LIMIT ?",
            (limit,),
        )
        reasons = self._shown([row[5] for row in rows], show_ids=show_ids)
        return [
            Reject(
                name, IdentifierKind(kind), compartment or None, identifier, operation, shown, *rest
            )
            for (name, kind, compartment, identifier, operation, _, *rest), shown in zip(
                rows, reasons, strict=True
            )
        ]

    def _shown(self, reasons: Sequence[str], *, show_ids: bool) -> Sequence[str]:
        return reasons if show_ids else hide_in_reasons(self._database, reasons)

    def reject_counts(self) -> dict[int, int]:
        """Rejects by segment number."""
        rows = self._database.rows(
            "SELECT k.segment, count(*) FROM rejects r JOIN keyspaces k ON k.id = r.keyspace "
            "GROUP BY k.segment"
        )
        return {int(segment): int(count) for segment, count in rows}

    def rejecting_runs(self) -> dict[int, frozenset[int]]:
        """By segment number, the runs in which its present rejects were last refused."""
        rows = self._database.rows(
            "SELECT k.segment, u.serial FROM (SELECT DISTINCT keyspace, last_at "
            "FROM rejects) r JOIN keyspaces k ON k.id = r.keyspace "
            "JOIN runs u ON u.closed_at = r.last_at"
        )
        found: dict[int, frozenset[int]] = {}
        for segment, serial in rows:
            found[int(segment)] = found.get(int(segment), frozenset()) | {int(serial)}
        return found

    def reject_reasons(self, *, show_ids: bool = False) -> list[tuple[str, str, int]]:
        """Segment name, reason and number of the rejects: the hundred most frequent ones."""
        counts = Counter[tuple[str, str]]()
        rows = self._database.rows(
            "SELECT s.name, r.reason, count(*) AS n FROM rejects r "
            "JOIN keyspaces k ON k.id = r.keyspace JOIN segments s ON s.id = k.segment "
            "GROUP BY s.name, r.reason ORDER BY n DESC, s.name, r.reason LIMIT 100"
        )
        reasons = self._shown([row[1] for row in rows], show_ids=show_ids)
        for (name, _, count), shown in zip(rows, reasons, strict=True):
            counts[str(name), shown] += int(count)
        return [(name, reason, count) for (name, reason), count in counts.most_common()]

    def longest_run_ms(self) -> int:
        """The longest time from submission to the end of any run: how late a line may act."""
        sql = "SELECT coalesce(max(closed_at - submitted_at), 0) FROM runs"
        return int(self._database.rows(sql)[0][0])

    def last_submitted_ms(self) -> int:
        """When the newest run was submitted, open or not; 0 where there is none."""
        return int(self._database.rows("SELECT coalesce(max(submitted_at), 0) FROM runs")[0][0])

    def open_run(self) -> Run | None:
        """The run whose outcome is not decided yet."""
        found = read_runs(self._database, "WHERE status = 'open'")
        return found[0] if found else None

    def last_runs(self, limit: int) -> list[Run]:
        """The newest runs first."""
        return read_runs(self._database, f"ORDER BY serial DESC LIMIT {int(limit)}")

    @contextmanager
    def members(
        self, segment: int, only: int | None = None, behind: tuple[int, str] | None = None
    ) -> Iterator[Iterator[pyarrow.RecordBatch]]:
        """The confirmed members of a segment: keyspace, identifier, fingerprint, expires_at.

        Without the keyspace, which costs time to read, where `only` says that there is no other.
        Batch after batch in the order of keyspace and identifier, which those in a batch need not
        have; those behind a key, where one is given.
        """
        wanted = Wanted(segment, only, behind)
        with self._reading() as reader, closing(stream_members(reader, wanted)) as batches:
            yield batches

    def only_keyspaces(self) -> dict[int, int]:
        """By segment number, the keyspace of those segments that have one and no other."""
        rows = self._database.rows(
            "SELECT segment, max(id) FROM keyspaces GROUP BY segment HAVING count(*) = 1"
        )
        return {int(segment): int(keyspace) for segment, keyspace in rows}

    @contextmanager
    def doubted(self, segment: int) -> Iterator[pyarrow.RecordBatchReader]:
        """A segment's members of unknown outcome: keyspace, identifier, is_pending.

        And with an is_pending of 0 its newcomers: a removal that is said again may take them along.
        """
        keyspaces = f"(SELECT id FROM keyspaces WHERE segment = {int(segment)})"
        with self._reading() as reader:
            open_changes = lines_sql(self._spans_of(reader, segment), keyspaces)
            with reader.stream(
                "SELECT p.keyspace AS keyspace, p.identifier AS identifier, 1 AS is_pending FROM "
                f"(SELECT keyspace, identifier FROM pending WHERE keyspace IN {keyspaces} "
                f"UNION {open_changes}) p UNION ALL "
                "SELECT n.keyspace, n.identifier, 0 FROM newcomers n "
                f"WHERE n.keyspace IN {keyspaces} AND EXISTS {confirmed_as_sql('n')}"
            ) as rows:
                yield rows

    def _spans_of(self, reader: Database, segment: int) -> list[Span]:
        with self._looking:
            if not self._open_spans:
                self._open_spans = spans_by_keyspace(reader)
        rows = reader.rows("SELECT id FROM keyspaces WHERE segment = ?", (segment,))
        return [span for (keyspace,) in rows for span in self._open_spans.get(keyspace, ())]

    @contextmanager
    def segment_rejects(self, segment: int) -> Iterator[pyarrow.RecordBatchReader]:
        """A segment's rejects: keyspace, identifier, operation, fingerprint, next_attempt_at."""
        with (
            self._reading() as reader,
            reader.stream(
                f"SELECT {named(*_REJECT)} FROM rejects "
                f"WHERE keyspace IN (SELECT id FROM keyspaces WHERE segment = {int(segment)})"
            ) as rows,
        ):
            yield rows

    @contextmanager
    def changes(self) -> Iterator[pyarrow.RecordBatchReader]:
        """The commands of the open run: line, keyspace, identifier, change."""
        with (
            self._reading() as reader,
            reader.stream(
                f"SELECT {named(*_CHANGE)} FROM changes WHERE change <> 'forget' ORDER BY line"
            ) as rows,
        ):
            yield rows

    @contextmanager
    def _reading(self) -> Iterator[Database]:
        """A connection of its own, so that segments are read in parallel, at the same serial."""
        reader = Database(self.path, read_only=True)
        try:
            reader.execute("BEGIN")
            if moment_of(reader) != self._moment:
                raise StateMoved("another apply finished in the meantime", hint="run it again")
            yield reader
        finally:
            reader.close()

    def check_changes(self, run: Run) -> None:
        """Raise StateDamaged unless the open run's changes are those that were staged."""
        check_changes(self._database, run.changes_seal)

    def import_ids(self) -> dict[int, str | None]:
        """The document imports of all runs, by their serial."""
        rows = self._database.rows("SELECT serial, coalesce(import_id, '') FROM runs")
        return {int(serial): import_id or None for serial, import_id in rows}

    def hide_members(self, text: str) -> str:
        """A text of the platform's, without the members of the open run that it names."""
        return hide_sent(self._database, text)

    def watched_segments(self) -> frozenset[int]:
        """Numbers of the segments of which an upload that was given up may still be executed."""
        rows = self._database.rows(
            "SELECT segment FROM keyspaces WHERE id IN (SELECT keyspace FROM watched)"
        )
        return frozenset(int(row[0]) for row in rows)

    def watched_runs(self) -> list[Run]:
        """Closed runs of which an execution may still show up."""
        return watched_runs(self._database)


_REJECT = ("keyspace", "identifier", "operation", "fingerprint", "next_attempt_at")
_CHANGE = ("line", "keyspace", "identifier", "change")


def moment_of(database: Database) -> tuple[Any, ...]:
    """What changes whenever a run begins or ends."""
    return database.rows(
        "SELECT serial, (SELECT coalesce(max(serial), 0) FROM runs) FROM identity"
    )[0]


def read_identity(database: Database) -> Identity:
    """Whose state it is, of one whose seals were checked."""
    rows: list[tuple[Any, ...]] = database.rows(
        "SELECT lineage, serial, datamart_id, api_origin, digest_probe FROM identity"
    )
    return Identity(*rows[0])
