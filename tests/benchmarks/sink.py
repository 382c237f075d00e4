"""An emulator in a process of its own that counts lines; at the end it says what time it took."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from segsync.emulator import Behaviour, Emulator, EmulatorServer

INSTANT = Behaviour(sink=True, create_segments=True, polls_until_running=0, polls_until_finished=0)


def main(port: str) -> None:
    """Print the address; serve until the standard input ends; print the account."""
    emulator = Emulator(datamart_id="1509", token="benchmark", behaviour=INSTANT)
    arrivals: list[tuple[float, Path]] = []

    def note(path: Path) -> None:
        """Keep no more than one payload: gigabytes would pile up."""
        if arrivals:
            arrivals[-1][1].unlink(missing_ok=True)
        arrivals.append((time.monotonic(), path))

    emulator.on_upload(lambda upload: note(upload.path))
    with EmulatorServer(emulator, port=int(port)) as server:
        print(server.url, flush=True)
        sys.stdin.read()
    lines = sum((item.result or {}).get("total_success", 0) for item in emulator.executions)
    own = _own_seconds(emulator, [moment for moment, _ in arrivals])
    print(json.dumps({"lines": lines, "seconds": own, "cpu": time.process_time()}))
    emulator.close()


def _own_seconds(emulator: Emulator, arrivals: list[float]) -> float:
    """Between the last byte of each request and its answer."""
    moments = iter(arrivals)
    total = 0.0
    for record in emulator.request_log:
        if record.seconds is None:
            raise AssertionError(f"{record.method} {record.target} was not answered")
        complete = next(moments) if record.endpoint == "upload" else record.started
        total += record.started + record.seconds - complete
    return total


if __name__ == "__main__":
    main(*sys.argv[1:])
