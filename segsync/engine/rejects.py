"""Which commands an execution's error file speaks of.

The platform does not document that file. Whatever it looks like, a line of it names a command if
it holds the command's fields (as JSON, or as JSON inside of something else), or the whole
identifier of one command as its text or as one of its cells. Line numbers alone name nothing: where
counting begins is unknown. So a cell that may be a line number or an error code, or is the id of a
segment, a compartment or whatever else the platform may speak of, is no identifier either.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from segsync.engine.commands import COMMANDS
from segsync.engine.session import Cursor, EngineError, quoted
from segsync.engine.wire_text import TargetPlace, literal
from segsync.model import IdentifierKind

if TYPE_CHECKING:
    import pyarrow

LONGEST_LINE = 20_000_000
LONGEST_REASON = 200
LARGEST_CODE = 9_999
"""A cell with a number up to this may be an error code, as well as an identifier."""
REASON_KEYS = ("error", "message", "reason", "error_message", "errors", "cause", "error_code")
NO_REASON = "the platform gave no reason"
KEPT_SQL = "SELECT line, reason FROM rejected"
_PART_TABLE = "rejected_part (line BIGINT PRIMARY KEY, reason VARCHAR)"
_KEPT_TABLE = "CREATE TABLE IF NOT EXISTS rejected (line BIGINT PRIMARY KEY, reason VARCHAR)"


def load_sent(
    cursor: Cursor, changes: pyarrow.RecordBatchReader, places: Iterable[TargetPlace]
) -> None:
    """Fill the table sent from the journal: whom each line was about, in the words of the wire."""
    rows = ", ".join(
        f"({place.keyspace}, {quoted(place.kind.value)}, {literal(place.compartment_id)}, "
        f"{quoted(place.target.address.value)})"
        for place in places
    )
    with cursor.reading("changes", changes):
        cursor.execute(
            "CREATE OR REPLACE TABLE sent AS SELECT c.line::BIGINT AS line, c.identifier::VARCHAR "
            "AS identifier, t.kind, t.compartment_id, t.value "
            f"FROM changes c JOIN (VALUES {rows}) t(keyspace, kind, compartment_id, value) "
            "ON t.keyspace = c.keyspace::BIGINT"
        )


def match(
    cursor: Cursor, error_file: Path, first: int, last: int, platform_ids: Iterable[str]
) -> int:
    """Fill rejected_part with the lines first..last that the file names; returns their number.

    A file without lines in it names none. `platform_ids` are of things that are no members. Raises
    EngineError where memory or disk do not suffice: what the file says is not known then.
    """
    cursor.execute(f"CREATE OR REPLACE TABLE {_PART_TABLE}")
    try:
        _read(cursor, error_file)
    except EngineError as error:
        if error.is_for_want_of_room:
            raise
        return 0
    cursor.execute(
        "CREATE OR REPLACE TEMP VIEW part AS SELECT * FROM sent "
        f"WHERE line BETWEEN {first} AND {last}"
    )
    for statement in (_match_fields(), _match_texts(last - first + 1, platform_ids)):
        cursor.execute(f"INSERT INTO rejected_part {statement} ON CONFLICT DO NOTHING")
    return int(cursor.row("SELECT count(*) FROM rejected_part")[0])


def _read(cursor: Cursor, error_file: Path) -> None:
    cursor.execute(
        f"CREATE OR REPLACE TABLE error_lines AS SELECT row_number() OVER () AS number, text "
        f"FROM read_csv({quoted(str(error_file))}, columns = {{'text': 'VARCHAR'}}, "
        "delim = '\\x01', quote = '', escape = '', header = false, auto_detect = false, "
        f"strict_mode = false, max_line_size = {LONGEST_LINE})"
    )
    inner = "substr(text, position('{' IN text), length(text) - position('{' IN text) "
    inner += "- position('}' IN reverse(text)) + 2)"
    cursor.execute(
        "CREATE OR REPLACE TABLE error_objects AS WITH whole AS ("
        f"SELECT number, text, CASE WHEN json_valid(text) THEN text WHEN json_valid({inner}) "
        f"THEN {inner} WHEN json_valid(replace({inner}, '\"\"', '\"')) "
        f"THEN replace({inner}, '\"\"', '\"') END AS object FROM error_lines), "
        "inside AS (SELECT number, unnest(json_extract(object, '$.*')) AS value FROM whole), "
        "found AS (SELECT number, object FROM whole UNION ALL SELECT number, "
        "CASE WHEN json_type(value) = 'OBJECT' THEN value::VARCHAR "
        "WHEN json_type(value) = 'VARCHAR' AND json_valid(value ->> '$') THEN value ->> '$' END "
        "FROM inside) SELECT f.number, f.object, w.object AS outer_object, w.text FROM found f "
        "JOIN whole w USING (number) WHERE json_type(f.object) = 'OBJECT'"
    )


def _match_fields() -> str:
    kinds = [kind.value for kind in IdentifierKind]
    identifier = "coalesce(" + ", ".join(f"object ->> '$.{kind}'" for kind in kinds) + ")"
    whens = " ".join(f"WHEN object ->> '$.{kind}' IS NOT NULL THEN '{kind}'" for kind in kinds)
    return (
        f"SELECT p.line, {_reason_sql('any_value(e.outer_object)', 'any_value(e.text)')} FROM "
        f"(SELECT *, {identifier} AS identifier, CASE {whens} END AS kind FROM error_objects) e "
        "JOIN part p ON p.identifier = e.identifier AND p.kind = e.kind "
        "AND coalesce(object ->> '$.segment_id', object ->> '$.segment_technical_name') = p.value "
        "AND (p.compartment_id IS NOT DISTINCT FROM (object ->> '$.compartment_id')) "
        "GROUP BY p.line, p.identifier"
    )


def _match_texts(lines: int, platform_ids: Iterable[str]) -> str:
    """An identifier that stands alone in a line or a cell; the line names one command only."""
    ids = ", ".join(map(quoted, platform_ids)) or "NULL"
    cells = "unnest(list_distinct(list_append(string_split_regex(text, '[,;\\t]'), text)))"
    return (
        "SELECT line, any_value(reason) FROM (SELECT any_value(p.line) AS line, "
        f"{_reason_sql('NULL', 'any_value(e.text)')} AS reason FROM "
        f"(SELECT number, text, trim({cells}, ' \"\\r') AS cell FROM error_lines e "
        "WHERE NOT EXISTS (SELECT 1 FROM error_objects o WHERE o.number = e.number)) e "
        "JOIN part p ON p.identifier = e.cell "
        f"WHERE coalesce(try_cast(e.cell AS HUGEINT), {2**63}) > {max(lines + 1, LARGEST_CODE)} "
        "AND e.cell NOT IN (SELECT DISTINCT value FROM sent UNION ALL "
        "SELECT DISTINCT compartment_id FROM sent WHERE compartment_id IS NOT NULL) "
        f"AND (e.cell IN ({ids})) IS NOT TRUE "
        "GROUP BY e.number HAVING count(DISTINCT p.line) = 1) GROUP BY line"
    )


def _reason_sql(json_object: str, text: str) -> str:
    """A short reason, in which the identifier itself is blanked out, however it is spelt; not where
    it is a part of a word.
    """
    given = ", ".join(f"{json_object} ->> '$.{key}'" for key in REASON_KEYS)
    plain = f"CASE WHEN {json_object} IS NULL THEN {text} END"
    reason = f"coalesce({given}, {plain}, {quoted(NO_REASON)})"
    name = "any_value(p.identifier)"
    start, end = (
        f"CASE WHEN regexp_matches({name}, '{edge}') THEN '\\b' ELSE '' END"
        for edge in ("^\\w", "\\w$")
    )
    whole = f"concat({start}, regexp_escape({name}), {end})"
    hidden = f"regexp_replace({reason}, {whole}, '…', 'gi')"
    return f"left({hidden}, {LONGEST_REASON})"


def add_rest(cursor: Cursor, first: int, last: int) -> None:
    """Add the lines first..last that no error file names, where all of them failed."""
    cursor.execute(f"CREATE TABLE IF NOT EXISTS {_PART_TABLE}")
    cursor.execute(f"DELETE FROM rejected_part WHERE line NOT BETWEEN {first} AND {last}")
    cursor.execute(
        f"INSERT INTO rejected_part SELECT line, {quoted(NO_REASON)} "
        f"FROM range({first}, {last + 1}) lines(line) ON CONFLICT DO NOTHING"
    )


def keep(cursor: Cursor) -> None:
    """Add the matched lines of a part to those of the whole run."""
    cursor.execute(_KEPT_TABLE)
    cursor.execute("INSERT INTO rejected SELECT line, reason FROM rejected_part")


def counted(cursor: Cursor, ends: Iterable[int]) -> dict[tuple[int, int], int]:
    """The kept rejects counted by segment number and the last line of their part."""
    parts = ", ".join(f"({int(end)})" for end in ends)
    rows = cursor.rows(
        f"SELECT c.segment, p.last_line, count(*) FROM rejected r JOIN {COMMANDS} c "
        f"ON c.line = r.line ASOF JOIN (VALUES {parts}) p(last_line) ON r.line <= p.last_line "
        "GROUP BY ALL"
    )
    return {(int(segment), int(end)): int(count) for segment, end, count in rows}
