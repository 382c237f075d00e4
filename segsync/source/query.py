"""The text of a query: its `:name` parameters, its end, and the subquery it is read through.

Only what must be known to do that is looked at: strings, quoted names and comments are stepped
over, as each dialect writes them. Whether the query means anything is the database's to say.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from segsync.errors import SourceError
from segsync.model import Segment

QUERY_WORDS = frozenset({"select", "with", "values", "table", "from"})
"""The words a query may begin with; everything else is a statement that does something."""


@dataclass(frozen=True, slots=True)
class Lexis:
    """How a dialect writes strings, names and comments, where dialects differ.

    `marks`: `?`, `@name` and `$name` are parameters, and `:name` can be nothing else. `verbs`:
    words that make a query do something, wherever they stand; in other dialects a query is read
    as a subquery, in which they mean nothing.
    """

    backslash_escapes: bool = False
    escape_strings: bool = False
    dollar_quotes: bool = False
    brackets: bool = False
    backticks: bool = False
    hash_comments: bool = False
    nested_comments: bool = False
    marks: bool = False
    verbs: frozenset[str] = frozenset()


STANDARD = Lexis()
SQLITE = Lexis(brackets=True, backticks=True, marks=True)
POSTGRESQL = Lexis(escape_strings=True, dollar_quotes=True, nested_comments=True)
DUCKDB = Lexis(escape_strings=True, dollar_quotes=True)
MYSQL = Lexis(backslash_escapes=True, backticks=True, hash_comments=True)
MSSQL = Lexis(
    brackets=True,
    nested_comments=True,
    # All are reserved there; no semicolon need stand between statements, nor anything before EXEC.
    verbs=frozenset({
        "alter", "backup", "create", "dbcc", "delete", "deny", "drop", "exec", "execute", "grant",
        "insert", "into", "kill", "merge", "reconfigure", "restore", "revoke", "shutdown",
        "truncate", "update", "updatetext", "writetext",
    }),
)  # fmt: skip
LEXES = {
    "sqlite": SQLITE,
    "postgresql": POSTGRESQL,
    "redshift": POSTGRESQL,
    "duckdb": DUCKDB,
    "mysql": MYSQL,
    "mariadb": MYSQL,
    "mssql": MSSQL,
    "snowflake": Lexis(backslash_escapes=True, dollar_quotes=True),
    "bigquery": Lexis(backslash_escapes=True, backticks=True, hash_comments=True),
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """A place in the query where the value of a parameter belongs."""

    name: str


@dataclass(frozen=True, slots=True)
class Query:
    """A query without its closing semicolon: its text, cut at the parameters.

    `plain` is a query without any parenthesis: it calls no function and has no subquery.
    `unbound` looks like a parameter, and no value was given for it.
    """

    pieces: tuple[str | Parameter, ...]
    plain: bool
    unbound: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The parameters, in the order of their places; one used twice is there twice."""
        return tuple(piece.name for piece in self.pieces if isinstance(piece, Parameter))

    def render(self, placeholder: Callable[[str], str]) -> str:
        """The text with `placeholder(name)` at each parameter."""
        return "".join(
            placeholder(piece.name) if isinstance(piece, Parameter) else piece
            for piece in self.pieces
        )


def parse(segment: Segment, lexis: Lexis) -> Query:
    """The query of `segment`, cut at the `:name` of exactly its params.

    Raises SourceError where it is not one query: empty, several statements, another statement,
    a bracket or a quotation that does not end, or a parameter that it does not use.
    """

    def refuse(message: str, hint: str | None = None) -> SourceError:
        return SourceError(f"the query {message}", hint=hint, place=segment.query_place)

    if "\0" in segment.query:
        raise refuse("has a NUL character, behind which a database may read nothing")
    params = segment.params or {}
    tokens = list(_tokens(segment.query, lexis, frozenset(params)))
    code = [token for token in tokens if token.kind not in ("space", "comment")]
    while code and code[-1].kind == ";":
        tokens.remove(code.pop())
    _check_shape(code, refuse)
    _check_reads(code, lexis.verbs, refuse)
    query = Query(
        _pieces(tokens),
        plain=all(token.kind != "(" for token in code),
        unbound=tuple(dict.fromkeys(token.text for token in code if token.kind == "unbound")),
    )
    unused = [name for name in params if name not in query.names]
    if unused:
        names = ", ".join(f":{name}" for name in unused)
        raise refuse(f"does not use its params {names}", "Use them in the query, or remove them.")
    return query


def refuse_unbound(segment: Segment, query: Query) -> None:
    """Raise SourceError where no value was given for a parameter of a dialect with `marks`.

    SQLite would give it another one's value, or NULL, and return other members than are meant.
    """
    if query.unbound:
        raise SourceError(
            f"no value is given for {', '.join(query.unbound)} in the query",
            hint=values_hint(query.unbound),
            place=segment.query_place,
        )


def values_hint(unbound: Iterable[str]) -> str:
    """How to give a query the values of what looks like its parameters."""
    names = [text[1:] for text in unbound if text.startswith(":")]
    if not names:
        return "Write :NAME there, and give its value under `params:`."
    return f"Give the segment `params: {{{', '.join(f'{name}: …' for name in names)}}}`."


@dataclass(frozen=True, slots=True, eq=False)
class _Token:
    kind: str
    text: str


_Refuse = Callable[..., SourceError]


def _check_shape(code: list[_Token], refuse: _Refuse) -> None:
    if not code:
        raise refuse("is empty")
    depth = 0
    for token in code:
        depth += {"(": 1, ")": -1}.get(token.kind, 0)
        if depth < 0:
            raise refuse("closes a parenthesis that it did not open")
        if token.kind == ";":
            raise refuse(
                "has more than one statement", "A segment is one SELECT; remove what is behind `;`."
            )
        if token.kind == "unterminated":
            raise refuse(f"has a quotation or comment that does not end: {token.text[:2]}")
    if depth:
        raise refuse("has a parenthesis that is not closed")
    first = next((token for token in code if token.kind != "("), code[0])
    if first.text.lower() not in QUERY_WORDS:
        raise refuse(
            f"is a {first.text[:20].upper()} statement; a segment can only be read",
            "Write it as a SELECT (it may begin with WITH).",
        )


def _check_reads(code: list[_Token], verbs: frozenset[str], refuse: _Refuse) -> None:
    for token in code:
        if token.kind == "word" and token.text.lower() in verbs:
            raise refuse(
                f"has the word {token.text.upper()}; a segment can only be read",
                "Write it as one SELECT; a column of that name stands in brackets.",
            )


def _pieces(tokens: list[_Token]) -> tuple[str | Parameter, ...]:
    pieces: list[str | Parameter] = []
    text: list[str] = []
    for token in tokens:
        if token.kind == "parameter":
            pieces += ["".join(text), Parameter(token.text[1:])]
            text = []
        else:
            text.append(token.text)
    return (*pieces, "".join(text))


def _tokens(text: str, lexis: Lexis, params: frozenset[str]) -> Iterator[_Token]:
    pattern = _pattern(lexis)
    at = 0
    while at < len(text):
        match = pattern.match(text, at)
        # The pattern's last alternative is any character, so it matches everywhere.
        assert match is not None
        kind, end = match.lastgroup or "other", match.end()
        if kind == "block":
            kind, end = _block_comment(text, at, nested=lexis.nested_comments)
        elif kind == "parameter" and match.group()[1:] not in params:
            kind = "unbound"
        elif kind == "mark":
            kind = match.group()
        yield _Token(kind, text[at:end])
        at = end


def _block_comment(text: str, start: int, *, nested: bool) -> tuple[str, int]:
    depth = 0
    for match in re.compile(r"/\*|\*/").finditer(text, start):
        if match.group() == "*/":
            depth -= 1
        elif nested or depth == 0:
            depth += 1
        if depth == 0:
            return "comment", match.end()
    return "unterminated", len(text)


@cache
def _pattern(lexis: Lexis) -> re.Pattern[str]:
    def quoted(mark: str, *, escapes: bool) -> str:
        inner = rf"[^{mark}\\]++|\\.|{mark}{mark}" if escapes else rf"[^{mark}]++|{mark}{mark}"
        return rf"{mark}(?:{inner})*+{mark}"

    escapes = lexis.backslash_escapes
    quotations = [quoted("'", escapes=escapes), quoted('"', escapes=escapes)]
    opening = "'\""
    if lexis.escape_strings:
        quotations.insert(0, "[eE]" + quoted("'", escapes=True))
    if lexis.dollar_quotes:
        quotations.append(r"(?P<tag>\$(?:[^\W\d]\w*)?\$).*?(?P=tag)")
    if lexis.backticks:
        quotations.append(quoted("`", escapes=False))
        opening += "`"
    if lexis.brackets:
        quotations.append(r"\[[^\]]*\]")
    # In MySQL `5--3` is 8: a comment there needs a space behind its dashes.
    comments = [r"--(?=\s|\Z)[^\n]*" if lexis.hash_comments else r"--[^\n]*"]
    if lexis.hash_comments:
        comments.append(r"\#[^\n]*")
    marks = r"|(?P<unbound>\?\d*|[@$]\w+)" if lexis.marks else ""
    return re.compile(
        rf"(?P<quotation>{'|'.join(quotations)})"
        rf"|(?P<comment>{'|'.join(comments)})"
        r"|(?P<block>/\*)"
        r"|(?P<space>\s+)"
        r"|(?P<cast>::)"
        rf"|(?P<parameter>:[^\W\d]\w*){marks}"
        r"|(?P<word>[\w$@]+)"
        r"|(?P<mark>[();])"
        rf"|(?P<unterminated>[{opening}])"
        r"|(?P<other>.)",
        re.DOTALL,
    )
