"""What the command line tells somebody who does not know yet what to do next."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.canary import TOKEN
from tests.support.cli import Shop, shop


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Shop]:
    """A shop with ten people, all of them fans."""
    with shop(tmp_path) as made:
        yield made


LOOKING = (
    ("status",),
    ("state", "show"),
    ("state", "members", "fans"),
    ("state", "rejects"),
    ("state", "backup", "copy.db"),
)


@pytest.mark.parametrize("words", LOOKING, ids=lambda words: words[-1])
def test_who_looks_at_the_state_needs_neither_token_nor_source(
    store: Shop, words: tuple[str, ...]
) -> None:
    store.run("apply", "--yes").check(0)
    path = store.folder / "segments.yaml"
    path.write_text(
        path.read_text()
        .replace('"sqlite:///shop.db"', '"${SHOP_URL}"')
        .replace("  api_token", "  proxy: ${PROXY}\n  api_token")
    )
    store.run(*words, MICS_API_TOKEN=None).check(0)
    done = store.run("plan", MICS_API_TOKEN=None).check(1)
    for name in ("MICS_API_TOKEN", "SHOP_URL", "PROXY"):
        assert f"the environment variable {name} is not set" in done.err
    wrong = store.run("status", MICS_API_TOKEN=f"{TOKEN} {TOKEN}").check(1)
    assert "of the API token is a space" in wrong.err


def test_a_query_is_not_judged_while_nobody_knows_its_database(store: Shop) -> None:
    """MySQL reads it, standard SQL does not."""
    store.spec(r"  fans: {query: SELECT name AS user_account_id FROM people WHERE name <> 'a\'b'}")
    path = store.folder / "segments.yaml"
    path.write_text(path.read_text().replace('"sqlite:///shop.db"', '"${SHOP_URL}"'))
    store.run("status").check(0)
    store.run("validate", SHOP_URL="mysql://localhost/shop").check(0)
