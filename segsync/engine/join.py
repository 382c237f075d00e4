"""The full join of desired members and snapshot, in as many spans as memory asks for."""

from __future__ import annotations

from dataclasses import dataclass

from segsync.engine.fingerprint import fingerprint_sql, row_policy_sql
from segsync.engine.normalising import Shape
from segsync.engine.session import Cursor, quoted
from segsync.engine.snapshot import NO_MEMBERS, Snapshot, digest_sql, members_sql

SAMPLE_ROWS = 10_000
"""So many desired members, about, tell where the spans end."""
MOST_SPANS = 8
"""Desired members are read once for each span."""
_NO_DOUBTS = "false AS pending, false AS newcomer, false AS stayed, NULL::BIGINT AS refused"


@dataclass(frozen=True, slots=True)
class Join:
    """Desired members `d` beside the snapshot's `s`; kept where `change_sql` is not 0. `beside` is
    SQL for members who are said once more as a removal beside them is.

    The desired side of a join is held in memory, the snapshot streams by (see session.py). Where
    that is too much, one span of identifiers comes after the other, as the snapshot's batches do.
    """

    number: int
    shape: Shape
    change_sql: str
    snapshot: Snapshot | None
    doubts: bool
    beside: str

    def run(self, cursor: Cursor, rows: int) -> None:
        """Fill changed_<number>."""
        table = f"changed_{self.number}"
        if self.snapshot is None:
            cursor.execute(f"CREATE TABLE {table} AS {self._sql('true')}")
            return
        after: str | None = None
        for until in [*self._bounds(cursor, rows), None]:
            head = f"CREATE TABLE {table} AS" if after is None else f"INSERT INTO {table}"
            with self.snapshot.stream(until) as members, cursor.reading("members", members):
                cursor.execute(f"{head} {self._sql(_span_sql(after, until))}")
            after = until

    def _bounds(self, cursor: Cursor, rows: int) -> list[str]:
        """The last identifier of each span but the last one, which has none."""
        spans = min(rows // cursor.rows_in_memory + 1, MOST_SPANS)
        if spans == 1 or self.snapshot is None or self.snapshot.keyspace is None:
            return []
        shares = [n / spans for n in range(1, spans)]
        [found] = cursor.row(
            f"SELECT quantile_disc(identifier, {shares}) FROM desired_{self.number} "
            f"WHERE rowid % {rows // SAMPLE_ROWS + 1} = 0"
        )
        return sorted(set(found or []))

    def _sql(self, span: str) -> str:
        """The join. Texts and hashes are made after the filter: for changed members only."""
        shape = self.shape
        old = digest_sql("s.keyspace", "s.identifier", "s.fingerprint", "s.expires_at")
        source = f"({self._snapshot_sql(span)}) s"
        desired = f"(FROM desired_{self.number} WHERE {span}) d"
        on_keyspace = f"{shape.keyspace_sql} = s.keyspace AND"
        if self.snapshot and f"{self.snapshot.keyspace}::BIGINT" == shape.keyspace_sql:
            on_keyspace = ""
        sides = f"{source} FULL JOIN {desired}"
        if self.snapshot is None:
            sides = f"{desired} LEFT JOIN {source}"
        return f"""SELECT
            coalesce(s.keyspace, {shape.keyspace_sql}) AS keyspace,
            coalesce(s.identifier, d.identifier) AS identifier,
            {self.change_sql} AS change,
            coalesce(s.pending OR ((s.stayed OR {self.beside}) AND d.identifier IS NOT NULL), false)
                AS retry,
            CASE WHEN d.identifier IS NOT NULL THEN {shape.fingerprint_sql} END AS fingerprint,
            {shape.row_expires_sql} AS row_expires,
            CASE WHEN d.identifier IS NOT NULL
                THEN coalesce({shape.data_bag_sql}, {self._emptied_sql()}) END AS data_bag,
            s.fingerprint IS NOT NULL AS confirmed, s.keyspace IS NOT NULL AS matched,
            coalesce(s.expires_at, 0) AS old_expires,
            CASE WHEN s.fingerprint IS NULL THEN 0 ELSE {old} END AS old_digest
        FROM {sides} ON {on_keyspace} d.identifier = s.identifier
        WHERE change <> 0"""

    def _emptied_sql(self) -> str:
        """An empty data bag for a member who may have one, and shall have none: whether the
        platform keeps one that a command leaves out is not documented.
        """
        bare = fingerprint_sql(row_policy_sql("s.expires_at"))
        had = f"s.pending OR s.fingerprint NOT IN ({self.shape.fingerprint_sql}, {bare})"
        return f"CASE WHEN {had} THEN '{{}}' END"

    def _snapshot_sql(self, span: str) -> str:
        """A member of unknown outcome that was never confirmed has no fingerprint, so that it
        differs from whatever is desired."""
        if self.snapshot is None:
            return f"SELECT *, {_NO_DOUBTS} FROM ({NO_MEMBERS})"
        members = members_sql(self.snapshot.keyspace)
        if not self.doubts:
            return f"SELECT *, {_NO_DOUBTS} FROM ({members})"
        doubts = (
            "SELECT keyspace, identifier, bool_or(pending) AS pending, "
            "bool_or(newcomer) AS newcomer, bool_or(stayed) AS stayed, "
            f"max(refused) AS refused FROM doubts_{self.number} WHERE {span} "
            "GROUP BY keyspace, identifier"
        )
        return f"SELECT * FROM ({members}) FULL JOIN ({doubts}) USING (keyspace, identifier)"


def _span_sql(after: str | None, until: str | None) -> str:
    bounds = [f"identifier > {quoted(after)}"] if after is not None else []
    bounds += [f"identifier <= {quoted(until)}"] if until is not None else []
    return " AND ".join(bounds) or "true"
