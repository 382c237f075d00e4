"""Which columns a query may and must give, and what each of them stands for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from enum import Enum

from segsync.errors import SourceError
from segsync.model import IdentifierKind, Segment

IDENTIFIERS = tuple(kind.value for kind in IdentifierKind)
COMPARTMENT = "compartment_id"
EMAIL = "email"
EXPIRATION = "expiration_ts"
DATA_BAG = "data_bag"
INVALID = "__invalid"
"""The column that says what is wrong with a row, in words; NULL where nothing is."""
RESERVED = (*IDENTIFIERS, COMPARTMENT, EMAIL, EXPIRATION, DATA_BAG)
"""The columns that have a meaning of their own."""


class Role(Enum):
    """What a column stands for, so in which form it is needed."""

    IDENTIFIER = "an identifier"
    TEXT = "text"
    EXPIRATION = "an expiry"
    VALUE = "a value of the data bag"


def role(name: str) -> Role:
    """The role of the column `name` (lower-cased, and accepted by `check_columns`)."""
    if name in IDENTIFIERS or name == COMPARTMENT:
        return Role.IDENTIFIER
    if name in (EMAIL, DATA_BAG):
        return Role.TEXT
    return Role.EXPIRATION if name == EXPIRATION else Role.VALUE


def has_data_bag(names: Iterable[str]) -> bool:
    """Whether a query with these columns gives data bags, or what they are made of."""
    narrow = {*RESERVED, INVALID} - {DATA_BAG}
    return not narrow.issuperset(name.lower() for name in names)


def refused(segment: Segment, name: str, type_: str, remedy: str) -> SourceError:
    """The column `name` has a type that cannot be what its name says."""
    return SourceError(
        f"`{name.lower()}` is {role(name.lower()).value}, and the query gives it as {type_}",
        hint=f"{remedy} in the query.",
        place=segment.query_place,
    )


def check_columns(segment: Segment, names: Sequence[str]) -> None:
    """Hold the column `names` of the query against what `segment` needs.

    Raises SourceError that tells everything that is wrong with them, and the remedies.
    """
    found = [name.lower() for name in names]
    problems = [
        *_duplicates(names),
        *_data_bag_problems(segment, found),
        *_email_problems(segment, found),
        *_unknown(segment, found),
        *_missing_identifier(found),
    ]
    if problems:
        hint = "; ".join(dict.fromkeys(hint for _, hint in problems))
        message = "; ".join(message for message, _ in problems)
        raise SourceError(message, hint=hint, place=segment.query_place)


Problems = Iterable[tuple[str, str]]
"""What is wrong, and what to do about it."""


def _duplicates(names: Sequence[str]) -> Problems:
    for name, count in Counter(name.lower() for name in names).items():
        if count > 1:
            yield f"the query gives {count} columns named `{name}`", "give each its own alias"


def _data_bag_problems(segment: Segment, found: list[str]) -> Problems:
    if segment.data_bag and DATA_BAG in found:
        yield (
            "the query gives a column `data_bag`, and the segment lists columns under `data_bag:`",
            "keep one of the two",
        )
    for name in segment.data_bag:
        if name.lower() == INVALID:
            yield f"`{name}` is a name that segsync uses itself", "give that column another name"
        if name.lower() in RESERVED:
            yield (
                f"`{name}` has a meaning of its own, so it cannot be listed under `data_bag:`",
                "to send it, select it a second time with another name, and list that",
            )
        elif name.lower() not in found:
            yield (
                f"`{name}` is listed under `data_bag:`, but the query gives no such column"
                + _nearest(name, found),
                "add it to the query, or take it off `data_bag:`",
            )


def _email_problems(segment: Segment, found: list[str]) -> Problems:
    if EMAIL in found and not segment.hash_email:
        yield (
            "the query gives `email`, but e-mail addresses are only sent hashed",
            "add `hash_email: sha256` to the segment, or select `email_hash`",
        )
    if segment.hash_email and EMAIL not in found:
        yield (
            "the segment has `hash_email`, but the query gives no column `email`"
            + _nearest(EMAIL, found),
            "alias the column with the address as `email`, or remove `hash_email`",
        )


def _unknown(segment: Segment, found: list[str]) -> Problems:
    known = {*RESERVED, *(name.lower() for name in segment.data_bag)}
    for name in dict.fromkeys(found):
        if name not in known:
            yield (
                f"the query gives a column `{name}` that has no meaning"
                + _nearest(name, [word for word in RESERVED if word not in found]),
                f"alias it as one of {', '.join(RESERVED)}; or list it under `data_bag:`; "
                "or take it out of the query",
            )


def _missing_identifier(found: list[str]) -> Problems:
    if not {*IDENTIFIERS, EMAIL} & set(found):
        yield (
            "the query gives no identifier",
            f"alias the column that identifies a member as one of {', '.join(IDENTIFIERS)}, "
            "or as email with `hash_email`",
        )
    elif COMPARTMENT in found and IdentifierKind.USER_ACCOUNT_ID.value not in found:
        yield (
            "the query gives `compartment_id` without `user_account_id`",
            "a compartment belongs to an account: select `user_account_id`, or leave it out",
        )


def _nearest(name: str, candidates: list[str]) -> str:
    near = get_close_matches(name.lower(), candidates, n=1)
    return f" (did you mean `{near[0]}`?)" if near else ""
