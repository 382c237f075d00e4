"""`python -m segsync`, and the command `segsync`."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys

COLLECT_AFTER = 100_000
"""Objects. Importing makes many that all stay: looking for garbage among them finds none."""


def main() -> None:
    """Run the command of this process's arguments, and end the process."""
    gc.set_threshold(COLLECT_AFTER)
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"  # other people's code: it would see the spec
    status = 1
    with contextlib.suppress(KeyboardInterrupt):
        # Here, because Ctrl-C may come while all of it is being imported.
        from segsync.cli.main import run

        status = run(sys.argv[1:])
    _end(status)


def _end(status: int) -> None:
    """End the process without taking down what the system takes down faster."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(status)


if __name__ == "__main__":
    main()
