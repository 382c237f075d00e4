"""SQL that normalises and checks a query's result, and says what is wrong with a row."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from segsync.engine.facts import Rows
from segsync.engine.fingerprint import (
    fingerprint_of,
    fingerprint_sql,
    policy_text,
    row_policy_sql,
)
from segsync.engine.json_sql import (
    LARGEST_DATA_BAG,
    canonical_sql,
    has_long_number_sql,
    is_object_sql,
    object_sql,
)
from segsync.engine.session import column, quoted
from segsync.model import IdentifierKind, Segment

KINDS = tuple(IdentifierKind)
IDENTIFIER_COLUMNS: Mapping[str, IdentifierKind] = {
    "user_account_id": IdentifierKind.USER_ACCOUNT_ID,
    "email_hash": IdentifierKind.EMAIL_HASH,
    "user_agent_id": IdentifierKind.USER_AGENT_ID,
    "email": IdentifierKind.EMAIL_HASH,
}
LONGEST_IDENTIFIER = 65_536
"""Bytes."""
EARLIEST_MS = 100_000_000_000
"""March 1973. A smaller `expiration_ts` is surely in seconds, not in milliseconds."""
LATEST_MS = 253_402_300_799_999
ADDRESS = "[^@\\s]+@[^@\\s]+[.][A-Za-z]{2,}"
WHITE_SPACE = " \t\n\r\f\v\u00a0"
TRIMMED_EMAIL = f"trim(email, {quoted(WHITE_SPACE)})"

SEPARATOR_SQL = "chr(0)"
"""Between what an invalid row has: the reason that its source told, and its identifiers."""

TOLD_BY_SOURCE = 1
EXPIRED = 2
NUL_INSIDE = 6
NO_ADDRESS = 9
NO_HASH = 15
REASONS: Mapping[int, str] = {
    EXPIRED: "its expiration_ts has passed",
    3: "no identifier: every identifier column is NULL",
    4: "more than one identifier",
    5: "empty identifier",
    NUL_INSIDE: "identifier with a NUL character",
    7: f"identifier longer than {LONGEST_IDENTIFIER} bytes",
    8: "compartment_id is empty, or has a NUL character",
    NO_ADDRESS: "not an e-mail address",
    10: "expiration_ts is negative or beyond the year 9999",
    11: "expiration_ts looks like seconds: milliseconds are meant",
    12: "data_bag is not a JSON object (with each key once, and no NaN)",
    13: f"data bag larger than {LARGEST_DATA_BAG} bytes",
    14: "data_bag has a number that 64 bits cannot hold: write it as a text",
    NO_HASH: "email_hash is an address: call the column `email`, and set `hash_email`",
}


@dataclass(frozen=True, slots=True)
class DesiredColumn:
    """A column of the query's result: its lower-cased name, and the SQL of its JSON fragment."""

    name: str
    json_sql: str


NO_ROW_EXPIRY = "NULL::BIGINT"
"""The expiry of a row where the segment's duration holds for all."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How to read a segment's desired table, called `d`: SQL for what is not a plain column.

    What is the same for every row is a constant here instead of a column: it costs no memory.
    """

    fingerprint_sql: str
    keyspace_sql: str
    row_expires_sql: str
    data_bag_sql: str
    rows: int = 0


class Normalising:
    """The SQL that normalises one query's result."""

    def __init__(
        self, segment: Segment, number: int, columns: tuple[DesiredColumn, ...], now_ms: int
    ) -> None:
        self.segment = segment
        self.number = number
        self.table = f"desired_{number}"
        self._now_ms = now_ms
        self._columns = {item.name: item for item in columns}
        self.kinds = [(n, kind) for n, kind in IDENTIFIER_COLUMNS.items() if n in self._columns]

    @property
    def compartment(self) -> str | None:
        """The compartment of every account, where no column says otherwise."""
        is_account = self.kinds[0][1] is IdentifierKind.USER_ACCOUNT_ID
        return self.segment.compartment_id if is_account else None

    @property
    def keyspace_varies(self) -> bool:
        """Whether rows differ in kind or compartment."""
        return len(self.kinds) > 1 or "compartment_id" in self._columns

    @property
    def only_column_sql(self) -> str:
        """The column that every identifier comes from, where there is one and no other."""
        return quoted(self.kinds[0][0]) if len(self.kinds) == 1 else "NULL"

    def shape(self, keyspace_sql: str, rows: Rows) -> Shape:
        """What the table looks like once it is loaded."""
        fragments = [
            (name, self._columns[name.lower()].json_sql.replace(column(name.lower()), f"d.c{n}"))
            for n, name in enumerate(sorted(self.segment.data_bag))
        ]
        whole = "d.data_bag" if "data_bag" in self._columns else "NULL::VARCHAR"
        constant = self._constant_fingerprint
        return Shape(
            fingerprint_sql="d.fingerprint" if constant is None else f"{constant}::BIGINT",
            keyspace_sql=keyspace_sql,
            row_expires_sql="d.row_expires" if "expiration_ts" in self._columns else NO_ROW_EXPIRY,
            data_bag_sql=object_sql(fragments) if fragments else whole,
            rows=rows.queried - rows.invalid,
        )

    def select(self) -> str:
        """The whole statement that reads the stream."""
        invalid = self._invalid_sql()
        parts = [
            f"CASE WHEN {self._told} THEN concat_ws({SEPARATOR_SQL}, __invalid, "
            f"{self._identifier_sql()}) ELSE {self._identifier_sql()} END AS identifier",
            f"({invalid})::UTINYINT AS invalid",
        ]
        if self._constant_fingerprint is None:
            parts.append(f"({self._fingerprint_sql()}) AS fingerprint")
        if "expiration_ts" in self._columns:
            parts.append("coalesce(expiration_ts, 0)::BIGINT AS row_expires")
        if self.keyspace_varies:
            parts += [
                f"({self._kind_sql()})::UTINYINT AS kind",
                f"{self._compartment_sql()} AS place",
            ]
        if "data_bag" in self._columns:
            parts.append(f"{canonical_sql('data_bag')} AS data_bag")
        parts += [
            f"{column(name.lower())} AS c{n}"
            for n, name in enumerate(sorted(self.segment.data_bag))
        ]
        return f"SELECT {', '.join(parts)} FROM query_result"

    @property
    def _told(self) -> str:
        return "__invalid IS NOT NULL"

    def _value_sql(self, name: str) -> str:
        if name != "email":
            return column(name)
        return f"{self.segment.hash_email}(lower({TRIMMED_EMAIL}))"

    def _identifier_sql(self) -> str:
        """The identifier; of an invalid row all that it has."""
        values = [f"({self._value_sql(name)})::VARCHAR" for name, _ in self.kinds]
        joined = f"concat_ws({SEPARATOR_SQL}, {', '.join(values)})"
        return joined if len(values) > 1 else values[0]

    def _kind_sql(self) -> str:
        whens = [f"WHEN {column(n)} IS NOT NULL THEN {KINDS.index(kind)}" for n, kind in self.kinds]
        return f"CASE {' '.join(whens)} END"

    def _compartment_sql(self) -> str:
        fallback = quoted(self.segment.compartment_id) if self.segment.compartment_id else "NULL"
        value = f"coalesce(compartment_id, {fallback})"
        if "compartment_id" not in self._columns:
            value = fallback
        if "user_account_id" not in self._columns:
            return "NULL::VARCHAR"
        return f"CASE WHEN user_account_id IS NOT NULL THEN {value} END"

    def _policy_sql(self) -> str:
        if "expiration_ts" in self._columns:
            return row_policy_sql("expiration_ts")
        return quoted(policy_text(self.segment.expiration_minutes))

    @property
    def _constant_fingerprint(self) -> int | None:
        """The fingerprint of every member, where nothing of a row is part of it."""
        if self._bag_sql() is not None or "expiration_ts" in self._columns:
            return None
        return fingerprint_of(policy_text(self.segment.expiration_minutes))

    def _fingerprint_sql(self) -> str:
        bag = self._bag_sql() or quoted("")
        return fingerprint_sql(f"concat({self._policy_sql()}, {bag})")

    def _bag_sql(self) -> str | None:
        if self.segment.data_bag:
            return object_sql(
                [(n, self._columns[n.lower()].json_sql) for n in sorted(self.segment.data_bag)]
            )
        return canonical_sql("data_bag") if "data_bag" in self._columns else None

    def _invalid_sql(self) -> str:
        names = [column(name) for name, _ in self.kinds]
        present = " + ".join(f"({name} IS NOT NULL)::INT" for name in names)
        checks = [
            f"WHEN {self._told} THEN {TOLD_BY_SOURCE}",
            f"WHEN {' AND '.join(f'{name} IS NULL' for name in names)} THEN 3",
            f"WHEN {present} > 1 THEN 4",
        ]
        for name in names:
            checks += [
                f"WHEN {name} = '' THEN 5",
                f"WHEN contains({name}, chr(0)) THEN {NUL_INSIDE}",
                f"WHEN strlen({name}) > {LONGEST_IDENTIFIER} THEN 7",
            ]
        if "compartment_id" in self._columns:
            checks.append("WHEN compartment_id = '' OR contains(compartment_id, chr(0)) THEN 8")
        if "email_hash" in self._columns:
            checks.append(f"WHEN regexp_full_match(email_hash, '{ADDRESS}') THEN {NO_HASH}")
        if "email" in self._columns:
            checks.append(f"WHEN {TRIMMED_EMAIL} NOT LIKE '%_@_%' THEN {NO_ADDRESS}")
        if "data_bag" in self._columns:
            checks.append(f"WHEN strlen(data_bag) > {LARGEST_DATA_BAG} THEN 13")
            checks.append(f"WHEN data_bag IS NOT NULL AND NOT {is_object_sql('data_bag')} THEN 12")
            checks.append(f"WHEN {has_long_number_sql('data_bag')} THEN 14")
        if self._bag_sql() is not None:
            checks.append(f"WHEN strlen({self._bag_sql()}) > {LARGEST_DATA_BAG} THEN 13")
        if "expiration_ts" in self._columns:
            checks += [
                f"WHEN expiration_ts < 0 OR expiration_ts > {LATEST_MS} THEN 10",
                f"WHEN expiration_ts > 0 AND expiration_ts < {EARLIEST_MS} THEN 11",
                f"WHEN expiration_ts > 0 AND expiration_ts <= {self._now_ms} THEN {EXPIRED}",
            ]
        return f"CASE {' '.join(checks)} ELSE 0 END"


def reason_sql(text: str) -> str:
    """What the source told of an invalid row."""
    return f"split_part({text}, {SEPARATOR_SQL}, 1)"
