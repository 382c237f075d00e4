"""The text of a query: parameters, its end, and what is no query."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from segsync.errors import SourceError
from segsync.source.dbapi import MARGIN, bind
from segsync.source.query import DUCKDB, MSSQL, MYSQL, POSTGRESQL, SQLITE, STANDARD, Lexis, parse
from tests.support.sources import PLACE, segment

ALL = [STANDARD, SQLITE, POSTGRESQL, DUCKDB, MYSQL, MSSQL]


def rendered(query: str, lexis: Lexis = STANDARD, **params: str | int) -> str:
    """The query with `<name>` where a parameter is bound."""
    return parse(segment(query, params=params), lexis).render(lambda name: f"<{name}>")


@pytest.mark.parametrize("lexis", ALL)
def test_a_parameter_is_bound_wherever_it_stands_as_one(lexis: Lexis) -> None:
    assert rendered("SELECT :a,:b+:a FROM t WHERE x>:a", lexis, a=1, b=2) == (
        "SELECT <a>,<b>+<a> FROM t WHERE x><a>"
    )


@pytest.mark.parametrize("lexis", ALL)
@pytest.mark.parametrize(
    "text",
    [
        "SELECT ':a', 'it''s :a' FROM t WHERE b = :a",
        'SELECT 1 AS ":a", 2 AS "x"":a" FROM t WHERE b = :a',
        "SELECT '12:30:45' FROM t WHERE b = :a -- not :a",
        "SELECT 1 /* :a ' \" -- */ WHERE b = :a",
        "SELECT 1 -- it's :a \" \n WHERE b = :a",
        "SELECT :ab, :A, a::a FROM t WHERE b = :a",
        "SELECT 1 WHERE b = :a /* the ; end */ ",
    ],
)
def test_nothing_but_the_parameter_is_touched(text: str, lexis: Lexis) -> None:
    before, _, after = text.rpartition("= :a")
    assert rendered(text, lexis, a=1) == f"{before}= <a>{after}"


@pytest.mark.parametrize(
    ("lexis", "text"),
    [
        (
            POSTGRESQL,
            "SELECT $$ :a ' $$, $q$ $$ :a $q$, E'\\' :a', x::a, '{1}'::int[] WHERE b = :a",
        ),
        (POSTGRESQL, "SELECT 1 /* /* :a */ :a ' */ WHERE b = :a"),
        (POSTGRESQL, "SELECT y[1] FROM t$x WHERE someE'\\' = :a"),
        (DUCKDB, "SELECT $$ :a $$, E'\\' :a' WHERE b = :a"),
        (MYSQL, "SELECT 'it\\'s :a', \"\\\":a\", `:a ``:a`, 5--:b\n, @x:=3 # :a ' \n WHERE b = :a"),
        (SQLITE, "SELECT [:a ' ], `:a` FROM t WHERE b = :a"),
        (MSSQL, "SELECT [:a ' ] FROM t WHERE b = :a"),
    ],
)
def test_each_dialect_quotes_in_its_own_ways(lexis: Lexis, text: str) -> None:
    before, _, after = text.rpartition("= :a")
    assert rendered(text, lexis, a=1) == f"{before}= <a>{after}"


def test_without_params_nothing_is_a_parameter() -> None:
    query = parse(segment("SELECT :a, '100%' FROM t"), STANDARD)
    assert query.render(lambda name: f"<{name}>") == "SELECT :a, '100%' FROM t"


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (";", ""),
        (" ; ", "  "),
        (";;\n;", "\n"),
        ("; -- done", " -- done"),
        ("/* ; */;/* a ; b */", "/* ; *//* a ; b */"),
        ("\n-- x ;\n;\n", "\n-- x ;\n\n"),
    ],
)
def test_semicolons_at_the_end_are_taken_off_and_comments_survive(end: str, left: str) -> None:
    assert rendered(f"SELECT ';'{end}") == f"SELECT ';'{left}"


@pytest.mark.parametrize("lexis", ALL)
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "is empty"),
        ("SELECT 1 \0 , 2", "NUL"),
        (" -- nothing\n", "is empty"),
        (";", "is empty"),
        ("SELECT 1; SELECT 2", "more than one statement"),
        ("SELECT 1; DROP TABLE t; --", "more than one statement"),
        ("SELECT 1) ; DELETE FROM t; SELECT (1", "parenthesis that it did not open"),
        ("SELECT (1", "parenthesis that is not closed"),
        ("SELECT 'abc", "does not end: '"),
        ('SELECT "abc', 'does not end: "'),
        ("SELECT 1 /* abc", r"does not end: /\*"),
        ("DELETE FROM t", "is a DELETE statement"),
        ("/* SELECT */ insert into t values (1)", "is a INSERT statement"),
        ("( DROP TABLE t )", "is a DROP statement"),
        ("PRAGMA query_only = OFF", "is a PRAGMA statement"),
        ("EXPLAIN SELECT 1", "is a EXPLAIN statement"),
        ("ATTACH 'x' AS y", "is a ATTACH statement"),
        ("COPY t TO 'x'", "is a COPY statement"),
        ("CALL p()", "is a CALL statement"),
        ("BEGIN", "is a BEGIN statement"),
        ("VACUUM INTO 'x'", "is a VACUUM statement"),
        ("\N{FULLWIDTH LATIN CAPITAL LETTER S}ELECT 1", "statement"),
    ],
)
def test_what_is_not_one_query_is_refused(text: str, reason: str, lexis: Lexis) -> None:
    with pytest.raises(SourceError, match=reason) as caught:
        parse(segment(text), lexis)
    assert caught.value.place == PLACE


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("SELECT id INTO copied FROM t", "INTO"),
        ("SELECT 1 DELETE FROM t", "DELETE"),
        ("WITH x AS (SELECT 1 AS n) update t SET n = 2", "UPDATE"),
        ("SELECT 1 exec sp_who", "EXEC"),
        ("SELECT 1 /* ; */ DROP TABLE t", "DROP"),
    ],
)
def test_where_no_subquery_holds_it_a_query_may_have_no_verb(text: str, word: str) -> None:
    """T-SQL separates statements by nothing, and has no transaction that only reads."""
    with pytest.raises(SourceError, match=f"has the word {word}; a segment can only") as caught:
        parse(segment(text), MSSQL)
    assert caught.value.place == PLACE
    reads = "SELECT [into], t.deleted, 'drop', \"exec\" FROM t -- kill\n"
    assert parse(segment(reads), MSSQL).render(str) == reads


@pytest.mark.parametrize("text", ["SELECT 1", "with a as (select 1) select * from a", "VALUES (1)"])
def test_every_kind_of_query_passes(text: str) -> None:
    assert rendered(f"  ( {text} )") == f"  ( {text} )"


def test_a_parameter_that_the_query_does_not_use_is_an_error() -> None:
    with pytest.raises(SourceError, match="does not use its params :b, :c") as caught:
        rendered("SELECT :a, ':b'", a=1, b=2, c=3)
    assert caught.value.place == PLACE


@given(st.text(alphabet="ab:'\"-/*$;()[]`\\ \n%Eé#", max_size=40), st.sampled_from(ALL))
def test_any_text_comes_out_as_it_went_in_or_is_refused(text: str, lexis: Lexis) -> None:
    try:
        query = parse(segment(f"SELECT {text}"), lexis)
    except SourceError:
        return
    out = query.render(lambda name: f":{name}")
    assert out.replace(";", "") == f"SELECT {text}".replace(";", "")


@pytest.mark.parametrize(
    ("style", "sql", "values"),
    [
        ("qmark", "?, '%', ?, ?", (1, 2, 1)),
        ("format", "%s, '%%', %s, %s", (1, 2, 1)),
        ("pyformat", "%(a)s, '%%', %(b)s, %(a)s", {"a": 1, "b": 2}),
        ("named", ":a, '%', :b, :a", {"a": 1, "b": 2}),
        ("numeric", ":1, '%', :2, :1", (1, 2)),
        ("numeric_dollar", "$1, '%', $2, $1", (1, 2)),
    ],
)
def test_every_style_of_drivers_gets_its_own_placeholders(
    style: str, sql: str, values: object
) -> None:
    a, b = f"{MARGIN}a{MARGIN}", f"{MARGIN}b{MARGIN}"
    assert bind(f"{a}, '%', {b}, {a}", {"a": 1, "b": 2}, style) == (sql, values)


@pytest.mark.parametrize("style", ["qmark", "format", "pyformat", "named"])
def test_without_params_a_driver_is_not_told_to_look_for_any(style: str) -> None:
    assert bind("SELECT '100%', ':x'", {}, style) == ("SELECT '100%', ':x'",)
