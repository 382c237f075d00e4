"""Only read a source through one of its lanes: what the reading alone costs a plan."""

from __future__ import annotations

import json
import sys
from typing import Literal

from segsync.model import Address, Segment
from segsync.secret import Secret
from segsync.source import open_source


def main(url: str, lane: str) -> None:
    """Read every row, and print how many there are."""
    segment = Segment(
        name="buyers",
        address=Address("segment_technical_name", "buyers"),
        source="shop",
        query="SELECT id AS user_account_id FROM customers",
        place="benchmark",
        query_place="benchmark",
    )
    wanted: Literal["auto", "dbapi"] = "dbapi" if lane == "dbapi" else "auto"
    with open_source("shop", Secret(url), lane=wanted) as source, source.read(segment) as result:
        rows = sum(batch.num_rows for batch in result.batches())
        result.raise_for_failure()
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
