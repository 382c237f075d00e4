"""What one writes in an afternoon: two sides in sets and dicts, and NDJSON for what changed."""

from __future__ import annotations

import json
import sqlite3
import sys
import time
from pathlib import Path

RENEW_BELOW_MS = 15 * 86_400_000


def main(source_file: str, state_file: str, payload: str) -> None:
    """Write the commands, and print how many there are."""
    source = sqlite3.connect(f"file:{source_file}?mode=ro", uri=True)
    state = sqlite3.connect(f"file:{state_file}?mode=ro", uri=True)
    desired = {row[0] for row in source.execute("SELECT id FROM customers")}
    members = dict(
        state.execute("SELECT identifier, expires_at FROM members WHERE keyspace = 1").fetchall()
    )
    soon = time.time() * 1000 + RENEW_BELOW_MS
    add = desired - members.keys()
    remove = members.keys() - desired
    renew = {
        identifier
        for identifier, expires_at in members.items()
        if expires_at < soon and identifier in desired
    }
    with Path(payload).open("w") as file:
        for identifier in add | renew:
            file.write(line("UPDATE", identifier, 43_200))
        for identifier in remove:
            file.write(line("DELETE", identifier, 0))
    print(json.dumps({"add": len(add), "remove": len(remove), "renew": len(renew)}))


def line(operation: str, identifier: str, minutes: int) -> str:
    """One command."""
    command = {
        "operation": operation,
        "compartment_id": "1000",
        "user_account_id": identifier,
        "segment_technical_name": "buyers",
        "expiration_duration": minutes,
    }
    return json.dumps(command) + "\n"


if __name__ == "__main__":
    main(*sys.argv[1:])
