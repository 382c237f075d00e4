"""Values of any size are computed with in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from segsync.engine.portions import PORTION_BYTES, in_portions
from tests.support.cli import shop

WIDTHS = {
    "one row": [PORTION_BYTES * 2],
    "small rows": [10] * 70_000,
    "all large": [PORTION_BYTES // 3] * 10,
    "a few large ones side by side": [10] * 5_000 + [PORTION_BYTES // 2] * 5 + [10] * 5_000,
    "no rows": [],
}


@pytest.mark.parametrize("widths", WIDTHS.values(), ids=WIDTHS)
def test_portions_are_small_and_are_all_of_the_rows(widths: list[int]) -> None:
    texts = pa.array(["x" * width for width in widths], pa.string())
    batch = pa.record_batch({"n": pa.array(range(len(widths)), pa.int64()), "text": texts})
    stream = in_portions(pa.RecordBatchReader.from_batches(batch.schema, [batch]))
    portions = list(stream)
    assert all(one.nbytes <= PORTION_BYTES or one.num_rows == 1 for one in portions)
    assert pa.Table.from_batches(portions, batch.schema).equals(
        pa.Table.from_batches([batch], batch.schema)
    )
    assert len(portions) <= 1 + 12 * batch.nbytes // PORTION_BYTES


def test_two_thousand_data_bags_of_thousands_of_bytes_are_compared(tmp_path: Path) -> None:
    """The engine computes with so many at once; not cut into portions they need more memory."""
    with shop(tmp_path) as store:
        store.people(2_048)
        store.spec(
            "  fans:\n"
            "    query: SELECT name AS user_account_id, hex(zeroblob(7500)) AS bag FROM people\n"
            "    data_bag: [bag]"
        )
        done = store.run("plan", "--memory-limit", "550MB").check(0)
        assert "2,048 to add" in done.out
