"""How SQL inside strings is broken. What Python fills in is moved about as it stands."""

from __future__ import annotations

import io
import re
import tokenize
from collections.abc import Iterator

from tests.mutation.mutant import Edit

FIELD = "\x01"
"""Stands for every character of what Python fills in."""

IS_SQL = re.compile(
    r"\b(SELECT|FROM|WHERE|WHEN|CASE|THEN|ELSE|END|AND|OR|JOIN|INSERT|DELETE|UPDATE|CREATE|ORDER BY"
    r"|GROUP BY|HAVING|VALUES|IS NULL|IS NOT NULL|DESC|DISTINCT)\b|::[A-Z]+"
    rf"|\b(coalesce|min|max|count|sum|greatest|nullif|concat)\(|\w (<|<=|>|>=|=|<>) {FIELD}"
)
PROBE = re.compile(r"SELECT 1 FROM|(?<=SELECT 1 FROM ).*( LIMIT 1)\b")
"""Whether there is a row: which constant stands for one, and how many are read, is all the same."""
STATEMENT_STARTS = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)
WORDS = {"add": "renew", "update": "add", "renew": "remove", "remove": "add", "forget": "remove"}
SWAPS: tuple[tuple[str, str, str], ...] = (
    (r" <= ", " < ", "comparison"),
    (r" <= ", " >= ", "comparison"),
    (r" < ", " <= ", "comparison"),
    (r" < ", " >= ", "comparison"),
    (r" >= ", " > ", "comparison"),
    (r" >= ", " < ", "comparison"),
    (r" > ", " >= ", "comparison"),
    (r" > ", " < ", "comparison"),
    (r" = ", " <> ", "comparison"),
    (r" <> ", " = ", "comparison"),
    (r"(?<!BETWEEN \?) AND\b", " OR", "logic"),
    (r"\bOR\b(?! REPLACE)", "AND", "logic"),
    (r"\bNOT (?=IN\b|LIKE\b|MATERIALIZED\b|DISTINCT\b)", "", "not"),
    (r"\b(?:WHERE|WHEN|AND|OR|CASE WHEN|\() ?(NOT )(?!IN\b|NULL)", "", "not"),
    (r"\bIS NOT NULL\b", "IS NULL", "null"),
    (r"\bIS NULL\b", "IS NOT NULL", "null"),
    (r"\bIS NOT DISTINCT FROM\b", "=", "null"),
    (r"(?<!NOT )\bEXISTS\b", "NOT EXISTS", "not"),
    (r" DESC\b", "", "order"),
    (r" NULLS LAST\b", " NULLS FIRST", "order"),
    (rf"ORDER BY [\w.{FIELD}]+(?! DESC)", r"\g<0> DESC", "order"),
    (rf" ORDER BY [\w., {FIELD}]+(?=\")", "", "order"),
    (r"\bmin\(", "max(", "aggregate"),
    (r"\bmax\(", "min(", "aggregate"),
    (r"\bsum\(", "max(", "aggregate"),
    (r"\bgreatest\(", "least(", "aggregate"),
    (r"\bfirst\(", "last(", "aggregate"),
    (rf"coalesce\([\w.{FIELD}]+(, (?:0|''|false|-1))\)", "", "default"),
    (rf"nullif\(([\w.{FIELD}()]+), [^)]+\)", r"\1", "default"),
    (r"\bFULL JOIN\b", "LEFT JOIN", "join"),
    (r"\bFULL JOIN\b", "RIGHT JOIN", "join"),
    (r"\bLEFT JOIN\b", "JOIN", "join"),
    (r"\bANTI JOIN\b", "SEMI JOIN", "join"),
    (r"\bDISTINCT (?!FROM)", "", "distinct"),
    (r" GROUP BY [\w.]+", "", "group"),
    (r" LIMIT \d+", "", "limit"),
    (r"\btrue\b", "false", "constant"),
    (r"\bfalse\b", "true", "constant"),
    (r"'UPDATE'", "'DELETE'", "word"),
    (r"'DELETE'", "'UPDATE'", "word"),
    (r" \+ (?=[\w{FIELD}(])", " - ", "arithmetic"),
    (r" - (?=[\w{FIELD}(])", " + ", "arithmetic"),
    (r" // ", " * ", "arithmetic"),
    (r" \* (?=[\w{FIELD}(])", " + ", "arithmetic"),
    (r"ON CONFLICT \([\w, ]+\) DO UPDATE SET ", "ON CONFLICT DO NOTHING --", "conflict"),
)


def edits(text: str) -> Iterator[Edit]:
    """Every edit of the SQL in the strings of a module."""
    for start, literal in _literals(text):
        masked = _masked(literal)
        if not IS_SQL.search(masked):
            continue
        probes = [found.span(1 if found[1] else 0) for found in PROBE.finditer(masked)]
        for edit in _edits(literal, masked):
            if any(first <= edit.start and edit.end <= last for first, last in probes):
                continue
            yield Edit(start + edit.start, start + edit.end, edit.put, edit.rule)


def _edits(literal: str, masked: str) -> Iterator[Edit]:
    for pattern, put, rule in SWAPS:
        for found in re.finditer(pattern, masked):
            group = 1 if put == "" and found.re.groups else 0
            start, end = found.span(group)
            if "AND" in pattern and _is_between(masked[:start]):
                continue
            yield Edit(start, end, _filled(found, put, literal), rule)
    for found in re.finditer(r"'(add|update|renew|remove|forget)'", masked):
        yield Edit(found.start(), found.end(), f"'{WORDS[found[1]]}'", "word")
    for found in re.finditer(r"(?<![\w.:])\d{1,9}(?![\w.:])", masked):
        yield Edit(found.start(), found.end(), str(int(found[0]) + 1), "constant")
    yield from _dropped(masked)


def _filled(found: re.Match[str], put: str, literal: str) -> str:
    """The replacement, with the fields of the original in it."""
    for mark, group in ((r"\g<0>", 0), (r"\1", 1)):
        if mark in put:
            start, end = found.span(group)
            put = put.replace(mark, literal[start:end])
    return put


def _is_between(before: str) -> bool:
    return before.rfind("BETWEEN ") > before.rfind(" AND")


def _dropped(masked: str) -> Iterator[Edit]:
    """One condition of a conjunction less, or none at all."""
    for found in re.finditer(r"\b(?:WHERE|AND|ON) ", masked):
        if found[0] == "AND " and _is_between(masked[: found.start()]):
            continue
        end = _condition_end(masked, found.end())
        if found[0] != "AND ":
            following = masked[end:].startswith(" AND ")
            stop = end + len(" AND ") if following else end
            put = "" if following else "true"
            yield Edit(found.end(), stop, put, "dropped condition")
        else:
            yield Edit(found.start(), end, "", "dropped condition")


def _condition_end(masked: str, start: int) -> int:
    depth = 0
    for place in range(start, len(masked)):
        if masked[place] in "([":
            depth += 1
        elif masked[place] in ')]"' or masked[place] == "\n":
            depth -= 1
            if depth < 0 or masked[place] in '"\n':
                return place
        elif depth == 0 and re.match(
            r" (AND|OR|THEN|GROUP|ORDER|ON|HAVING|LIMIT|END|RETURNING|WHERE)\b", masked[place:]
        ):
            if masked[place:].startswith(" AND ") and _is_between(masked[start:place]):
                continue
            return place
    return len(masked)


def _literals(text: str) -> Iterator[tuple[int, str]]:
    """Where each string stands, without its prefix and docstrings; formatted ones as a whole."""
    starts = [0]
    for line in text.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    open_strings: list[int] = []
    before = tokenize.NEWLINE
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        start = starts[token.start[0] - 1] + token.start[1]
        end = starts[token.end[0] - 1] + token.end[1]
        kind = tokenize.tok_name[token.type]
        if kind == "FSTRING_START":
            open_strings.append(start)
        elif kind == "FSTRING_END":
            opened = open_strings.pop()
            yield opened, text[opened:end]
        elif kind == "STRING" and before not in STATEMENT_STARTS:
            yield start, token.string
        if kind not in ("NL", "COMMENT"):
            before = token.type


def _masked(literal: str) -> str:
    """The literal with its quotes, and with FIELD for all that is filled in."""
    opening = re.match(r"[a-zA-Z]*", literal)
    if not opening or "f" not in opening[0].lower():
        return literal
    masked, depth, place = list(literal), 0, 0
    while place < len(literal):
        if depth == 0 and literal[place : place + 2] in ("{{", "}}"):
            place += 2
            continue
        if literal[place] == "{":
            depth += 1
        if depth:
            masked[place] = FIELD
        if literal[place] == "}" and depth:
            depth -= 1
        place += 1
    return "".join(masked)
