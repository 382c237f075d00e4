"""Members that the platform names in a text of its own are hidden before anybody reads it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

from segsync.members import SHORTEST_NUMBER, hide_strangers
from segsync.secret import MASK
from segsync.state.database import Database
from segsync.state.layers import confirmed_sql

_WORDS = re.compile(r"[\w@.+:/|~-]*\w")
_PIECES = re.compile(r"\w+")
"""Of a word: in `account:Berthold` it is a piece that names somebody."""


def hide_sent(database: Database, text: str) -> str:
    """`text` without the identifiers of the open run's commands, in capitals or not, and without
    what may be those of others.

    Looks at all of them, as an identifier may hold any character: for errors, not for every row.
    Short numbers stay: a text is full of them, and says nothing without them.
    """
    rows = database.rows(
        "SELECT DISTINCT identifier FROM changes WHERE instr(lower(?), lower(identifier)) > 0 "
        "AND (length(identifier) >= ? OR identifier GLOB '*[^0-9]*')",
        (text, SHORTEST_NUMBER),
    )
    for name in sorted((str(row[0]) for row in rows), key=len, reverse=True):
        whole = rf"(?<!\w){re.escape(name)}(?!\w)"
        text = re.sub(whole, MASK, text, flags=re.IGNORECASE)
    return hide_strangers(text, _words_of_segments(database))


def hide_in_reasons(database: Database, texts: Sequence[str]) -> list[str]:
    """Texts without the words that are identifiers of members, or of rejects, or may be ones."""
    found_words = {word for text in texts for word in _WORDS.findall(text)}
    pieces = {piece for word in found_words for piece in _PIECES.findall(word)}
    words = {word for word in found_words | pieces if not _is_short_number(word)}
    where = (
        "keyspace IN (SELECT id FROM keyspaces) AND identifier IN (SELECT value FROM json_each(?))"
    )
    listed = json.dumps(sorted(words))
    found = database.rows(
        f"SELECT identifier FROM {confirmed_sql(where)} "
        f"UNION SELECT identifier FROM rejects WHERE {where}",
        (listed, listed),
    )
    named, of_segments = {str(row[0]) for row in found}, _words_of_segments(database)

    def hidden_piece(piece: re.Match[str]) -> str:
        return MASK if piece[0] in named else piece[0]

    def hidden(word: re.Match[str]) -> str:
        return MASK if word[0] in named else _PIECES.sub(hidden_piece, word[0])

    return [hide_strangers(_WORDS.sub(hidden, text), of_segments) for text in texts]


def _words_of_segments(database: Database) -> set[str]:
    """A segment's name and its address are nobody's."""
    rows = database.rows("SELECT name, value FROM segments")
    return {str(word) for row in rows for word in row}


def _is_short_number(word: str) -> bool:
    return word.isdecimal() and len(word) < SHORTEST_NUMBER
