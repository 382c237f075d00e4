"""One value, every lane: the same identifier, the same expiry, the same JSON, byte for byte."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsync.errors import SourceError
from segsync.source import INVALID, Source
from tests.support.sources import LANES, Database, database, read

SQLITE, POSTGRESQL, MARIADB, DUCKDB = "sqlite", "postgresql", "mariadb", "duckdb"
TYPED = (POSTGRESQL, MARIADB, DUCKDB)


@pytest.fixture(scope="module", params=LANES)
def lane(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Database:
    return database(request, tmp_path_factory.mktemp("values"), request.param)


@pytest.fixture(scope="module")
def source(lane: Database) -> Iterator[Source]:
    with lane.open() as opened:
        yield opened


def everywhere(sql: str) -> dict[str, str]:
    return dict.fromkeys((SQLITE, *TYPED), sql)


def typed(sql: str) -> dict[str, str]:
    return dict.fromkeys(TYPED, sql)


def cast(value: str, **types: str) -> dict[str, str]:
    return {dialect: f"CAST({value} AS {type_})" for dialect, type_ in types.items()}


def double(value: str) -> dict[str, str]:
    return cast(value, sqlite="REAL", postgresql="float8", mariadb="double", duckdb="double")


def decimal(value: str, digits: int, scale: int) -> dict[str, str]:
    return typed(f"CAST({value} AS decimal({digits},{scale}))")


def moment(value: str) -> dict[str, str]:
    """A point in time without a zone."""
    return cast(f"'{value}'", postgresql="timestamp", mariadb="datetime(6)", duckdb="timestamp")


LONG = "12345678901234567890123456789012345678"
FRAGMENTS: list[tuple[dict[str, str], str | None]] = [
    (everywhere("42"), "42"),
    (everywhere("0"), "0"),
    (everywhere("-7"), "-7"),
    (everywhere("9007199254740993"), "9007199254740993"),
    (everywhere("9223372036854775807"), "9223372036854775807"),
    (everywhere("-9223372036854775807 - 1"), "-9223372036854775808"),
    (decimal("18446744073709551615", 20, 0), "18446744073709551615"),
    (decimal(LONG, 38, 0), LONG),
    (
        cast("18446744073709551615", mariadb="unsigned", duckdb="ubigint", postgresql="numeric"),
        "18446744073709551615",
    ),
    ({DUCKDB: "CAST('-170141183460469231731687303715884105727' AS hugeint)"}, f"-{2**127 - 1}"),
    ({DUCKDB: "CAST(3 AS tinyint)", POSTGRESQL: "3::smallint"}, "3"),
    (decimal("1.5", 10, 2), "1.50"),
    (decimal("-0.5", 10, 2), "-0.50"),
    (decimal("0", 10, 2), "0.00"),
    (decimal("0.00000001", 20, 8), "0.00000001"),
    (decimal("123456789012345678.123456789", 30, 9), "123456789012345678.123456789"),
    ({POSTGRESQL: "1.10::numeric"}, "1.10"),
    ({POSTGRESQL: "1e30::numeric"}, "1" + 30 * "0"),
    (double("'0.1'"), "0.1"),
    (double("1"), "1.0"),
    (double("'1e21'"), "1e21"),
    (double("'1e16'"), "10000000000000000.0"),
    (double("'1e-7'"), "1e-7"),
    (double("'1.7976931348623157e308'"), "1.7976931348623157e308"),
    (double("'2.2250738585072014e-308'"), "2.2250738585072014e-308"),
    (double("'0.30000000000000004'"), "0.30000000000000004"),
    (double("'123456789.123456789'"), "123456789.12345679"),
    ({POSTGRESQL: "0.1::float4"}, "0.1"),
    ({POSTGRESQL: "TRUE", DUCKDB: "TRUE"}, "true"),
    ({POSTGRESQL: "FALSE", DUCKDB: "FALSE"}, "false"),
    # To MySQL and SQLite a boolean is a number.
    ({SQLITE: "TRUE", MARIADB: "TRUE"}, "1"),
    (moment("2026-11-24 08:00:00"), '"2026-11-24T08:00:00"'),
    (moment("2026-11-24 08:00:00.5"), '"2026-11-24T08:00:00.500000"'),
    (moment("2026-11-24 08:00:00.000001"), '"2026-11-24T08:00:00.000001"'),
    (moment("1969-12-31 23:59:59.999999"), '"1969-12-31T23:59:59.999999"'),
    (moment("1000-01-01 00:00:00"), '"1000-01-01T00:00:00"'),
    (moment("9999-12-31 23:59:59.999999"), '"9999-12-31T23:59:59.999999"'),
    (
        {
            POSTGRESQL: "TIMESTAMPTZ '2026-11-24 09:30:00.25+01:30'",
            DUCKDB: "TIMESTAMPTZ '2026-11-24 09:30:00.25+01:30'",
            MARIADB: "(SELECT at FROM moments)",
        },
        '"2026-11-24T08:00:00.250000Z"',
    ),
    (cast("'2026-11-24'", postgresql="date", mariadb="date", duckdb="date"), '"2026-11-24"'),
    ({POSTGRESQL: """'{"b": [1, 2.50], "a": "é"}'::json"""}, '{"b": [1, 2.50], "a": "é"}'),
    ({POSTGRESQL: """'{"b":[1,2.50]}'::jsonb"""}, '{"b": [1, 2.50]}'),
    ({POSTGRESQL: "'null'::jsonb"}, "null"),
    ({POSTGRESQL: """'"text"'::jsonb""", DUCKDB: """'"text"'::json"""}, '"text"'),
    ({DUCKDB: """'{"b": [1, 2.50], "a": "é"}'::json"""}, '{"b": [1, 2.50], "a": "é"}'),
    (
        {DUCKDB: "[1, NULL, 3]", POSTGRESQL: "ARRAY[1, NULL, 3]"},
        "[1,null,3]",
    ),
    ({DUCKDB: """['é"', '']""", POSTGRESQL: """ARRAY['é"', '']"""}, '["é\\"",""]'),
    ({DUCKDB: "{'k': 1}"}, '{"k":1}'),
    (
        cast("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'", postgresql="uuid", duckdb="uuid"),
        '"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"',
    ),
    ({POSTGRESQL: "'x'::char(3)", DUCKDB: "'x'", MARIADB: "CAST('x' AS char(3))"}, '"x"'),
    ({POSTGRESQL: "'10.0.0.1'::inet"}, '"10.0.0.1/32"'),
    ({POSTGRESQL: "'happy'::mood", DUCKDB: "'happy'::ENUM('sad', 'happy')"}, '"happy"'),
    ({POSTGRESQL: "5::positive"}, "5"),
    ({POSTGRESQL: "ARRAY['happy'::mood]"}, '["happy"]'),
    ({SQLITE: "'a' || char(0) || 'b'", DUCKDB: "'a' || chr(0) || 'b'"}, '"a\\u0000b"'),
    ({MARIADB: "CONCAT('a', CHAR(0 USING utf8mb4), 'b')"}, '"a\\u0000b"'),
    (everywhere("NULL"), None),
    (decimal("NULL", 10, 2), None),
    (double("NULL"), None),
    (cast("NULL", postgresql="timestamptz", mariadb="datetime", duckdb="timestamptz"), None),
    (cast("NULL", postgresql="json", duckdb="json"), None),
    (cast("NULL", postgresql="date", mariadb="date", duckdb="date"), None),
    (cast("NULL", postgresql="boolean", duckdb="boolean"), None),
    (cast("NULL", postgresql="uuid", duckdb="uuid"), None),
]


@pytest.fixture(scope="module", autouse=True)
def _types(lane: Database) -> None:
    if lane.dialect == POSTGRESQL:
        lane.write(
            "CREATE TYPE mood AS ENUM ('sad', 'happy')",
            "CREATE DOMAIN positive AS bigint CHECK (VALUE > 0)",
        )
    if lane.dialect == MARIADB:
        lane.write(
            "CREATE TABLE moments (at timestamp(6))",
            "SET time_zone = '+01:30'",
            "INSERT INTO moments VALUES ('2026-11-24 09:30:00.25')",
        )


def test_each_type_has_one_json(lane: Database, source: Source) -> None:
    cases = [(sql[lane.dialect], wanted) for sql, wanted in FRAGMENTS if lane.dialect in sql]
    names = [f"v{number}" for number in range(len(cases))]
    columns = ", ".join(f"{sql} AS {name}" for name, (sql, _) in zip(names, cases, strict=True))
    (row,) = read(source, f"SELECT 'x' AS user_account_id, {columns}", *names)
    assert INVALID not in row
    for name, (sql, wanted) in zip(names, cases, strict=True):
        assert row[name] == wanted, sql


HOSTILE = [
    "",
    " ",
    "NULL",
    "\\N",
    "é😀",
    "e\N{COMBINING ACUTE ACCENT}",
    "\"\\/'`",
    "\b\f\n\r\t",
    "".join(map(chr, range(1, 32))) + "\x7f\x85",
    "\u2028\u2029\ufeff\uffff\u202e",
    "=1.50",
    "~0.1",
    '"x',
    "Z2026-11-24",
    "</script>&amp;",
    "100% %s %(x)s :x ?1 $1 {x}",
    "'; DROP TABLE t; --",
    "x" * 100_000,
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_any_text_arrives_as_it_is(source: Source, text: str) -> None:
    query = "SELECT :text AS user_account_id, :text AS v, '%' AS w WHERE ':text' <> '::text'"
    (row,) = read(source, query, "v", "w", params={"text": text})
    assert row["user_account_id"] == text
    assert row["v"] == to_json(text)
    assert row["w"] == '"%"'


def to_json(text: str) -> str:
    """A JSON string as DuckDB writes it, by its rules and not by its code."""
    short = {
        '"': '\\"',
        "\\": "\\\\",
        "\b": "\\b",
        "\f": "\\f",
        "\n": "\\n",
        "\r": "\\r",
        "\t": "\\t",
    }
    parts = (short.get(c, f"\\u{ord(c):04X}" if c < " " else c) for c in text)
    return f'"{"".join(parts)}"'


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False, allow_subnormal=False),
)
def test_parameters_arrive_as_they_are(
    source: Source, text: str, number: int, fraction: float
) -> None:
    params = {"text": text, "number": number, "fraction": fraction, "nothing": None}
    query = (
        "SELECT 'x' AS user_account_id, :text AS t, :number AS n, :fraction + 0 AS f"
        " WHERE CAST(:nothing AS char(1)) IS NULL"
    )
    (row,) = read(source, query, "t", "n", "f", params=params)
    assert row["t"] == to_json(text)
    assert row["n"] == str(number)
    assert float(row["f"]) == fraction


IDENTIFIERS = [
    (everywhere("42"), "42"),
    (everywhere("'042'"), "042"),
    (everywhere("' x '"), " x "),
    (everywhere("''"), ""),
    (everywhere("'é😀'"), "é😀"),
    (everywhere("9223372036854775807"), "9223372036854775807"),
    (everywhere("-9223372036854775807 - 1"), "-9223372036854775808"),
    (decimal(LONG, 38, 0), LONG),
    (decimal("100", 10, 0), "100"),
    ({POSTGRESQL: "7::numeric"}, "7"),
    ({POSTGRESQL: "'x'::varchar(9)"}, "x"),
    (
        cast("'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", postgresql="uuid", duckdb="uuid"),
        "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
    ),
    (everywhere("NULL"), None),
    (decimal("NULL", 10, 0), None),
]


def test_each_identifier_has_one_text(lane: Database, source: Source) -> None:
    for sql, wanted in IDENTIFIERS:
        if lane.dialect in sql:
            (row,) = read(source, f"SELECT {sql[lane.dialect]} AS email_hash")
            assert row == {"email_hash": wanted}, sql


@pytest.mark.many_rows
def test_identifiers_keep_their_form_whatever_stands_before_them(
    lane: Database, source: Source
) -> None:
    """A driver that takes a column's type from its first rows sees only NULL there."""
    numbers = {
        SQLITE: "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 200000)"
        " SELECT i FROM n",
        POSTGRESQL: "SELECT i FROM generate_series(1, 200000) AS n(i)",
        MARIADB: "SELECT seq AS i FROM seq_1_to_200000",
        DUCKDB: "SELECT range AS i FROM range(1, 200001)",
    }[lane.dialect]
    query = f"""
        SELECT CASE WHEN i > 150000 THEN i END AS user_account_id,
               CASE WHEN i > 190000 THEN 'é' END AS email_hash,
               CASE WHEN i > 195000 THEN 1.5 END AS v,
               CASE WHEN i > 199999 THEN 123 END AS expiration_ts
        FROM ({numbers}) AS numbers"""
    found = read(source, query, "v")
    assert len(found) == 200_000
    assert [row["user_account_id"] for row in found[149_999:150_001]] == [None, "150001"]
    assert found[-1] == {
        "user_account_id": "200000",
        "email_hash": "é",
        "v": "1.5",
        "expiration_ts": 123,
    }


REFUSED = [
    double("1"),
    decimal("1.5", 10, 2),
    {POSTGRESQL: "TRUE", DUCKDB: "TRUE"},
    {POSTGRESQL: "'x'::bytea", DUCKDB: "'x'::blob", MARIADB: "CAST('x' AS binary)"},
    moment("2026-11-24 08:00:00"),
    cast("'2026-11-24'", postgresql="date", mariadb="date", duckdb="date"),
    {POSTGRESQL: "'{}'::json"},
    {POSTGRESQL: "ARRAY['x']", DUCKDB: "['x']"},
]


@pytest.mark.parametrize("sql", REFUSED, ids=lambda sql: sql.get(POSTGRESQL, ""))
def test_what_is_no_identifier_is_refused_with_the_remedy(
    lane: Database, source: Source, sql: dict[str, str]
) -> None:
    if lane.dialect == SQLITE:
        (row,) = read(source, "SELECT 1.5 AS user_account_id, 'x' AS email_hash")
        assert row["user_account_id"] is None
        assert "`user_account_id` is a floating-point number" in row[INVALID]
    elif lane.dialect in sql:
        with pytest.raises(SourceError, match="`user_account_id` is an identifier") as caught:
            read(source, f"SELECT {sql[lane.dialect]} AS user_account_id")
        assert "CAST" in (caught.value.hint or "")


EXPIRIES = [
    (everywhere("0"), 0),
    (everywhere("NULL"), None),
    (everywhere("1795507200123"), 1795507200123),
    (everywhere("-5"), -5),
    (double("'1795507200123.75'"), 1795507200123),
    (decimal("1795507200123.75", 20, 2), 1795507200123),
    (moment("2026-11-24 08:00:00.123999"), 1795507200123),
    (
        {
            POSTGRESQL: "TIMESTAMPTZ '2026-11-24 09:00:00+01'",
            DUCKDB: "TIMESTAMPTZ '2026-11-24 09:00:00+01'",
            SQLITE: "'2026-11-24T09:00:00+01:00'",
        },
        1795507200000,
    ),
    (
        {
            **cast("'2026-11-24'", postgresql="date", mariadb="date", duckdb="date"),
            SQLITE: "'2026-11-24'",
        },
        1795478400000,
    ),
    ({SQLITE: "'2026-11-24 08:00:00.123'"}, 1795507200123),
    ({SQLITE: "'2026-11-24T08:00Z'"}, 1795507200000),
    # A moment of long ago has passed: as a number it would be never, or one of seconds.
    (moment("1970-01-01 00:00:00"), 100_000_000_000),
    (moment("1000-01-01 00:00:00"), 100_000_000_000),
    (moment("1973-03-03 09:46:40.001"), 100_000_000_001),
    ({SQLITE: "'1969-12-31 23:59:59'"}, 100_000_000_000),
    (
        {
            **cast("'1900-01-01'", postgresql="date", mariadb="date", duckdb="date"),
            SQLITE: "'1900-01-01'",
        },
        100_000_000_000,
    ),
]


def test_each_expiry_is_one_number_of_milliseconds(lane: Database, source: Source) -> None:
    for sql, wanted in EXPIRIES:
        if lane.dialect in sql:
            query = f"SELECT 'x' AS user_account_id, {sql[lane.dialect]} AS expiration_ts"
            assert read(source, query) == [{"user_account_id": "x", "expiration_ts": wanted}], sql


NO_TIMES = [
    (double("'NaN'"), (POSTGRESQL, DUCKDB)),
    (double("'1e300'"), (SQLITE, POSTGRESQL, MARIADB, DUCKDB)),
    ({POSTGRESQL: "'infinity'::timestamptz"}, (POSTGRESQL,)),
    ({POSTGRESQL: "'-infinity'::date"}, (POSTGRESQL,)),
    (everywhere("'soon'"), (SQLITE, POSTGRESQL, MARIADB, DUCKDB)),
    (typed("'2026-11-24'"), TYPED),
    *[
        ({SQLITE: sql}, (SQLITE,))
        for sql in ("'now'", "'12:00'", "'2026-02-30'", "''", "'1795507200123'", "x'00'")
    ],
]


def test_an_expiry_that_is_no_time_is_told_as_an_invalid_row(
    lane: Database, source: Source
) -> None:
    for sql, dialects in NO_TIMES:
        if lane.dialect in dialects:
            query = f"SELECT 'x' AS user_account_id, {sql[lane.dialect]} AS expiration_ts"
            (row,) = read(source, query)
            assert row["expiration_ts"] is None, sql
            assert "`expiration_ts` is no point in time" in row[INVALID], sql


def test_a_type_that_is_never_a_time_is_refused(lane: Database, source: Source) -> None:
    if lane.dialect in (POSTGRESQL, DUCKDB):
        with pytest.raises(SourceError, match="`expiration_ts` is an expiry, and"):
            read(source, "SELECT 'x' AS user_account_id, TRUE AS expiration_ts")


UNSENDABLE = [
    {POSTGRESQL: "'NaN'::float8", DUCKDB: "'NaN'::double"},
    {POSTGRESQL: "'-Infinity'::float8", DUCKDB: "'-inf'::double", SQLITE: "-9e999"},
    {POSTGRESQL: "'NaN'::numeric"},
    {POSTGRESQL: "'infinity'::timestamp"},
    {POSTGRESQL: "'0044-03-15 BC'::date"},
    {SQLITE: "x'00'"},
]


def test_a_value_that_json_cannot_carry_makes_its_row_invalid(
    lane: Database, source: Source
) -> None:
    for sql in UNSENDABLE:
        if lane.dialect in sql:
            good = "UNION ALL SELECT 'y', NULL"
            query = f"SELECT 'x' AS user_account_id, {sql[lane.dialect]} AS v {good}"
            bad, fine = read(source, query, "v")
            assert bad["v"] is None
            assert bad[INVALID].startswith("`v` is "), sql
            assert fine == {"user_account_id": "y", "v": None}


def test_bytes_in_the_bag_are_refused_with_the_remedy(lane: Database, source: Source) -> None:
    sql = {POSTGRESQL: "'x'::bytea", DUCKDB: "'x'::blob", MARIADB: "CAST('x' AS binary)"}
    if lane.dialect in sql:
        with pytest.raises(SourceError, match="`v` is a value of the data bag, and") as caught:
            read(source, f"SELECT 'x' AS user_account_id, {sql[lane.dialect]} AS v", "v")
        assert "encode" in (caught.value.hint or "")


def test_a_data_bag_and_an_address_are_texts(lane: Database, source: Source) -> None:
    json_type = {POSTGRESQL: "::jsonb", DUCKDB: "::json"}.get(lane.dialect, "")
    query = f"""SELECT 'x' AS user_account_id, '{{"k": 1}}'{json_type} AS DATA_BAG"""
    assert read(source, query) == [{"user_account_id": "x", "data_bag": '{"k": 1}'}]
    if lane.dialect == SQLITE:
        (row,) = read(source, "SELECT 'x' AS user_account_id, 5 AS data_bag")
        assert row[INVALID] == "`data_bag` is not text"
    else:
        with pytest.raises(SourceError, match="`data_bag` is text, and"):
            read(source, "SELECT 'x' AS user_account_id, 5 AS data_bag")


def test_text_that_is_not_utf_8_is_refused(lane: Database, source: Source) -> None:
    if lane.dialect == SQLITE:
        with pytest.raises(SourceError, match="UTF-8"):
            read(source, "SELECT CAST(x'61FF' AS TEXT) AS user_account_id")


def test_several_reasons_of_one_row_are_all_told(lane: Database, source: Source) -> None:
    if lane.dialect == SQLITE:
        query = "SELECT 0.5 AS user_account_id, x'00' AS v, 'soon' AS expiration_ts"
        found = read(source, f"{query} UNION ALL SELECT 1, 2, 3", "v")
        assert [name in found[0][INVALID] for name in ("user_account_id", "`v`", "expiration_ts")]
        assert found[0][INVALID].count(";") == 2
        assert found[1] == {"user_account_id": "1", "v": "2", "expiration_ts": 3}


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": 1,}', "[Infinity]"])
def test_what_only_duckdb_takes_for_json_makes_its_row_invalid(tmp_path: Path, text: str) -> None:
    with duckdb_source(tmp_path) as source:
        bad, fine, none = read(
            source,
            f"SELECT 'x' AS user_account_id, '{text}'::JSON AS v "
            """UNION ALL SELECT 'y', '["NaN,]"]' UNION ALL SELECT 'z', NULL""",
            "v",
        )
    assert bad[INVALID] == "`v` is no JSON: NaN, Infinity and a comma at an end are none"
    assert (fine["v"], none["v"]) == ('["NaN,]"]', None)


@pytest.mark.parametrize("value", ["{'a': 'x'::BLOB}", "['x'::BLOB]", "MAP {'a': 'x'::BLOB}"])
def test_bytes_inside_of_a_value_are_refused_with_the_remedy(tmp_path: Path, value: str) -> None:
    with duckdb_source(tmp_path) as source, pytest.raises(SourceError, match="bytes") as caught:
        read(source, f"SELECT 'x' AS user_account_id, {value} AS v", "v")
    assert "hex or base64" in (caught.value.hint or "")


def test_the_name_of_the_column_of_reasons_is_taken(tmp_path: Path) -> None:
    with duckdb_source(tmp_path) as source, pytest.raises(SourceError, match=INVALID) as caught:
        read(source, f"SELECT 'x' AS user_account_id, 'secret' AS {INVALID}", INVALID)
    assert "give that column another name" in (caught.value.hint or "")


@contextmanager
def duckdb_source(folder: Path) -> Iterator[Source]:
    path = folder / "shop.duckdb"
    duckdb.connect(str(path)).close()
    with Database("duckdb", f"duckdb:///{path}", "auto").open() as source:
        yield source
