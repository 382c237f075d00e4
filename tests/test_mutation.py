"""The mutation testing itself: what is broken, and what is known of it."""

from __future__ import annotations

from pathlib import Path

from tests.mutation import python_rules, sql_rules
from tests.mutation.__main__ import mutants_of
from tests.mutation.accepted import key, reasons
from tests.mutation.modules import TESTS, files
from tests.mutation.mutant import Edit, Mutant

ROOT = Path(__file__).parents[1]
SQL = """sql = f"SELECT a FROM t WHERE a < {one > two} AND b BETWEEN 3 AND 4 ORDER BY a DESC"\n"""
CODE = '''def least(a: int, b: int) -> int:
    """Never more than a."""
    if a < b and not find(a, b):
        raise ValueError("a < b")
    return a + 1
'''


def results(text: str, edits: list[Edit]) -> set[str]:
    return {text[: edit.start] + edit.put + text[edit.end :] for edit in edits}


def test_every_module_and_each_of_its_test_files_is_there() -> None:
    for module in TESTS:
        assert (ROOT / module).is_file()
        for name in files(module):
            assert (ROOT / name).is_file()


def test_sql_is_broken_and_what_is_filled_in_is_not() -> None:
    found = results(SQL, list(sql_rules.edits(SQL)))
    assert SQL.replace("a < ", "a <= ") in found
    assert SQL.replace("a < {one > two} AND ", "") in found
    assert SQL.replace("} AND b", "} OR b") in found
    assert SQL.replace("AND b BETWEEN 3 AND 4", "") in found
    assert SQL.replace(" DESC", "") in found
    assert SQL.replace("3 AND", "4 AND") in found
    assert not any("one >= two" in text or "3 OR 4" in text for text in found)


def test_python_is_broken_and_its_texts_are_not() -> None:
    found = results(CODE, list(python_rules.edits(CODE)))
    for before, after in (
        ("if a < b", "if a <= b"),
        (" and ", " or "),
        ("not find", "find"),
        ("find(a, b)", "find(b, a)"),
        ('raise ValueError("a < b")', "pass"),
        ("return a + 1", "return a - 1"),
        ("return a + 1", "return a + 2"),
        ("return a + 1", "return None"),
    ):
        assert CODE.replace(before, after) in found
    assert all('"""Never more than a."""' in text for text in found)
    assert not any('"a <= b"' in text for text in found)


def test_a_mutant_is_shown_to_tests_that_reach_its_statement() -> None:
    text = f"LIMIT = 3\n{CODE}"
    places = {
        (edit.put, mutant.line): mutant.place
        for edit in python_rules.edits(text)
        for mutant in [Mutant("module.py", text, edit, 1)]
    }
    assert places["4", 1] is None, "an import runs it"
    assert places["or", 4] == range(4, 5), "the head of the statement, not its body"
    assert places["pass", 5] == range(5, 6)


def test_what_is_accepted_is_still_a_mutant() -> None:
    known = reasons()
    assert known
    modules = {module for module, _, _ in known}
    there = {key(mutant) for module in modules for mutant in mutants_of(module)}
    assert known.keys() <= there
    assert all(reason.strip() for reason in known.values())
