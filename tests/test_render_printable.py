"""Texts of others are shown so that nothing in them acts, hides, or names a person."""

from __future__ import annotations

import re
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from segsync.model import IdentifierKind
from segsync.render.escaping import as_html, markdown_code, markdown_prose
from segsync.render.printable import mask, printable, shorten, width
from tests.support.size import size

HOSTILE = {
    "\x1b[2J": "\\x1b[2J",
    "\x1b]0;title\x07": "\\x1b]0;title\\x07",
    "a\nb\tc\rd": "a\\nb\\tc\\rd",
    "\x00\x7f\x80\x9b": "\\x00\\x7f\\x80\\x9b",
    "\u2028\u2029": "\\u2028\\u2029",
    "\u202eevil\u2066": "\\u202eevil\\u2066",
    "a\u200bb\ufeffc\u00add": "a\\u200bb\\ufeffc\\xadd",
    "\ud800": "\\ud800",
    "\U000e0041": "\\U000e0041",
    "no\u00a0break": "no\\xa0break",
}
INVISIBLE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
ANY_TEXT = st.text(st.characters(codec=None, exclude_categories=()), max_size=60)


@pytest.mark.parametrize("text", HOSTILE)
def test_what_acts_or_hides_becomes_a_visible_escape(text: str) -> None:
    assert printable(text) == HOSTILE[text]


def test_every_character_is_either_visible_or_an_escape() -> None:
    for first in range(0, sys.maxunicode + 1, 256):
        text = "".join(map(chr, range(first, first + 256)))
        shown = printable(text)
        assert shown.isprintable(), hex(first)
        assert not {unicodedata.category(char) for char in shown} & INVISIBLE, hex(first)


@settings(max_examples=size(5_000, 100_000), deadline=None)
@given(ANY_TEXT)
def test_nothing_invisible_is_left_and_nothing_visible_is_touched(text: str) -> None:
    shown = printable(text)
    assert shown.isprintable()
    assert not {unicodedata.category(char) for char in shown} & INVISIBLE
    assert shown.encode("utf-8").decode("utf-8") == shown
    assert printable(shown) == shown
    if text.isprintable():
        assert shown == text


@settings(max_examples=size(1_250, 25_000), deadline=None)
@given(ANY_TEXT, st.sampled_from([None, *IdentifierKind]))
def test_a_mask_tells_at_most_six_characters_and_never_the_half(
    text: str, kind: IdentifierKind | None
) -> None:
    shown = mask(text, kind)
    told = shown.replace("…", "", 1)
    assert len(told) <= 6
    assert len(told) <= len(text) / 2
    assert text in ("", "…") or shown != text


@pytest.mark.parametrize(
    ("identifier", "shown"),
    [
        ("user-000042", "us…42"),
        ("12345678", "12…78"),
        ("1234567", "1…7"),
        ("1234", "1…"),
        ("12", "…"),
        ("", "…"),
    ],
)
def test_masks_keep_both_ends_of_what_is_long(identifier: str, shown: str) -> None:
    assert mask(identifier) == shown


def test_the_mask_of_a_hash_is_its_beginning() -> None:
    assert mask("0123456789abcdef" * 4, IdentifierKind.EMAIL_HASH) == "012345…"
    assert mask("ada@example.com", IdentifierKind.EMAIL_HASH) == "ad…om"


@settings(max_examples=size(1_250, 25_000), deadline=None)
@given(ANY_TEXT.map(printable), st.integers(0, 40))
def test_a_shortened_text_fits_and_keeps_its_ends(text: str, most: int) -> None:
    short = shorten(text, most)
    assert width(short) <= most
    if width(text) <= most:
        assert short == text


def test_a_name_loses_its_middle() -> None:
    assert shorten("abcdefghij", 7) == "abc…hij"
    assert shorten("日本語日本語", 7) == "日…本語"
    assert width("日本語") == 6


@settings(max_examples=size(1_250, 25_000), deadline=None)
@given(ANY_TEXT.map(printable))
def test_escaped_texts_have_no_meaning_to_html_and_markdown(text: str) -> None:
    assert not re.search("[<>\"']", as_html(text))
    inside = markdown_code(text).removeprefix("<code>").removesuffix("</code>")
    assert not re.search(r"[<>`|*_\[\]@\\~]", inside)
    bare = re.sub("</?code>", "", markdown_prose(text))
    assert not re.search(r"[<>`|*_\[\]@\\~]", bare)


def test_github_finds_nobody_to_mention() -> None:
    assert markdown_prose("ask @org/team") == "ask <code>&#64;</code>org/team"
