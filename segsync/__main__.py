"""`python -m segsync`, and the command `segsync`."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command of this process's arguments, and end the process."""
    try:
        # Here, because Ctrl-C may come while all of it is being imported.
        from segsync.cli.main import run

        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        status = 1
    sys.exit(status)


if __name__ == "__main__":
    main()
