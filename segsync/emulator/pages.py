"""Lists, a page at a time."""

from __future__ import annotations

from random import Random
from typing import Any

from segsync.emulator.messages import ApiError, Request, Response, as_json
from segsync.emulator.options import Behaviour


def page(
    request: Request, oldest_first: list[dict[str, Any]], behaviour: Behaviour, seed: int
) -> Response:
    """The part of a list that `first_result` and `max_results` ask for, in its envelope."""
    first = number(request, "first_result", 0)
    size = number(request, "max_results", behaviour.default_page_size)
    if size > behaviour.max_page_size:
        if behaviour.oversized_page == "refused":
            raise ApiError(400, f"max_results exceeds {behaviour.max_page_size}", "BAD_REQUEST")
        size = behaviour.max_page_size
    items = in_order(oldest_first, behaviour, seed)
    shown = items[first : first + size]
    envelope: dict[str, Any] = {
        "status": "ok",
        "count": len(shown),
        "first_result": first,
        "max_results": size,
    }
    if behaviour.list_total:
        envelope["total"] = len(items)
    if behaviour.extra_fields:
        envelope["max_result"] = size
    return as_json(200, {**envelope, "data": shown})


def in_order(
    oldest_first: list[dict[str, Any]], behaviour: Behaviour, seed: int
) -> list[dict[str, Any]]:
    """The list in the behaviour's order; a random one is the same for each page."""
    items = list(oldest_first)
    if behaviour.list_order == "newest":
        items.reverse()
    elif behaviour.list_order == "random":
        Random(seed).shuffle(items)
    return items


def number(request: Request, name: str, default: int) -> int:
    """A query parameter that is a count. Raises ApiError."""
    text = request.query.get(name, str(default))
    if not (text.isascii() and text.isdecimal()):
        raise ApiError(400, f"{name} is not a number", "BAD_REQUEST")
    return int(text)
