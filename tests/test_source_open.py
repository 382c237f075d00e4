"""Opening a source: what its URL may be, what is said when it does not work, what is imported."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import tomllib
from dataclasses import replace
from pathlib import Path
from textwrap import dedent
from typing import Any
from urllib.parse import quote

import pytest

from segsync.errors import SegsyncError, SourceError
from segsync.secret import Secret, secrets_of
from segsync.source import open_source
from segsync.source.adbc_postgresql import libpq_uri
from segsync.source.dialects import with_driver
from segsync.source.messages import Translator
from segsync.source.sqlite import read_only_uri
from tests.support.canary import PASSWORD_OF_URL
from tests.support.servers import Server
from tests.support.sources import PLACE, Database, Lane, database, read, run_python, segment

ROOT = Path(__file__).resolve().parents[1]
LANE_NAMES: tuple[Lane, ...] = ("auto", "dbapi")


def fails(url: str, **options: Any) -> SourceError:
    """Opening `url` fails; the error."""
    with pytest.raises(SourceError) as caught:
        open_source("warehouse", Secret(url), **options)
    return caught.value


@pytest.fixture
def people(tmp_path: Path) -> Path:
    """An SQLite file whose path needs quoting, with a table of one member."""
    path = tmp_path / "ä b%20#c.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE t (id)")
        connection.execute("INSERT INTO t VALUES (1)")
    connection.close()
    return path


@pytest.mark.parametrize("lane", ["auto", "dbapi"])
@pytest.mark.parametrize(
    "form",
    [
        "sqlite:///{quoted}",
        "sqlite+pysqlite:///{quoted}",
        "sqlite:///{quoted}?immutable=1",
        "sqlite:///{quoted}?timeout=5&check_same_thread=false",
        "sqlite:///file:{quoted}?mode=rw&uri=true",
        "sqlite:///{relative}",
    ],
)
def test_every_form_of_an_sqlite_url_reads_the_file(people: Path, form: str, lane: Any) -> None:
    url = form.format(quoted=quote(str(people)), relative=quote(people.name))
    with open_source("warehouse", Secret(url), lane=lane, folder=people.parent) as source:
        assert read(source, "SELECT id AS user_account_id FROM t") == [{"user_account_id": "1"}]


def test_a_relative_path_begins_at_the_working_directory_where_no_folder_is_given(
    people: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(people.parent.parent)
    people.rename(people.parent / "y")
    uri = read_only_uri(f"sqlite:///{people.parent.name}/y?immutable=1", None)
    assert uri == f"file:{people.parent}/y?mode=ro&immutable=1"


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "sqlite:///"])
def test_an_sqlite_source_needs_a_file(url: str) -> None:
    assert "needs a file" in fails(url).message


@pytest.mark.parametrize("lane", ["auto", "dbapi"])
def test_a_file_that_is_missing_is_named_and_not_made(tmp_path: Path, lane: Any) -> None:
    error = fails("sqlite:///missing.db", folder=tmp_path, lane=lane)
    assert str(tmp_path / "missing.db") in error.message
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("lane", ["auto", "dbapi"])
def test_a_file_that_is_no_database_is_refused(tmp_path: Path, lane: Any) -> None:
    (tmp_path / "x.db").write_bytes(b"id,name\n" * 200)
    assert "not a database" in fails("sqlite:///x.db", folder=tmp_path, lane=lane).message


def test_an_option_that_means_nothing_is_named() -> None:
    assert "no option 'mdoe'" in fails("sqlite:///x.db?mdoe=ro").message


@pytest.mark.parametrize("mode", ["delete", "wal"])
@pytest.mark.parametrize("lane", ["auto", "dbapi"])
def test_reading_changes_no_byte_and_leaves_no_file(people: Path, mode: str, lane: Any) -> None:
    with sqlite3.connect(people) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.close()
    before = {path: path.read_bytes() for path in people.parent.iterdir()}
    stat = people.stat()
    url = Secret(f"sqlite:///{quote(people.name)}")
    with open_source("warehouse", url, lane=lane, folder=people.parent) as source:
        read(source, "SELECT id AS user_account_id FROM t")
    assert people.stat().st_mtime_ns == stat.st_mtime_ns
    after = {path: path.read_bytes() for path in people.parent.iterdir()}
    assert {path: after[path] for path in before} == before
    if mode == "delete":
        assert after == before


@pytest.mark.parametrize(
    ("url", "package"),
    [
        ("oracle+oracledb://u:p@h/d", "oracledb"),
        ("snowflake://u:hunter22@account/d", "snowflake-sqlalchemy"),
        ("bigquery://project", "sqlalchemy-bigquery"),
        ("mysql+mysqldb://u:p@h/d", "mysqlclient"),
        ("postgresql+psycopg2://u:p@h/d", "psycopg2-binary"),
    ],
)
def test_a_missing_driver_is_named_with_the_package_to_install(url: str, package: str) -> None:
    error = fails(url, lane="dbapi")
    assert f'pip install "{package}"' in (error.hint or "")
    assert "hunter22" not in f"{error} {error.hint}"


@pytest.mark.parametrize(
    ("url", "hint"),
    [("postgresqlx://u:hunter22@h/d", "did you mean postgresql?"), ("zzz://h/d", "if the name is")],
)
def test_nobody_is_told_to_install_what_a_misspelt_url_names(url: str, hint: str) -> None:
    error = fails(url)
    assert hint in (error.hint or "")
    assert "pip install" not in (error.hint or "")
    assert "hunter22" not in f"{error} {error.hint}"


WITHOUT = """
    import sys
    from importlib.machinery import PathFinder

    class Without:
        def find_spec(self, name, path=None, target=None):
            missing = name.partition(".")[0] in MISSING
            return None if missing else PathFinder.find_spec(name, path, target)

    sys.meta_path[sys.meta_path.index(PathFinder)] = Without()
    from segsync.errors import SourceError
    from segsync.secret import Secret
    from segsync.source import open_source
    try:
        open_source("warehouse", Secret("URL"))
    except SourceError as error:
        print(error.hint)
"""


@pytest.mark.parametrize(
    ("url", "extra"),
    [
        ("postgresql://h/d", "postgres"),
        ("postgresql+psycopg://h/d", "postgres"),
        ("mysql://h/d", "mysql"),
        ("mariadb://h/d", "mysql"),
        ("mysql+pymysql://h/d", "mysql"),
        ("duckdb:///d.db", "duckdb"),
    ],
)
def test_a_missing_driver_is_named_with_the_extra_that_has_it(url: str, extra: str) -> None:
    modules = {"psycopg", "psycopg2", "adbc_driver_postgresql", "pymysql", "duckdb_engine"}
    script = dedent(WITHOUT).replace("MISSING", repr(modules)).replace("URL", url)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == f'Install it: pip install "segsync[{extra}]"\n', done.stderr
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["optional-dependencies"][extra]


def test_a_text_that_is_no_url_is_refused_without_showing_it() -> None:
    error = fails("hunter22-is-my-password")
    assert "hunter22" not in f"{error} {error.hint}"
    assert error.place is None


def test_a_driver_is_chosen_where_the_url_names_none() -> None:
    assert with_driver("postgres://h/d") == "postgresql+psycopg://h/d"
    assert with_driver("mysql://h/d") == "mysql+pymysql://h/d"
    assert with_driver("mariadb://h/d") == "mariadb+pymysql://h/d"
    assert with_driver("oracle://h/d") == "oracle://h/d"
    assert with_driver("postgresql+psycopg2://h/d") == "postgresql+psycopg2://h/d"


@pytest.mark.parametrize(
    ("url", "uri"),
    [
        ("postgresql://h/d", "postgresql://h/d?"),
        ("postgresql+psycopg://u:p@h:5432/d", "postgresql://u:p@h:5432/d?"),
        ("postgres://u:p%40ss@h/d", "postgresql://u:p%40ss@h/d?"),
        ("postgresql://u:p@s:s@h/d", "postgresql://u:p%40s%3As@h/d?"),
        ("postgresql://u@h/d?sslmode=require", "postgresql://u@h/d?"),
    ],
)
def test_a_url_of_sqlalchemy_becomes_one_of_libpq(url: str, uri: str) -> None:
    assert libpq_uri(url).startswith(uri)
    assert "connect_timeout=10" in libpq_uri(url)
    if "sslmode" in url:
        assert libpq_uri(url).endswith("&sslmode=require")


def nothing_secret(error: SegsyncError, *secrets: str) -> None:
    """No part of `error` shows a secret."""
    texts = [str(error), repr(error), error.hint or "", str(error.__cause__ or "")]
    for secret in secrets:
        assert not any(secret in text for text in texts), texts


SERVED = ["postgresql-adbc", "postgresql-psycopg", "mariadb-pymysql"]


@pytest.mark.parametrize("lane", SERVED)
def test_a_refused_password_is_told_and_not_shown(
    request: pytest.FixtureRequest, tmp_path: Path, lane: str
) -> None:
    base = database(request, tmp_path, lane)
    password = quote(PASSWORD_OF_URL, safe="")
    server: Server = request.getfixturevalue(base.dialect)
    url = base.url.replace(server.password, password)
    error = fails(url, lane=base.lane)
    assert "source `warehouse` cannot be opened" in error.message
    assert "tester" in error.message
    nothing_secret(error, password, PASSWORD_OF_URL, url)


@pytest.mark.parametrize(
    ("scheme", "lane"),
    [
        ("postgresql", "auto"),
        ("postgresql", "dbapi"),
        ("mysql", "auto"),
    ],
)
def test_a_server_that_is_not_there_is_told(scheme: str, lane: Any) -> None:
    url = f"{scheme}://user:canary-word@127.0.0.1:1/d"
    error = fails(url, lane=lane, place="s.yaml:3:4 (${URL})")
    assert "cannot be opened" in error.message
    assert "refused" in error.message
    assert "Is the database at 127.0.0.1:1 running" in (error.hint or "")
    assert "That stands at s.yaml:3:4 (${URL})." in (error.hint or "")
    nothing_secret(error, "canary-word")


@pytest.mark.parametrize(
    ("written", "password"),
    [("hunter2", "hunter2"), ("{hun;ter}}2}", "hun;ter}2"), ("hun=ter", "hun=ter")],
)
def test_the_password_within_an_odbc_string_is_found(written: str, password: str) -> None:
    text = quote(f"DRIVER={{ODBC Driver 18}};SERVER=h;Pwd = {written};Encrypt=yes")
    found = secrets_of(f"mssql+pyodbc:///?odbc_connect={text}")
    assert {written, password} <= set(found)
    assert not {"h", "yes", "ODBC Driver 18"} & set(found)


@pytest.mark.parametrize("name", ["postgresql-adbc", "postgresql-psycopg"])
def test_what_is_set_for_reading_ends_with_the_transaction(
    request: pytest.FixtureRequest, tmp_path: Path, name: str
) -> None:
    """Behind a pooler, the next transaction of the connection is somebody else's."""
    base = database(request, tmp_path, name)
    elsewhere = replace(base, url=f"{base.url}?options=-c%20TimeZone%3DAsia%2FTokyo")
    with elsewhere.open() as source:
        zone = "SELECT current_setting('TimeZone') AS user_account_id"
        assert read(source, zone) == [{"user_account_id": "UTC"}]
        lane: Any = source._lane
        connection = lane._open[0] if "adbc" in name else lane._driver
        cursor = connection.cursor()
        cursor.execute("ROLLBACK")
        cursor.execute("SELECT current_setting('TimeZone')")
        assert cursor.fetchone() == ("Asia/Tokyo",)
        cursor.close()


def test_the_values_of_parameters_are_not_in_messages(any_database: Database) -> None:
    canary, short = "canary@example.com", "xy9"
    queries = {
        "postgresql": "SELECT 1 AS user_account_id WHERE CAST(:a AS integer) = 1 OR :b = 'x'",
        "duckdb": "SELECT 1 AS user_account_id WHERE CAST(:a AS integer) = 1 OR :b = 'x'",
        "sqlite": "SELECT json(:a) AS user_account_id, no_such_function(:b)",
        "mariadb": "SELECT :b AS user_account_id LIMIT :a",
    }
    with any_database.open() as source:
        for params in ({"a": canary, "b": short}, {"a": short, "b": canary}):
            with pytest.raises(SourceError) as caught:
                read(source, queries[any_database.dialect], params=params)
            nothing_secret(caught.value, canary, short)


def test_what_looks_like_a_parameter_without_a_value_is_named_when_the_query_fails(
    any_database: Database,
) -> None:
    query = "SELECT 1 AS user_account_id FROM (SELECT 1 AS id) t WHERE id > :threshold"
    with any_database.open() as source:
        for text, params in ((query, None), (f"{query} AND id > :a", {"a": 1})):
            with pytest.raises(SourceError) as caught:
                read(source, text, params=params)
            assert "Give the segment `params: {threshold: …}`." in (caught.value.hint or "")
            assert caught.value.place == PLACE


@pytest.mark.parametrize("lane", LANE_NAMES)
@pytest.mark.parametrize("unbound", [":b", "?", "?1", "@b", "$b"])
def test_sqlite_never_gives_one_parameter_the_value_of_another(
    people: Path, lane: Lane, unbound: str
) -> None:
    url = Secret(f"sqlite:///{quote(people.name)}")
    query = f"SELECT id AS user_account_id FROM t WHERE id >= {unbound} AND id >= :a"
    with open_source("warehouse", url, lane=lane, folder=people.parent) as source:
        with pytest.raises(SourceError, match="no value is given for") as caught:
            read(source, query, params={"a": 1})
        assert unbound in caught.value.message
        assert caught.value.hint


def test_a_syntax_error_is_told_with_what_stands_around_the_query(any_database: Database) -> None:
    with any_database.open() as source:
        with pytest.raises(SourceError) as caught:
            read(source, "SELECT 1 AS user_account_id WHERE")
        assert "SELECT * FROM (…)" in (caught.value.hint or "")


def test_who_may_not_read_is_told_whom_to_let() -> None:
    denied = RuntimeError("ERROR:  permission denied for table orders")
    error = Translator("warehouse", []).query_failed(segment("SELECT 1"), denied, 0)
    assert error.hint == "Let the user of source `warehouse` read what the query names."


def test_a_value_that_a_query_cannot_convert_is_not_in_the_message(any_database: Database) -> None:
    canary = "canary@example.com"
    any_database.write(
        "CREATE TABLE people (id VARCHAR(90))", f"INSERT INTO people VALUES ('{canary}')"
    )
    queries = {
        "postgresql": "SELECT CAST(id AS integer) AS user_account_id FROM people",
        "duckdb": "SELECT CAST(id AS integer) AS user_account_id FROM people",
        "sqlite": "SELECT json(id) AS user_account_id FROM people",
        "mariadb": "SELECT extractvalue(1, concat('~', (SELECT id FROM people))) AS email_hash",
    }
    with any_database.open() as source:
        with pytest.raises(SourceError) as caught:
            read(source, queries[any_database.dialect])
        nothing_secret(caught.value, canary)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (
            "ERROR:  boom\nLINE 1: SELECT canary\n               ^\nHINT:  Try.",
            "boom HINT: Try.",
        ),
        ("ERROR:  boom\nDETAIL:  Key (email)=(a@b.c) is there.\n", "boom"),
        ("IO: [libpq] boom\n\nQuery was: COPY (SELECT canary) TO STDOUT. SQLSTATE: 1", "boom"),
        (
            "INVALID_ARGUMENT: [SQLite] Failed to prepare query: no such table: t\nquery: SELECT c",
            "no such table: t",
        ),
        ("(psycopg.Error) boom\n[SQL: SELECT canary]\n(Background on this error at: x)", "boom"),
        ("x" * 2_000, "x" * 500),
        ("", "RuntimeError"),
        (
            'ERROR:  invalid input syntax for type integer: "a@b.c"',
            "invalid input syntax for type integer: ***",
        ),
        (
            'ERROR:  value "99999999999" is out of range for type integer',
            "value *** is out of range for type integer",
        ),
        (
            "Conversion Error: Could not convert string 'a@b.c' to INT32",
            "Conversion Error: Could not convert string *** to INT32",
        ),
        (
            'Conversion Error: invalid date field format: "it\'s a@b.c", expected format is',
            "Conversion Error: invalid date field format: ***, expected format is",
        ),
        (
            "Incorrect integer value: 'o\\'a@b.c' for column 'id' at row 1",
            "Incorrect integer value: *** for column 'id' at row 1",
        ),
        ("Duplicate entry 'a@b.c' for key 'people'", "Duplicate entry *** for key 'people'"),
        ('ERROR:  column "mail" does not exist', 'column "mail" does not exist'),
        ('ERROR:  type "mail" does not exist', 'type "mail" does not exist'),
        (
            'ERROR:  relation "public.people" does not exist',
            'relation "public.people" does not exist',
        ),
        ('ERROR:  relation "canary" does not exist', "relation *** does not exist"),
        ('ERROR:  malformed array literal: "canary"', "malformed array literal: ***"),
        (
            'ERROR:  column "male" does not exist\nHINT:  Perhaps you meant "mail" or "name".',
            'column "male" does not exist HINT: Perhaps you meant "mail" or "name".',
        ),
        (
            "Conversion Error: Type INT64 with value 5000000000 is out of range for type INT32",
            "Conversion Error: Type INT64 with value *** is out of range for type INT32",
        ),
        (
            "Overflow: 70000 * 123456789, code 1064 (12.5%) at byte 0",
            "Overflow: 70000 * ***, code 1064 (12.5%) at byte 0",
        ),
        (
            'Could not parse "1-2" according to "%d"\n1-2 canary\n^\nError: short',
            "Could not parse *** according to *** Error: short",
        ),
        (
            "Invalid Input Error: bad row canary-77 of a@b",
            "Invalid Input Error: bad row *** of ***",
        ),
    ],
)
def test_a_message_is_one_line_of_what_happened(raised: str, told: str) -> None:
    chosen = segment("SELECT mail FROM shop.people WHERE total > 70000")
    assert Translator("warehouse", []).text(RuntimeError(raised), chosen) == told


def test_everything_secret_in_a_url_is_found() -> None:
    url = "snowflake://user:p%40ss@account/db?token=tok&private_key_pass=key&role=plain"
    assert secrets_of(url) == [url, "p%40ss", "p@ss", "tok", "key"]


IMPORTS = """
    import sys
    import segsync.source
    heavy = {"pyarrow", "adbc_driver_manager", "adbc_driver_sqlite", "sqlalchemy", "duckdb"}
    assert not heavy & set(sys.modules), heavy & set(sys.modules)
    from segsync.secret import Secret
    from segsync.model import Address, Segment
    with segsync.source.open_source("w", Secret("sqlite:///PATH"), lane="LANE") as source:
        query = "SELECT id AS user_agent_id FROM t"
        segment = Segment("s", Address("segment_id", "1"), "w", query, "", "")
        with source.read(segment) as result:
            assert sum(batch.num_rows for batch in result.batches()) == 1
    print(*sorted(name for name in sys.modules if "." not in name))
"""


def test_only_the_lane_in_use_is_imported(people: Path) -> None:
    path = people.rename(people.parent / "plain.db")
    program = IMPORTS.replace("PATH", str(path))
    used = set(run_python(program.replace("LANE", "auto")).split())
    assert "adbc_driver_sqlite" in used
    assert not used & {
        "sqlalchemy",
        "psycopg",
        "adbc_driver_postgresql",
        "pymysql",
        "duckdb",
        "sqlite3",
    }
    used = set(run_python(program.replace("LANE", "dbapi")).split())
    assert "sqlalchemy" in used
    assert not used & {"adbc_driver_sqlite", "adbc_driver_postgresql", "psycopg", "duckdb"}


def test_a_parameter_that_no_type_holds_is_refused(people: Path) -> None:
    path = people.rename(people.parent / "plain.db")
    for lane in LANE_NAMES:
        with open_source("w", Secret(f"sqlite:///{path}"), lane=lane) as source:
            with pytest.raises(SourceError) as caught:
                source.read(segment("SELECT :n AS user_account_id", params={"n": 2**70}))
            nothing_secret(caught.value, str(2**70))


def test_a_placeholder_of_the_driver_itself_is_no_hidden_null(people: Path) -> None:
    """SQLite reads a parameter that nobody bound as NULL: a query would then find nobody."""
    path = people.rename(people.parent / "plain.db")
    for lane in LANE_NAMES:
        with open_source("w", Secret(f"sqlite:///{path}"), lane=lane) as source:
            for query in (":a", "?1", "@a", "$a", "?"):
                with pytest.raises(SourceError):
                    read(source, f"SELECT id AS user_account_id FROM t WHERE id > {query}")


def test_columns_are_evaluated_once(people: Path) -> None:
    path = people.rename(people.parent / "plain.db")
    query = """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
        SELECT CASE WHEN random() % 2 THEN 'text' ELSE 7 END AS user_account_id,
               CASE WHEN random() % 2 THEN 'text' ELSE 7.5 END AS v FROM n
    """
    with open_source("w", Secret(f"sqlite:///{path}")) as source:
        found = read(source, query, "v")
    assert {row["user_account_id"] for row in found} == {"text", "7"}
    assert {row["v"] for row in found} == {'"text"', "7.5"}
