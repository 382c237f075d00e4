"""Threads that read: one pool for each source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from threading import Thread

from segsync.errors import SourceError
from segsync.model import Spec
from segsync.plan import SegmentPlan
from segsync.selection import Selected
from segsync.source import Source, open_source

Compare = Callable[[Selected, Source], SegmentPlan]
Failed = Callable[[Selected, SourceError], SegmentPlan]


class _Opening:
    """A source that is being opened, in a thread that is never waited for without a limit.

    A server that does not answer, or a file that is locked, would keep the main thread inside of
    the driver, and Ctrl-C waiting.
    """

    def __init__(self, open_: Callable[[], Source]) -> None:
        self._open = open_
        self._opened: Future[Source] = Future()
        Thread(target=self._run, daemon=True).start()

    def source(self) -> Source:
        """Wait for it. Raises SourceError."""
        return self._opened.result()

    def close(self) -> None:
        """Close the source, now or once it is open."""
        self._opened.add_done_callback(_close)

    def cancel(self) -> None:
        """End what is read from the source, if it is open."""
        if self._opened.done() and not self._opened.exception():
            self._opened.result().cancel()

    def _run(self) -> None:
        try:
            self._opened.set_result(self._open())
        except BaseException as error:
            self._opened.set_exception(error)


def _close(opened: Future[Source]) -> None:
    if not opened.exception():
        opened.result().close()


class Readers:
    """The open sources of a plan. Segments of one source are read in parallel, as far as it can."""

    def __init__(self, spec: Spec, segments: Sequence[Selected], parallelism: int) -> None:
        self._spec = spec
        self._segments = segments
        self._parallelism = parallelism
        self._stack = ExitStack()
        self._openings: dict[str, _Opening] = {}
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def __enter__(self) -> Readers:
        names = sorted({item.segment.source for item in self._segments})
        for name in names:
            pool = ThreadPoolExecutor(self._parallelism)
            self._pools[name] = self._stack.enter_context(pool)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for opening in self._openings.values():
            opening.close()

    def cancel(self) -> None:
        """Let no reading go on: the user does not want the plan any more."""
        for opening in self._openings.values():
            opening.cancel()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def each(self, compare: Compare, failed: Failed) -> list[SegmentPlan]:
        """The plans of all segments, in their order; `failed` where the source cannot be opened."""
        self._openings = {name: _Opening(self._open(name)) for name in self._pools}
        opened: dict[str, Source | SourceError] = {}
        for name, opening in self._openings.items():
            try:
                opened[name] = opening.source()
            except SourceError as error:
                opened[name] = error
        futures = [
            self._submit(item, compare, failed, opened[item.segment.source])
            for item in self._segments
        ]
        return [future.result() for future in futures]

    def _open(self, name: str) -> Callable[[], Source]:
        return partial(
            open_source,
            name,
            self._spec.sources[name],
            parallelism=self._parallelism,
            folder=self._spec.path.parent,
            place=self._spec.source_places.get(name),
        )

    def _submit(
        self, item: Selected, compare: Compare, failed: Failed, opened: Source | SourceError
    ) -> Future[SegmentPlan]:
        pool = self._pools[item.segment.source]
        if isinstance(opened, SourceError):
            return pool.submit(failed, item, opened)
        return pool.submit(compare, item, opened)
