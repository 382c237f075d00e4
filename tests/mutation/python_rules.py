"""How Python is broken: comparisons, arithmetic, logic, constants, statements, arguments."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from itertools import pairwise

from tests.mutation.mutant import Edit

COMPARISONS = {
    "<": ("<=", ">="),
    "<=": ("<", ">"),
    ">": (">=", "<="),
    ">=": (">", "<"),
    "==": ("!=",),
    "!=": ("==",),
    "is not": ("is",),
    "is": ("is not",),
    "not in": ("in",),
    "in": ("not in",),
}
ARITHMETIC = {"+": "-", "-": "+", "*": "//", "//": "*", "%": "*", "/": "*", "|": "&", "&": "|"}
HANDLES = {"cursor", "database"}
"""Exchanged with another argument they fail at the first use: nothing is learnt from that."""
Placed = ast.expr | ast.stmt
NOT_CODE = (ast.Import, ast.ImportFrom, ast.Pass, ast.Global)


def edits(text: str) -> Iterator[Edit]:
    """Every edit of the code outside strings, annotations and imports."""
    yield from _Walk(text).edits()


class _Walk:
    def __init__(self, text: str) -> None:
        self.text = text
        self._starts = [0]
        for line in text.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._lines = text.splitlines()

    def edits(self) -> Iterator[Edit]:
        for node in self._code(ast.parse(self.text)):
            yield from self._of(node)

    def _code(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes that are run: no annotations, decorators, docstrings or formatted strings."""
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "bases"):
                continue
            for child in value if isinstance(value, list) else [value]:
                if not isinstance(child, ast.AST) or isinstance(child, (ast.JoinedStr, *NOT_CODE)):
                    continue
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    continue
                if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
                    continue
                yield child
                yield from self._code(child)

    def _of(self, node: ast.AST) -> Iterator[Edit]:
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
                for left, right in pairwise(sides):
                    yield from self._swapped(left, right, COMPARISONS, "comparison")
            case ast.BoolOp():
                words = {"and": ("or",), "or": ("and",)}
                for left, right in pairwise(node.values):
                    yield from self._swapped(left, right, words, "logic")
            case ast.BinOp():
                signs = {sign: (other,) for sign, other in ARITHMETIC.items()}
                yield from self._swapped(node.left, node.right, signs, "arithmetic")
            case ast.UnaryOp(op=ast.Not()):
                yield self._edit(node, self._source(node.operand), "not")
            case ast.Constant():
                yield from self._constant(node)
            case ast.If() | ast.While() | ast.IfExp():
                yield from self._condition(node.test)
            case ast.comprehension():
                for test in node.ifs:
                    yield from self._condition(test)
            case ast.Call():
                yield from self._arguments(node)
            case ast.Return(value=ast.expr() as value):
                yield from self._returned(value)
            case ast.Expr() | ast.Raise() | ast.AugAssign() | ast.Continue() | ast.Break():
                yield self._edit(node, "pass", "deleted statement")
        if isinstance(node, ast.Assign | ast.AnnAssign) and self._is_attribute(node):
            yield self._edit(node, "pass", "deleted statement")

    def _is_attribute(self, node: ast.Assign | ast.AnnAssign) -> bool:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        return isinstance(target, ast.Attribute) and node.value is not None

    def _constant(self, node: ast.Constant) -> Iterator[Edit]:
        value = node.value
        if isinstance(value, bool):
            yield self._edit(node, str(not value), "constant")
        elif isinstance(value, int):
            yield self._edit(node, str(value + 1), "constant")
            if value > 0:
                yield self._edit(node, str(value - 1), "constant")
        elif isinstance(value, float):
            yield self._edit(node, repr(value * 1.5), "constant")
        elif isinstance(value, str) and re.fullmatch(r"[a-z_]+", value):
            yield self._edit(node, repr(value + "x"), "constant")

    def _condition(self, test: ast.expr) -> Iterator[Edit]:
        if not isinstance(test, ast.Compare | ast.NamedExpr):
            yield self._edit(test, f"(not ({self._source(test)}))", "condition")

    def _arguments(self, node: ast.Call) -> Iterator[Edit]:
        for left, right in pairwise(node.args):
            first, second = self._source(left), self._source(right)
            if first == second or {first, second} & HANDLES or isinstance(right, ast.Starred):
                continue
            put = second + self.text[self._end(left) : self._start(right)] + first
            yield Edit(self._start(left), self._end(right), put, "swapped arguments")

    def _returned(self, value: ast.expr) -> Iterator[Edit]:
        if isinstance(value, ast.Constant) and value.value is None:
            return
        yield self._edit(value, "None", "return None")
        if isinstance(value, ast.Compare | ast.BoolOp | ast.UnaryOp):
            yield self._edit(value, "True", "return True")

    def _swapped(
        self, left: ast.expr, right: ast.expr, signs: Mapping[str, tuple[str, ...]], rule: str
    ) -> Iterator[Edit]:
        start, end = self._end(left), self._start(right)
        between = self.text[start:end]
        for sign in sorted(signs, key=len, reverse=True):
            pattern = rf"\b{sign}\b" if sign.isidentifier() or " " in sign else re.escape(sign)
            if found := re.search(pattern, between):
                for other in signs[sign]:
                    yield Edit(start + found.start(), start + found.end(), other, rule)
                return

    def _edit(self, node: Placed, put: str, rule: str) -> Edit:
        return Edit(self._start(node), self._end(node), put, rule)

    def _source(self, node: Placed) -> str:
        return self.text[self._start(node) : self._end(node)]

    def _start(self, node: Placed) -> int:
        return self._offset(node.lineno, node.col_offset)

    def _end(self, node: Placed) -> int:
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        return self._offset(node.end_lineno, node.end_col_offset)

    def _offset(self, line: int, column: int) -> int:
        """Columns of a syntax tree count bytes."""
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())
