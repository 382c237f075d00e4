"""Play many seeds, and tell those that end badly: see the package."""

from __future__ import annotations

import argparse
import sys
import time

from tests.simulation.playing import CHUNK, command, play_all, play_range, shortest, told
from tests.simulation.story import Ending


def tell(ending: Ending, kept: tuple[int, ...] | None = None) -> None:
    """Print a story."""
    print(f"{told(ending)}\n    {command(ending.seed, kept)}", flush=True)


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    parser.add_argument("--schedules", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="the first one")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--story", action="store_true", help="tell it, however it ends")
    parser.add_argument("--shrink", action="store_true", help="leave out what is not needed")
    parser.add_argument("--until-one-ends-badly", action="store_true")
    parser.add_argument("--keep", help="play only these steps, such as 0,3,4")
    return parser.parse_args()


def main() -> int:
    """The exit status is 1 where a schedule diverged."""
    given = options()
    kept = None if given.keep is None else tuple(map(int, filter(None, given.keep.split(","))))
    seeds = range(given.seed, given.seed + given.schedules)
    started, cpu = time.perf_counter(), time.process_time()
    played = applies = diverged = 0
    chunk = 1 if given.until_one_ends_badly else CHUNK
    endings = play_range(seeds, given.workers, chunk) if kept is None else play_all(seeds, kept)
    for ending in endings:
        played, applies = played + 1, applies + ending.applies
        diverged += bool(ending.failure)
        if ending.failure and given.shrink:
            short = shortest(ending.seed)
            tell(play_all([ending.seed], short)[0], short)
        elif ending.failure or given.story:
            tell(ending, kept)
        if ending.failure and given.until_one_ends_badly:
            break
        if played % 100 == 0:
            _figures(played, applies, diverged, time.perf_counter() - started)
    _figures(played, applies, diverged, time.perf_counter() - started)
    if given.workers == 1:
        print(f"{(time.process_time() - cpu) / played * 1000:.0f} ms of one core each")
    return bool(diverged)


def _figures(played: int, applies: int, diverged: int, seconds: float) -> None:
    print(
        f"{played:,} schedules with {applies:,} applies in {seconds:.0f} s: "
        f"{played / seconds:.1f} schedules/s, {diverged} diverged",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
