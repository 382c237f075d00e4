"""YAML: what is refused before anything is built from it, and texts that are none to YAML."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from segsync.errors import SpecError
from segsync.spec import yaml_text
from tests.support.specs import HEAD, ONE, QUERY, SpecFolder, with_destination, with_segment


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> SpecFolder:
    """Every test here runs with both of PyYAML's parsers: not every machine has the one in C."""
    monkeypatch.setattr(yaml_text, "_LOADER", getattr(yaml, request.param))
    monkeypatch.chdir(tmp_path)
    return SpecFolder(tmp_path)


REFUSED = {
    "anchor": ("x: &a 1\n", "6:4: YAML anchors"),
    "alias": ("x: *a\n", "6:4: YAML aliases"),
    "tag": ("x: !!python/name:os.system 1\n", "6:4: YAML tags"),
    "local tag": ("x: !secret 1\n", "6:4: YAML tags"),
    "merge key": ("<<: {a: 1}\n", "6:1: merge keys"),
    "merge bomb": ("<<: [*a, *a]\n", "6:1: merge keys"),
    "recursive alias": ("x: &a [*a]\n", "6:4: YAML anchors"),
    "second document": ("---\nx: 1\n", "6:1: a second document"),
    "list as key": ("? [a]\n: 1\n", "6:3: a key must be a text, not a list or a mapping"),
    "escaped NUL": ('x: "\\0"\n', "6:4: U+0000 cannot be part of any value"),
    "tab": ("x:\n\ty: 1\n", "7:1: this is not YAML"),
    "colon in text": ("x: y: z\n", "6:5: this is not YAML"),
    "open quote": ("x: 'y\n", "this is not YAML"),
    "open bracket": ("x: [y\n", "this is not YAML"),
    "at sign": ("x: @y\n", "6:4: this is not YAML"),
    "unquoted variable": ("x: {y: ${Z}}\n", "this is not YAML"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_dangerous_or_broken_yaml_is_refused_with_its_place(folder: SpecFolder, name: str) -> None:
    text, expected = REFUSED[name]
    problems = [str(problem) for problem in folder.problems(ONE + text)]
    assert any(expected in problem for problem in problems), problems


REMEDIES = {
    "tab": "indent with spaces, not tabs",
    "colon in text": "put a text with `: ` in it in quotes",
    "at sign": "put a text that begins with a special character in quotes",
    "unquoted variable": 'put quotes around "${NAME}"',
}


@pytest.mark.parametrize("name", REMEDIES)
def test_common_mistakes_come_with_their_remedy(folder: SpecFolder, name: str) -> None:
    assert REMEDIES[name] in folder.problem(ONE + REFUSED[name][0])


@pytest.mark.parametrize("text", ["%YAML 1.1\n---\n", "%TAG ! tag:x,2000:\n---\n"])
def test_directives_are_refused(folder: SpecFolder, text: str) -> None:
    assert "YAML directives" in folder.problem(text + ONE)


def test_a_document_mark_is_fine(folder: SpecFolder) -> None:
    assert len(folder.load("---\n" + ONE + "...\n").segments) == 1


@pytest.mark.parametrize("content", ["", "\n", "# only this\n", "---\n", "\ufeff"])
def test_an_empty_file_says_so(folder: SpecFolder, content: str) -> None:
    assert folder.problem(content).startswith("segments.yaml:1:")


@pytest.mark.parametrize("content", ["- a\n", "text\n", "5\n", '"x"\n'])
def test_a_file_that_is_no_mapping_says_so(folder: SpecFolder, content: str) -> None:
    assert "1:1: the file must be a mapping" in folder.problem(content)


def test_depth_ends_at_twenty(folder: SpecFolder) -> None:
    """The root is level 0, the value of `x` level 1."""
    assert "`x` is not a key" in folder.problem(ONE + "x: " + "[" * 20 + "]" * 20)
    assert "6:24: nested more than 20 levels" in folder.problem(ONE + "x: " + "[" * 21 + "]" * 21)
    assert "nested more than 20 levels" in folder.problem("- " * 5000 + "x")


def test_a_repeated_key_names_both_places(folder: SpecFolder) -> None:
    text = ONE + "segments:\n  two: {query: SELECT 1}\n"
    assert folder.problem(text) == (
        "segments.yaml:6:1: `segments` is already defined at segments.yaml:4:1 "
        "(keep one of the two)"
    )


@pytest.mark.parametrize("second", ["one", '"one"', "'one'"])
def test_a_key_is_repeated_however_it_is_spelled(folder: SpecFolder, second: str) -> None:
    problem = folder.problem(ONE + f"  {second}: {{query: SELECT 2}}\n")
    assert "6:3: `one` is already defined at segments.yaml:5:3" in problem


def test_keys_that_yaml_would_collide_are_reported_each(folder: SpecFolder) -> None:
    text = HEAD + f"segments:\n  1: {{{QUERY}}}\n  true: {{{QUERY}}}\n"
    first, second = map(str, folder.problems(text))
    assert "5:3: a key must be a text, and `1` is the integer 1 to YAML" in first
    assert "6:3: a key must be a text, and `true` is the boolean true to YAML" in second


SURPRISES = {
    "no": "the boolean false",
    "Yes": "the boolean true",
    "off": "the boolean false",
    "true": "the boolean true",
    "TRUE": "the boolean true",
    "010": "the integer 8",
    "0x1F": "the integer 31",
    "0b11": "the integer 3",
    "1_000": "the integer 1000",
    "+33612345678": "the integer 33612345678",
    "12:30": "the integer 750",
    "12:30:45": "the integer 45045",
    "1.50": "the number 1.5",
    "1_0.5": "the number 10.5",
    ".nan": "the number nan",
    ".inf": "the number inf",
    "2024-01-01": "the date 2024-01-01",
    "2024-01-01 10:00:00": "the date 2024-01-01 10:00:00",
    "2024-02-31": "a date",
    "~": "null",
    "null": "null",
    "Null": "null",
    "=": "a default key",
    "9" * 5000: "an integer",
}


@pytest.mark.parametrize("written", SURPRISES, ids=lambda text: text[:20])
def test_what_yaml_makes_of_a_text_is_quoted(folder: SpecFolder, written: str) -> None:
    problem = folder.problem(with_segment(f"{QUERY}\ndescription: {written}"))
    assert f"7:18: `description` must be a text, and `{written[:10]}" in problem
    assert f"is {SURPRISES[written]} to YAML" in problem


@pytest.mark.parametrize("written", ["1e3", "1E+5", "0o17", "08", "5.", "6e-1"])
def test_what_yaml_1_2_reads_differently_is_refused(folder: SpecFolder, written: str) -> None:
    problem = folder.problem(with_segment(f"{QUERY}\ndescription: {written}"))
    assert f"`description` must be a text, and `{written}` is " in problem
    problem = folder.problem(with_segment(f"query: SELECT :p\nparams: {{p: {written}}}"))
    assert f"7:17: `p` must be a text, a number, true, false or null, and `{written}` is" in problem


@pytest.mark.parametrize("written", ["no", "010", "+5", "1_000", "12:30", "0x1F", "2024-01-01"])
def test_surprises_are_refused_for_ids_and_params_and_names(
    folder: SpecFolder, written: str
) -> None:
    assert "must be an id" in folder.problem(with_segment(f"{QUERY}\nsegment_id: {written}"))
    problem = folder.problem(with_segment(f"query: SELECT :p\nparams:\n  p: {written}"))
    assert "`p` must be a text, a number" in problem
    problem = folder.problem(HEAD + f"segments:\n  {written}: {{{QUERY}}}\n")
    assert f"5:3: a key must be a text, and `{written}` is" in problem


@pytest.mark.parametrize("quote", ['"', "'"])
@pytest.mark.parametrize("text", ["no", "010", "12:30", "1e3", "2024-01-01", "~", "="])
def test_quotes_make_a_text_of_every_surprise(folder: SpecFolder, text: str, quote: str) -> None:
    segment = folder.segment(
        f"query: SELECT :p\ndescription: {quote}{text}{quote}\nparams: {{p: {quote}{text}{quote}}}"
    )
    assert (segment.description, segment.params) == (text, {"p": text})


@pytest.mark.parametrize(
    ("written", "value"),
    [("0", 0), ("-7", -7), ("9223372036854775807", 2**63 - 1), ("1.5", 1.5), ("-0.25", -0.25),
     ("1.0e+3", 1000.0), ("true", True), ("null", None), ("~", None), ("y", "y"), ("a b", "a b")],
)  # fmt: skip
def test_plain_params_are_what_they_look_like(
    folder: SpecFolder, written: str, value: object
) -> None:
    params = folder.segment(f"query: SELECT :p\nparams: {{p: {written}}}").params
    assert params is not None
    assert (type(params["p"]), params["p"]) == (type(value), value)


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(written=st.text(alphabet="0123456789.:_-+eExobnysNOtrufalTF~=<> ", min_size=1, max_size=8))
def test_a_plain_value_is_what_yaml_itself_makes_of_it_or_refused(
    folder: SpecFolder, written: str
) -> None:
    text = with_segment(f"query: SELECT :p\nparams:\n  p: {written}")
    try:
        expected = yaml.safe_load(text)["segments"]["one"]["params"]["p"]
    except (yaml.YAMLError, ValueError):
        assert folder.problems(text)
        return
    try:
        [segment] = folder.load(text).segments
    except SpecError:
        assert not isinstance(expected, str) or re.fullmatch("[-+.0-9eExo]+", expected)
        return
    assert segment.params is not None
    assert (type(segment.params["p"]), segment.params["p"]) == (type(expected), expected)


@pytest.mark.parametrize("written", ["9223372036854775808", "-9223372036854775809"])
def test_an_integer_beyond_64_bits_is_refused(folder: SpecFolder, written: str) -> None:
    problem = folder.problem(with_segment(f"query: SELECT :p\nparams: {{p: {written}}}"))
    assert "64 bits" in problem


@pytest.mark.parametrize(
    ("written", "hint"),
    [
        ("yes", "(write true)"),
        ("Off", "(write false)"),
        ("True", "(write true)"),
        ("1", "integer 1"),
    ],
)
def test_a_boolean_is_true_or_false(folder: SpecFolder, written: str, hint: str) -> None:
    problem = folder.problem(with_segment(f"{QUERY}\nguard: {{allow_empty: {written}}}"))
    assert "7:26: `allow_empty` must be true or false" in problem
    assert hint in problem
    problem = folder.problem(with_destination(f"insecure_http: {written}"))
    assert "5:18: `insecure_http` must be true or false" in problem


def test_a_key_without_a_value_says_so(folder: SpecFolder) -> None:
    problem = folder.problem(with_segment(f"{QUERY}\nexpiration:"))
    assert "7:16: `expiration` has no value" in problem


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"\xff\xfea\x00", "is UTF-16"),
        (b"version: 1\n# caf\xe9\n", "byte 17 of the file (line 2) is 0xe9, which is not UTF-8"),
        (b"\xed\xa0\x80", "byte 1 of the file"),
        (b"a: \x00\n", "1:4: the character U+0000 stands here"),
        (b"a: 1\r\nb: \x1b[31m\n", "2:4: the character U+001B stands here"),
        ("a: b\u2028c\n".encode(), "1:5: the character U+2028 stands here"),
        ("a: b\x85c\n".encode(), "1:5: the character U+0085 stands here"),
        ("é: \u2029".encode(), "1:4: the character U+2029 stands here"),
    ],
)
def test_a_file_that_is_no_clean_text_says_where(
    folder: SpecFolder, raw: bytes, expected: str
) -> None:
    assert expected in folder.problem(raw)


def test_a_file_of_more_than_a_mebibyte_is_refused_before_parsing(folder: SpecFolder) -> None:
    fill = "#" * (1024 * 1024 - len(ONE) - 1) + "\n"
    assert len(folder.load(ONE + fill).segments) == 1
    assert "is larger than 1 MiB" in folder.problem(ONE + fill + "#")
    assert "is larger than 1 MiB" in folder.problem(b"\xff" * (1024 * 1024 + 1))


def test_columns_count_characters(folder: SpecFolder) -> None:
    problem = folder.problem(HEAD + "segments: {é😀: {query: SELECT 1, x: 1}}\n")
    assert problem.startswith("segments.yaml:4:34: `x` is not a key")


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        ("query: SELECT a FROM t #WHERE x = 1", "YAML takes what follows ` #` for a comment"),
        ("query: SELECT a\n  FROM t  # all", "YAML takes what follows ` #` for a comment"),
        ("query: >\n  SELECT a -- one\n  FROM t", "YAML joins these lines into one"),
        ("query: SELECT a -- one\n  FROM t", "YAML joins these lines into one"),
        ('query: "SELECT a -- one\n  FROM t"', "YAML joins these lines into one"),
    ],
)
def test_a_query_that_yaml_cuts_or_joins_is_refused(
    folder: SpecFolder, written: str, expected: str
) -> None:
    assert f"6:12: {expected}" in folder.problem(with_segment(written))


@pytest.mark.parametrize(
    ("written", "query"),
    [
        ("query: SELECT 'a#b'", "SELECT 'a#b'"),
        ('query: "SELECT a # b"', "SELECT a # b"),
        ("query: |\n  SELECT a -- one\n  FROM t # x", "SELECT a -- one\nFROM t # x\n"),
        ("query: SELECT a -- one", "SELECT a -- one"),
        ("query: SELECT a\n  FROM t", "SELECT a FROM t"),
    ],
)
def test_a_query_that_yaml_leaves_whole_is_taken(
    folder: SpecFolder, written: str, query: str
) -> None:
    assert folder.segment(written).query == query
