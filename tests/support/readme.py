"""The README, taken apart: its blocks of code, its tables, the commands that it names."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
_BLOCK = re.compile(
    r"(?:^<!-- not executed by [^\n]*: (?P<why>[^\n]+) -->\n)?"
    r"^```(?P<language>\w+)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_INNER = re.compile(r'"\$\([^"]*\)"')
_SPAN = re.compile(r"`([^`\n]+)`")
_COMMAND = re.compile(r"(?:^|[|&;(]|\brun:)\s*segsync(?P<words>(?: [^|&;\n#)]+)?)", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A block of code; `why` says why it is not executed, if it is not."""

    language: str
    text: str
    why: str | None


def blocks(*languages: str) -> list[Block]:
    """The blocks of these languages, in order."""
    found = (Block(m["language"], m["text"], m["why"]) for m in _BLOCK.finditer(README))
    return [block for block in found if block.language in languages]


def executed() -> list[Block]:
    """The blocks for a shell that can be executed."""
    return [block for block in blocks("sh") if block.why is None]


def yaml_file(name: str) -> str:
    """The YAML block whose first line names this file."""
    (text,) = [b.text for b in blocks("yaml") if b.text.startswith(f"# {name}\n")]
    return text


def spans() -> list[str]:
    """The code inside of sentences and tables."""
    return _SPAN.findall(_BLOCK.sub("", README))


def commands() -> Iterator[list[str]]:
    """Every command of segsync that the README names, as words without `segsync`."""
    for text in [block.text for block in blocks("sh", "yaml")] + spans():
        joined = _INNER.sub("VALUE", text.replace("\\\n", " "))
        for match in _COMMAND.finditer(joined):
            yield match["words"].split()


def table(heading: str) -> list[list[str]]:
    """The rows of the table whose first row starts with `heading`, cell by cell."""
    lines = README.splitlines()
    first = next(n for n, line in enumerate(lines) if line.startswith(f"| {heading}"))
    rows = []
    for line in lines[first + 2 :]:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows
