"""SQLite's URLs and SQL: how a query is read so that every driver gives the same values.

Any value of an SQLite column may have any type, so each value is classed in the query itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qsl, unquote
from urllib.parse import quote as quote_url

from segsync.errors import SourceError
from segsync.model import Segment
from segsync.source.columns import Role, check_columns, role
from segsync.source.fragments import LONG_AGO_MS, MARK, UNREADABLE_MS, Form, Tag, quote
from segsync.source.lane import Column, Projection

BUSY_TIMEOUT_MS = 10_000
"""How long a read waits while somebody else commits to the file."""

OPTIONS = frozenset({"immutable", "nolock", "vfs", "cache"})
"""What may stand behind the `?` of the URL, in SQLite's own meaning."""
IGNORED_OPTIONS = frozenset({"uri", "mode", "timeout", "check_same_thread"})


def read_only_uri(url: str, folder: Path | None) -> str:
    """SQLite's own URI for a SQLAlchemy URL, read-only. A relative path begins at `folder`.

    Raises SourceError where the URL names no file that exists.
    """
    _, _, rest = url.partition("://")
    location, _, options_text = rest.partition("?")
    name = unquote(location.removeprefix("/")).removeprefix("file:")
    if not name or name == ":memory:":
        raise SourceError(
            "an SQLite source needs a file, and its URL names none",
            hint="Write the file's path behind the three slashes: relative/path.db, or "
            "/absolute/path.db with a fourth slash.",
        )
    options = dict(parse_qsl(options_text, keep_blank_values=True))
    unknown = options.keys() - OPTIONS - IGNORED_OPTIONS
    if unknown:
        raise SourceError(f"the URL of an SQLite source has no option {sorted(unknown)[0]!r}")
    path = (folder or Path()).absolute() / name
    if not path.is_file():
        raise SourceError(
            f"there is no file {path}", hint="A relative path in a URL begins at the spec's folder."
        )
    kept = "".join(f"&{key}={quote_url(options[key])}" for key in OPTIONS & options.keys())
    return f"file:{quote_url(str(path))}?mode=ro{kept}"


SESSION = (
    f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}",
    "PRAGMA query_only = ON",
    "BEGIN",
    # The transaction's snapshot is taken by its first read, so take it now.
    "SELECT count(*) FROM sqlite_schema",
)


def probe(sql: str) -> str:
    """A query that gives the columns of `sql` and no row; it takes no time and runs nothing."""
    return f"SELECT * FROM ({sql}\n) LIMIT 0"


def _original_names(names: Sequence[str]) -> list[str]:
    """The names as the query gave them: SQLite calls the second column `x` of a subquery `x:1`."""
    seen: set[str] = set()
    originals = []
    for name in names:
        base, colon, number = name.rpartition(":")
        repeated = bool(colon) and number.isdigit() and base.lower() in seen
        originals.append(base if repeated else name)
        seen.add(originals[-1].lower())
    return originals


def project(segment: Segment, sql: str, names: Sequence[str], *, plain: bool) -> Projection:
    """The query `sql` with each value in its canonical form, behind a first row to be dropped.

    Raises SourceError where `names`, the columns as `probe` gives them, are not what is needed.

    The first row gives each column its type: ADBC takes the types from the first batch, where all
    values may be NULL. `LIMIT -1 … WHERE 1` keeps SQLite from merging the query into this one,
    which evaluates each column's expression several times: slow, and random() gives several values.
    A plain query has only columns there, and merging it saves a quarter of the time.
    """
    check_columns(segment, _original_names(names))
    rows = f"(\n{sql}\n)" if plain else f"(SELECT * FROM (\n{sql}\n) LIMIT -1) WHERE 1"
    columns = tuple(_column(name) for name in names)
    first = ", ".join("0" if role(column.name) is Role.EXPIRATION else "''" for column in columns)
    values = ",\n  ".join(_value(name) for name in names)
    return Projection(columns, f"SELECT {first}\nUNION ALL SELECT\n  {values}\nFROM {rows}")


def _column(name: str) -> Column:
    if role(name.lower()) is Role.EXPIRATION:
        return Column.of(name, "int64")
    return Column.of(name, "string", Form.TAGGED)


def _value(name: str) -> str:
    build = {
        Role.IDENTIFIER: _identifier,
        Role.TEXT: _text,
        Role.EXPIRATION: _expiration,
        Role.VALUE: _tagged,
    }[role(name.lower())]
    return build(quote(name))


def _identifier(x: str) -> str:
    return (
        f"CASE typeof({x}) WHEN 'text' THEN {x} WHEN 'integer' THEN CAST({x} AS TEXT)"
        f" WHEN 'real' THEN {_mark('is a floating-point number: CAST it AS INTEGER or TEXT')}"
        f" WHEN 'blob' THEN {_mark('is a BLOB: use hex() or CAST it AS TEXT')} END"
    )


def _text(x: str) -> str:
    return (
        f"CASE typeof({x}) WHEN 'text' THEN {x} WHEN 'null' THEN NULL"
        f" ELSE {_mark('is not text')} END"
    )


def _expiration(x: str) -> str:
    # SQLite takes February 30 for March 2, so the date is compared with what it is taken for.
    day = f"substr({x}, 1, 10)"
    moment = f"CAST(round((julianday({x}) - 2440587.5) * 86400000) AS INTEGER)"
    return (
        f"CASE typeof({x}) WHEN 'integer' THEN {x} WHEN 'null' THEN NULL"
        f" WHEN 'real' THEN CASE WHEN abs({x}) < 9e18 THEN CAST({x} AS INTEGER)"
        f" ELSE {UNREADABLE_SQL} END"
        f" WHEN 'text' THEN CASE WHEN date({day}, '+0 days') = {day}"
        f" THEN coalesce(max({moment}, {LONG_AGO_MS}), {UNREADABLE_SQL}) ELSE {UNREADABLE_SQL} END"
        f" ELSE {UNREADABLE_SQL} END"
    )


# SQLite reads the literal -9223372036854775808 as a float.
UNREADABLE_SQL = f"({UNREADABLE_MS + 1} - 1)"


def _tagged(x: str) -> str:
    # 20 digits, as older versions of SQLite print a float with 17 that reads back as another one.
    number = f"printf('%!.20g', {x})"
    finite = f"abs({x}) <= 1.7976931348623157e308"
    return (
        f"CASE typeof({x}) WHEN 'text' THEN '{Tag.TEXT.value}' || {x}"
        f" WHEN 'integer' THEN '{Tag.FRAGMENT.value}' || {x}"
        f" WHEN 'real' THEN CASE WHEN {finite} THEN '{Tag.FLOAT.value}' || {number}"
        f" ELSE {_mark('is infinite, which JSON cannot carry')} END"
        f" WHEN 'blob' THEN {_mark('is a BLOB: use hex() or CAST it AS TEXT')} END"
    )


def _mark(reason: str) -> str:
    return f"char({ord(MARK[0])}) || '{MARK[1:]}{reason}'"
