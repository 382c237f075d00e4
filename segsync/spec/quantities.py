"""Durations, shares and limits as a spec writes them."""

from __future__ import annotations

import re

from segsync.model import NEVER
from segsync.spec.problems import Unfit, Wrong, shown

MINUTES = {"m": 1, "h": 60, "d": 24 * 60, "w": 7 * 24 * 60}
LONGEST = 100 * 365 * MINUTES["d"]
LEAST_UPLOAD = 100
MOST_UPLOAD = 100 * 1024 * 1024
"""Bytes: one reading of the "100M" that the platform documents; the other is 100,000,000."""
_WORDS = {
    "minute": "m", "minutes": "m", "min": "m", "mins": "m", "hour": "h", "hours": "h", "hr": "h",
    "hrs": "h", "day": "d", "days": "d", "week": "w", "weeks": "w",
}  # fmt: skip
_LONG_WORDS = {"month": 30, "months": 30, "mo": 30, "year": 365, "years": 365, "y": 365}
_DURATION = "a duration like 30d, 12h, 90m or 2w"


def duration(value: object) -> int:
    """Minutes of `30d`, `12h`, `90m` or `2w`. Raises Wrong or Unfit."""
    if isinstance(value, int) and not isinstance(value, bool):
        raise Wrong(f"{shown(str(value))} has no unit", "write it as 30d, 12h, 90m or 2w")
    if not isinstance(value, str):
        raise Unfit(_DURATION)
    found = re.fullmatch(r"([0-9]{1,12})([mhdw])", value)
    if not found:
        raise Wrong(f"{shown(value)} is not {_DURATION}", _suggestion(value))
    minutes = int(found[1]) * MINUTES[found[2]]
    if minutes > LONGEST:
        raise Wrong(f"{shown(value)} is longer than 100 years", None)
    if minutes == 0:
        raise Wrong(f"{shown(value)} is no time at all")
    return minutes


def duration_or_never(value: object) -> int:
    """Minutes, 0 for `never`. Raises Wrong or Unfit."""
    if value == "never":
        return NEVER
    if not isinstance(value, str | int) or isinstance(value, bool):
        raise Unfit(f"{_DURATION}, or never")
    if isinstance(value, str) and value.lower() in {"never", "none", "forever", "infinite"}:
        raise Wrong(f"{shown(value)} is not {_DURATION}", "write never")
    if re.fullmatch(r"0+[mhdw]?", str(value)):
        text = value if isinstance(value, str) else str(value)
        raise Wrong(f"{shown(text)} is no time at all", "write never")
    return duration(value)


def _suggestion(text: str) -> str | None:
    """What `30 days`, `1.5d`, `30D` or `Never` should have been."""
    found = re.fullmatch(r"\s*([0-9]{1,9})(\.[0-9]{1,9})?\s*([A-Za-z]*)\s*", text)
    if not found:
        return "one whole number and one unit: m (minutes), h, d or w"
    number, fraction, word = found[1], found[2], found[3].lower()
    if not word:
        return f"a unit is missing: {number}d, {number}h …"
    if word in _LONG_WORDS and not fraction:
        return f"write {int(number) * _LONG_WORDS[word]}d"
    unit = word if word in MINUTES else _WORDS.get(word)
    if unit is None:
        return "the units are m (minutes), h, d and w"
    return f"write {_whole(float(number + (fraction or '')) * MINUTES[unit], unit)}"


def _whole(minutes: float, unit: str) -> str:
    """The duration in the largest unit, not above `unit`, that leaves no fraction."""
    whole = max(1, round(minutes))
    for name in sorted(MINUTES, key=lambda name: -MINUTES[name]):
        if MINUTES[name] <= MINUTES[unit] and whole % MINUTES[name] == 0:
            return f"{whole // MINUTES[name]}{name}"
    return f"{whole}m"


def percent(value: object) -> float:
    """The share that `30%` is: 0.3. Raises Wrong or Unfit."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        meant = value if value >= 1 else value * 100
        raise Wrong(f"{shown(str(value))} has no percent sign", f"write {meant:g}%")
    if not isinstance(value, str):
        raise Unfit("a percentage like 40%")
    found = re.fullmatch(r"([0-9]{1,3}(?:\.[0-9]{1,6})?)%", value)
    if not found or float(found[1]) > 100:
        raise Wrong(f"{shown(value)} is not a percentage", "write it as 40%, at most 100%")
    return float(found[1]) / 100


def renewal_share(value: object) -> float:
    """The lower bound of the share left at renewal, 1 % to 95 %. Raises Wrong or Unfit."""
    share = percent(value)
    if not 0.01 <= share <= 0.95:
        text = value if isinstance(value, str) else str(value)
        raise Wrong(f"renew_at is {shown(text)}", "it may be 1% to 95%; the default is 50%")
    return share


def removal_limit(value: object) -> float | int:
    """A share (0.3) of `30%`, or a number of members. Raises Wrong or Unfit."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise Unfit("a percentage like 30%, or a whole number of members")
    if isinstance(value, int):
        return whole_number(value)
    return percent(value)


def whole_number(value: object) -> int:
    """An int from 0. Raises Wrong or Unfit."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise Unfit("a whole number")
    if value < 0:
        raise Wrong(f"{value} is below 0")
    return value


def upload_limit(value: object) -> int:
    """Bytes, within what the platform may take. Raises Wrong or Unfit."""
    limit = whole_number(value)
    if not LEAST_UPLOAD <= limit <= MOST_UPLOAD:
        raise Wrong(
            f"an upload of {limit} bytes cannot be", f"it may be {LEAST_UPLOAD} to {MOST_UPLOAD}"
        )
    return limit
