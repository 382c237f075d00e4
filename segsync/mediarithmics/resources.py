"""The platform's resources read into our values.

The shapes come from the vendor's pages and its web application's code: see the notes on the API.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from segsync.destination import Execution, ExecutionState, SegmentLookup, SegmentProblem
from segsync.errors import ProtocolError
from segsync.mediarithmics.envelope import Clean, count, identifier, section
from segsync.model import Address

_SUCCEEDED = ("SUCCEEDED", "SUCCESS")
_FAILED = ("FAILED", "CANCELED")


def read_execution(data: object, document_import: str, clean: Clean) -> Execution:
    """One execution. Raises ProtocolError where it has no id, or says it is of another import."""
    item = section(data)
    parameters = section(item.get("parameters"))
    owner = parameters.get("document_import_id")
    if owner is not None and str(owner) != document_import:
        raise ProtocolError(
            f"the platform gave an execution of document import {clean(str(owner))} for one of "
            f"{document_import}"
        )
    result = section(item.get("result"))
    uri = result.get("error_file_uri")
    status = item.get("status")
    return Execution(
        id=identifier(item.get("id")),
        state=_state(status),
        status=clean(status) if isinstance(status, str) else "",
        created_at_ms=count(item.get("creation_date")),
        total_success=_total("total_success", result, parameters),
        total_failure=_total("total_failure", result, parameters),
        error_file_uri=uri if isinstance(uri, str) and uri else None,
        error_message=_message(item.get("error"), clean),
        progress=_progress(item.get("completed_tasks"), item.get("num_tasks")),
    )


def oldest_first(execution: Execution) -> tuple[int, int, str]:
    """The order of executions; ids are numbers in text, and so a shorter one is a smaller one."""
    return (execution.created_at_ms or 0, len(execution.id), execution.id)


def read_segment(item: dict[str, Any], address: Address, clean: Clean) -> SegmentLookup:
    """What a segment that was found says of itself. What it does not say is taken as right."""
    kind, feed = item.get("type"), item.get("feed_type")
    if kind not in (None, "USER_LIST"):
        detail = f"is of type {clean(str(kind))}; only a USER_LIST takes imports"
        return segment_problem(address, SegmentProblem.WRONG_TYPE, detail)
    if feed not in (None, "FILE_IMPORT"):
        detail = f"is fed by {clean(str(feed))}; only one with FILE_IMPORT takes imports"
        return segment_problem(address, SegmentProblem.WRONG_TYPE, detail)
    if item.get("paused") in (True, "true"):
        detail = "is paused: the platform would drop the members; resume it in Navigator"
        return segment_problem(address, SegmentProblem.PAUSED, detail)
    detail = f"the segment with {address} can take members"
    return SegmentLookup(address, None, detail, tuple(_addresses(item)))


def _addresses(item: dict[str, Any]) -> Iterator[Address]:
    if item.get("id") is not None:
        yield Address("segment_id", identifier(item["id"]))
    name = item.get("technical_name")
    if isinstance(name, str) and name:
        yield Address("segment_technical_name", name)


def segment_problem(address: Address, problem: SegmentProblem, detail: str) -> SegmentLookup:
    """The answer that a segment cannot take members; `detail` goes on after its address."""
    return SegmentLookup(address, problem, f"the segment with {address} {detail}")


def is_of(item: dict[str, Any], datamart: str) -> bool:
    """Whether a segment is of `datamart`, or does not say of which."""
    return item.get("datamart_id") is None or str(item["datamart_id"]) == datamart


def _state(status: object) -> ExecutionState:
    if status in _SUCCEEDED:
        return ExecutionState.SUCCEEDED
    return ExecutionState.FAILED if status in _FAILED else ExecutionState.ACTIVE


def _total(name: str, result: dict[str, Any], parameters: dict[str, Any]) -> int | None:
    return count(result[name] if result.get(name) is not None else parameters.get(name))


def _message(error: object, clean: Clean) -> str | None:
    message = error.get("message") if isinstance(error, dict) else error
    return clean(message) if isinstance(message, str) and message else None


def _progress(completed: object, tasks: object) -> float | None:
    done, of = _number(completed), _number(tasks)
    return min(done / of, 1.0) if done is not None and of else None


def _number(value: object) -> float | None:
    """A number that is not negative, or a text of one."""
    try:
        number = float(value) if isinstance(value, str | int | float) else -1.0
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None
