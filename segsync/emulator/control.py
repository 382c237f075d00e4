"""The emulator's own controls under /_emulator/, for shells, demos and other processes.

They need no token: the emulator listens on loopback only. Web pages, whose requests name an
Origin, are turned away.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from segsync.emulator.emulator import Emulator
from segsync.emulator.faults import TYPES, Rule, fault_from
from segsync.emulator.log import RequestRecord
from segsync.emulator.messages import (
    ApiError,
    Request,
    Response,
    as_json,
    forbidden,
)
from segsync.emulator.people import IDENTIFIER_FIELDS, Identifier
from segsync.emulator.segments import TakenName, UnknownSegment
from segsync.emulator.settings import WrongOption

PREFIX = "/_emulator/"
Control = Callable[[Emulator, Request], Any]


def handle(emulator: Emulator, request: Request) -> Response:
    """Answer one control request with plain JSON. Raises ApiError."""
    action = CONTROLS.get((request.method, request.path.removeprefix(PREFIX)))
    if action is None:
        known = f"there is no such control; GET {PREFIX} lists all of them"
        raise ApiError(404, known, "RESOURCE_NOT_FOUND")
    if "origin" in request.headers:
        raise forbidden()
    try:
        with emulator.world.lock:
            answer = as_json(200, action(emulator, request))
            emulator.save()
            return answer
    except UnknownSegment as unknown:
        raise ApiError(404, unknown.args[0], "RESOURCE_NOT_FOUND") from None
    except KeyError as missing:
        raise ApiError(400, f"{missing} is missing", "BAD_REQUEST") from None
    except (WrongOption, TakenName, TypeError, ValueError) as wrong:
        raise ApiError(400, str(wrong), "BAD_REQUEST") from None


def read_controls(_emulator: Emulator, _request: Request) -> Any:
    """All controls, and what they do."""
    return {
        f"{method} {PREFIX}{name}": " ".join((control.__doc__ or "").split())
        for (method, name), control in CONTROLS.items()
    }


def read_clock(emulator: Emulator, _request: Request) -> Any:
    """The time, whether it stands still, and what tells it to segsync, whose clock is another."""
    return {
        "now_ms": emulator.now_ms(),
        "frozen": emulator.clock.frozen_at_ms is not None,
        "now": emulator.clock.text(),
        "segsync": f"plan, apply and status need --now {emulator.clock.text()}",
    }


def advance_clock(emulator: Emulator, request: Request) -> Any:
    """Move the clock by days, hours, minutes and seconds."""
    emulator.advance(**request.json_object())
    return read_clock(emulator, request)


def freeze_clock(emulator: Emulator, request: Request) -> Any:
    """Stand still."""
    emulator.clock.freeze()
    return read_clock(emulator, request)


def thaw_clock(emulator: Emulator, request: Request) -> Any:
    """Run again."""
    emulator.clock.thaw()
    return read_clock(emulator, request)


def read_members(emulator: Emulator, request: Request) -> Any:
    """The members of `segment`, a technical name or an id; `limit` shortens the list."""
    members = emulator.members(request.query["segment"])
    limit = int(request.query.get("limit", "1000"))
    shown = [
        {**as_fields(identifier), **member._asdict()}
        for identifier, member in list(members.items())[:limit]
    ]
    return {"count": len(members), "members": shown}


def read_segments(emulator: Emulator, _request: Request) -> Any:
    """All segments with the number of their members."""
    now_ms = emulator.now_ms()
    return [
        {
            **segment.resource(),
            "members": sum(1 for _ in emulator.world.memberships.live(segment.id, now_ms)),
        }
        for segment in emulator.world.segments
    ]


def make_segment(emulator: Emulator, request: Request) -> Any:
    """Make a segment of `technical_name` and other fields."""
    fields = request.json_object()
    return emulator.add_segment(fields.pop("technical_name", None), **fields).resource()


def change_segment(emulator: Emulator, request: Request) -> Any:
    """Change fields of `segment`, such as `paused`."""
    fields = request.json_object()
    return emulator.change_segment(fields.pop("segment"), **fields).resource()


def declare_person(emulator: Emulator, request: Request) -> Any:
    """Say that `identifiers` are one person's."""
    identifiers = identifiers_of(emulator, request)
    person = emulator.declare_person(identifiers)
    if request.json_object().get("quarantined"):
        emulator.quarantine(identifiers[0])
    return {"user_point_id": str(person)}


def reject(emulator: Emulator, request: Request) -> Any:
    """Fail the lines of `identifiers` from now on, with `reason`."""
    fields = request.json_object()
    emulator.reject(
        identifiers_of(emulator, request), fields.get("reason", "rejected by the platform")
    )
    return {"rejected": len(fields["identifiers"])}


def accept_all(emulator: Emulator, _request: Request) -> Any:
    """Reject nobody any more."""
    emulator.accept_all()
    return {}


def read_behaviour(emulator: Emulator, _request: Request) -> Any:
    """All switches."""
    return asdict(emulator.behaviour)


def change_behaviour(emulator: Emulator, request: Request) -> Any:
    """Set switches by name."""
    emulator.behave(**request.json_object())
    return asdict(emulator.behaviour)


def read_stats(emulator: Emulator, _request: Request) -> Any:
    """What there is, and what has been refused."""
    executions = emulator.executions
    return {
        "now_ms": emulator.now_ms(),
        "user_points": len(emulator.world.people),
        "imports": len(emulator.imports),
        "executions": len(executions),
        "executions_active": sum(1 for execution in executions if not execution.ended),
        "max_in_flight": emulator.max_in_flight,
        "refused_lines": dict(emulator.refused),
        "crashes": [repr(crash) for crash in emulator.crashes],
    }


def run_all(emulator: Emulator, request: Request) -> Any:
    """Let all executions end at once."""
    emulator.run_all()
    return read_stats(emulator, request)


def read_faults(emulator: Emulator, _request: Request) -> Any:
    """The rules of the fault script."""
    return [shown_rule(rule) for rule in emulator.faults.rules()]


def add_faults(emulator: Emulator, request: Request) -> Any:
    """Add rules: a list of {endpoint, fault: {type, …}, call, times}, or one."""
    given = request.json()
    for rule in given if isinstance(given, list) else [given]:
        fault = fault_from(rule["fault"])
        emulator.faults.add(rule["endpoint"], fault, rule.get("call", 1), rule.get("times", 1))
    return read_faults(emulator, request)


def clear_faults(emulator: Emulator, _request: Request) -> Any:
    """Let everything go well."""
    emulator.faults.clear()
    return []


def read_requests(emulator: Emulator, _request: Request) -> Any:
    """The request log."""
    return [shown_record(record) for record in emulator.request_log]


def shown_rule(rule: Rule) -> dict[str, Any]:
    """A rule in the shape in which it may be added."""
    name = next(name for name, made in TYPES.items() if isinstance(rule.fault, made))
    return {
        "endpoint": rule.endpoint,
        "call": rule.call,
        "times": rule.times,
        "fault": {"type": name, **asdict(rule.fault)},
    }


def shown_record(record: RequestRecord) -> dict[str, Any]:
    """An entry of the request log."""
    return {
        "number": record.number,
        "method": record.method,
        "target": record.target,
        "endpoint": record.endpoint,
        "status": record.status,
        "at_ms": record.at_ms,
        "seconds": record.seconds,
        "body_size": record.body_size,
        "sha256": record.sha256,
        "faults": [repr(fault) for fault in record.faults],
    }


def as_fields(identifier: Identifier) -> dict[str, str]:
    """An identifier in the wire's fields."""
    fields = {identifier.kind: identifier.value}
    if identifier.compartment is not None:
        fields["compartment_id"] = identifier.compartment
    return fields


def identifiers_of(emulator: Emulator, request: Request) -> list[Identifier]:
    """The `identifiers` of a body: a list of objects of the wire's fields. Raises ValueError."""
    return [identifier_from(emulator, fields) for fields in request.json_object()["identifiers"]]


def identifier_from(emulator: Emulator, fields: dict[str, Any]) -> Identifier:
    """An identifier from the wire's fields. Raises ValueError."""
    given = fields if isinstance(fields, dict) else {}
    kinds = [kind for kind in IDENTIFIER_FIELDS if isinstance(given.get(kind), str)]
    if len(kinds) != 1:
        raise ValueError(f"an identifier is one of {', '.join(IDENTIFIER_FIELDS)}")
    if kinds[0] == "user_account_id":
        return emulator.account(fields["user_account_id"], fields.get("compartment_id"))
    return Identifier(kinds[0], None, fields[kinds[0]])


CONTROLS: dict[tuple[str, str], Control] = {
    ("GET", ""): read_controls,
    ("GET", "clock"): read_clock,
    ("POST", "clock/advance"): advance_clock,
    ("POST", "clock/freeze"): freeze_clock,
    ("POST", "clock/thaw"): thaw_clock,
    ("GET", "members"): read_members,
    ("GET", "segments"): read_segments,
    ("POST", "segments"): make_segment,
    ("PATCH", "segments"): change_segment,
    ("POST", "persons"): declare_person,
    ("POST", "rejects"): reject,
    ("DELETE", "rejects"): accept_all,
    ("GET", "behaviour"): read_behaviour,
    ("POST", "behaviour"): change_behaviour,
    ("GET", "faults"): read_faults,
    ("POST", "faults"): add_faults,
    ("DELETE", "faults"): clear_faults,
    ("GET", "requests"): read_requests,
    ("GET", "stats"): read_stats,
    ("POST", "run"): run_all,
}
