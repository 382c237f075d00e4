"""The snapshot's two layers: an apply must cost what it changes, not what there is.

`members` is in the order of its keys, so that changes of one in a hundred touch nearly each of its
pages. Of a large state, what was confirmed last is therefore kept apart: in `recent`, which
overrides `members` until it has grown so far that it is folded into it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from segsync.state.database import Database

Layer = Literal["members", "recent"]

LARGE_BYTES = 8_000_000
"""Used in the file. All pages of a smaller one are rewritten in a moment."""
SHARE = 16
"""Of these bytes one in so many may be what is recent: each plan reads it beside the members."""
ROW_BYTES = 20
"""Of a member or a change, about, beside its identifier."""

_OVERRIDE = (
    "ON CONFLICT (keyspace, identifier) DO UPDATE SET "
    "fingerprint = excluded.fingerprint, expires_at = excluded.expires_at"
)
_CONFIRMED = """(
    SELECT keyspace, identifier, fingerprint, expires_at FROM members m WHERE NOT EXISTS
        (SELECT 1 FROM recent r WHERE r.keyspace = m.keyspace AND r.identifier = m.identifier)
    UNION ALL SELECT keyspace, identifier, fingerprint, expires_at FROM recent WHERE is_member
)"""
"""Both layers together. The file has a view of it, for people: SQL that stands in a file may have
been damaged there."""


def prepare_layer(database: Database) -> Layer:
    """The layer for the changes of a run: the recent one, where they are a small part of a large
    state. The other one overrides nothing, so what is recent is folded into it first.

    Inside a transaction of the caller's, as is whatever writes here.
    """
    if _is_small_part(database, "changes"):
        return "recent"
    _fold(database)
    return "members"


def fold_when_full(database: Database) -> None:
    """Fold what is recent where it is no small part of a large state any more."""
    if not _is_small_part(database, "recent"):
        _fold(database)


def _is_small_part(database: Database, table: Literal["changes", "recent"]) -> bool:
    """Whether the state is large and the table is not; counts no further than to know that."""
    pages, free, size = (
        int(database.rows(f"PRAGMA {name}")[0][0])
        for name in ("page_count", "freelist_count", "page_size")
    )
    used = (pages - free) * size
    most = used // SHARE
    rows = (
        f"SELECT length(CAST(identifier AS BLOB)) + {ROW_BYTES} AS bytes FROM {table} "
        f"LIMIT {most // ROW_BYTES + 1}"
    )
    found = database.rows(f"SELECT coalesce(sum(bytes), 0) FROM ({rows})")[0][0]
    return used >= LARGE_BYTES and int(found) <= most


def _fold(database: Database) -> None:
    if not database.rows("SELECT 1 FROM recent LIMIT 1"):
        return
    database.execute(
        "INSERT INTO members SELECT keyspace, identifier, fingerprint, expires_at "
        f"FROM recent WHERE is_member ORDER BY keyspace, identifier {_OVERRIDE}"
    )
    database.execute(
        "DELETE FROM members WHERE (keyspace, identifier) IN "
        "(SELECT keyspace, identifier FROM recent WHERE NOT is_member)"
    )
    database.execute("DELETE FROM recent")


def put(database: Database, layer: Layer, lines: str) -> None:
    """Make those whom the changes `c` on these lines add, update or renew confirmed members."""
    said = f"FROM changes c WHERE {lines} AND c.change IN ('add', 'update', 'renew')"
    columns = "c.keyspace, c.identifier, c.fingerprint, c.expires_at"
    if layer == "members":
        database.execute(f"INSERT INTO members SELECT {columns} {said} {_OVERRIDE}")
    else:
        database.execute(
            f"INSERT INTO recent SELECT {columns}, 1 {said} {_OVERRIDE}, is_member = 1"
        )


def take(database: Database, layer: Layer, lines: str) -> None:
    """Make those whom the changes `c` on these lines name members no more."""
    gone = f"FROM changes c WHERE {lines}"
    if layer == "members":
        database.execute(
            "DELETE FROM members WHERE (keyspace, identifier) IN "
            f"(SELECT c.keyspace, c.identifier {gone})"
        )
    else:
        database.execute(
            f"INSERT INTO recent SELECT c.keyspace, c.identifier, 0, 0, 0 {gone} "
            f"{_OVERRIDE}, is_member = 0"
        )


def confirmed_sql(condition: str) -> str:
    """A subquery: the confirmed members who meet a condition.

    In a join with others SQLite would look at all members.
    """
    return f"(SELECT * FROM {_CONFIRMED} WHERE {condition})"


def confirmed_as_sql(key: str) -> str:
    """A subquery: the confirmed member whom the row called `key` names."""
    return confirmed_sql(f"keyspace = {key}.keyspace AND identifier = {key}.identifier")


def count_sql(conditions: Sequence[str], where: str) -> str:
    """How many confirmed members meet `where`, and each of these conditions: one row.

    Each layer is counted by itself, and who is overridden taken off: to look at each member whether
    it is costs five times as much.
    """
    counts = ", ".join(
        f"count(*) FILTER (WHERE {condition}) AS n{number}"
        for number, condition in enumerate(conditions)
    )
    sums = ", ".join(f"sum(sign * n{number})" for number, _ in enumerate(conditions))
    overridden = (
        "(SELECT m.keyspace AS keyspace, m.expires_at AS expires_at FROM recent r "
        "CROSS JOIN members m ON m.keyspace = r.keyspace AND m.identifier = r.identifier)"
    )
    return (
        f"SELECT {sums} FROM (SELECT 1 AS sign, {counts} FROM members WHERE {where} "
        f"UNION ALL SELECT 1, {counts} FROM recent WHERE is_member AND {where} "
        f"UNION ALL SELECT -1, {counts} FROM {overridden} WHERE {where})"
    )
