"""Who is named in a text of the platform's, and what is left of it where it is shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from segsync.state.hiding import hide_in_reasons
from tests.support.rows import Row, state_of

SEGMENTS = [
    (1, "segment_technical_name", "tech2nd7", "vip2024summer", 0, 0, None, None),
    (2, "segment_id", "123456", "777777", 0, 0, None, None),
]
SENT = [
    "Ann", "ann.lee", "Ann.Lee+x", "ab", "12345", "123456", "10000", "09", "1a", "[é](", "x y",
    "Ärger", "-", "ann.lee",
]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Ann is refused", "*** is refused"),
        ("ANN, ann and Anna", "***, *** and Anna"),
        ("ann.lee+X then Ann.Lee, then ann", "*** then ***, then ***"),
        ("ab at the start, at the end ab", "*** at the start, at the end ***"),
        ("cab abs (ab)", "cab abs (***)"),
        ("line 12345 of 10000, 09 of 99", "line 12345 of 10000, 09 of 99"),
        ("segment 123456, 777777", "segment ***, 777777"),
        ("a 1a or [é]( or x y", "a *** or *** or ***"),
        ("Ärger", "***"),
        ("who was not sent: bob, jane@example.org, id77x2", "who was not sent: bob, ***, ***"),
        ("vip2024summer at tech2nd7, not vip2025summer", "vip2024summer at tech2nd7, not ***"),
        ("", ""),
    ],
)
def test_members_of_the_open_run_are_hidden_in_capitals_or_not(
    tmp_path: Path, text: str, shown: str
) -> None:
    """The longest name first, whole words only; short numbers say where, and are nobody's.

    A segment's name or address stays, unless a member is called so, too.
    """
    changes: list[Row] = [(n, 1, name, "add", 1, 0, 0) for n, name in enumerate(SENT, start=1)]
    with state_of(tmp_path / "state.db", {"segments": SEGMENTS, "changes": changes}) as state:
        assert state.hide_members(text) == shown


def test_members_and_rejects_are_hidden_in_reasons(tmp_path: Path) -> None:
    """As they are written; of a segment that is gone nobody is known any more."""
    tables: dict[str, list[Row]] = {
        "segments": SEGMENTS,
        "keyspaces": [(1, 1, "user_account_id", None)],
        "members": [(1, name, 1, 0) for name in ("Ann", "bob", "jo.doe", "12345", "abc", "777777")]
        + [(9, "gone", 1, 0)],
        "rejects": [(1, "Zoe", "UPDATE", 1, "no", 1, 1, 1, 1),
                    (9, "left", "UPDATE", 1, "no", 1, 1, 1, 1)],
    }  # fmt: skip
    texts = {
        "Ann, bob and Zoe": "***, *** and ***",
        "ann, Bob, Annabel and jo": "ann, Bob, Annabel and jo",
        "unknown jo.doe.": "unknown ***.",
        "line 12345 of 777777, 123456": "line 12345 of ***, 123456",
        "abc: no": "***: no",
        "gone and left": "gone and left",
        "vip2024summer at tech2nd7, not vip2025summer": "vip2024summer at tech2nd7, not ***",
        "": "",
    }
    with state_of(tmp_path / "state.db", tables) as state:
        assert hide_in_reasons(state._database, list(texts)) == list(texts.values())
        assert hide_in_reasons(state._database, []) == []
