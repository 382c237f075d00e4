"""Whole lists from an API that gives them in pages, and does not always say how many there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from segsync.errors import ProtocolError, Refused
from segsync.mediarithmics.envelope import count, identifier

PAGE_ITEMS = 250
"""How many are asked for; the vendor's own application asks for 500."""
SAFE_PAGE_ITEMS = 50
"""The default of the platform, for one that refuses more; its limit is not documented."""
MOST_UNTOLD = 200_000
"""So many items beyond what the platform said at first; it may say nothing."""

Item = dict[str, Any]
Fetch = Callable[[dict[str, str]], Item]


def read_all(fetch: Fetch, wanted: Callable[[Item], bool]) -> list[Item]:
    """Every wanted item of a list, each id once, as it was read last.

    `fetch` asks for one page, given its query parameters, and returns the envelope. Ends whatever
    the platform does: pages may be shorter than asked, `total` may be absent, and `first_result`
    may be ignored. Raises ProtocolError where items are surely lacking.
    """
    kept: dict[str, Item] = {}
    seen: set[str] = set()
    offset, size, most = 0, PAGE_ITEMS, None
    while True:
        try:
            page = fetch({"first_result": str(offset), "max_results": str(size)})
        except Refused as refused:
            if refused.status != 400 or size == SAFE_PAGE_ITEMS:
                raise
            size = SAFE_PAGE_ITEMS
            continue
        found = _items(page)
        is_news = not seen.issuperset(found)
        seen.update(found)
        kept.update((key, item) for key, item in found.items() if wanted(item))
        offset += len(page["data"])
        total = count(page.get("total"))
        most = most or MOST_UNTOLD + (total or 0)
        if not is_news or (total is not None and offset >= total):
            break
        if len(seen) > most:
            raise ProtocolError(f"the platform's list does not end: {len(seen):,} items so far")
    if not is_news and len(seen) < (total or 0):
        raise ProtocolError(
            f"the platform's list is incomplete: {len(seen):,} items of the {total:,} it names"
        )
    return list(kept.values())


def _items(page: Item) -> dict[str, Item]:
    data = page["data"]
    if not isinstance(data, list) or not all(isinstance(item, dict) for item in data):
        raise ProtocolError("the platform's answer is not a list of objects where it must be one")
    return {identifier(item.get("id")): item for item in data}
