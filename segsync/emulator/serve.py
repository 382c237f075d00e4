"""`segsync emulator`: serve until a signal ends it."""

from __future__ import annotations

import shlex
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from ssl import SSLContext
from threading import Event

from segsync.emulator.clock import EmulatorClock
from segsync.emulator.emulator import Emulator
from segsync.emulator.options import ServeOptions
from segsync.emulator.server import EmulatorServer, tls_context
from segsync.errors import SegsyncError


def serve(options: ServeOptions, say: Callable[[str], None] = print) -> None:
    """Serve on loopback until SIGINT or SIGTERM. Raises SegsyncError where that cannot be."""
    emulator = Emulator(
        data=options.data,
        datamart_id=options.datamart_id,
        token=options.token,
        behaviour=options.behaviour,
        default_compartment=options.default_compartment,
        seed=options.seed,
    )
    try:
        with ended_by_signal() as ended, listening(emulator, options) as server:
            for line in introduction(options, server.url, emulator.clock):
                say(line)
            ended.wait()
    finally:
        emulator.close()


@contextmanager
def ended_by_signal() -> Iterator[Event]:
    """An event that SIGINT and SIGTERM set, instead of ending the process.

    Enter it before the user is told to press Ctrl-C: whoever reads that may be quick.
    """
    ended = Event()
    before = {
        number: signal.signal(number, lambda *_: ended.set())
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listening(emulator: Emulator, options: ServeOptions) -> EmulatorServer:
    """A server that accepts connections. Raises SegsyncError."""
    server = EmulatorServer(emulator, port=options.port, tls=certified(options))
    try:
        server.start()
    except OSError as error:
        raise SegsyncError(
            f"the emulator cannot listen on port {options.port}: {error.strerror}",
            hint="name another port, or 0 for any free one",
        ) from None
    return server


def certified(options: ServeOptions) -> SSLContext | None:
    """The TLS to speak; None for plain HTTP. Raises SegsyncError."""
    if options.certificate is None:
        return None
    try:
        return tls_context(options.certificate, options.key)
    except OSError as error:
        raise SegsyncError(
            f"the certificate cannot be used: {error.strerror}",
            place=str(options.certificate),
            hint="give PEM files of a certificate and its key",
        ) from None


def introduction(options: ServeOptions, url: str, clock: EmulatorClock) -> list[str]:
    """What the user puts into a spec, and how to move the clock."""
    moved = [f"Its clock was moved: plan, apply and status need --now {clock.text()}"]
    return [
        f"A local mediarithmics listens on {url}",
        "",
        "Put this into the spec:",
        "",
        "destination:",
        f'  datamart_id: "{options.datamart_id}"',
        "  api_token: ${MICS_API_TOKEN}",
        f"  api_url: {url}",
        "",
        f"and set the token: export MICS_API_TOKEN={shlex.quote(options.token)}",
        f"A spec that `segsync init` wrote takes the address from: export MICS_API_URL={url}",
        "",
        f"See its members:    curl '{url}/_emulator/members?segment=NAME'",
        f"Let a day go by:    curl -X POST {url}/_emulator/clock/advance -d '{{\"days\": 1}}'",
        "                    plan, apply and status then need the --now that it answers",
        *(moved if clock.is_moved() else []),
        "Stop it with Ctrl-C.",
    ]
