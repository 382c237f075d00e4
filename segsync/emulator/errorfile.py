"""Error files in the shapes that the undocumented format might have."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from segsync.emulator.options import Behaviour
from segsync.emulator.processing import Failure

GARBAGE = b"\x00\xff\xfe\x1f\x8b\x08PK\x03\x04 not a text \xc3\x28\n" * 3


def write_error_file(path: Path, failures: list[Failure], behaviour: Behaviour) -> None:
    """Write the failures in the behaviour's shape."""
    shape = behaviour.error_file
    if shape == "garbage":
        path.write_bytes(GARBAGE)
        return
    shown = failures[::2] if shape == "half" else failures
    write = SHAPES.get(shape, json_flat)
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for line in [] if shape == "empty" else write(shown, behaviour):
            file.write(line + "\n")


def input_fields(failure: Failure) -> dict[str, object]:
    """The failed line as an object; what is no object stands under `line`."""
    if isinstance(failure.line, dict):
        return dict(failure.line)
    try:
        fields = json.loads(failure.line)
    except (ValueError, RecursionError):
        fields = None
    return fields if isinstance(fields, dict) else {"line": as_text(failure)}


def json_flat(failures: Iterable[Failure], _behaviour: Behaviour) -> Iterator[str]:
    """The input's fields and `error`."""
    for failure in failures:
        yield json.dumps({**input_fields(failure), "error": failure.reason})


def json_nested(failures: Iterable[Failure], _behaviour: Behaviour) -> Iterator[str]:
    """The input under `input`, the reason under `error`."""
    for failure in failures:
        error = {"code": failure.code.upper(), "message": failure.reason}
        yield json.dumps({"input": input_fields(failure), "error": error})


def json_line_number(failures: Iterable[Failure], behaviour: Behaviour) -> Iterator[str]:
    """The number and the reason."""
    for failure in failures:
        yield json.dumps({"line": shown_number(failure, behaviour), "error": failure.reason})


def comma_separated(failures: Iterable[Failure], behaviour: Behaviour) -> Iterator[str]:
    """Number, identifier and reason, with a header."""
    yield "line,identifier,error"
    for failure in failures:
        cells = quoted(identifier_of(failure)), quoted(failure.reason)
        yield f"{shown_number(failure, behaviour)},{','.join(cells)}"


def text(failures: Iterable[Failure], behaviour: Behaviour) -> Iterator[str]:
    """A sentence for each."""
    for failure in failures:
        yield f"Line {shown_number(failure, behaviour)}: {failure.reason}"


def input_lines(failures: Iterable[Failure], _behaviour: Behaviour) -> Iterator[str]:
    """The failed lines as they came."""
    for failure in failures:
        yield as_text(failure)


def identifiers(failures: Iterable[Failure], _behaviour: Behaviour) -> Iterator[str]:
    """Nothing but the identifiers' values."""
    for failure in failures:
        yield identifier_of(failure)


def as_text(failure: Failure) -> str:
    """The failed line as it came, without its line end."""
    if isinstance(failure.line, dict):
        return ",".join(quoted(cell) for cell in failure.line.values())
    return failure.line.decode(errors="replace").strip("\r\n")


def quoted(cell: str) -> str:
    """A cell of a CSV file."""
    return '"' + cell.replace('"', '""') + '"'


def shown_number(failure: Failure, behaviour: Behaviour) -> int:
    """The line's number, counted from where the behaviour says."""
    return failure.number - 1 + behaviour.error_line_base


def identifier_of(failure: Failure) -> str:
    """The identifier's value, or nothing where the line had none."""
    return failure.identifier.value if failure.identifier else ""


Shape = Callable[[Iterable[Failure], Behaviour], Iterator[str]]
SHAPES: dict[str, Shape] = {
    "json_flat": json_flat,
    "json_nested": json_nested,
    "json_line_number": json_line_number,
    "csv": comma_separated,
    "text": text,
    "input_lines": input_lines,
    "identifiers": identifiers,
}
