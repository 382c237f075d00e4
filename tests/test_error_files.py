"""Which commands an error file names, in whatever shape it comes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from segsync.engine import Engine, Keyspaces, Target
from segsync.engine.session import EngineError
from segsync.model import NEVER, Address, IdentifierKind
from tests.support.comparing import changes_stream

VIP = Target(1, Address("segment_technical_name", "vip"), NEVER)
FIVE = Target(2, Address("segment_id", "5"), NEVER)
ACCOUNT, MAIL = IdentifierKind.USER_ACCOUNT_ID, IdentifierKind.EMAIL_HASH
PLACES = [(1, (1, ACCOUNT, None)), (2, (1, ACCOUNT, "1000")), (3, (1, MAIL, None)),
          (4, (2, ACCOUNT, None))]  # fmt: skip
SENT = [
    (1, "alpha"), (1, "12345"), (1, "7"), (2, "beta"), (2, "gamma"), (3, "h-1"), (4, "gamma"),
    (4, "delta"), (1, 'quo"te'), (1, "new\nline"),
]  # fmt: skip


def named(
    tmp_path: Path,
    content: str | bytes,
    lines: tuple[int, int] = (1, 10),
    sent: Sequence[tuple[int, str]] = SENT,
    ids: Sequence[str] = (),
) -> dict[int, str]:
    """The lines that a file names, with the reasons."""
    path = tmp_path / "errors"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    with Engine(Keyspaces(PLACES)) as engine:
        changes = [(n, keyspace, name, "add") for n, (keyspace, name) in enumerate(sent, start=1)]
        engine.load_sent(changes_stream(changes), [VIP, FIVE])
        count = engine.match_rejects(path, lines, ids)
        engine.keep_rejects()
        with engine.rejected() as rejected:
            found = {row["line"]: row["reason"] for batch in rejected for row in batch.to_pylist()}
    assert len(found) == count
    return found


FIELDS = '"operation":"UPDATE","user_account_id":"alpha","segment_technical_name":"vip"'
INNER = FIELDS.replace('"', '\\"')


@pytest.mark.parametrize(
    "line",
    [
        f'{{{FIELDS},"error":"unknown"}}',
        f'{{"error":"unknown",{FIELDS}}}',
        f'{{"input":{{{FIELDS}}},"error":"unknown"}}',
        f'{{"line":"{{{INNER}}}","error":"unknown"}}',
        "alpha,unknown",
        "17;alpha;unknown",
        "17\talpha\tunknown",
        '"17","alpha","unknown"',
        "alpha",
        f"{{{FIELDS}}}",
        f"ERROR unknown in {{{FIELDS}}}",
    ],
)
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_line_names_a_command(tmp_path: Path, line: str, end: str) -> None:
    found = named(tmp_path, line + end)
    assert found.keys() == {1}
    assert "alpha" not in found[1]
    assert len(found[1]) <= 200
    if "unknown" in line and not line.startswith("ERROR"):
        assert "unknown" in found[1]


@pytest.mark.parametrize(
    "content",
    [
        "",
        "\n\n",
        "line,identifier,error\n",
        "Line 7: alphabet\n",
        "2 commands failed\n",
        "7,unknown\n",
        "7\n",
        '{"line":7,"error":"alpha"}\n',
        'alpha,{"line":7}\n',
        '{"user_account_id":"alpha"}\n',
        '{"user_account_id":"alpha","segment_id":"vip"}\n'.replace("vip", "6"),
        '{"email_hash":"alpha","segment_technical_name":"vip"}\n',
        '{"user_account_id":"beta","segment_technical_name":"vip"}\n',
        '{"user_account_id":"alpha","compartment_id":"1000","segment_technical_name":"vip"}\n',
        "gamma,unknown\n",
        "<html><body>login</body></html>\n",
        b"\x1f\x8b\x08\x00\x00\xff\xfe\x00",
        b"alpha\x00\xff\xfe\n",
        "[" * 100_000,
        '{"a":' * 10_000,
        "x" * 25_000_000,
    ],
)
def test_what_does_not_name_a_command_exactly_names_none(
    tmp_path: Path, content: str | bytes
) -> None:
    assert named(tmp_path, content) == {}


def test_the_lines_of_one_file_may_end_in_different_ways(tmp_path: Path) -> None:
    assert set(named(tmp_path, "alpha,unknown\r\nbeta,unknown\ndelta,unknown\r")) == {1, 4, 8}


def test_a_number_is_an_identifier_where_it_can_be_no_line_and_no_code(tmp_path: Path) -> None:
    assert named(tmp_path, "12345,unknown\n").keys() == {2}
    sent = [(1, name) for name in ("9999", "10000", "10001", "10002")]
    content = "".join(f"{name},unknown\n" for _, name in sent)
    assert named(tmp_path, content, (1, 4), sent).keys() == {2, 3, 4}
    sent += [(1, f"u{n}") for n in range(9_996)]
    assert named(tmp_path, content, (1, 10_000), sent).keys() == {4}


def test_a_reason_is_cut_off_after_two_hundred_characters(tmp_path: Path) -> None:
    assert named(tmp_path, "alpha," + "é" * 300)[1] == "…," + "é" * 198


@pytest.mark.parametrize(
    "key", ["error", "message", "reason", "error_message", "errors", "cause", "error_code"]
)
def test_a_reason_is_found_under_any_of_its_usual_names(tmp_path: Path, key: str) -> None:
    assert named(tmp_path, f'{{{FIELDS},"{key}":"too old"}}') == {1: "too old"}


def test_compartments_and_segments_tell_equal_identifiers_apart(tmp_path: Path) -> None:
    lines = [
        '{"user_account_id":"gamma","compartment_id":"1000","segment_technical_name":"vip"}',
        '{"user_account_id":"gamma","segment_id":"5","error":{"code":"E1","message":"no gamma"}}',
    ]
    assert named(tmp_path, "\n".join(lines[:1])).keys() == {5}
    found = named(tmp_path, "\n".join(lines))
    assert found.keys() == {5, 7}
    assert "gamma" not in found[7]


def test_a_line_that_speaks_of_two_commands_names_none(tmp_path: Path) -> None:
    assert named(tmp_path, "17;alpha;merged into;beta\n") == {}
    assert named(tmp_path, "17;alpha;alpha again\n18;beta\n").keys() == {1, 4}


def test_the_id_of_a_segment_or_a_compartment_names_nobody(tmp_path: Path) -> None:
    sent = [(2, "1000"), (2, "vip"), (4, "5"), (1, "70001"), (1, "70002")]
    content = "".join(f"1;{name}\n" for _, name in sent)
    assert named(tmp_path, content, (1, 5), sent, ids=["70001"]).keys() == {5}


def test_only_lines_of_the_part_are_named(tmp_path: Path) -> None:
    assert named(tmp_path, "alpha\ndelta\n", (2, 10)).keys() == {8}


def test_where_all_lines_of_a_part_failed_those_of_an_earlier_part_are_not_named_again(
    tmp_path: Path,
) -> None:
    path = tmp_path / "errors"
    path.write_text("alpha,unknown\n")
    with Engine(Keyspaces(PLACES)) as engine:
        changes = [(n, keyspace, name, "add") for n, (keyspace, name) in enumerate(SENT, start=1)]
        engine.load_sent(changes_stream(changes), [VIP, FIVE])
        assert engine.match_rejects(path, (1, 4), ()) == 1
        engine.keep_rejects()
        engine.reject_rest((5, 7))
        engine.keep_rejects()
        with engine.rejected() as rejected:
            assert rejected.read_all().column("line").to_pylist() == [1, 5, 6, 7]


def test_a_short_identifier_does_not_blank_out_words(tmp_path: Path) -> None:
    line = '{"user_account_id":"a","segment_technical_name":"vip","error":"A bad day for a"}'
    assert named(tmp_path, line, (1, 1), [(1, "a")]) == {1: "… bad day for …"}


def test_a_line_that_is_named_twice_is_one_reject(tmp_path: Path) -> None:
    assert named(tmp_path, "alpha,one\nalpha,two\n").keys() == {1}


def test_a_file_that_does_not_fit_into_memory_is_not_taken_for_one_that_names_nobody(
    tmp_path: Path,
) -> None:
    path = tmp_path / "errors"
    path.write_text(f'{{{FIELDS},"error":"unknown"}}\n' * 400_000)
    for limit, fits in (("24MB", False), ("1GB", True)):
        with Engine(Keyspaces(PLACES), limit) as engine:
            engine.load_sent(changes_stream([(1, 1, "alpha", "add")]), [VIP])
            if fits:
                assert engine.match_rejects(path, (1, 1), ()) == 1
            else:
                with pytest.raises(EngineError, match="Out of Memory") as caught:
                    engine.match_rejects(path, (1, 1), ())
                assert "--memory-limit" in (caught.value.hint or "")
