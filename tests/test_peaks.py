"""What measures memory and time for other tests sees what is taken."""

from __future__ import annotations

from pathlib import Path

from tests.support.peaks import measured

PROGRAM = """
def run(case):
    if case == "much":
        bytearray(300_000_000)
    if case == "fails":
        raise ValueError("this is told")
"""


def test_what_a_case_takes_is_seen(tmp_path: Path) -> None:
    taken = measured(PROGRAM, ["little", "much", "fails"], tmp_path)
    assert taken["little"].own < 20_000_000
    assert 300_000_000 <= taken["much"].own < 320_000_000
    assert taken["much"].peak > taken["much"].own
    assert taken["much"].status == taken["little"].status == 0
    assert taken["fails"].status != 0
    assert "this is told" in taken["fails"].told
