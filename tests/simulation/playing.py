"""Many stories: in this process or in several, and one made short."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed

from tests.simulation.speed import in_one_thread
from tests.simulation.story import Ending, play, steps_of

CHUNK = 20


def play_all(seeds: Iterable[int], kept: tuple[int, ...] | None = None) -> list[Ending]:
    """Play these seeds in this process."""
    with in_one_thread() as folder:
        return [play(seed, folder / str(number), kept) for number, seed in enumerate(seeds)]


def shortest(seed: int) -> tuple[int, ...]:
    """Steps of a story that ends badly, none of which can be left out."""
    kept = tuple(range(len(steps_of(seed))))
    for number in reversed(kept):
        without = tuple(one for one in kept if one != number)
        if play_all([seed], without)[0].failure:
            kept = without
    return kept


def play_range(seeds: range, workers: int, chunk: int = CHUNK) -> Iterator[Ending]:
    """Play them in so many processes, `chunk` at a time; the endings come as they come."""
    chunks = [list(seeds[at : at + chunk]) for at in range(0, len(seeds), chunk)]
    if workers == 1:
        for some in chunks:
            yield from play_all(some)
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        for done in as_completed([pool.submit(play_all, some) for some in chunks]):
            yield from done.result()


def command(seed: int, kept: tuple[int, ...] | None = None) -> str:
    """What replays a seed."""
    text = f"python -m tests.simulation --schedules 1 --seed {seed} --story"
    return text if kept is None else f"{text} --keep {','.join(map(str, kept))}"


def told(ending: Ending) -> str:
    """A story as a text."""
    head = f"seed {ending.seed}: {ending.failure or 'ended well'}"
    return "\n    ".join((head, *ending.told))
