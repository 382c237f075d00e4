"""The files of a spec: the one that was named, those it includes, the queries they point to."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from segsync.errors import UsageError
from segsync.spec.nodes import MapNode, ScalarNode
from segsync.spec.problems import Place, Problems, Wrong, nearest, shown
from segsync.spec.yaml_text import LARGEST_FILE, Unreadable, decode, parse

MOST_FILES = 1000
MOST_PATTERNS = 100


@dataclass(frozen=True, slots=True)
class Document:
    """A parsed file of the spec. `label` is its path as messages show it."""

    path: Path
    label: str
    root: MapNode


@dataclass(frozen=True, slots=True)
class Folder:
    """The folder of the spec, which included files and queries may not leave."""

    given: Path
    real: Path

    @staticmethod
    def of(spec: Path) -> Folder:
        """The folder that `spec` stands in; a link to a spec counts where the link is."""
        return Folder(spec.parent, spec.parent.resolve())

    def inside(self, path: Path) -> Path:
        """`path` as it was given. Raises Wrong where it leads out of the folder."""
        try:
            real = path.resolve()
        except (OSError, RuntimeError, ValueError):
            raise Wrong(f"{shown(str(path))} cannot be a path") from None
        if not real.is_relative_to(self.real):
            raise Wrong(
                f"{shown(str(path))} leads out of the spec's folder",
                "keep the files of a spec below the folder of its main file",
            )
        return path


def read_main(path: Path, problems: Problems) -> Document | None:
    """The spec's own file. Raises UsageError where there is none to read."""
    try:
        raw = _read_regular(path)
    except FileNotFoundError:
        raise UsageError(f"{path} does not exist", hint=_what_instead(path)) from None
    except OSError as error:
        reason = error.strerror or "it cannot be read"
        raise UsageError(f"{path}: {reason}", hint="name the spec's file with -f") from None
    except Wrong as wrong:
        raise UsageError(f"{path} {wrong.message}", hint="name the spec's file with -f") from None
    return _document(raw, path, str(path), problems)


def included(
    patterns: list[tuple[str, Place]], main: Document, folder: Folder, problems: Problems
) -> Iterator[Document]:
    """The files that the patterns match, each once, in the order of their paths."""
    seen = {main.path.resolve()}
    if len(patterns) > MOST_PATTERNS:
        problems.add(patterns[-1][1], f"more than {MOST_PATTERNS} patterns")
        return
    for pattern, place in patterns:
        try:
            matches = _matches(pattern, folder)
        except Wrong as wrong:
            problems.add(place, wrong.message, wrong.hint)
            continue
        for path in matches:
            if path.resolve() in seen:
                continue
            seen.add(path.resolve())
            if len(seen) > MOST_FILES:
                problems.add(place, f"includes more than {MOST_FILES} files")
                return
            document = _read_included(path, place, problems)
            if document:
                yield document


def read_query(text: str, beside: Document, folder: Folder) -> tuple[str, str]:
    """The query in the file that `text` names, and that file's label. Raises Wrong."""
    refuse_odd_path(text)
    path = folder.inside(beside.path.parent / text)
    label = str(path)
    try:
        query = decode(_read_regular(path), label)
    except FileNotFoundError:
        raise Wrong(f"{shown(label)} does not exist", _neighbours(path)) from None
    except OSError as error:
        raise Wrong(f"{shown(label)} cannot be read: {error.strerror}") from None
    except Wrong as wrong:
        raise Wrong(f"{shown(label)}: {wrong.message}", wrong.hint) from None
    if not query.strip():
        raise Wrong(f"{shown(label)} is empty", "write the query into it")
    if "\0" in query:
        raise Wrong(f"{shown(label)} has a NUL character in it", "is it the right file?")
    return query, label


def refuse_odd_path(text: str, *, absolute: bool = False) -> None:
    """Raise Wrong for what a path in a spec cannot be."""
    if any(ord(character) < 32 or ord(character) == 127 for character in text):
        raise Wrong(f"{shown(text)} has a control character in it")
    if text.startswith("~"):
        raise Wrong(f"{shown(text)}: `~` is not replaced", "write the path out")
    if "\\" in text:
        raise Wrong(f"{shown(text)} has a backslash in it", "separate folders with `/`")
    if text.startswith("/") and not absolute:
        raise Wrong(f"{shown(text)} is an absolute path", "write it relative to this file")
    if len(text) > 1000 or any(len(os.fsencode(part)) > 255 for part in text.split("/")):
        raise Wrong(f"{shown(text)} is too long for a path")


def _matches(pattern: str, folder: Folder) -> list[Path]:
    refuse_odd_path(pattern)
    if ".." in pattern.split("/"):
        raise Wrong(
            f"{shown(pattern)} leads out of the spec's folder",
            "keep the files of a spec below the folder of its main file",
        )
    try:
        found = sorted(
            folder.inside(path)
            for path in folder.given.glob(pattern)
            if path.is_file() and not _is_hidden(path.relative_to(folder.given))
        )
    except (ValueError, NotImplementedError, OSError, RuntimeError) as error:
        if isinstance(error, Wrong):
            raise
        raise Wrong(f"{shown(pattern)} is not a pattern of files", "like segments/*.yaml") from None
    if not found:
        raise Wrong(f"no file matches {shown(pattern)}", "patterns are relative to this file")
    return found


def _is_hidden(path: Path) -> bool:
    """Whether `**` should not have found it: .git, .venv, an editor's lock file."""
    return any(part.startswith(".") for part in path.parts)


def _read_included(path: Path, place: Place, problems: Problems) -> Document | None:
    try:
        raw = _read_regular(path)
    except (OSError, Wrong) as error:
        problems.add(place, f"{shown(str(path))} cannot be read: {error}")
        return None
    return _document(raw, path, str(path), problems)


def _read_regular(path: Path) -> bytes:
    """At most one byte more than a file may have. Raises OSError, Wrong."""
    # O_NONBLOCK: opening a named pipe must not wait for somebody to write into it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise Wrong("is not a file")
        with os.fdopen(descriptor, "rb", closefd=False) as file:
            return file.read(LARGEST_FILE + 1)
    finally:
        os.close(descriptor)


def _document(raw: bytes, path: Path, label: str, problems: Problems) -> Document | None:
    try:
        text = decode(raw, label)
    except Wrong as wrong:
        problems.add(Place(label, 1, 1), wrong.message, wrong.hint)
        return None
    try:
        root = parse(text, label, problems)
    except Unreadable:
        return None
    if isinstance(root, MapNode):
        return Document(path, label, root)
    if root is None or (isinstance(root, ScalarNode) and root.plain and not root.text):
        problems.add(Place(label, 1, 1), "the file is empty")
    else:
        problems.add(root.place, "the file must be a mapping, like `segments:` and what is in it")
    return None


def _what_instead(path: Path) -> str:
    other = path.with_suffix(".yml" if path.suffix == ".yaml" else ".yaml")
    if other != path and other.is_file():
        return f"there is {other}: segsync -f {other}"
    return "`segsync init` writes a first one; -f names another file"


def _neighbours(path: Path) -> str:
    """The file that was probably meant, or those that there are."""
    try:
        names = [child.name for child in path.parent.iterdir()][:1000]
    except OSError:
        return f"there is no folder {shown(str(path.parent))}"
    close = nearest(path.name, names)
    if close and not close.startswith("did"):
        close = nearest(path.name, [name for name in names if Path(name).suffix == path.suffix])
    return close or "the path is relative to the file that it stands in"
