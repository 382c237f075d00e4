"""`python -m segsync`, and the command `segsync`."""

from __future__ import annotations

import sys

from segsync.cli.main import run


def main() -> None:
    """Run the command of this process's arguments, and end the process."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
