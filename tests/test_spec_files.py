"""Included files, query files and the state: what they may be, and that they stay in the folder."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from segsync.spec import load_spec
from tests.support.specs import ENVIRON, HEAD, ONE, SpecFolder


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpecFolder:
    spec = tmp_path / "repository"
    spec.mkdir()
    monkeypatch.chdir(spec)
    (tmp_path / "outside.sql").write_text("SELECT 'outside'")
    (tmp_path / "outside.yaml").write_text("segments: {outside: {query: SELECT 1}}")
    return SpecFolder(spec)


def including(*patterns: str) -> str:
    return ONE + "include: [" + ", ".join(f"'{pattern}'" for pattern in patterns) + "]\n"


def reading(path: str) -> str:
    return HEAD + f'segments:\n  one: {{query_file: "{path}"}}\n'


def test_included_files_come_in_the_order_of_their_paths_each_once(folder: SpecFolder) -> None:
    for name in ("c", "a", "b"):
        folder.write(f"segments/{name}.yaml", f"segments: {{{name}: {{query: SELECT 1}}}}")
    folder.write("teams/crm/d.yaml", "segments: {d: {query: SELECT 1}}\nremoved: {old: keep}")
    folder.write("segments/.hidden.yaml", "not: read")
    folder.write("teams/.venv/lib/e.yaml", "not: read")
    spec = folder.load(including("segments/*.yaml", "segments/a.yaml", "teams/**/*.yaml"))
    assert [segment.name for segment in spec.segments] == ["one", "a", "b", "c", "d"]
    assert spec.segments[1].place == "segments/a.yaml:1:12"
    assert spec.removed[0].place == "teams/crm/d.yaml:2:11"


def test_the_main_file_may_match_its_own_pattern(folder: SpecFolder) -> None:
    folder.write("other.yaml", "segments: {a: {query: SELECT 1}}")
    assert len(folder.load(including("*.yaml")).segments) == 2


def test_defaults_of_the_main_file_hold_for_included_segments(folder: SpecFolder) -> None:
    folder.write("a.yaml", "segments: {a: {query: SELECT 1}}")
    spec = folder.load(including("a.yaml") + "defaults: {expiration: 1d}\n")
    assert [segment.expiration_minutes for segment in spec.segments] == [1440, 1440]


@pytest.mark.parametrize("key", ["defaults", "destination", "sources", "state", "version"])
def test_what_belongs_in_the_main_file_is_refused_elsewhere(folder: SpecFolder, key: str) -> None:
    folder.write("a.yaml", f"{key}: {{}}\nsegments: {{}}\n")
    assert folder.problem(including("a.yaml")) == (
        f"a.yaml:1:1: `{key}` is not a key of an included file "
        "(it belongs in segments.yaml; an included file has `segments` and `removed`)"
    )


def test_an_include_in_an_included_file_is_refused(folder: SpecFolder) -> None:
    folder.write("a.yaml", "include: [b.yaml]\n")
    assert "a.yaml:1:1: `include` is not a key of an included file" in folder.problem(
        including("a.yaml")
    )


def test_a_misspelled_key_of_an_included_file(folder: SpecFolder) -> None:
    folder.write("a.yaml", "segmnts: {}\n")
    assert "(did you mean `segments`?)" in folder.problem(including("a.yaml"))


def test_a_segment_defined_in_two_files_names_both_places(folder: SpecFolder) -> None:
    folder.write("a.yaml", "segments:\n  one: {query: SELECT 1}\n")
    assert folder.problem(including("a.yaml")) == (
        "a.yaml:2:3: `one` is already defined at segments.yaml:5:3 (keep one of the two)"
    )


def test_an_id_used_in_two_files_names_both_places(folder: SpecFolder) -> None:
    folder.write("a.yaml", "segments: {a: {query: SELECT 1, segment_id: 7}}")
    folder.write("b.yaml", "segments: {b: {query: SELECT 1, segment_id: '7'}}")
    problem = folder.problem(including("a.yaml", "b.yaml"))
    assert problem.startswith("b.yaml:1:45: segment_id 7 is already used at a.yaml:1:45")


def test_a_removal_in_one_file_of_a_segment_in_another_names_both(folder: SpecFolder) -> None:
    folder.write("a.yaml", "removed: {one: delete}")
    problem = folder.problem(including("a.yaml"))
    assert problem.startswith(
        "a.yaml:1:11: `one` is removed here, and defined at segments.yaml:5:3"
    )


def test_a_name_removed_twice_names_both_places(folder: SpecFolder) -> None:
    folder.write("a.yaml", "removed: {old: delete}")
    problem = folder.problem(including("a.yaml") + "removed: {old: keep}\n")
    assert problem.startswith("a.yaml:1:11: `old` is already defined at segments.yaml:7:11")


def test_a_pattern_without_a_file_is_an_error(folder: SpecFolder) -> None:
    problem = folder.problem(including("segments/*.yaml"))
    assert "6:11: no file matches `segments/*.yaml`" in problem


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("../*.yaml", "leads out of the spec's folder"),
        ("a/../../*.yaml", "leads out of the spec's folder"),
        ("/etc/*.yaml", "is an absolute path"),
        ("~/x.yaml", "`~` is not replaced"),
        ("a**b", "is not a pattern of files (like segments/*.yaml)"),
        ("x" * 300, "too long for a path"),
        ("a\\\\b", "has a backslash in it"),
        ("%2e%2e/*.yaml", "no file matches"),
        ("[", "no file matches"),
    ],
)
def test_a_pattern_that_leads_nowhere_good(folder: SpecFolder, pattern: str, expected: str) -> None:
    problem = folder.problem(including(pattern))
    assert problem.startswith("segments.yaml:6:11: ")
    assert expected in problem


def test_links_may_not_lead_out_of_the_folder(folder: SpecFolder) -> None:
    Path("link.yaml").symlink_to("../outside.yaml")
    assert "`link.yaml` leads out of the spec's folder" in folder.problem(including("link.yaml"))
    Path("q.sql").symlink_to("../outside.sql")
    assert "`q.sql` leads out of the spec's folder" in folder.problem(reading("q.sql"))
    Path("away").symlink_to("..")
    assert "leads out of the spec's folder" in folder.problem(reading("away/outside.sql"))
    assert "leads out of the spec's folder" in folder.problem(including("away/*.yaml"))


def test_links_within_the_folder_are_fine(folder: SpecFolder) -> None:
    folder.write("real/q.sql", "SELECT 1")
    Path("q.sql").symlink_to("real/q.sql")
    assert folder.load(reading("q.sql")).segments[0].query == "SELECT 1"


def test_a_spec_that_is_a_link_counts_where_the_link_is(folder: SpecFolder) -> None:
    """As Kubernetes mounts a configuration: ..data/segments.yaml, and links to it."""
    folder.write("..data/segments.yaml", reading("q.sql"))
    folder.write("..data/q.sql", "SELECT 1")
    Path("segments.yaml").symlink_to("..data/segments.yaml")
    Path("q.sql").symlink_to("..data/q.sql")
    assert folder.load().segments[0].query == "SELECT 1"


def test_a_loop_of_links_is_an_error(folder: SpecFolder) -> None:
    Path("a.sql").symlink_to("b.sql")
    Path("b.sql").symlink_to("a.sql")
    assert "5:21: `a.sql` cannot be a path" in folder.problem(reading("a.sql"))
    Path("loop").symlink_to(".")
    folder.write("z.yaml", "segments: {z: {query: SELECT 1}}")
    assert len(folder.load(including("**/z.yaml")).segments) == 2


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("../outside.sql", "`../outside.sql` leads out of the spec's folder"),
        ("sql/../../outside.sql", "leads out of the spec's folder"),
        ("/etc/hostname", "`/etc/hostname` is an absolute path"),
        ("~/q.sql", "`~` is not replaced"),
        ("a\\u0007b", "has a control character in it"),
        ("x/" * 600, "is too long for a path"),
        ("missing.sql", "`missing.sql` does not exist"),
        ("nowhere/q.sql", "`nowhere/q.sql` does not exist (there is no folder `nowhere`)"),
        ("newsleter.sql", "(did you mean `newsletter.sql`?)"),
        ("sql", "`sql`: is not a file"),
        ("empty.sql", "`empty.sql` is empty"),
        ("latin.sql", "byte 9 of the file (line 1) is 0xe9, which is not UTF-8"),
        ("nul.sql", "has a NUL character in it"),
        ("large.sql", "is larger than 1 MiB"),
        ("pipe", "`pipe`: is not a file"),
        ("CON", "`CON` does not exist"),
        ("${HOME}/q.sql", "does not exist"),
        ("newsletter.sql/x", "cannot be read"),
    ],
)
def test_a_query_file_that_is_none(folder: SpecFolder, path: str, expected: str) -> None:
    folder.write("newsletter.sql", "SELECT 1")
    folder.write("sql/x", "")
    folder.write("empty.sql", "\n \n")
    folder.write("latin.sql", "SELECT '\xe9'".encode("latin-1"))
    folder.write("nul.sql", "SELECT '\0'")
    folder.write("large.sql", "SELECT '" + "x" * 1024 * 1024)
    os.mkfifo("pipe")
    problem = folder.problem(reading(path))
    assert problem.startswith("segments.yaml:5:21: ")
    assert expected in problem


def test_a_query_file_is_relative_to_the_file_that_names_it(folder: SpecFolder) -> None:
    folder.write("crm/a.yaml", "segments: {a: {query_file: q.sql}, b: {query_file: ../sql/q.sql}}")
    folder.write("crm/q.sql", "SELECT 'crm'")
    folder.write("sql/q.sql", "SELECT 'shared'")
    _, first, second = folder.load(including("crm/*.yaml")).segments
    assert (first.query, first.query_place) == ("SELECT 'crm'", "crm/q.sql:1:1")
    assert (second.query, second.query_place) == ("SELECT 'shared'", "crm/../sql/q.sql:1:1")


def test_a_wrong_statement_in_a_query_file_is_reported_in_that_file(folder: SpecFolder) -> None:
    folder.write("q.sql", "DROP TABLE t")
    assert folder.problem(reading("q.sql")).startswith("q.sql:1:1: the query is a DROP statement")


def test_the_byte_order_mark_of_a_query_file_is_not_sent(folder: SpecFolder) -> None:
    folder.write("q.sql", b"\xef\xbb\xbfSELECT 1")
    assert folder.load(reading("q.sql")).segments[0].query == "SELECT 1"


def test_the_state_may_stand_outside_of_the_folder(folder: SpecFolder) -> None:
    assert folder.load(ONE + "state: ../state.db\n").state == Path("../state.db")
    assert folder.load(ONE + "state: /var/lib/s.db\n").state == Path("/var/lib/s.db")


def test_an_empty_variable_does_not_move_the_state_elsewhere(folder: SpecFolder) -> None:
    """In CI a variable that is not set is often empty; without its state everybody is new."""
    text = ONE + "state: ${STATE_FOLDER}/state.db\n"
    problem = folder.problem(text, ENVIRON | {"STATE_FOLDER": ""})
    assert problem.startswith("segments.yaml:6:8: the environment variable STATE_FOLDER is empty")
    assert folder.load(text, ENVIRON | {"STATE_FOLDER": "/srv"}).state == Path("/srv/state.db")


def test_an_unreadable_included_file_is_reported_at_its_pattern(folder: SpecFolder) -> None:
    folder.write("a.yaml", b"\xff")
    assert folder.problem(including("a.yaml")).startswith("a.yaml:1:1: byte 1 of the file")
    folder.write("a.yaml", "")
    assert folder.problem(including("a.yaml")) == "a.yaml:1:1: the file is empty"


def test_too_many_patterns_and_files_are_refused(folder: SpecFolder) -> None:
    assert "more than 100 patterns" in folder.problem(including(*["*.yaml"] * 101))
    for number in range(1001):
        folder.write(f"many/{number}.yaml", "segments: {}")
    assert "more than 1000 files" in folder.problem(including("many/*.yaml"))


def test_too_many_segments_are_refused(folder: SpecFolder) -> None:
    for part in range(3):
        names = (f"s{part}_{number}" for number in range(4000))
        body = "".join(f" {name}: {{query: SELECT 1}}\n" for name in names)
        folder.write(f"many/{part}.yaml", f"segments:\n{body}")
    assert "many/2.yaml:2001:2: more than 10000 segments" in folder.problem(including("many/*"))


def test_a_deleted_working_directory_is_no_crash(
    folder: SpecFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = folder.write("segments.yaml", ONE)
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert load_spec(spec, ENVIRON).path == spec
