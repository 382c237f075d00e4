"""What every command works with: the terminal, the spec, the clock."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

import typer

from segsync.render.escaping import as_html
from segsync.render.lines import Line
from segsync.render.printable import printable
from segsync.render.terminal import Terminal
from segsync.secret import Redactor

if TYPE_CHECKING:
    from segsync.model import Spec

DEFAULT_FILE = "segments.yaml"
FILE_VARIABLE = "SEGSYNC_FILE"


@dataclass
class Session:
    """One invocation. `applying` is the spec of an apply that has the lock, or that failed."""

    terminal: Terminal
    debug: bool = False
    file: Path | None = None
    applying: Spec | None = None

    def path(self, file: Path | None) -> Path:
        """The spec's path: -f behind the command, -f before it, SEGSYNC_FILE, segments.yaml."""
        return file or self.file or Path(os.environ.get(FILE_VARIABLE) or DEFAULT_FILE)

    def option(self, file: Path | None) -> str:
        """What names the same spec in a command to be typed next, with a space before it."""
        given = file or self.file
        return f" -f {shlex.quote(str(given))}" if given else ""

    def load(self, file: Path | None, *, connecting: bool = True) -> Spec:
        """The spec; from now on nothing that is printed shows its secrets.

        Without `connecting` it need not say how to reach sources and platform.
        """
        from segsync.spec import load_spec

        spec = load_spec(self.path(file), os.environ, connecting=connecting)
        self.terminal.redact = Redactor(_secrets_in(spec))
        return spec

    @contextmanager
    def apply_of(self, spec: Spec) -> Iterator[None]:
        """While an apply has the lock: it is remembered, if it does not end well."""
        self.applying = spec
        yield
        self.applying = None

    def show(self, *lines: Line) -> None:
        """Print lines as the result."""
        self.terminal.show(lines)


def _secrets_in(spec: Spec) -> list[str]:
    """The spec's secrets, in every form in which a text may show them."""
    return [form for part in spec.secrets for form in (part, as_html(part), printable(part))]


def session_of(context: typer.Context) -> Session:
    """The session of a command."""
    return cast(Session, context.obj)
