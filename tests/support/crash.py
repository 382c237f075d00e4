"""A process that dies, without a process: what was on disk at that moment is all that is left; and
a platform that does not show all that it does."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from segsync.destination import Destination, DocumentImport, Execution, SegmentLookup
from segsync.model import Address
from tests.support.world import World

P = ParamSpec("P")
T = TypeVar("T")


class Killed(BaseException):
    """Not an Exception: nothing of the product may catch it and go on."""


class Dying:
    """A destination during whose use the process dies, at the `at`-th moment, or at the `nth`
    one of that name.

    There are two moments for each request: before it has left, and after its answer has come, such
    as "before upload" and "after upload". What the product does while the exception unwinds it is
    undone by `restore`.
    """

    def __init__(self, inner: Destination, folder: Path, at: int | str, nth: int = 1) -> None:
        self._inner = inner
        self._nth = nth
        self._folder = folder
        self._image = folder.with_name("image")
        self._at = at
        self._count = 0
        self.died = False

    def look_up_segment(self, address: Address) -> SegmentLookup:
        return self._request(self._inner.look_up_segment, address)

    def create_import(self, reference: str) -> DocumentImport:
        return self._request(self._inner.create_import, reference)

    def find_imports(self, *prefixes: str) -> list[DocumentImport]:
        return self._request(self._inner.find_imports, *prefixes)

    def upload(self, document_import: str, payload: Path) -> Execution:
        return self._request(self._inner.upload, document_import, payload)

    def list_executions(self, document_import: str) -> list[Execution]:
        return self._request(self._inner.list_executions, document_import)

    def fetch_error_file(self, uri: str, into: Path) -> None:
        self._request(self._inner.fetch_error_file, uri, into)

    def _request(self, method: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        self._moment(f"before {method.__name__}")
        answer = method(*arguments, **more)
        self._moment(f"after {method.__name__}")
        return answer

    def _moment(self, name: str) -> None:
        self._count += 1
        self._nth -= name == self._at
        if self._at == self._count or (self._at == name and not self._nth):
            shutil.copytree(self._folder, self._image)
            self.died = True
            raise Killed

    def restore(self) -> None:
        """Put back what was on disk when the process died."""
        shutil.rmtree(self._folder)
        self._image.rename(self._folder)


class Backing(Dying):
    """Instead of dying, the state is copied, as the backup of a whole disk may do at any moment."""

    def __init__(self, inner: Destination, state: Path, at: int | str, into: Path) -> None:
        super().__init__(inner, state, at)
        self._into = into

    def _moment(self, name: str) -> None:
        self._count += 1
        if self._at in (self._count, name) and not self._into.exists():
            shutil.copy2(self._folder, self._into)


class Passing:
    """A destination that hands everything on; one made of it does some things its own way."""

    def __init__(self, inner: Destination) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


class Blind(Passing):
    """A destination that does not list some executions."""

    def __init__(self, inner: Destination, hidden: Collection[str]) -> None:
        super().__init__(inner)
        self._hidden = hidden

    def list_executions(self, document_import: str) -> list[Execution]:
        found = self._inner.list_executions(document_import)
        return [execution for execution in found if execution.id not in self._hidden]


def apply_until_killed(world: World, at: int | str, *, nth: int = 1, **options: Any) -> bool:
    """An apply that dies at this moment (see Dying); False if it had ended before."""
    made: list[Dying] = []

    def dying(destination: Destination) -> Dying:
        made.append(Dying(destination, world.state.parent, at, nth))
        return made[0]

    world.wrap = dying
    try:
        world.apply(**options)
    except Killed:
        made[0].restore()
    finally:
        world.wrap = lambda destination: destination
    return bool(made) and made[0].died
