"""What the long steps tell: bars on a terminal, plain lines elsewhere, always on standard error."""

from __future__ import annotations

from threading import RLock
from time import monotonic
from typing import TYPE_CHECKING

from segsync.render import figures
from segsync.render.lines import Span, Style, line
from segsync.render.printable import printable, shorten
from segsync.render.terminal import Terminal

if TYPE_CHECKING:
    from rich.progress import Progress as Bars
    from rich.progress import TaskID

LINE_EVERY = 10.0
"""Seconds between two lines about one upload or execution that goes on."""
SHORTEST = 0.1
"""Seconds that are worth a word."""
LONGEST_NAME = 32


class LineProgress:
    """A line when something has happened, so that a log stays readable."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._lock = RLock()
        self._began: dict[str, float] = {}
        self._size = self._sent = 0
        self._last = 0.0
        self._status = ""

    def close(self) -> None:
        """Nothing is kept open."""

    def reading(self, segment: str) -> None:
        """A segment's query has begun."""
        with self._lock:
            self._began[segment] = monotonic()

    def read(self, segment: str, rows: int) -> None:
        """A segment's query was read to its end."""
        with self._lock:
            took = monotonic() - self._began.pop(segment, monotonic())
        after = f" in {figures.seconds(took)}" if took >= SHORTEST else ""
        self._tell(f"read {printable(segment)}: {figures.plural(rows, 'row')}{after}")

    def say(self, sentence: str) -> None:
        """Something that the user should know now."""
        self._tell(printable(sentence), Style.WARNING)

    def uploading(self, part: int, parts: int, size: int) -> None:
        """A part's upload has begun."""
        with self._lock:
            self._size, self._sent, self._last = size, 0, monotonic()
        which = f"part {part} of {parts}, " if parts > 1 else ""
        self._tell(f"uploading {which}{figures.size(size)}")

    def uploaded(self, size: int) -> None:
        """So many bytes of the present upload were handed over."""
        with self._lock:
            self._sent = size
            if size >= self._size or monotonic() - self._last < LINE_EVERY:
                return
            self._last = monotonic()
        self._tell(f"uploaded {figures.size(size)} of {figures.size(self._size)}")

    def waiting(self, execution: str, status: str, share: float | None) -> None:
        """An execution was asked for."""
        with self._lock:
            if status == self._status and monotonic() - self._last < LINE_EVERY:
                return
            self._status, self._last = status, monotonic()
        done = f" ({share:.0%})" if share is not None else ""
        self._tell(f"execution {printable(execution)} is {printable(status)}{done}")

    def _tell(self, text: str, style: Style = Style.PLAIN) -> None:
        with self._lock:
            self._terminal.try_to_tell([line(Span(text, style))])


class BarProgress:
    """Bars that are gone when the work is done; sentences stay above them."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._lock = RLock()
        self._bars: Bars | None = None
        self._tasks: dict[str, TaskID] = {}
        self._segments = self._rows = self._begun = 0

    def close(self) -> None:
        """Take the bars away: something else is to be printed."""
        with self._lock:
            if self._bars:
                self._bars.stop()
            self._bars = None
            self._tasks.clear()
            self._segments = self._rows = self._begun = 0

    def reading(self, segment: str) -> None:
        """A segment's query has begun."""
        with self._lock:
            self._begun += 1
            self._show_reading(segment)

    def read(self, segment: str, rows: int) -> None:
        """A segment's query was read to its end."""
        with self._lock:
            self._segments += 1
            self._rows += rows
            self._show_reading(segment)

    def _show_reading(self, segment: str) -> None:
        text = f"{self._rows:,} rows, {shorten(printable(segment), LONGEST_NAME)}"
        self._update("reading", text, self._segments, max(self._begun, 1))

    def say(self, sentence: str) -> None:
        """Something that the user should know now."""
        with self._lock:
            running = self._bars is not None
            if self._bars:
                self._bars.stop()
            self._terminal.try_to_tell([line(Span(printable(sentence), Style.WARNING))])
            if running and self._bars:
                self._bars.start()

    def uploading(self, part: int, parts: int, size: int) -> None:
        """A part's upload has begun."""
        which = f"part {part} of {parts}" if parts > 1 else figures.size(size)
        with self._lock:
            self._tasks.pop("uploading", None)
            self._update("uploading", which, 0, max(size, 1))

    def uploaded(self, size: int) -> None:
        """So many bytes of the present upload were handed over."""
        with self._lock:
            if self._bars and "uploading" in self._tasks:
                self._bars.update(self._tasks["uploading"], completed=size)

    def waiting(self, execution: str, status: str, share: float | None) -> None:
        """An execution was asked for."""
        text = f"execution {printable(execution)} is {printable(status)}"
        total = None if share is None else 1.0
        with self._lock:
            self._update("waiting", text, share or 0.0, total)

    def _update(self, name: str, text: str, done: float, total: float | None) -> None:
        bars = self._bars or self._start()
        if name not in self._tasks:
            self._tasks[name] = bars.add_task(name, total=total, detail=text)
        bars.update(self._tasks[name], completed=done, total=total, detail=text)

    def _start(self) -> Bars:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        self._bars = Progress(
            TextColumn("{task.description:<9}", markup=False),
            BarColumn(bar_width=20),
            TextColumn("{task.fields[detail]}", markup=False),
            TimeElapsedColumn(),
            console=self._terminal.console(),
            transient=True,
        )
        self._bars.start()
        return self._bars


Shown = LineProgress | BarProgress


def make_progress(terminal: Terminal) -> Shown:
    """Bars where somebody watches, lines elsewhere."""
    return BarProgress(terminal) if terminal.interactive else LineProgress(terminal)
