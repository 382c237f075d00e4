"""Seeded simulation: the product and the platform in one process, on one clock, at a seed's mercy.

Reconcile, engine, state and payload are the real ones, from the YAML to the file that is synced;
the platform is the emulator, called directly (tests/support/direct.py). A seed becomes a story
(story.py): rows and spec are edited, plans and applies run, requests are lost, refused or answered
with nonsense, executions fail, come late or never end, the process dies at any call of the platform
or write to the state, or within one of its transactions (trouble.py), weeks pass, and an old copy
of the state is put back. Then everything is well again, and one apply must set everything right, or
a second one where the first let a removal through that had been refused before (oracle.py). At each
upload the receiver asserts that the journal is durable and that no other execution may still act.

    python -m tests.simulation --schedules 1000 --seed 0 --workers 2
    python -m tests.simulation --schedules 1 --seed 1234 --story        replay one, and tell it
    python -m tests.simulation --schedules 1 --seed 1234 --shrink       and leave steps out of it
    python -m tests.simulation --schedules 1 --seed 1234 --keep 0,3,4   replay only these steps

What is not simulated: the wire and its retries (tests/test_wire.py, test_mediarithmics_*.py), what
a disk does below SQLite, the lock, and threads (tests/test_kills.py, test_state_lock.py):
everything runs in one thread, so that a seed is one schedule (speed.py). Databases that are read,
and the driver under the state, are lean ones (lean.py). Whether the plan that follows is empty is
read from the state, and in every second story from a plan.

A seed that failed goes into tests/seeds.txt, and stays there.
"""
