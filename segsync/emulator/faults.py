"""The fault script: what goes wrong, at which call of which endpoint."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from segsync.emulator.settings import WrongOption, with_settings

ENDPOINTS = (
    "create_import",
    "list_imports",
    "get_import",
    "update_import",
    "delete_import",
    "upload",
    "list_executions",
    "get_execution",
    "cancel_execution",
    "error_file",
    "segment_lookup",
    "create_segment",
    "user_segments",
    "unknown",
    "any",
)
"""`segment_lookup` is the list and the read of audience segments; `error_file` is any data_file;
`any` counts the calls of all endpoints."""

Point = Literal["head", "body", "before_apply", "after_apply", "answer"]
"""Moments of an exchange: the head is read; a fraction of the body is read; all of it is read and
nothing done; all is done and nothing answered; a fraction of the answer is sent."""

Ending = Literal["rst", "fin"]


@dataclass(frozen=True, slots=True)
class Cut:
    """The connection ends. `fraction` is of the body or of the answer's body."""

    at: Point = "after_apply"
    fraction: float = 0.5
    how: Ending = "rst"


@dataclass(frozen=True, slots=True)
class Stall:
    """Nothing more happens, for `seconds`, or until the client gives up."""

    at: Point = "after_apply"
    fraction: float = 0.5
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer in place of the real one. `applied` says whether the request took effect.

    `early`: sent before the body is read.
    """

    status: int = 503
    body: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    applied: bool = False
    early: bool = False
    repeated: int = 1
    """The body is this many times `body`."""


@dataclass(frozen=True, slots=True)
class Framing:
    """How the answer is put on the wire."""

    kind: Literal["length", "chunked", "close"] = "length"
    version: Literal["1.1", "1.0"] = "1.1"
    lower_case: bool = False
    close_after: bool = False
    """Close the connection behind the answer without saying so."""
    gzip_padding_megabytes: int | None = None
    """Compress, and put this many megabytes of spaces behind the answer first."""
    before: str = ""
    """Bytes in front of the status line, such as an interim answer or garbage."""
    after: str = ""
    """Bytes behind the answer."""


@dataclass(frozen=True, slots=True)
class Drip:
    """The answer comes slowly, or the body is taken slowly."""

    bytes_per_second: float = 1.0
    direction: Literal["answer", "body"] = "answer"


@dataclass(frozen=True, slots=True)
class Rewrite:
    """The real answer, spoilt."""

    how: Literal[
        "duplicate_keys",
        "nan",
        "deep",
        "byte_order_mark",
        "latin1",
        "wrong_content_type",
        "no_content_type",
        "empty",
        "half",
        "padded",
        "error_in_200",
        "null_data",
        "numbers_as_strings",
    ] = "nan"


@dataclass(frozen=True, slots=True)
class ExecutionScript:
    """What becomes of the execution that an upload creates; for the endpoint `upload`."""

    starts_after_polls: int = 0
    waits_for_newer_upload: bool = False
    duplicates: int = 0
    """So many more executions of the same payload."""
    shown: tuple[str, ...] = ()
    """Statuses shown at the first reads, whatever the real one is."""
    then: Literal["real", "last"] = "real"
    """What is shown afterwards: the real status, or the last of `shown` for ever."""
    ends_as: Literal["FAILED", "CANCELED"] | None = None
    """The end, whatever the lines are."""
    applies: Literal["nothing", "some", "all"] = "nothing"
    """What such an end has done; some: any number of lines, as the seed has it."""
    patch: Mapping[str, Any] = field(default_factory=dict)
    """Merged into the execution wherever it is shown; objects are merged inside."""
    patch_when: Literal["ended", "always"] = "ended"


Fault = Cut | Stall | Answer | Framing | Drip | Rewrite | ExecutionScript

TYPES: Mapping[str, type[Any]] = {
    "cut": Cut,
    "stall": Stall,
    "answer": Answer,
    "framing": Framing,
    "drip": Drip,
    "rewrite": Rewrite,
    "execution": ExecutionScript,
}


@dataclass(frozen=True, slots=True)
class Rule:
    """A fault for the calls `call` to `call + times - 1` of an endpoint; None is every call.

    Calls are counted from 1, and from when the rule is added.
    """

    endpoint: str
    fault: Fault
    call: int | None = 1
    times: int = 1


class FaultScript:
    """The rules in force. Several faults may meet in one call."""

    def __init__(self) -> None:
        self._rules: list[tuple[Rule, int]] = []
        self._calls: Counter[str] = Counter()

    def add(self, endpoint: str, fault: Fault, call: int | None = 1, times: int = 1) -> None:
        """Let `fault` happen at the n-th call of `endpoint` from now. Raises WrongOption."""
        if endpoint not in ENDPOINTS:
            raise WrongOption(f"no endpoint {endpoint}; there are {', '.join(ENDPOINTS)}")
        self._rules.append((Rule(endpoint, fault, call, times), self._calls[endpoint]))

    def clear(self) -> None:
        """Let everything go well from now on."""
        self._rules.clear()

    def next(self, endpoint: str) -> tuple[Fault, ...]:
        """Count a call, and give its faults."""
        self._calls[endpoint] += 1
        self._calls["any"] += 1
        return tuple(
            rule.fault
            for rule, before in self._rules
            if rule.endpoint in (endpoint, "any")
            and _strikes(rule, self._calls[rule.endpoint] - before)
        )

    def rules(self) -> list[Rule]:
        """The rules in force, those that have struck included."""
        return [rule for rule, _before in self._rules]


def _strikes(rule: Rule, call: int) -> bool:
    return rule.call is None or rule.call <= call < rule.call + rule.times


def fault_from(settings: Mapping[str, Any]) -> Fault:
    """A fault from JSON: its `type` and the type's own fields. Raises WrongOption."""
    given = dict(settings)
    name = given.pop("type", None)
    if name not in TYPES:
        raise WrongOption(f"no fault of type {name!r}; there are {', '.join(TYPES)}")
    if "shown" in given and isinstance(given["shown"], list):
        given["shown"] = tuple(given["shown"])
    fault: Fault = with_settings(TYPES[name](), given)
    return fault


def http_error(
    status: int, *, code: str = "SERVICE_UNAVAILABLE", retry_after: str | None = None
) -> Answer:
    """The platform's own error answer; nothing has happened."""
    headers = {"Content-Type": "application/json"}
    if retry_after is not None:
        headers["Retry-After"] = retry_after
    body = (
        f'{{"status":"error","error":"Scripted error {status}",'
        f'"error_id":"scripted-{status}","error_code":"{code}"}}'
    )
    return Answer(status, body, headers)


def html_page(status: int = 200) -> Answer:
    """A proxy's or login page instead of JSON."""
    body = "<!DOCTYPE html><html><body><h1>Please log in</h1></body></html>"
    return Answer(status, body, {"Content-Type": "text/html; charset=utf-8"})


def big_answer(megabytes: int = 10, status: int = 200) -> Answer:
    """An answer that never seems to end."""
    return Answer(status, " " * 1_000_000, {"Content-Type": "application/json"}, repeated=megabytes)


def deep_json(depth: int = 100_000) -> Answer:
    """JSON that exhausts a recursive parser."""
    body = '{"status":"ok","data":' + "[" * depth + "]" * depth + "}"
    return Answer(200, body, {"Content-Type": "application/json"})
