"""What a right spec means: defaults, addresses, durations, variables, paths."""

from __future__ import annotations

import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from segsync.errors import UsageError
from segsync.model import Address, Guard, RemovedSegment
from segsync.secret import Secret
from segsync.spec import load_spec
from tests.support.specs import (
    ENVIRON,
    EVERY_DEFAULT,
    EXAMPLE,
    HEAD,
    ONE,
    ROOT,
    SpecFolder,
    with_destination,
    with_segment,
)


def test_the_example_loads_and_shows_the_commented_keys_that_exist(folder: SpecFolder) -> None:
    shutil.copy(EXAMPLE, "segments.yaml")
    spec = folder.load(environ={"MICS_API_TOKEN": "t"})
    assert [segment.name for segment in spec.segments] == [
        "high_value_customers",
        "newsletter_readers",
        "lapsed_subscribers",
    ]
    assert spec.sources == {"warehouse": Secret("sqlite:///warehouse.db")}
    assert spec.segments[2].compartment_id is None
    assert spec.segments[1].guard == Guard(0.5, allow_empty=True, max_members=5_000_000)


def test_the_commented_lines_of_the_example_are_right_too(folder: SpecFolder) -> None:
    text = EXAMPLE.read_text()
    for line in ("api_url", "format", "ca_file", "proxy", "execution_max_age", "max_upload_bytes"):
        text = text.replace(f"  # {line}:", f"  {line}:")
    text = text.replace("# include:", "include:")
    folder.write("certificates/company.pem", "-")
    folder.write("segments/more.yaml", "segments: {more: {query: SELECT 1}}")
    spec = folder.load(text, environ={"MICS_API_TOKEN": "t"})
    assert spec.segments[-1].name == "more"
    assert spec.destination.ca_file == Path("certificates/company.pem")


def test_a_spec_without_options_has_the_documented_defaults(folder: SpecFolder) -> None:
    spec = folder.load(ONE)
    [segment] = spec.segments
    assert segment == dataclasses.replace(
        segment,
        name="one",
        address=Address("segment_technical_name", "one"),
        source="warehouse",
        query="SELECT 1",
        place="segments.yaml:5:3",
        query_place="segments.yaml:5:16",
        params=None,
        data_bag=(),
        compartment_id=None,
        expiration_minutes=0,
        renew_at=0.5,
        reassert_minutes=0,
        hash_email=None,
        on_conflict="error",
        invalid_rows="error",
        guard=Guard(0.3, allow_empty=False, max_members=None),
    )
    assert spec.path == Path("segments.yaml")
    assert spec.state == Path(".segsync/state.db")
    assert spec.destination.api_url == "https://api.mediarithmics.com"
    assert spec.destination.execution_max_age_minutes == 24 * 60
    assert spec.destination.max_upload_bytes == 100_000_000
    assert spec.removed == ()


def test_every_key_of_a_segment_arrives(folder: SpecFolder) -> None:
    segment = folder.segment(
        """
        segment_id: 88123
        description: Some people
        query: SELECT :a, :b, :c, :d, :e
        params: {a: 1, b: 1.5, c: text, d: true, e: null}
        data_bag: [x, y]
        compartment_id: 1000
        expiration: 2w
        renew_at: 40%
        hash_email: md5
        on_conflict: any
        invalid_rows: skip
        guard: {max_removed: 250, allow_empty: true, max_members: 7}
        """
    )
    assert segment.address == Address("segment_id", "88123")
    assert segment.description == "Some people"
    assert segment.params == {"a": 1, "b": 1.5, "c": "text", "d": True, "e": None}
    assert segment.data_bag == ("x", "y")
    assert segment.compartment_id == "1000"
    assert segment.expiration_minutes == 14 * 24 * 60
    assert segment.renew_at == 0.4
    assert (segment.hash_email, segment.on_conflict, segment.invalid_rows) == ("md5", "any", "skip")
    assert segment.guard == Guard(250, allow_empty=True, max_members=7)
    assert isinstance(segment.guard.max_removed, int)


def test_members_that_never_expire_may_be_reasserted(folder: SpecFolder) -> None:
    segment = folder.segment("query: SELECT 1\nexpiration: never\nreassert: 12h")
    assert (segment.expiration_minutes, segment.reassert_minutes) == (0, 12 * 60)


def test_every_default_is_shared_and_a_segments_own_key_wins(folder: SpecFolder) -> None:
    spec = folder.load(
        HEAD
        + EVERY_DEFAULT
        + """
segments:
  shared: {query: SELECT 1}
  own:
    query: SELECT 1
    compartment_id: null
    expiration: never
    renew_at: 95%
    reassert: never
    hash_email: null
    on_conflict: error
    invalid_rows: error
    guard: {allow_empty: true, max_members: null}
"""
    )
    shared, own = spec.segments
    assert (shared.compartment_id, shared.expiration_minutes) == ("7", 30 * 24 * 60)
    assert (shared.renew_at, shared.reassert_minutes, shared.hash_email) == (0.2, 24 * 60, "sha1")
    assert (shared.on_conflict, shared.invalid_rows) == ("any", "skip")
    assert shared.guard == Guard(5, allow_empty=False, max_members=9)
    assert (own.compartment_id, own.expiration_minutes, own.hash_email) == (None, 0, None)
    assert (own.renew_at, own.reassert_minutes) == (0.95, 0)
    assert (own.on_conflict, own.invalid_rows) == ("error", "error")
    assert own.guard == Guard(5, allow_empty=True, max_members=None)


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        ("30d", 43_200),
        ("12h", 720),
        ("90m", 90),
        ("2w", 20_160),
        ("never", 0),
        ("36500d", 52_560_000),
    ],
)
def test_an_expiration_is_minutes(folder: SpecFolder, written: str, minutes: int) -> None:
    keys = f"query: SELECT 1\nexpiration: {written}"
    assert folder.segment(keys).expiration_minutes == minutes


@pytest.mark.parametrize(
    ("written", "limit"), [("0%", 0.0), ("12.5%", 0.125), ("100%", 1.0), ("0", 0), ("1", 1)]
)
def test_a_removal_limit_is_a_share_or_a_number(
    folder: SpecFolder, written: str, limit: float
) -> None:
    guard = folder.segment(f"query: SELECT 1\nguard: {{max_removed: {written}}}").guard
    assert (type(guard.max_removed), guard.max_removed) == (type(limit), limit)


@pytest.mark.parametrize("written", ['"1509"', "1509", "'1509'", "${DATAMART}", "${D:-1509}"])
def test_an_id_may_be_a_text_an_integer_or_a_variable(folder: SpecFolder, written: str) -> None:
    text = ONE.replace('{datamart_id: "1509", ', "\n  datamart_id: " + written + "\n  ")
    text = text.replace('${MICS_API_TOKEN}"}', '${MICS_API_TOKEN}"')
    found = folder.load(text, ENVIRON | {"DATAMART": "1509"}).destination.datamart_id
    assert (type(found), found) == (str, "1509")


def test_removed_segments_keep_their_places(folder: SpecFolder) -> None:
    spec = folder.load(ONE + "removed:\n  old: delete\n  older: keep\n")
    assert spec.removed == (
        RemovedSegment("old", "delete", "segments.yaml:7:3"),
        RemovedSegment("older", "keep", "segments.yaml:8:3"),
    )


def test_a_spec_may_have_no_segments_left(folder: SpecFolder) -> None:
    assert folder.load(HEAD + "removed: {old: delete}\n").segments == ()
    assert folder.load(HEAD + "segments: {}\n").segments == ()


def test_variables_are_replaced_where_they_may_stand(folder: SpecFolder) -> None:
    environ = {"T": " tok\n", "HOST": "db.example", "PW": "s3cret", "DIR": "/var/lib", "N": "007"}
    spec = folder.load(
        """\
version: 1
destination:
  datamart_id: 1
  api_token: ${T}
  api_url: https://${API:-api.example}
sources: {w: "postgresql://me:${PW}@${HOST}/db"}
state: ${DIR}/state.db
segments:
  a: {query: "SELECT :n, :d, :l", params: {n: "${N}", d: "${NONE:-x y}", l: "$${N}$"}}
""",
        environ,
    )
    assert spec.destination.api_token == Secret("tok")
    assert spec.destination.api_url == "https://api.example"
    assert spec.sources["w"] == Secret("postgresql://me:s3cret@db.example/db")
    assert spec.state == Path("/var/lib/state.db")
    params = spec.segments[0].params
    assert params == {"n": "007", "d": "x y", "l": "${N}$"}
    assert {type(value) for value in params.values()} == {str}


def test_an_empty_variable_takes_the_default_and_an_empty_default_is_a_value(
    folder: SpecFolder,
) -> None:
    keys = """
        query: SELECT :a, :b, :c
        params: {a: "${EMPTY:-x}", b: "${EMPTY}", c: "${UNSET:-}"}
        """
    assert folder.segment(keys, ENVIRON | {"EMPTY": ""}).params == {"a": "x", "b": "", "c": ""}


def test_nothing_is_replaced_in_a_query(folder: SpecFolder) -> None:
    query = "SELECT '${MICS_API_TOKEN}', $${x}$$, '$${'"
    assert folder.segment(f"query: |-\n  {query}").query == query


@pytest.mark.parametrize(
    "query",
    [
        "SELECT x::text, '12:30:45', \":b\" FROM t -- :c\n WHERE a = :a /* :d */",
        "SELECT :a::text",
        "SELECT ARRAY[:a, 2]",
        "SELECT a[1:2], :a",
        "SELECT $q$ :b ' $q$, :a",
        "SELECT E'it\\'s', :a",
        "SELECT '''', :a",
    ],
)
def test_a_param_may_stand_wherever_a_value_may(folder: SpecFolder, query: str) -> None:
    body = "\n".join("  " + line for line in query.split("\n"))
    assert folder.segment(f"query: |-\n{body}\nparams: {{a: 1}}").params == {"a": 1}


def test_no_params_means_that_the_query_is_sent_as_it_stands(folder: SpecFolder) -> None:
    assert folder.segment("query: \"SELECT ':x'\"").params is None
    assert folder.segment("query: \"SELECT ':x'\"\nparams: {}").params is None


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("https://api.example/", "https://api.example"),
        ("HTTPS://API.Example:443", "https://api.example"),
        ("https://api.example:8443/prefix/", "https://api.example:8443/prefix"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://127.9.9.9", "http://127.9.9.9"),
        ("http://[::1]:8080/", "http://[::1]:8080"),
        ("http://localhost:80", "http://localhost"),
    ],
)
def test_an_api_url_has_one_spelling(folder: SpecFolder, written: str, url: str) -> None:
    assert folder.load(with_destination(f"api_url: {written}")).destination.api_url == url


def test_http_needs_a_loud_yes(folder: SpecFolder) -> None:
    keys = "api_url: http://api.example\ninsecure_http: true"
    assert folder.load(with_destination(keys)).destination.insecure_http is True


def test_every_key_of_the_destination_arrives(folder: SpecFolder) -> None:
    folder.write("ca.pem", "-")
    keys = """
        format: csv
        ca_file: ca.pem
        proxy: http://me:${PW}@proxy.example:3128
        execution_max_age: 6h
        max_upload_bytes: 104857600
        """
    found = folder.load(with_destination(keys), ENVIRON | {"PW": "pw"}).destination
    assert (found.format, found.ca_file) == ("csv", Path("ca.pem"))
    assert found.proxy == Secret("http://me:pw@proxy.example:3128")
    assert found.execution_max_age_minutes == 360
    assert found.max_upload_bytes == 104_857_600


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:///shop.db",
        "sqlite://",
        "postgresql+psycopg://${U}:${P}@host:5432/db?sslmode=require",
        "snowflake://u:${P}@account/db/schema?warehouse=w",
        "bigquery://project",
        "mssql+pyodbc:///?odbc_connect=${P}",
        "postgresql://u@[::1]:5432/db",
    ],
)
def test_any_sqlalchemy_url_is_a_source(folder: SpecFolder, url: str) -> None:
    text = ONE.replace("${WAREHOUSE_URL}", url)
    spec = folder.load(text, ENVIRON | {"U": "u", "P": "p"})
    assert spec.sources["warehouse"].reveal() == url.replace("${U}", "u").replace("${P}", "p")


def test_the_byte_order_mark_and_crlf_of_windows_do_no_harm(folder: SpecFolder) -> None:
    spec = folder.load(b"\xef\xbb\xbf" + ONE.replace("\n", "\r\n").encode())
    assert spec.segments[0].place == "segments.yaml:5:3"


def test_a_missing_spec_points_to_init(folder: SpecFolder) -> None:
    with pytest.raises(UsageError, match=r"segments\.yaml does not exist") as caught:
        folder.load()
    assert caught.value.hint is not None
    assert "segsync init" in caught.value.hint


def test_a_missing_spec_points_to_its_neighbour(folder: SpecFolder) -> None:
    folder.write("segments.yml", ONE)
    with pytest.raises(UsageError) as caught:
        folder.load()
    assert caught.value.hint == "there is segments.yml: segsync -f segments.yml"


def test_a_folder_or_a_pipe_is_no_spec(folder: SpecFolder) -> None:
    (folder.path / "segments.yaml").mkdir()
    with pytest.raises(UsageError):
        folder.load()
    with pytest.raises(UsageError, match="Not a directory"):
        load_spec(folder.write("file", "x") / "segments.yaml", ENVIRON)
    os.mkfifo("pipe")
    with pytest.raises(UsageError, match="not a file"):
        load_spec(Path("pipe"), ENVIRON)


def test_the_paths_follow_the_spec_and_not_the_working_directory(folder: SpecFolder) -> None:
    folder.write("deep/er/segments.yaml", ONE.replace("query: SELECT 1", "query_file: q.sql"))
    folder.write("deep/er/q.sql", "SELECT 1")
    spec = load_spec(Path("deep/er/segments.yaml"), ENVIRON)
    assert spec.state == Path("deep/er/.segsync/state.db")
    assert spec.segments[0].query_place == "deep/er/q.sql:1:1"


def imported(code: str, *modules: str) -> set[str]:
    """Which of `modules` a Python that has run `code` has imported."""
    code += f"\nimport sys; print(*({set(modules)} & set(sys.modules)))"
    run = [sys.executable, "-c", code]
    environ = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(run, capture_output=True, text=True, check=True, env=environ)
    return set(done.stdout.split())


def test_importing_the_package_does_not_cost_pydantic_or_yaml() -> None:
    assert imported("import segsync.spec", "yaml", "pydantic") == set()


def test_loading_does_not_import_a_database_or_arrow(folder: SpecFolder) -> None:
    folder.write("segments.yaml", ONE)
    code = f"""
from pathlib import Path
from segsync.spec import load_spec
load_spec(Path("segments.yaml"), {ENVIRON})
"""
    heavy = {"sqlalchemy", "pyarrow", "duckdb", "requests", "typer", "rich"}
    assert imported(code, "yaml", *heavy) == {"yaml"}


def test_with_segment_is_what_the_tests_think_it_is(folder: SpecFolder) -> None:
    assert folder.load(with_segment("query: SELECT 1")).segments[0].place == "segments.yaml:5:3"
