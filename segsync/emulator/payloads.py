"""Payload files as numbered lines, in the order in which the platform happens to take them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any, TypeVar

from segsync.emulator.commands import FIELDS, Command, CommandReader, refuse
from segsync.emulator.options import Behaviour

CHUNK_BYTES = 4_000_000
CHUNK_ROWS = 20_000
NUMBER_FIELDS = ("expiration_duration", "expiration_ts")

Line = bytes | list[str]
NumberedLines = list[tuple[int, Line]]
Item = TypeVar("Item")


class PayloadReader:
    """The lines of one payload, and the command in each. Raises Refusal for a bad CSV header."""

    def __init__(self, path: Path, mime_type: str, commands: CommandReader) -> None:
        self._path = path
        self._commands = commands
        self._is_csv = mime_type == "TEXT_CSV"
        self._header: list[str] = []

    def chunks(self, behaviour: Behaviour, random: Random) -> Iterator[NumberedLines]:
        """All lines but passed-over blank ones, numbered from 1, a few thousand at a time."""
        found = (
            self._csv_chunks(behaviour) if self._is_csv else self._json_chunks(behaviour, random)
        )
        for chunk in found:
            if behaviour.blank_lines == "ignored":
                chunk = [numbered for numbered in chunk if not is_blank(numbered[1])]
            yield arranged(chunk, behaviour, random)

    def command(self, line: Line) -> Command | None:
        """The command of a line; None where it is passed over. Raises Refusal."""
        if isinstance(line, bytes):
            return self._commands.read_json(line)
        return self._commands.read(self._csv_fields(line))

    def content(self, line: Line) -> bytes | dict[str, str]:
        """A line for an error file: itself, or a CSV row by its columns."""
        if isinstance(line, bytes):
            return line
        return {name: cell for name, cell in zip(self._header, line, strict=False) if cell}

    def _json_chunks(self, behaviour: Behaviour, random: Random) -> Iterator[NumberedLines]:
        with self._path.open("rb") as file:
            starts = []
            number, offset = 1, 0
            while lines := file.readlines(CHUNK_BYTES):
                starts.append((offset, number))
                offset, number = file.tell(), number + len(lines)
            for offset, number in arranged(starts, behaviour, random):
                file.seek(offset)
                yield list(enumerate(file.readlines(CHUNK_BYTES), number))

    def _csv_chunks(self, behaviour: Behaviour) -> Iterator[NumberedLines]:
        with self._path.open(encoding="utf-8", newline="") as file:
            try:
                rows = csv.reader(file, strict=True)
                self._header = checked_header(next(rows, []), behaviour)
                chunk: NumberedLines = []
                for row in rows:
                    chunk.append((rows.line_num, row))
                    if len(chunk) == CHUNK_ROWS:
                        yield chunk
                        chunk = []
                yield chunk
            except (csv.Error, UnicodeDecodeError) as error:
                refuse("bad_csv", f"the file is not CSV in UTF-8: {error}")

    def _csv_fields(self, row: list[str]) -> dict[str, Any]:
        if len(row) != len(self._header):
            refuse("bad_csv", f"{len(row)} cells under {len(self._header)} columns")
        fields: dict[str, Any] = {
            name: cell for name, cell in zip(self._header, row, strict=True) if cell
        }
        for name in NUMBER_FIELDS:
            text = fields.get(name, "")
            if text.isascii() and text.isdecimal():
                fields[name] = int(text)
        return fields


def checked_header(names: list[str], behaviour: Behaviour) -> list[str]:
    """The property names of a CSV file's first row. Raises Refusal."""
    if behaviour.csv_header_case == "any":
        names = [name.lower() for name in names]
    wrong = [name for name in names if name not in FIELDS]
    if wrong and behaviour.unknown_fields == "failed":
        refuse("bad_header", f"unknown column {wrong[0]!r}")
    if len(set(names)) != len(names) or "operation" not in names:
        refuse("bad_header", "the header must name each property once, operation among them")
    return names


def is_blank(line: Line) -> bool:
    """Whether a line holds nothing."""
    return not line.strip() if isinstance(line, bytes) else not line


def arranged(items: Sequence[Item], behaviour: Behaviour, random: Random) -> list[Item]:
    """The items in the order in which the platform takes them."""
    arrangement = list(items)
    if behaviour.line_order == "random":
        random.shuffle(arrangement)
    elif behaviour.line_order == "reversed":
        arrangement.reverse()
    return arrangement
