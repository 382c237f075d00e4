"""Audience segments, and the segments of one user point."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from segsync.emulator.messages import ApiError, Request, Response, forbidden, not_found, one
from segsync.emulator.pages import page
from segsync.emulator.people import Identifier, Membership
from segsync.emulator.segments import Segment, TakenName, matches
from segsync.emulator.settings import WrongOption
from segsync.emulator.world import World

Parameters = Mapping[str, str]
CREATABLE = (
    "technical_name",
    "name",
    "type",
    "feed_type",
    "subtype",
    "organisation_id",
    "short_description",
    "default_ttl",
)


def list_segments(world: World, request: Request, _parameters: Parameters) -> Response:
    """GET audience_segments, filtered."""
    check_rights(world)
    filters = request.query
    if filters.get("technical_name"):
        world.find_segment(("segment_technical_name", filters["technical_name"]))
    found = [
        shown_segment(world, segment)
        for segment in world.segments
        if matches(segment, filters, world.behaviour)
    ]
    return page(request, found, world.behaviour, world.seed)


def get_segment(world: World, _request: Request, parameters: Parameters) -> Response:
    """GET one audience segment."""
    check_rights(world)
    found = world.find_segment(("segment_id", parameters["segment"]))
    if found is None:
        raise not_found()
    return one(shown_segment(world, found))


def create_segment(world: World, request: Request, _parameters: Parameters) -> Response:
    """POST audience_segments."""
    check_rights(world)
    given = request.json_object()
    fields = {name: given[name] for name in CREATABLE if given.get(name) is not None}
    if str(given.get("datamart_id")) != world.datamart_id:
        raise ApiError(400, "datamart_id is not this datamart's", "BAD_REQUEST")
    if not isinstance(fields.get("name"), str) or not isinstance(fields.get("type"), str):
        raise ApiError(400, "name and type are needed", "BAD_REQUEST")
    technical_name = fields.pop("technical_name", None)
    try:
        made = world.add_segment(technical_name, **fields)
    except TakenName as taken:
        raise ApiError(400, str(taken), "TECHNICAL_NAME_ALREADY_EXISTS") from None
    except WrongOption as wrong:
        raise ApiError(400, str(wrong), "BAD_REQUEST") from None
    return one(shown_segment(world, made), world.behaviour.create_status)


def user_segments(world: World, _request: Request, parameters: Parameters) -> Response:
    """GET the segments of one user point; nothing found is a 404."""
    person = person_of(world, parameters["selector"])
    asked = parameters.get("filter", "").removeprefix("audience_segment_id=")
    found = [
        shown_membership(segment_id, membership)
        for segment_id, membership in world.memberships.of_person(person, world.now_ms())
        if asked in ("", segment_id)
    ]
    if not found:
        raise not_found()
    if asked:
        return one(found[0])
    return one(found)


def person_of(world: World, selector: str) -> int:
    """The user point that a selector names: `kind=value`, parts apart by `,` or `/`.

    Raises ApiError.
    """
    parts = dict(part.partition("=")[::2] for part in selector.replace("/", ",").split(","))
    fields = {name: unquote(value) for name, value in parts.items()}
    if "user_account_id" in fields:
        identifier = world.account(fields["user_account_id"], fields.get("compartment_id"))
    elif "email_hash" in fields:
        identifier = Identifier("email_hash", None, fields["email_hash"])
    elif "user_agent_id" in fields:
        identifier = Identifier("user_agent_id", None, fields["user_agent_id"])
    else:
        number = fields.get("user_point_id", selector)
        return int(number) if number.isdecimal() else 0
    return person_with(world, identifier)


def person_with(world: World, identifier: Identifier) -> int:
    """The user point of an identifier. Raises ApiError."""
    person = world.people.number_of.get(identifier)
    if person is None:
        raise not_found()
    return person


def check_rights(world: World) -> None:
    """Whether the token may see segments. Raises ApiError."""
    if not world.behaviour.segment_rights:
        raise forbidden()


def shown_segment(world: World, segment: Segment) -> dict[str, Any]:
    """A segment's resource."""
    shown = segment.resource()
    if world.behaviour.extra_fields:
        shown["x_unknown"] = {"nested": [1, "two", None]}
    return shown


def shown_membership(segment_id: str, membership: Membership) -> dict[str, Any]:
    """A membership's resource; a member that never leaves has no expiration_ts."""
    shown: dict[str, Any] = {
        "segment_id": segment_id,
        "creation_ts": membership.created_ms,
        "last_modified_ts": membership.modified_ms,
    }
    if membership.data_bag is not None:
        shown["data_bag"] = membership.data_bag
    if membership.expires_at_ms:
        shown["expiration_ts"] = membership.expires_at_ms
    return shown
