"""No answer, whatever is in it, takes much memory."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

from tests.support.peaks import MEBIBYTE, measured
from tests.support.raw_server import RawServer, Step, answer, chunked, endless, head, raw

MOST = 64 * MEBIBYTE
"""Bytes that one answer may take beyond what the process has without it."""
ROOM = 2_000_000
"""Just below the longest answer that is read."""


def full_of(item: str) -> bytes:
    """As many of `item` as fit into an answer."""
    items = ",".join([item] * (ROOM // (len(item) + 1)))
    return f'{{"status":"ok","data":[{items}]}}'.encode()


CHUNK = b"10000\r\n" + b" " * 65536 + b"\r\n"
HOSTILE: dict[str, Callable[[], Step]] = {
    "ten megabytes": lambda: answer({"status": "ok", "data": ["x" * 10_000_000]}),
    "a bomb": lambda: answer(gzip.compress(bytes(200_000_000)), 200, {"Content-Encoding": "gzip"}),
    "deep lists": lambda: answer(b'{"status":"ok","data":' + b"[" * 100_000 + b"]" * 100_000),
    "deeper lists": lambda: answer(b"[" * ROOM),
    "deep objects": lambda: answer(b'{"a":' * (ROOM // 5)),
    "endless padding": lambda: endless(head() + b'{"status":"ok",', b" " * 65536),
    "endless chunks": lambda: endless(head(headers={"Transfer-Encoding": "chunked"}), CHUNK),
    "endless small chunks": lambda: endless(
        head(headers={"Transfer-Encoding": "chunked"}), b"1\r\nx\r\n" * 10_000
    ),
    "an endless size of a chunk": lambda: endless(
        head(headers={"Transfer-Encoding": "chunked"}), b"0" * 65536
    ),
    "an endless header": lambda: endless(b"HTTP/1.1 200 OK\r\nX: ", b"x" * 65536),
    "endless headers": lambda: endless(b"HTTP/1.1 200 OK\r\n", b"X: y\r\n" * 10_000),
    "endless interim answers": lambda: endless(b"", head(100) * 1000),
    "an endless status line": lambda: endless(b"HTTP/1.1 200 ", b"x" * 65536),
    "endless trailers": lambda: endless(chunked(b"{}", end=b"0\r\n"), b"X: y\r\n" * 10_000),
    "a wrong length": lambda: raw(head(length=10**15) + b"{}" * 1000, how="close"),
    "empty objects": lambda: answer(full_of("{}")),
    "empty lists": lambda: answer(full_of("[]")),
    "small objects": lambda: answer(full_of('{"a":1}')),
    "numbers": lambda: answer(full_of("1e9")),
    "texts": lambda: answer(full_of('"ab"')),
    "many keys": lambda: answer(
        json.dumps({"status": "ok", "data": [{f"{n:x}": 0 for n in range(150_000)}]})
    ),
    "a wide character": lambda: answer(
        b'{"status":"ok","data":["\xf0\x9f\x98\x80' + b"x" * ROOM + b'"]}'
    ),
    "an error of megabytes": lambda: answer(
        {"status": "error", "error": "😀" + "x" * ROOM}, status=400
    ),
}
PROGRAM = """
from pathlib import Path
from segsync.errors import DestinationError
from segsync.mediarithmics.exchange import Limits
from segsync.secret import Redactor
from tests.support.platform import destination

def run(url):
    # Every error is of our own kind; what was senseless may also have been harmless.
    try:
        destination(url, limits=Limits(request_seconds=0.5)).list_executions("77")
    except DestinationError as error:
        assert len(str(error)) < 2000
"""


def test_no_answer_takes_much_memory_or_time(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = {name: stack.enter_context(RawServer(step())) for name, step in HOSTILE.items()}
        taken = measured(PROGRAM, [server.url for server in servers.values()], tmp_path)
    for name, server in servers.items():
        one = taken[server.url]
        assert one.status == 0, (name, one.told)
        assert server.requests, name
        assert one.own < MOST, (name, one.own)
