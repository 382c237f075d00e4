"""Standard output and standard error: the one place that prints, colours, and redacts."""

from __future__ import annotations

import codecs
import io
import itertools
import json
import os
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TextIO

from segsync.errors import SegsyncError
from segsync.render.lines import Line, Style, plain

if TYPE_CHECKING:
    from rich.console import Console

LINES_AT_ONCE = 10_000
NARROWEST, WIDEST = 40, 10_000
WIDTH_ELSEWHERE = 120
"""Columns where nobody's terminal limits them: files, pipes, logs of CI."""

_COLOURS = {
    Style.PLAIN: "",
    Style.STRONG: "bold",
    Style.DIM: "dim",
    Style.ADD: "green",
    Style.UPDATE: "yellow",
    Style.RENEW: "cyan",
    Style.REMOVE: "red",
    Style.GOOD: "bold green",
    Style.WARNING: "bold yellow",
    Style.ERROR: "bold red",
}
_ASCII = {
    "…": "...", "−": "-", "–": "-", "↻": "r", "×": "x", "→": "->", "─": "-", "•": "*", "✗": "x",
    "✓": "ok",
}  # fmt: skip


class OutputError(SegsyncError):
    """The result could not be written where standard output goes."""


class Terminal:
    """Both streams. A reader who goes away (`| head`) is no error: nobody reads the rest."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self.out = _ready(sys.stdout)
        self.err = _ready(sys.stderr)
        self.interactive = is_terminal(self.err) and environ.get("TERM") != "dumb"
        self._colours = not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        self._environ = environ
        self.redact: Callable[[str], str] = str

    @property
    def columns(self) -> int:
        """The width to lay the result out for; asked anew each time, as windows are resized."""
        return self._width(self.out)

    @property
    def message_columns(self) -> int:
        """The width to lay messages out for."""
        return self._width(self.err)

    def _width(self, stream: TextIO) -> int:
        stated = self._environ.get("COLUMNS", "")
        if stated.isascii() and stated.isdigit() and 0 < int(stated) < WIDEST:
            return max(int(stated), NARROWEST)
        try:
            return max(os.get_terminal_size(stream.fileno()).columns or 80, NARROWEST)
        except (OSError, ValueError):
            return WIDTH_ELSEWHERE

    def show(self, lines: Iterable[Line]) -> None:
        """Print lines as the result."""
        self._print(self.out, lines)

    def tell(self, lines: Iterable[Line]) -> None:
        """Print lines beside the result, on standard error."""
        self._print(self.err, lines)

    def try_to_tell(self, lines: Iterable[Line]) -> None:
        """Tell what may stay untold: no work ends halfway for it, and no exit status changes."""
        with suppress(OutputError):
            self.tell(lines)

    def write(self, text: str) -> None:
        """Write a finished document (Markdown, HTML) as the result."""
        _write(self.out, self.redact(text))

    def write_json(self, value: Any) -> None:
        """Write a JSON document as the result: ASCII only, no NaN."""
        clean = _redacted(value, self.redact)
        _write(self.out, json.dumps(clean, indent=2, ensure_ascii=True, allow_nan=False) + "\n")

    @property
    def can_ask(self) -> bool:
        """Whether somebody reads what is asked, and can answer."""
        return is_terminal(sys.stdin) and (is_terminal(self.err) or is_terminal(self.out))

    def ask(self, question: str) -> str:
        """The answer to a question that is put where it is seen; empty at the end of input."""
        _write(self.err if is_terminal(self.err) else self.out, question)
        answer = sys.stdin.buffer.readline() if sys.stdin else b""
        return answer.decode("utf-8", "replace")

    def console(self) -> Console:
        """A rich console on standard error, for progress bars."""
        return self._console(self.err)

    def close(self) -> None:
        """Let nothing more be written to standard output: nobody reads it any more."""
        _write_to_nobody(self.out)

    def _print(self, stream: TextIO, lines: Iterable[Line]) -> None:
        left = iter(lines)
        while portion := list(itertools.islice(left, LINES_AT_ONCE)):
            self._print_portion(stream, portion)

    def _print_portion(self, stream: TextIO, lines: Sequence[Line]) -> None:
        if not (self._colours and is_terminal(stream)):
            _write(stream, self.redact(plain(lines)))
            return
        from rich.text import Text

        text = Text(end="")
        for item in lines:
            for span in item.spans:
                text.append(self.redact(span.text), _COLOURS[span.style])
            text.append("\n")
        console = self._console(stream)
        with console.capture() as captured:
            console.print(text, soft_wrap=True, end="")
        _write(stream, captured.get())

    def _console(self, stream: TextIO) -> Console:
        from rich.console import Console

        return Console(
            file=stream,
            force_terminal=is_terminal(stream),
            no_color=not self._colours,
            markup=False,
            highlight=False,
            emoji=False,
        )


def is_terminal(stream: TextIO | None) -> bool:
    """Whether somebody sits at the other end."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def open_standard_streams() -> None:
    """Put /dev/null where a standard stream is closed.

    Otherwise the next file that is opened (the state) would get its number, and be written to.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _ready(stream: TextIO | None) -> TextIO:
    """A stream that writes everything, with other characters where its encoding lacks ours."""
    if stream is None:
        return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 — a device, kept open
    codecs.register_error("segsync", _replace)
    if isinstance(getattr(stream, "buffer", None), io.RawIOBase):
        # With PYTHONUNBUFFERED: what a write leaves over, as on a disk that is full, would be lost.
        whole = io.BufferedWriter(io.FileIO(stream.fileno(), "w", closefd=False))
        return io.TextIOWrapper(whole, stream.encoding, "segsync")
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="segsync")
    return stream


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    found = error.object[error.start : error.end]
    replaced = (
        _ASCII.get(char) or char.encode("ascii", "backslashreplace").decode() for char in found
    )
    return "".join(replaced), error.end


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except BrokenPipeError:
        _write_to_nobody(stream)
    except OSError as error:
        raise OutputError(f"the output could not be written: {error.strerror}") from None


def _write_to_nobody(stream: TextIO) -> None:
    """Let nothing more be written, not even at the interpreter's end."""
    nobody = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nobody, stream.fileno())
    os.close(nobody)


def _redacted(value: Any, redact: Callable[[str], str]) -> Any:
    match value:
        case str():
            return redact(value)
        case Mapping():
            return {key: _redacted(item, redact) for key, item in value.items()}
        case list() | tuple():
            return [_redacted(item, redact) for item in value]
    return value
