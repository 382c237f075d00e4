"""What the platform says of members in texts of its own is hidden before anybody reads it."""

from __future__ import annotations

import re

from segsync.secret import MASK

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
