"""What the platform says of members in texts of its own is hidden before anybody reads it."""

from __future__ import annotations

import re
from collections.abc import Container

from segsync.secret import MASK

SHORTEST_NUMBER = 6
"""Digits. Texts are full of shorter numbers (a line, a status), and say nothing without them."""

_OF_A_MEMBER = re.compile(
    # A command that is quoted: its identifier and data bag, whether the quotes are escaped or not.
    r"""((?:user_account_id|email_hash|user_agent_id|data_bag)\\*["']?\s*[:=]\s*)
        (?:"(?:[^"\\]|\\.)*" | \\"(?:(?!\\").)*\\" | '[^']*' | [^\s"',;}\]]+)
    """
    # What is an e-mail address, or the hash of one, wherever it stands.
    r"""| [^\s"'<>:;,=]+@[^\s"'<>:;,=]+ | \b[0-9a-fA-F]{32,}\b""",
    re.VERBOSE,
)


def hide_members(text: str) -> str:
    """`text` without what is known by its form to be a member's, whoever the member is."""
    return _OF_A_MEMBER.sub(lambda found: f"{found[1] or ''}{MASK}", text)


_WITH_DIGITS = re.compile(r"""[^\s"'`(),;=<>/\[\]{}…]*\d(?:[^\s"'`(),;=<>/\[\]{}…]*[\w*])?""")
_HARMLESS = re.compile(
    rf"""(?:(?:line|row|column|code|status|part):)?[#+-]?
        \d{{1,{SHORTEST_NUMBER - 1}}}(?:\.\d{{1,3}}){{0,2}}(?:%|[kmgt]?i?b|ms|s|st|nd|rd|th)?
        | v\d | h[1-6] | md5 | sha-?(?:1|256|512) | utf-?(?:8|16) | base64 | u?int(?:8|16|32|64)
        | iso-?8601 | rfc-?\d{{4}} | oauth2 | x509 | http[23]?-?\d{{0,3}} | u\+[0-9a-f]{{4,6}}""",
    re.VERBOSE | re.IGNORECASE,
)
"""A number with its unit, a version, and technical words: nobody's identifier."""


def hide_strangers(text: str, known: Container[str] = ()) -> str:
    """A text of the platform's own without what may be the identifier of anybody, known or not.

    Words of letters are language, and short numbers tell where and how much. Any other word with a
    digit in it is hidden, unless it is one of the `known` ones, such as a segment's name.
    """

    def hidden(found: re.Match[str]) -> str:
        word = found[0]
        return word if word in known or _HARMLESS.fullmatch(word) else MASK

    return _WITH_DIGITS.sub(hidden, hide_members(text))
