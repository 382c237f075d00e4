"""A mutant: one place of one module, and what is written there instead."""

from __future__ import annotations

import ast
import difflib
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Edit:
    """Characters `start` to `end` of a text become `put`; `rule` names the kind of change."""

    start: int
    end: int
    put: str
    rule: str


@dataclass(frozen=True, slots=True)
class Mutant:
    """A module's text with one edit. `name` is stable while the module does not change."""

    module: str
    text: str
    edit: Edit
    number: int

    @property
    def name(self) -> str:
        """What --only takes."""
        return f"{self.module}:{self.number}"

    @property
    def mutated(self) -> str:
        """The module's text after the edit."""
        return self.text[: self.edit.start] + self.edit.put + self.text[self.edit.end :]

    @property
    def line(self) -> int:
        """The number of the first line that differs."""
        return self.text.count("\n", 0, self.edit.start) + 1

    @property
    def place(self) -> range | None:
        """The lines of its statement: who runs through none of them cannot notice it.

        None: it stands outside of functions, where a module is imported.
        """
        inside = [
            node
            for node in ast.walk(ast.parse(self.text))
            if isinstance(node, ast.stmt) and node.lineno <= self.line <= (node.end_lineno or 0)
        ]
        if not any(isinstance(node, ast.FunctionDef) for node in inside):
            return None
        innermost = inside[-1]
        head = range(innermost.lineno, _body(innermost))
        whole = range(innermost.lineno, (innermost.end_lineno or innermost.lineno) + 1)
        return head if self.line in head and not isinstance(innermost, ast.FunctionDef) else whole

    @property
    def was(self) -> str:
        """The lines that differ, as they were, without their indentation."""
        return _stripped(self._lines(self.text, self.edit.end))

    @property
    def becomes(self) -> str:
        """The lines that differ, as they are now, without their indentation."""
        return _stripped(self._lines(self.mutated, self.edit.start + len(self.edit.put)))

    def _lines(self, text: str, end: int) -> str:
        first = text.rfind("\n", 0, self.edit.start) + 1
        last = text.find("\n", end)
        return text[first : last if last >= 0 else len(text)]

    def diff(self) -> str:
        """The change as a patch."""
        before, after = self.text.splitlines(), self.mutated.splitlines()
        lines = difflib.unified_diff(before, after, self.module, self.module, n=2, lineterm="")
        return "\n".join(lines)


def _stripped(text: str) -> str:
    return "\n".join(line.strip() for line in text.splitlines())


def _body(node: ast.stmt) -> int:
    """The line where the body of a compound statement starts, or the one after a simple one."""
    body: list[ast.stmt] = getattr(node, "body", [])
    return body[0].lineno if body else (node.end_lineno or node.lineno) + 1
