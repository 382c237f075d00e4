"""Measures segsync against its bar: `python -m tests.benchmarks` (never a timed test).

How it is measured
- Every figure is of a whole process, from its start to its end: wall time, CPU time and the peak of
  its resident memory (`wait4`). The benchmark itself stays small, as Linux lets a child inherit the
  peak of the process that started it; so data is made by children, too.
- Seconds of a machine that others use as well mean little. The bar is in ratios, and what a ratio
  compares runs one after the other in the same round: A B C A B C. A ratio is taken in each round;
  the table shows the median of the rounds, and the smallest and largest; `best` is the value that
  the fastest run of each kind gives, which others on the machine disturbed least.
- The floor is a full join in DuckDB over two ADBC streams, one of the source and one of the
  snapshot, and nothing else (floor.py). The sets script is what one writes in an afternoon: Python
  sets and dicts, and NDJSON for what changed (sets.py).
- The snapshot is the state that a real first apply wrote; it and the sources are made from a seed,
  the sources in random order, and kept in the data folder for the next time.
- Results are checked in each run: a fast plan that is wrong fails the benchmark.

The emulator's own time
An apply talks to an emulator in a process of its own that stores and counts lines, applies nothing
and has every execution finished at once, so no time passes in pauses between polls. Subtracted from
an apply is the time between the arrival of a request's last byte and the answer: then the client
can only wait. The time in which a payload travels stays in, although the emulator's receiving,
hashing and writing slow it down.
"""
