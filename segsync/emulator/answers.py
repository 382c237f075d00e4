"""Answers as the bytes that go on the wire."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from http import HTTPStatus
from pathlib import Path

from segsync.emulator.faults import Framing
from segsync.emulator.messages import Response
from segsync.emulator.wire import BLOCK

MEGABYTE = 1_000_000


def encoded_head(response: Response, framing: Framing) -> tuple[bytes, int]:
    """The status line and headers, and the size of the framed body in bytes."""
    size = sum(len(part) for part in pieces(response, framing))
    headers = dict(response.headers)
    if framing.gzip_padding_megabytes is not None:
        headers["Content-Encoding"] = "gzip"
    if bodiless(response.status):
        headers.pop("Content-Encoding", None)
    elif framing.kind == "chunked":
        headers["Transfer-Encoding"] = "chunked"
    elif framing.kind == "length":
        headers.setdefault("Content-Length", str(size))
    if framing.kind == "close":
        headers["Connection"] = "close"
    lines = [f"HTTP/{framing.version} {response.status:03d} {reason(response.status)}"]
    for name, value in headers.items():
        shown = name.lower() if framing.lower_case else name
        lines.extend(f"{shown}: {one}" for one in value.split("\n"))
    head = "\r\n".join(lines) + "\r\n\r\n"
    return (framing.before + head).encode("latin-1"), size


def pieces(response: Response, framing: Framing) -> Iterator[bytes]:
    """The body in its framing; nothing where the status allows none."""
    if bodiless(response.status):
        return
    parts = raw_pieces(response)
    if framing.gzip_padding_megabytes is not None:
        parts = compressed(parts, framing.gzip_padding_megabytes)
    if framing.kind != "chunked":
        yield from parts
        return
    for part in parts:
        yield b"%x\r\n%b\r\n" % (len(part), part)
    yield b"0\r\n\r\n"


def raw_pieces(response: Response) -> Iterator[bytes]:
    """The body, a file's read block by block."""
    if isinstance(response.body, Path):
        with response.body.open("rb") as file:
            while block := file.read(BLOCK):
                yield block
    elif response.body:
        yield response.body


def compressed(parts: Iterator[bytes], padding_megabytes: int) -> Iterator[bytes]:
    """gzip, with so many megabytes of spaces in front."""
    packer = zlib.compressobj(level=1, wbits=31)
    padding = b" " * MEGABYTE
    for _ in range(padding_megabytes):
        if packed := packer.compress(padding):
            yield packed
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()


def bodiless(status: int) -> bool:
    """Whether HTTP allows no body with this status."""
    return 100 <= status < 200 or status in (204, 304)


def reason(status: int) -> str:
    """The words behind a status."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def paced(rate: float | None) -> int:
    """How many bytes to take at once to keep to a rate."""
    return BLOCK if rate is None else max(1, int(rate / 20))
