"""What makes a schedule cheap, and always the same, without touching the product.

One DuckDB serves a whole process: to open one takes longer than a small comparison. Instead of
being closed it is emptied, and lent to the next who opens one; its statements are parsed once, and
not optimised. And what the product does in threads is done at once, in the order in which they are
started: the schedule is the seed's, not the machine's.
"""

from __future__ import annotations

import re
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import duckdb
import pyarrow as pa

from segsync import readers, runs
from segsync.engine import snapshot
from segsync.source import reading
from segsync.state import file, opening
from segsync.state import reading as state_reading
from tests.simulation.lean import LeanDatabase, open_shop

OPEN = duckdb.connect
OPTIMIZERS = "SELECT name FROM duckdb_optimizers() WHERE name <> 'cte_inlining'"
"""To make a plan of a statement better takes longer than to carry it out."""
MOST_PARSED = 5_000
"""A long run would keep each statement that it ever saw."""
MILLISECONDS = re.compile(r"\b1[0-9]{12}\b")
"""A moment in a statement: the one thing that makes it another text every time."""
TYPES = {"VARCHAR": pa.large_string()}
MEMORY = Path("/dev/shm")
ABSENT = ("pandas", "polars", "dateutil")
"""Libraries that others look for again and again, in every folder of the path."""


class Lender:
    """One DuckDB; who opens one gets an empty database in it."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        self._connection = OPEN(":memory:", config={**config, "threads": 1})
        names = ",".join(name for (name,) in self._connection.execute(OPTIMIZERS).fetchall())
        self._connection.execute(f"SET disabled_optimizers = '{names}'")
        self._connection.execute("ATTACH ':memory:' AS lent")
        self._idle: list[LentCursor] = []
        self._parsed: dict[str, duckdb.Statement] = {}
        self._is_lent = False

    def lend(self) -> Lender:
        assert not self._is_lent, "two engines at once: they would see each other's tables"
        self._is_lent = True
        return self

    def cursor(self) -> LentCursor:
        if self._idle:
            return self._idle.pop()
        cursor = self._connection.cursor()
        cursor.execute("USE lent")
        return LentCursor(cursor, self._parsed, self._idle)

    def close(self) -> None:
        self._is_lent = False
        self._connection.execute("DETACH lent")
        self._connection.execute("ATTACH ':memory:' AS lent")


LENDERS: list[Lender] = []
"""The one of this process, once it is needed: what it has parsed serves all stories."""


class LentCursor:
    """What is asked of it again is not parsed again, and streams need no view to be read."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        parsed: dict[str, duckdb.Statement],
        idle: list[LentCursor],
    ) -> None:
        self._cursor, self._parsed, self._idle = cursor, parsed, idle
        self._streams: dict[str, Any] = {}
        self.interrupt = cursor.interrupt

    def register(self, name: str, stream: pa.RecordBatchReader) -> None:
        self._streams[name] = stream

    def unregister(self, name: str) -> None:
        del self._streams[name]

    def execute(self, sql: str) -> duckdb.DuckDBPyConnection:
        values = list(map(int, dict.fromkeys(MILLISECONDS.findall(sql))))
        for number, value in enumerate(values, start=1):
            sql = sql.replace(str(value), f"${number}")
        if sql not in self._parsed:
            if len(self._parsed) >= MOST_PARSED:
                self._parsed.clear()
            [self._parsed[sql]] = self._cursor.extract_statements(sql)
        # DuckDB finds what a statement reads by that name among the variables here.
        query_result = self._streams.get("query_result")  # noqa: F841
        members = self._streams.get("members")  # noqa: F841
        doubted = self._streams.get("doubted")  # noqa: F841
        rejects = self._streams.get("rejects")  # noqa: F841
        changes = self._streams.get("changes")  # noqa: F841
        return self._cursor.execute(self._parsed[sql], values or None)

    def sql(self, sql: str) -> LentRows:
        return LentRows(self.execute(sql))

    def close(self) -> None:
        self._streams.clear()
        self._idle.append(self)


class LentRows:
    """The rows of a query."""

    def __init__(self, answer: duckdb.DuckDBPyConnection) -> None:
        self._answer = answer

    def to_arrow_reader(self, _rows: int) -> pa.RecordBatchReader:
        schema = pa.schema(
            [
                (name, TYPES.get(str(kind), pa.int64()))
                for name, kind, *_ in self._answer.description
            ]
        )
        rows = self._answer.fetchall()
        columns = zip(*rows, strict=True) if rows else [()] * len(schema)
        arrays = [
            pa.array(values, kind) for values, kind in zip(columns, schema.types, strict=True)
        ]
        return pa.RecordBatchReader.from_batches(schema, [pa.record_batch(arrays, schema=schema)])


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
def in_one_thread() -> Iterator[Path]:
    """While the context is open, in this process; gives a folder, where temporary files are too."""
    where = MEMORY if MEMORY.is_dir() else None
    with (
        tempfile.TemporaryDirectory(prefix="simulation-", dir=where) as folder,
        _replaced(folder),
    ):
        yield Path(folder)


@contextmanager
def _replaced(folder: str) -> Iterator[None]:
    def lend(_path: str, config: Mapping[str, Any]) -> Lender:
        if not LENDERS:
            LENDERS.append(Lender(config))
        return LENDERS[0].lend()

    at_once = SimpleNamespace(Thread=AtOnce, Condition=threading.Condition)
    replaced: list[tuple[Any, str, Any]] = [
        (duckdb, "connect", lend),
        (reading, "threading", at_once),
        (snapshot, "threading", at_once),
        (readers, "ThreadPoolExecutor", Pool),
        (runs, "ThreadPoolExecutor", Pool),
        (readers, "open_source", open_shop),
        (tempfile, "tempdir", folder),
        *((module, "Database", LeanDatabase) for module in (file, opening, state_reading)),
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
