"""What makes a schedule cheap, and always the same, without touching the product.

One DuckDB serves a whole process: to open one takes longer than a small comparison. Instead of
being closed it is emptied, and lent to the next who opens one. And what the product does in threads
is done at once, in the order in which they are started: the schedule is the seed's, not the
machine's.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import duckdb

from segsync import readers, runs
from segsync.engine import snapshot
from segsync.source import reading

OPEN = duckdb.connect
NAMES = (
    "SELECT 'VIEW', view_name FROM duckdb_views() WHERE NOT internal AND NOT temporary "
    "UNION ALL SELECT 'TABLE', table_name FROM duckdb_tables() WHERE NOT temporary"
)
ABSENT = ("pandas", "polars", "dateutil")
"""Libraries that others look for again and again, in every folder of the path."""


class Lent:
    """A connection that goes back when it is closed."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, free: list[Any]) -> None:
        self._connection = connection
        self._free = free

    def cursor(self) -> duckdb.DuckDBPyConnection:
        return self._connection.cursor()

    def close(self) -> None:
        for kind, name in self._connection.execute(NAMES).fetchall():
            self._connection.execute(f'DROP {kind} "{name}"')
        self._free.append(self._connection)


class AtOnce:
    """A thread that has ended when it has been started."""

    def __init__(
        self, target: Callable[..., None], args: Sequence[Any] = (), **_named: Any
    ) -> None:
        self._target, self._args = target, args

    def start(self) -> None:
        self._target(*self._args)

    def join(self) -> None:
        pass


class Pool:
    """A pool of such threads."""

    def __init__(self, _workers: int) -> None:
        pass

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(work(*arguments))
        except BaseException as error:
            future.set_exception(error)
        return future

    def shutdown(self, **_named: Any) -> None:
        pass


@contextmanager
def in_one_thread() -> Iterator[None]:
    """While the context is open, in this process."""
    free: list[Any] = []

    def lend(_path: str = ":memory:", config: Mapping[str, Any] | None = None) -> Lent:
        if not free:
            free.append(OPEN(":memory:", config={**(config or {}), "threads": 1}))
        return Lent(free.pop(), free)

    at_once = SimpleNamespace(Thread=AtOnce, Condition=threading.Condition)
    replaced: list[tuple[Any, str, Any]] = [
        (duckdb, "connect", lend),
        (reading, "threading", at_once),
        (snapshot, "threading", at_once),
        (readers, "ThreadPoolExecutor", Pool),
        (runs, "ThreadPoolExecutor", Pool),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in replaced]
    absent = [name for name in ABSENT if name not in sys.modules]
    for module, name, value in replaced:
        setattr(module, name, value)
    sys.modules.update(dict.fromkeys(absent))  # type: ignore[arg-type]  # None is: not there
    try:
        yield
    finally:
        for module, name, value in before:
            setattr(module, name, value)
        for name in absent:
            del sys.modules[name]
        for connection in free:
            connection.close()
