"""A few rows of a comparison, to show what stands behind its figures."""

from __future__ import annotations

from segsync.engine.facts import Example
from segsync.engine.keyspaces import Keyspaces
from segsync.engine.normalising import NO_ADDRESS, REASONS, TOLD_BY_SOURCE, reason_sql
from segsync.engine.rules import FORGET, WORDS
from segsync.engine.session import Cursor


def changed(
    cursor: Cursor, number: int, keyspaces: Keyspaces, limit: int, *, reattempts: bool
) -> list[Example]:
    """Up to `limit` members of each kind of change, the same ones every time.

    `reattempts`: whether some of them were rejected earlier.
    """
    table = f"changed_{number}"
    kinds = cursor.rows(f"SELECT DISTINCT change FROM {table} WHERE change <> {FORGET} ORDER BY 1")
    again = f"(keyspace, identifier) IN (FROM reattempts_{number})" if reattempts else "false"
    found = []
    for (change,) in kinds:
        word = WORDS[change]
        rows = cursor.rows(
            f"SELECT keyspace, identifier, old_expires, row_expires, retry, {again} FROM {table} "
            f"WHERE change = {change} ORDER BY identifier, keyspace LIMIT {limit}"
        )
        for keyspace, identifier, old_expires, row_expires, retry, reattempted in rows:
            _, kind, compartment = keyspaces.place(keyspace)
            found.append(
                Example(
                    word, kind, compartment, identifier,
                    old_expires_at=old_expires, row_expires_at=row_expires, retry=retry,
                    reattempted=reattempted,
                )
            )  # fmt: skip
    return found


def invalid(cursor: Cursor, number: int, limit: int) -> list[Example]:
    """The first invalid rows, by their place in the query's result.

    Without what there is of an address: its hash tells the reader nothing.
    """
    rows = cursor.rows(
        f"SELECT row_number, invalid, {reason_sql('identifier')}, column_name "
        f"FROM invalid_{number} ORDER BY row_number LIMIT {limit}"
    )
    found = []
    for row, code, identifier, column in rows:
        told = code == TOLD_BY_SOURCE
        hidden = told or code == NO_ADDRESS or column == "email"
        found.append(
            Example(
                "invalid",
                None,
                None,
                None if hidden else identifier,
                row=row,
                reason=identifier if told else REASONS[code],
                column=column,
            )
        )
    return found


def conflicts(cursor: Cursor, number: int, keyspaces: Keyspaces, limit: int) -> list[Example]:
    """Identifiers that the query returned more than once, with different data bag or expiry."""
    rows = cursor.rows(
        f"SELECT keyspace, identifier FROM repeated_{number} WHERE conflict "
        f"ORDER BY identifier LIMIT {limit}"
    )
    return [
        Example("conflict", *keyspaces.place(keyspace)[1:], identifier)
        for keyspace, identifier in rows
    ]
