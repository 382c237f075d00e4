"""The digest of a spec: it changes with what the spec means, and with nothing else."""

from __future__ import annotations

import pytest

from tests.support.specs import ENVIRON, FULL, HEAD, SpecFolder

CHANGES = {
    "datamart": lambda text: text.replace("1509", "1510"),
    "api_url": lambda text: text.replace(
        "{datamart_id", "{api_url: https://b.example, datamart_id"
    ),
    "format": lambda text: text.replace("{datamart_id", "{format: csv, datamart_id"),
    "max_upload_bytes": lambda text: text.replace(
        "{datamart_id", "{max_upload_bytes: 5000, datamart_id"
    ),
    "source name": lambda text: text.replace("warehouse:", "warehouse: sqlite://\n  other:"),
    "segment name": lambda text: text.replace("  one:", "  two:"),
    "query": lambda text: text.replace("total > 1", "total > 2"),
    "query blank": lambda text: text.replace("SELECT id", "SELECT  id"),
    "param": lambda text: text.replace("{a: 1}", "{a: 2}"),
    "param type": lambda text: text.replace("{a: 1}", '{a: "1"}'),
    "param boolean": lambda text: text.replace("{a: 1}", "{a: true}"),
    "expiration": lambda text: text.replace("30d", "31d"),
    "guard": lambda text: text.replace("30%", "31%"),
    "removed": lambda text: text.replace("old: delete", "old: keep"),
    "removed name": lambda text: text.replace("old: delete", "odl: delete"),
    "segment_id": lambda text: text.replace("  one:", "  one:\n    segment_id: 5"),
    "data_bag": lambda text: text.replace("[total]", "[total, x]"),
    "hash_email": lambda text: text.replace("  one:", "  one:\n    hash_email: md5"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_the_digest_changes_with_the_meaning(folder: SpecFolder, name: str) -> None:
    before = folder.load(FULL).sha256
    changed = CHANGES[name](FULL)
    assert changed != FULL
    assert folder.load(changed).sha256 != before


def test_the_digest_does_not_change_with_the_spelling(folder: SpecFolder) -> None:
    before = folder.load(FULL).sha256
    assert len(before) == 64
    spelled = FULL.replace("{a: 1}", "{'a': 1}   # one").replace("30d", '"30d"')
    spelled = spelled.replace("defaults: {source: warehouse}\n", "\n")
    assert folder.load("# comment\n" + spelled).sha256 == before
    folder.write("q.sql", "SELECT id, total FROM t WHERE total > 1 AND x = :a")
    in_file = FULL.replace(
        "query: SELECT id, total FROM t WHERE total > 1 AND x = :a", "query_file: q.sql"
    )
    assert folder.load(in_file).sha256 == before
    other = ENVIRON | {"MICS_API_TOKEN": "other", "WAREHOUSE_URL": "sqlite:///other.db"}
    assert folder.load(FULL, other).sha256 == before


def test_the_digest_changes_with_a_variable_of_the_params(folder: SpecFolder) -> None:
    spec = FULL.replace("{a: 1}", "{a: '${DAY}'}")
    monday, tuesday = (
        folder.load(spec, ENVIRON | {"DAY": day}).sha256 for day in ("monday", "tuesday")
    )
    assert monday != tuesday
    assert folder.load(spec, ENVIRON | {"DAY": "monday"}).sha256 == monday


def test_the_digest_does_not_depend_on_the_order_of_segments(folder: SpecFolder) -> None:
    both = ["  a: {query: SELECT 1}\n", "  b: {query: SELECT 2}\n"]
    first = folder.load(HEAD + "segments:\n" + "".join(both)).sha256
    assert folder.load(HEAD + "segments:\n" + "".join(reversed(both))).sha256 == first
