"""What is wrong with a spec: the place, the words, the nearest right name, all at once."""

from __future__ import annotations

import pytest

from segsync.errors import SpecError
from tests.support.specs import (
    ENVIRON,
    HEAD,
    ONE,
    QUERY,
    SpecFolder,
    with_destination,
    with_segment,
)

SEGMENT = {
    "expiraton: 3d": "7:5: `expiraton` is not a key that is known here "
    "(did you mean `expiration`?)",
    "Query_File: x": "7:5: `Query_File` is not a key that is known here "
    "(did you mean `query_file`?)",
    "guard: {max_remved: 1}": "7:13: `max_remved` is not a key that is known here "
    "(did you mean `max_removed`?)",
    "allow_empty: true": "7:5: `allow_empty` is not a key that is known here "
    "(it belongs under guard)",
    "api_token: x": "7:5: `api_token` is not a key that is known here "
    "(it belongs under destination)",
    "sql: x": "7:5: `sql` is not a key that is known here (did you mean `query`?)",
    "hash_email: sha512": "7:17: `hash_email` must be sha256, sha1 or md5, not `sha512`",
    "on_conflict: latest": "`on_conflict` must be error, latest_expiry or any, not `latest`",
    "invalid_rows: ignore": "7:19: `invalid_rows` must be error or skip, not `ignore`",
    "invalid_rows: null": "7:19: `invalid_rows` must be error or skip, and `null` is null to YAML",
    "data_bag: total": "7:15: `data_bag` must be a list, and `total` is a text to YAML "
    "(write [total])",
    "data_bag: {a: b}": "7:15: `data_bag` must be a list, and this is a mapping",
    "data_bag: [a, A]": "7:19: the column `A` is listed twice",
    "data_bag: [email]": "7:16: `email` has a meaning of its own",
    "data_bag: [1]": "7:16: an item of `data_bag` must be a column's name, and `1` is the integer",
    'data_bag: [" a"]': "7:16: ` a` cannot be a column's name",
    "data_bag: [[a]]": "7:16: an item of `data_bag` must be a column's name, and this is a list",
    "compartment_id: ''": "7:21: `` is not an id",
    "compartment_id: a b": "7:21: `a b` is not an id",
    "compartment_id: ${X}": "7:21: `${X}`: variables are not replaced here",
    "compartment_id: -5": "7:21: `-5` is not an id",
    "compartment_id: 1.5": "must be an id: a text or an integer, and `1.5` is the number 1.5",
    "segment_id: null": "7:17: `segment_id` must be an id: a text or an integer, and `null` is",
    "segment_id: ../x": "7:17: `../x` is not an id",
    "segment_id: vip": "7:17: `vip` is not an id (ids of the platform are digits, like 1509)",
    'segment_id: "010"': "7:17: `010` is not an id",
    "compartment_id: crm": "7:21: `crm` is not an id",
    "source: wharehouse": "7:13: there is no source `wharehouse` (did you mean `warehouse`?)",
    "source: null": "7:13: `source` must be the name of a source, and `null` is null to YAML",
    "description: ' '": "7:18: there is nothing in this text",
    "guard: 30%": "7:12: `guard` must be a mapping, and `30%` is a text to YAML",
    "guard: {max_removed: 0.3}": "7:26: `0.3` has no percent sign (write 30%)",
    "guard: {max_removed: 101%}": "7:26: `101%` is not a percentage",
    "guard: {max_removed: 30 %}": "7:26: `30 %` is not a percentage",
    "guard: {max_removed: -1}": "7:26: -1 is below 0",
    "guard: {max_members: 1.5}": "7:26: `max_members` must be a whole number, and `1.5` is",
    "guard: {max_members: 10%}": "7:26: `max_members` must be a whole number, and `10%` is a text",
    "guard: {max_members: -2}": "7:26: -2 is below 0",
    "renew_at: 99%": "7:15: renew_at is `99%` (it may be 1% to 95%; the default is 50%)",
    "renew_at: 0.5%": "7:15: renew_at is `0.5%`",
    "renew_at: 0.4": "7:15: `0.4` has no percent sign (write 40%)",
    "renew_at: 40": "7:15: `40` has no percent sign (write 40%)",
    "renew_at: true": "7:15: `renew_at` must be a percentage like 40%, and `true` is the boolean",
    "reassert: 0": "7:15: `0` is no time at all (write never)",
    "expiration: 30d\nreassert: 30d": "8:15: `reassert` is for members that never expire",
    "params: {a b: 1}": "7:14: `a b` cannot be a parameter's name",
    "params: {a: [1]}": "7:17: `a` must be a text, a number, true, false or null, and this is",
    "params: [1]": "7:13: `params` must be a mapping, and this is a list",
    "query_file: x.sql": "7:17: `one` has both a query and a query_file",
}


@pytest.mark.parametrize("keys", SEGMENT)
def test_a_wrong_key_of_a_segment(folder: SpecFolder, keys: str) -> None:
    problems = [str(p) for p in folder.problems(with_segment(f"{QUERY}\n{keys}"))]
    assert any(SEGMENT[keys] in problem for problem in problems), problems


EXPIRATIONS = {
    "30": "`30` has no unit",
    '"30"': "(a unit is missing: 30d, 30h …)",
    "1.5d": "`1.5d` is not a duration like 30d, 12h, 90m or 2w (write 36h)",
    "0.5h": "(write 30m)",
    "2.5w": "(write 420h)",
    "30 days": "(write 30d)",
    "30D": "(write 30d)",
    "1 week": "(write 1w)",
    "2 months": "(write 60d)",
    "1y": "(write 365d)",
    "90 min": "(write 90m)",
    "Never": "(write never)",
    "none": "(write never)",
    "1d12h": "(one whole number and one unit: m (minutes), h, d or w)",
    "soon": "`soon` is not a duration",
    "30s": "(the units are m (minutes), h, d and w)",
    "-3d": "`-3d` is not a duration",
    "0d": "`0d` is no time at all (write never)",
    "36501d": "longer than 100 years",
    "999999999999w": "longer than 100 years",
    "٣d": "is not a duration",
    "30d 12h": "is not a duration",
    "true": "must be a duration like 30d, 12h, 90m or 2w, or never, and `true` is the boolean",
    "[30d]": "and this is a list",
}


@pytest.mark.parametrize("written", EXPIRATIONS)
def test_a_wrong_expiration_comes_with_the_right_one(folder: SpecFolder, written: str) -> None:
    problem = folder.problem(with_segment(f"{QUERY}\nexpiration: {written}"))
    assert problem.startswith("segments.yaml:7:17: ")
    assert EXPIRATIONS[written] in problem


def test_the_suggested_durations_are_right(folder: SpecFolder) -> None:
    problem = folder.problem(with_destination("execution_max_age: never"))
    assert "`never` is not a duration" in problem
    assert "write never" not in problem


DESTINATION = {
    "api_url: http://api.example": "5:12: api_url is http: the token would travel readable",
    "api_url: http://127.0.0.1.evil.example": "5:12: api_url is http",
    "api_url: http://localhost.evil.example": "5:12: api_url is http",
    "api_url: http://0x7f.1": "5:12: api_url is http",
    "api_url: ftp://api.example": "5:12: api_url is not a web address",
    "api_url: api.example": "5:12: api_url is not a web address",
    "api_url: https://": "5:12: api_url is not a web address",
    "api_url: https://u:p@api.example": "5:12: api_url may not hold a user or a password",
    "api_url: https://api.example?x=1": "5:12: api_url may not have a query or a fragment",
    "api_url: https://api.example?": "5:12: api_url may not have a query or a fragment",
    'api_url: "https://api.example#x"': "5:12: api_url may not have a query or a fragment",
    "api_url: https://api.example:99999": "5:12: api_url is not a readable address",
    "api_url: https://[::1": "5:12: api_url is not a readable address",
    "api_url: https://café.example": "5:12: api_url may hold printable ASCII characters only",
    'api_url: "https://api.example/\\\\x"': "api_url may hold printable ASCII characters only",
    "api_url: 5": "5:12: `api_url` must be an address like https://api.example.com, and `5` is",
    "proxy: socks5://h": "5:10: proxy is not a web address",
    "proxy: https://h:1": "5:10: proxy is not of the form http://host:port",
    "format: json": "5:11: `format` must be ndjson or csv, not `json`",
    "ca_file: nowhere.pem": "5:12: there is no file `nowhere.pem`",
    "ca_file: ~/ca.pem": "5:12: `~/ca.pem`: `~` is not replaced",
    "insecure_http: 1": "5:18: `insecure_http` must be true or false, and `1` is the integer 1",
    "execution_max_age: 0h": "5:22: `0h` is no time at all",
    "max_upload_bytes: 100MB": "5:21: `max_upload_bytes` must be a whole number, and",
    "max_upload_bytes: -1": "5:21: -1 is below 0",
    "max_upload_bytes: 99": "5:21: an upload of 99 bytes cannot be (it may be 100 to 104857600)",
    "max_upload_bytes: 104857601": "5:21: an upload of 104857601 bytes cannot be",
    "token: x": "5:3: `token` is not a key that is known here (did you mean `api_token`?)",
}


@pytest.mark.parametrize("keys", DESTINATION)
def test_a_wrong_key_of_the_destination(folder: SpecFolder, keys: str) -> None:
    assert DESTINATION[keys] in folder.problem(with_destination(keys))


def test_http_to_this_machine_must_not_leave_it_through_a_proxy(folder: SpecFolder) -> None:
    keys = "api_url: http://127.0.0.1\nproxy: http://proxy.example:3128"
    assert "5:12: api_url is http" in folder.problem(with_destination(keys))


ROOT = {
    ONE.replace("version: 1", "version: 2"): "1:10: `version` must be 1 (another one needs",
    ONE.replace("version: 1", "version: '1'"): "1:10: `version` must be 1, not `1`",
    ONE.replace("version: 1\n", ""): "1:1: `version` is missing",
    ONE
    + "segmnts: {}\n": "6:1: `segmnts` is not a key that is known here (did you mean `segments`?)",
    ONE + "compartment_id: 5\n": "6:1: `compartment_id` is not a key that is known here "
    "(it belongs under defaults or a segment)",
    ONE + "removed: [a]\n": "6:10: `removed` must be a mapping, and this is a list",
    ONE + "removed: {a: drop}\n": "6:14: `a` must be delete or keep, not `drop`",
    ONE + "removed:\n  one: keep\n": "7:3: `one` is removed here, and defined at "
    "segments.yaml:5:3 (remove one of the two)",
    ONE + "defaults: {query: x}\n": "6:12: `query` is not a key that is known here",
    ONE + "defaults: {source: wherehouse}\n": "6:20: there is no source `wherehouse` "
    "(did you mean `warehouse`?)",
    ONE + "include: segments/*.yaml\n": "6:10: `include` must be a list, and `segments/*.yaml` is",
    ONE + "state: ''\n": "6:8: there is nothing in this text",
    ONE + "state: s3://bucket/state.db\n": "6:8: the state is a local file, not an address",
    ONE + "state: .segsync/\n": "6:8: the state is a file, not a folder",
    ONE + "state: ~/state.db\n": "6:8: `~/state.db`: `~` is not replaced",
    HEAD + "segments: []\n": "4:11: `segments` must be a mapping, and this is a list",
    HEAD + "segments:\n": "4:10: `segments` has no value: it must be a mapping",
    HEAD + "segments: {one: }\n": "4:17: `one` has no value: it must be a mapping",
    HEAD + "segments: {one: SELECT 1}\n": "4:17: `one` must be a mapping, and `SELECT 1` is a text",
    HEAD + "segments: {one: {}}\n": "4:12: `one` has no query",
    HEAD + "segments: {'': {query: SELECT 1}}\n": "4:12: `` cannot be a name",
    HEAD + "segments: {' a': {query: SELECT 1}}\n": "4:12: ` a` cannot be a name",
    HEAD + 'segments: {"a\\nb": {query: SELECT 1}}\n': "4:12: a name has the invisible character "
    "U+000A in it: `a\\nb`",
    HEAD + 'segments: {"a\\u200bb": {query: SELECT 1}}\n': "the invisible character U+200B",
    HEAD + 'segments: {"a\\u202eb": {query: SELECT 1}}\n': "the invisible character U+202E",
    HEAD + "segments: {'${A}': {query: SELECT 1}}\n": "4:12: `${A}`: variables are not replaced",
    HEAD + f"segments: {{{'x' * 256}: {{query: SELECT 1}}}}\n": "is longer than 255 characters",
    ONE.replace("{warehouse: ", "{ware house: "): "3:11: the name of a source is made of letters",
    ONE.replace('{warehouse: "${WAREHOUSE_URL}"}', "{}"): "3:10: there is no source",
    ONE.replace('{warehouse: "${WAREHOUSE_URL}"}', "x"): "3:10: `sources` must be a mapping",
}


@pytest.mark.parametrize("text", ROOT, ids=range(len(ROOT)))
def test_a_wrong_file(folder: SpecFolder, text: str) -> None:
    assert ROOT[text] in folder.problem(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/var/lib/shop.db", "this is not a database URL"),
        ("shop", "this is not a database URL"),
        ("postgres://u@h/db", "the dialect `postgres` has another name (write postgresql://)"),
        ("jdbc:postgresql://h/db", "this is a JDBC URL"),
        ("postgresql://u@h:port/db", "the source's URL has no readable port"),
        ("postgresql://u@h/d b", "a space or a control character"),
        ("1sql://h", "this is not a database URL"),
    ],
)
def test_a_wrong_source(folder: SpecFolder, url: str, expected: str) -> None:
    assert expected in folder.problem(ONE.replace("${WAREHOUSE_URL}", url))
    assert expected in folder.problem(ONE, ENVIRON | {"WAREHOUSE_URL": url})


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("query: SELECT :treshold\nparams: {threshold: 1}",
         "7:14: the query has no `:threshold` (did you mean `treshold`?)"),
        ("query: SELECT ':a' -- :a\nparams: {a: 1}",
         "7:14: the query has no `:a` (write :NAME where the value belongs)"),
        ("query: SELECT x::a\nparams: {a: 1}", "7:14: the query has no `:a`"),
        ("query: SELECT :A\nparams: {a: 1}", "7:14: the query has no `:a` (did you mean `A`?)"),
        ("query: DELETE FROM t", "6:12: the query is a DELETE statement"),
        ("query: SELECT 1; SELECT 2", "6:12: the query has more than one statement"),
        ("query: SELECT (1", "6:12: the query has a parenthesis that is not closed"),
        ("query: \"SELECT 'x\"", "6:12: the query has a quotation or comment that does not end"),
        ("query: -- nothing", "6:12: the query is empty"),
        ("query: 5", "6:12: `query` must be a text, and `5` is the integer 5 to YAML"),
        ("query: ''", "6:12: there is nothing in this text"),
    ],
)  # fmt: skip
def test_a_wrong_query(folder: SpecFolder, keys: str, expected: str) -> None:
    assert expected in folder.problem(with_segment(keys))


def test_a_segment_must_say_which_of_several_sources(folder: SpecFolder) -> None:
    text = ONE.replace("{warehouse:", '{lake: "sqlite://", warehouse:')
    assert folder.problem(text) == (
        "segments.yaml:5:3: `one` has no source, and there are several "
        "(add `source:`, one of `lake`, `warehouse`)"
    )


def test_two_segments_with_one_id_name_both_places(folder: SpecFolder) -> None:
    text = HEAD + "segments:\n  a: {query: SELECT 1, segment_id: 5}\n"
    problem = folder.problem(text + '  b: {query: SELECT 1, segment_id: "5"}\n')
    assert problem.startswith(
        "segments.yaml:6:36: segment_id 5 is already used at segments.yaml:5:36"
    )


def test_a_technical_name_is_no_id(folder: SpecFolder) -> None:
    text = HEAD + 'segments:\n  "5": {query: SELECT 1}\n  b: {query: SELECT 1, segment_id: 5}\n'
    assert len(folder.load(text).segments) == 2


@pytest.mark.parametrize("written", ["${}", "${A-B}", "${1A}", "${A", "${ A }", "${A:-${B}}"])
def test_a_reference_that_is_none_is_refused(folder: SpecFolder, written: str) -> None:
    text = with_segment(f'query: SELECT :p\nparams:\n  p: "{written}"')
    assert "8:10: `${` begins no reference here" in folder.problem(text, {"A": "a"} | ENVIRON)


def test_an_unset_variable_comes_with_the_nearest_name(folder: SpecFolder) -> None:
    problem = folder.problem(ONE + "state: ${WAREHOUSE_UR}/x\n")
    assert "6:8: the environment variable WAREHOUSE_UR is not set" in problem
    assert "did you mean `WAREHOUSE_URL`?" in problem
    problem = folder.problem(ONE + "state: ${NOWHERE_TO_BE_FOUND}\n")
    assert "(set it in the environment)" in problem


def test_every_unset_variable_of_a_value_is_named(folder: SpecFolder) -> None:
    text = with_segment('query: SELECT :p\nparams: {p: "${A_1} ${B_2} ${A_1}"}')
    first, second = folder.problems(text)
    assert "A_1 is not set" in first.message
    assert "B_2 is not set" in second.message


def test_a_variable_that_is_no_text_is_refused(folder: SpecFolder) -> None:
    text = with_segment('query: SELECT :p\nparams: {p: "${P}"}')
    assert "P is not UTF-8 text" in folder.problem(text, ENVIRON | {"P": "a\udcffb"})


def test_all_problems_come_at_once_in_the_order_of_their_places(folder: SpecFolder) -> None:
    folder.write("more/a.yaml", "segments:\n  one: {query: SELECT 1}\n  x: {expiration: 1}\n")
    folder.write("more/b.yaml", "a: b: c\n")
    problems = folder.problems(
        """\
version: 3
destination:
  datamart_id: 010
  api_token: ${NO_TOKEN}
  api_url: http://a.example
  ca_file: nowhere
sources: {w: "${NO_URL}", v: x}
include: [more/*.yaml, none/*.yaml]
defaults: {source: ww, expiration: 30}
segments:
  one: {qery: SELECT 1, segment_id: 1}
  two:
    query: SELECT :b
    source: www
    params: {a: 1}
    renew_at: 0
    segment_id: "1"
  three: {query_file: missing.sql, guard: 5}
removed: {two: delete, four: forget}
stat: x
"""
    )
    places = [(problem.file, problem.line, problem.column) for problem in problems]
    assert places == [
        ("more/a.yaml", 2, 3),
        ("more/a.yaml", 3, 3),
        ("more/a.yaml", 3, 19),
        ("more/b.yaml", 1, 5),
        ("segments.yaml", 1, 10),
        ("segments.yaml", 3, 16),
        ("segments.yaml", 4, 14),
        ("segments.yaml", 5, 12),
        ("segments.yaml", 6, 12),
        ("segments.yaml", 7, 14),
        ("segments.yaml", 7, 30),
        ("segments.yaml", 8, 24),
        ("segments.yaml", 9, 20),
        ("segments.yaml", 9, 36),
        ("segments.yaml", 11, 3),
        ("segments.yaml", 11, 9),
        ("segments.yaml", 14, 13),
        ("segments.yaml", 15, 14),
        ("segments.yaml", 16, 15),
        ("segments.yaml", 17, 17),
        ("segments.yaml", 18, 23),
        ("segments.yaml", 18, 43),
        ("segments.yaml", 19, 11),
        ("segments.yaml", 19, 30),
        ("segments.yaml", 20, 1),
    ]


def test_the_text_of_the_error_is_its_problems_one_a_line(folder: SpecFolder) -> None:
    folder.write("segments.yaml", HEAD + "segments: {one: {}, two: {}}\n")
    with pytest.raises(SpecError) as caught:
        folder.load()
    assert str(caught.value) == "\n".join(map(str, caught.value.problems))
    assert len(str(caught.value).splitlines()) == 2


def test_a_broken_value_is_reported_once(folder: SpecFolder) -> None:
    assert "YAML aliases" in folder.problem(with_segment(f"{QUERY}\nexpiration: *x"))
    assert "is not set" in folder.problem(ONE + "state: ${NO_STATE}\n")


def test_problems_end_at_a_hundred(folder: SpecFolder) -> None:
    problems = folder.problems(ONE + "".join(f"key{n}: 1\n" for n in range(5000)))
    assert len(problems) == 101
    assert "too many problems" in str(problems[-1]) or "too many problems" in str(problems[-2])


def test_too_many_params_and_columns_are_refused(folder: SpecFolder) -> None:
    params = ", ".join(f"p{n}: 1" for n in range(101))
    problem = folder.problem(with_segment(f"query: SELECT 1\nparams: {{{params}}}"))
    assert "7:13: `params` has more than 100 entries" in problem
    columns = ", ".join(f"c{n}" for n in range(1001))
    problem = folder.problem(with_segment(f"{QUERY}\ndata_bag: [{columns}]"))
    assert "7:15: `data_bag` has more than 1000 entries" in problem


def test_long_and_unprintable_texts_are_shown_short_and_escaped(folder: SpecFolder) -> None:
    problem = folder.problem(ONE + '"\\e[31m' + "x" * 500 + '": 1\n')
    assert "`\\x1b[31mxxx" in problem
    assert len(problem) < 300
    assert problem.isprintable()
