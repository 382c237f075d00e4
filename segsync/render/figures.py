"""Numbers, sizes and times as people read them."""

from __future__ import annotations

from datetime import UTC, datetime

from segsync.model import DAY_MS, MINUTE_MS

HOUR_MS = 60 * MINUTE_MS


def count(number: int) -> str:
    """1,234,567."""
    return f"{number:,}"


def short_count(number: int) -> str:
    """A number in at most six characters: 999,999 as 1.00M."""
    for unit, size in (("G", 10**9), ("M", 10**6), ("k", 10**3)):
        if number >= size * 10 or (unit != "k" and number >= size):
            return f"{number / size:.3g}{unit}"
    return str(number)


def plural(number: int, word: str) -> str:
    """`1 command`, `2 commands`, `2 queries`."""
    if number == 1:
        return f"1 {word}"
    many = word[:-1] + "ies" if word.endswith("ry") else word + "s"
    return f"{number:,} {many}"


def size(number: int) -> str:
    """Bytes, in powers of 1,000 as the platform's limit is."""
    amount = float(number)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} bytes" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"


def seconds(amount: float) -> str:
    """0.3 s, 12 s, 3 min 20 s, 2 h 5 min."""
    if amount < 10:
        return f"{amount:.1f} s"
    if amount < 120:
        return f"{amount:.0f} s"
    minutes, rest = divmod(round(amount), 60)
    if minutes < 120:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"


def moment(epoch_ms: int) -> str:
    """2026-11-24 08:00 UTC."""
    return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")


def iso_moment(epoch_ms: int) -> str:
    """2026-11-24T08:00:00Z."""
    return datetime.fromtimestamp(epoch_ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def ago(epoch_ms: int, now_ms: int) -> str:
    """How long ago a moment was, or how far ahead it is, in its largest unit."""
    passed = abs(now_ms - epoch_ms)
    for unit, length in (("day", DAY_MS), ("hour", HOUR_MS), ("minute", MINUTE_MS)):
        if passed >= length:
            where = "ago" if epoch_ms < now_ms else "ahead"
            return f"{plural(passed // length, unit)} {where}"
    return "just now"


def duration(minutes: int) -> str:
    """An expiration as the spec writes it: 30d, 12h, 90m, never."""
    if minutes == 0:
        return "never"
    for unit, length in (("d", 1440), ("h", 60)):
        if minutes % length == 0:
            return f"{minutes // length}{unit}"
    return f"{minutes}m"
