"""Imports and executions as the API shows them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from segsync.emulator.executions import DocumentImport, Execution
from segsync.emulator.options import Behaviour

UNNAMED_EXTRAS = {"possible_issue_on_identifiers": 0, "x_unknown": {"nested": [1, "two", None]}}
WIDE_PENDING = ("WAITING_DEPENDENT_JOB", "SCHEDULED", "PENDING")
TASKS = 4


def import_resource(
    document_import: DocumentImport, datamart_id: str, behaviour: Behaviour
) -> dict[str, Any]:
    """A document import."""
    resource = {
        "id": document_import.id,
        "datafarm_key": "DF_EU_2020_10",
        "datamart_id": datamart_id,
        "document_type": document_import.document_type,
        "mime_type": document_import.mime_type,
        "encoding": document_import.encoding,
        "name": document_import.name,
        "priority": document_import.priority,
    }
    return {**resource, **UNNAMED_EXTRAS} if behaviour.extra_fields else resource


def execution_resource(
    execution: Execution, datamart_id: str, file_uri: str, behaviour: Behaviour
) -> dict[str, Any]:
    """An execution at this read of it; reads are counted, for scripted statuses."""
    execution.shown += 1
    resource: dict[str, Any] = {
        "id": execution.id,
        "status": shown_status(execution, behaviour),
        "creation_date": execution.created_ms,
        "start_date": execution.started_ms,
        "duration": duration_ms(execution),
        "organisation_id": "1",
        "user_id": "1",
        "external_model_name": "PUBLIC_DOCUMENT_IMPORT",
        "job_type": "DOCUMENT_IMPORT",
        "import_mode": "MANUAL_FILE",
        "parameters": parameters(execution, datamart_id, file_uri),
        "result": execution.result,
        "error": execution.error,
        **tasks(execution, behaviour),
    }
    if behaviour.extra_fields:
        resource.update(UNNAMED_EXTRAS)
        if execution.result:
            resource["result"] = {**execution.result, **UNNAMED_EXTRAS}
    script = execution.script
    if script.patch and (script.patch_when == "always" or execution.ended):
        resource = merge(resource, script.patch)
    return resource


def shown_status(execution: Execution, behaviour: Behaviour) -> str:
    """The status at this read: scripted, real, or in the wider words."""
    script = execution.script
    if script.shown and (execution.shown <= len(script.shown) or script.then == "last"):
        return script.shown[min(execution.shown, len(script.shown)) - 1]
    if behaviour.status_words == "wide":
        if execution.status == "PENDING":
            return WIDE_PENDING[(execution.shown - 1) % len(WIDE_PENDING)]
        if execution.status == "SUCCEEDED":
            return "SUCCESS"
    return execution.status


def duration_ms(execution: Execution) -> int | None:
    """How long it ran."""
    if execution.started_ms is None or execution.finished_ms is None:
        return None
    return execution.finished_ms - execution.started_ms


def parameters(execution: Execution, datamart_id: str, file_uri: str) -> dict[str, Any]:
    """What the job was given; numbers are numbers here."""
    result = execution.result or {}
    return {
        "datamart_id": int(datamart_id) if datamart_id.isdecimal() else datamart_id,
        "document_import_id": int(execution.import_id),
        "document_type": "USER_SEGMENT",
        "file_uri": file_uri,
        "total_failure": result.get("total_failure", 0),
        "total_success": result.get("total_success", 0),
    }


def tasks(execution: Execution, behaviour: Behaviour) -> dict[str, Any]:
    """The progress, in the type that the behaviour says."""
    done = TASKS if execution.ended else TASKS // 2 if execution.status == "RUNNING" else 0
    counts = {"num_tasks": TASKS, "completed_tasks": done, "erroneous_tasks": 0}
    match behaviour.num_tasks:
        case "number":
            return dict(counts)
        case "string":
            return {name: str(count) for name, count in counts.items()}
        case "null":
            return dict.fromkeys(counts)
        case "absent":
            return {}


def merge(resource: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """`patch` over `resource`; an object over an object is merged inside."""
    merged = dict(resource)
    for name, value in patch.items():
        before = merged.get(name)
        inside = isinstance(before, Mapping) and isinstance(value, Mapping)
        merged[name] = merge(before, value) if inside else value  # type: ignore[arg-type]  # both are mappings here
    return merged
