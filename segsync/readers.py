"""Threads that read: one pool for each source."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack

from segsync.errors import SourceError
from segsync.model import Spec
from segsync.plan import SegmentPlan
from segsync.selection import Selected
from segsync.source import Source, open_source

Compare = Callable[[Selected, Source], SegmentPlan]
Failed = Callable[[Selected, SourceError], SegmentPlan]


class Readers:
    """The open sources of a plan. Segments of one source are read in parallel, as far as it can."""

    def __init__(self, spec: Spec, segments: Sequence[Selected], parallelism: int) -> None:
        self._spec = spec
        self._segments = segments
        self._parallelism = parallelism
        self._stack = ExitStack()
        self._sources: dict[str, Source] = {}
        self._pools: dict[str, ThreadPoolExecutor] = {}

    def __enter__(self) -> Readers:
        names = sorted({item.segment.source for item in self._segments})
        for name in names:
            pool = ThreadPoolExecutor(self._parallelism)
            self._pools[name] = self._stack.enter_context(pool)
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()
        for source in self._sources.values():
            source.close()

    def cancel(self) -> None:
        """Let no reading go on: the user does not want the plan any more."""
        for source in self._sources.values():
            source.cancel()
        for pool in self._pools.values():
            pool.shutdown(wait=False, cancel_futures=True)

    def each(self, compare: Compare, failed: Failed) -> list[SegmentPlan]:
        """The plans of all segments, in their order; `failed` where the source cannot be opened."""
        failures = self._open()
        futures = [self._submit(item, compare, failed, failures) for item in self._segments]
        return [future.result() for future in futures]

    def _open(self) -> dict[str, SourceError]:
        failures = {}
        for name in self._pools:
            try:
                self._sources[name] = open_source(
                    name,
                    self._spec.sources[name],
                    parallelism=self._parallelism,
                    folder=self._spec.path.parent,
                    place=self._spec.source_places.get(name),
                )
            except SourceError as error:
                failures[name] = error
        return failures

    def _submit(
        self, item: Selected, compare: Compare, failed: Failed, failures: dict[str, SourceError]
    ) -> Future[SegmentPlan]:
        name = item.segment.source
        if name in failures:
            return self._pools[name].submit(failed, item, failures[name])
        return self._pools[name].submit(compare, item, self._sources[name])
