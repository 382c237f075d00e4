"""One line of a payload, checked against the documentation of the USER_SEGMENT command.

Source: developer.mediarithmics.io/data-ingestion/bulk-processing/imports/segments.
"""

from __future__ import annotations

import json
from typing import Any, Literal, NamedTuple, NoReturn

from segsync.emulator.clock import MINUTE_MS
from segsync.emulator.options import Behaviour
from segsync.emulator.people import IDENTIFIER_FIELDS, Identifier

TEXT_FIELDS = (
    "compartment_id",
    "user_account_id",
    "email_hash",
    "user_agent_id",
    "segment_id",
    "segment_technical_name",
    "data_bag",
)
FIELDS = frozenset(("operation", "expiration_duration", "expiration_ts", *TEXT_FIELDS))
LARGEST_DURATION = 2**31 - 1
"""The documentation says Integer; taken as 32 bits."""

Target = tuple[Literal["segment_id", "segment_technical_name"], str]


class Command(NamedTuple):
    """A command that is well formed.

    `expires_at_ms` is 0 for never, and None where the segment's default_ttl decides.
    """

    operation: str
    identifier: Identifier
    target: Target
    expires_at_ms: int | None
    data_bag: str | None


class Refusal(Exception):
    """Why a line is refused: a short code to count by, and a text for the error file."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code
        self.text = text


class CommandReader:
    """Reads lines under one behaviour. `counted_from_ms` is when durations start."""

    def __init__(
        self, behaviour: Behaviour, *, default_compartment: str, counted_from_ms: int, now_ms: int
    ) -> None:
        self._behaviour = behaviour
        self._default_compartment = default_compartment
        self._counted_from_ms = counted_from_ms
        self._now_ms = now_ms

    def read_json(self, line: bytes) -> Command | None:
        """The command of an NDJSON line; None where it is passed over. Raises Refusal."""
        return self.read(decode_line(line))

    def read(self, fields: dict[str, Any]) -> Command | None:
        """The command of a line's fields; None where it is passed over. Raises Refusal."""
        if None in fields.values():
            fields = self._without_nulls(fields)
        if not fields.keys() <= FIELDS and self._behaviour.unknown_fields == "failed":
            refuse("unknown_field", f"unknown field {min(fields.keys() - FIELDS)}")
        check_texts(fields)
        operation = fields.get("operation")
        if operation not in ("UPDATE", "DELETE"):
            refuse("bad_operation", f"operation must be UPDATE or DELETE, not {operation!r}")
        identifier = self._identifier(fields)
        if identifier is None:
            return None
        return Command(
            operation,
            identifier,
            self._target(fields),
            self._expiry(fields, operation),
            self._data_bag(fields),
        )

    def _without_nulls(self, fields: dict[str, Any]) -> dict[str, Any]:
        if self._behaviour.null_fields == "failed":
            name = next(name for name, value in fields.items() if value is None)
            refuse("null_field", f"{name} must not be null")
        return {name: value for name, value in fields.items() if value is not None}

    def _identifier(self, fields: dict[str, Any]) -> Identifier | None:
        given = [kind for kind in IDENTIFIER_FIELDS if kind in fields]
        if len(given) > 1 and self._behaviour.two_identifiers == "failed":
            refuse("two_identifiers", f"only one identifier is allowed: {', '.join(given)}")
        if not given:
            if self._behaviour.no_identifier == "skipped":
                return None
            refuse("no_identifier", "a line needs an identifier")
        kind = given[0]
        if kind == "user_account_id":
            compartment = fields.get("compartment_id", self._default_compartment)
            return Identifier(kind, compartment, fields[kind])
        if "compartment_id" in fields and len(given) == 1:
            refuse("stray_compartment", "compartment_id without user_account_id")
        return Identifier(kind, None, fields[kind])

    def _target(self, fields: dict[str, Any]) -> Target:
        by_id, by_name = fields.get("segment_id"), fields.get("segment_technical_name")
        if by_id is not None and by_name is not None:
            if self._behaviour.both_segment_fields == "failed":
                refuse("both_segment_fields", "segment_id beside segment_technical_name")
            if self._behaviour.both_segment_fields == "name_wins":
                by_id = None
        if by_id is not None:
            return ("segment_id", by_id)
        if by_name is None:
            refuse("no_segment", "segment_id or segment_technical_name is missing")
        return ("segment_technical_name", by_name)

    def _expiry(self, fields: dict[str, Any], operation: str) -> int | None:
        by_duration = self._by_duration(fields, operation)
        timestamp = fields.get("expiration_ts")
        if timestamp is None:
            return by_duration
        by_timestamp = self._by_timestamp(timestamp)
        if "expiration_duration" not in fields:
            return by_timestamp
        if self._behaviour.both_expirations == "failed":
            refuse("both_expirations", "expiration_ts beside expiration_duration")
        return by_timestamp if self._behaviour.both_expirations == "ts_wins" else by_duration

    def _by_duration(self, fields: dict[str, Any], operation: str) -> int | None:
        duration = fields.get("expiration_duration")
        if duration is None:
            return self._without_duration(operation, with_ts="expiration_ts" in fields)
        if type(duration) is not int or not 0 <= duration <= LARGEST_DURATION:
            refuse("bad_duration", f"expiration_duration is no number of minutes: {duration!r}")
        return self._counted_from_ms + duration * MINUTE_MS if duration else 0

    def _without_duration(self, operation: str, *, with_ts: bool) -> int | None:
        behaviour = self._behaviour
        on_update = behaviour.missing_duration_on_update
        if with_ts and behaviour.duration_optional_with_ts:
            return 0
        if operation == "DELETE" and behaviour.missing_duration_on_delete == "accepted":
            return 0
        if operation == "UPDATE" and on_update != "failed":
            return None if on_update == "default_ttl" else 0
        raise Refusal("missing_duration", "expiration_duration is mandatory")

    def _by_timestamp(self, timestamp: Any) -> int:
        factor = 1000 if self._behaviour.expiration_ts_unit == "s" else 1
        if type(timestamp) not in (int, float) or not 0 <= timestamp * factor < 2**63:
            refuse("bad_timestamp", f"expiration_ts is no timestamp: {timestamp!r}")
        expires_at_ms = int(timestamp * factor)
        past = 0 < expires_at_ms <= self._now_ms
        if past and self._behaviour.past_expiration == "failed":
            refuse("past_expiration", f"expiration_ts lies in the past: {timestamp!r}")
        return expires_at_ms

    def _data_bag(self, fields: dict[str, Any]) -> str | None:
        data_bag: str | None = fields.get("data_bag")
        if data_bag is None:
            return None
        if len(data_bag.encode()) > self._behaviour.data_bag_max_bytes:
            refuse("large_data_bag", "data_bag is too large")
        try:
            content = decode_json(data_bag)
        except (ValueError, RecursionError):
            refuse("bad_data_bag", "data_bag does not hold JSON")
        if type(content) is not dict:
            refuse("bad_data_bag", "data_bag does not hold a JSON object")
        return data_bag


def decode_line(line: bytes) -> dict[str, Any]:
    """The fields of an NDJSON line. Raises Refusal."""
    try:
        fields = decode_json(line.decode())
    except UnicodeDecodeError:
        refuse("bad_utf8", "the line is not UTF-8")
    except (ValueError, RecursionError):
        refuse("bad_json", "the line is not JSON")
    if type(fields) is not dict:
        refuse("no_object", "the line is not a JSON object")
    return fields


def decode_json(text: str) -> Any:
    """A JSON value, spaces around it allowed. Raises ValueError, RecursionError, Refusal."""
    text = text.strip(" \t\r\n")
    value, end = DECODER.raw_decode(text)
    if end != len(text):
        raise ValueError("more than one value")
    return value


def check_texts(fields: dict[str, Any]) -> None:
    """Refuse identifiers and ids that are no text, empty, or not encodable."""
    for name in TEXT_FIELDS:
        if name in fields:
            value = fields[name]
            if type(value) is not str:
                refuse("not_a_string", f"{name} must be a string, not {value!r}")
            if not value:
                refuse("empty_field", f"{name} is empty")
            if not value.isascii():
                check_unicode(name, value)


def check_unicode(name: str, value: str) -> None:
    """Refuse half of a surrogate pair: no UTF-8 text holds one."""
    try:
        value.encode()
    except UnicodeEncodeError:
        refuse("bad_unicode", f"{name} holds half a surrogate pair")


def refuse(code: str, text: str) -> NoReturn:
    """Raise the refusal of a line."""
    raise Refusal(code, text)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        refuse("repeated_field", "a field stands twice in one object")
    return fields


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


DECODER = json.JSONDecoder(object_pairs_hook=_unique, parse_constant=_no_constant)
