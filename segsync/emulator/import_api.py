"""Document imports, executions and their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from segsync.emulator import runs
from segsync.emulator.executions import DocumentImport, Execution
from segsync.emulator.messages import ApiError, Request, Response, not_found, one
from segsync.emulator.options import Behaviour
from segsync.emulator.pages import page
from segsync.emulator.resources import execution_resource, import_resource
from segsync.emulator.world import World

CONTENT_TYPES = {"APPLICATION_X_NDJSON": "application/x-ndjson", "TEXT_CSV": "text/csv"}
Parameters = Mapping[str, str]


def create_import(world: World, request: Request, _parameters: Parameters) -> Response:
    """POST document_imports."""
    fields = checked_import(request.json_object())
    made = world.create_import(**fields)
    return one(shown_import(world, made), world.behaviour.create_status)


def list_imports(world: World, request: Request, _parameters: Parameters) -> Response:
    """GET document_imports, by `keywords`."""
    keywords = request.query.get("keywords", "")
    found = [
        shown_import(world, document_import)
        for document_import in world.executions.imports.values()
        if not keywords or name_fits(document_import.name, keywords, world.behaviour)
        if seen(world, document_import)
    ]
    return page(request, found, world.behaviour, world.seed)


def get_import(world: World, _request: Request, parameters: Parameters) -> Response:
    """GET one document import."""
    return one(shown_import(world, import_of(world, parameters)))


def update_import(world: World, request: Request, parameters: Parameters) -> Response:
    """PUT one document import; its types stay as they are."""
    before = import_of(world, parameters)
    fields = checked_import({**shown_import(world, before), **request.json_object()})
    after = replace(before, name=fields["name"], priority=fields["priority"])
    world.executions.imports[before.id] = after
    return one(shown_import(world, after))


def delete_import(world: World, _request: Request, parameters: Parameters) -> Response:
    """DELETE one document import; its executions and files are gone."""
    document_import = import_of(world, parameters)
    for execution in world.executions.remove_import(document_import.id):
        execution.payload.path.unlink(missing_ok=True)
    return one(shown_import(world, document_import))


def upload(world: World, request: Request, parameters: Parameters) -> Response:
    """POST executions, with the raw file as the body."""
    document_import = import_of(world, parameters)
    payload = request.file
    if payload is None:
        raise ApiError(400, "The body is missing", "BAD_REQUEST")
    check_size(payload.size, world.behaviour)
    check_content_type(request, document_import)
    check_concurrency(world)
    runs.announce(world, document_import, payload)
    if world.behaviour.bad_line == "refuses_upload" and not world.behaviour.sink:
        checked = runs.check(world, document_import.mime_type, payload)
        if checked.failures or checked.refused_file:
            first = checked.failures[0] if checked.failures else None
            text = f"Line {first.number}: {first.reason}" if first else checked.refused_file
            raise ApiError(400, str(text), "INVALID_DOCUMENT")
    execution = runs.start(world, document_import, payload, request.script)
    return one(shown_execution(world, execution), world.behaviour.create_status)


def list_executions(world: World, request: Request, parameters: Parameters) -> Response:
    """GET executions; reading their statuses moves them on."""
    document_import = import_of(world, parameters)
    found = [
        execution
        for execution in world.executions.of_import(document_import.id)
        if seen(world, execution)
    ]
    for execution in found:
        runs.poll(world, execution)
    shown = [shown_execution(world, execution) for execution in found]
    return page(request, shown, world.behaviour, world.seed)


def get_execution(world: World, _request: Request, parameters: Parameters) -> Response:
    """GET one execution, where this platform has that."""
    execution = execution_of(world, parameters)
    if not world.behaviour.get_execution:
        raise not_found()
    runs.poll(world, execution)
    return one(shown_execution(world, execution))


def act_on_execution(world: World, request: Request, parameters: Parameters) -> Response:
    """POST action CANCEL."""
    execution = execution_of(world, parameters)
    if request.json_object().get("action") != "CANCEL":
        raise ApiError(400, "The only action is CANCEL", "BAD_REQUEST")
    refused = execution.ended or (
        execution.status == "RUNNING" and world.behaviour.cancel_running == "refused"
    )
    if refused:
        raise ApiError(400, f"The execution is {execution.status}", "BAD_REQUEST")
    runs.cancel(world, execution)
    return one(shown_execution(world, execution))


def data_file(world: World, request: Request, _parameters: Parameters) -> Response:
    """GET the content of a file."""
    path = world.files.at(request.query.get("uri", ""))
    if path is None:
        raise not_found()
    return Response(200, path, {"Content-Type": "application/octet-stream"})


def checked_import(fields: dict[str, Any]) -> dict[str, str]:
    """The fields of a document import as given, defaults filled in. Raises ApiError."""
    allowed = {
        "document_type": ("USER_SEGMENT",),
        "mime_type": tuple(CONTENT_TYPES),
        "encoding": ("utf-8",),
        "priority": ("LOW", "MEDIUM", "HIGH"),
    }
    checked = {"encoding": "utf-8", "priority": "MEDIUM", **fields}
    for name, values in allowed.items():
        if checked.get(name) not in values:
            raise ApiError(400, f"{name} must be one of {', '.join(values)}", "BAD_REQUEST")
    if not isinstance(checked.get("name"), str) or not checked["name"]:
        raise ApiError(400, "name is missing", "BAD_REQUEST")
    return {name: checked[name] for name in ("name", *allowed)}


def check_size(size: int, behaviour: Behaviour) -> None:
    """Refuse a file that is too large. Raises ApiError."""
    if size > behaviour.max_upload_bytes:
        text = f"The file is larger than {behaviour.max_upload_bytes} bytes"
        raise ApiError(behaviour.too_large_status, text, "FILE_TOO_LARGE")


def check_content_type(request: Request, document_import: DocumentImport) -> None:
    """The Content-Type must be the import's mime type. Raises ApiError."""
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    wanted = CONTENT_TYPES[document_import.mime_type]
    if given != wanted:
        raise ApiError(415, f"Content-Type must be {wanted}, not {given!r}", "BAD_REQUEST")


def check_concurrency(world: World) -> None:
    """Refuse too many unfinished executions. Raises ApiError."""
    limit = world.behaviour.max_active_executions
    if limit is not None and len(world.executions.active()) >= limit:
        after = world.behaviour.retry_after
        headers = {"Retry-After": after} if after is not None else {}
        raise ApiError(429, "Too many executions", "TOO_MANY_REQUESTS", headers)


def name_fits(name: str, keywords: str, behaviour: Behaviour) -> bool:
    """Whether an import's name is in the list for these keywords."""
    match behaviour.import_keywords:
        case "contains":
            return keywords.lower() in name.lower()
        case "exact":
            return keywords == name
        case "prefix":
            return name.startswith(keywords)
        case "ignored":
            return True
        case "nothing":
            return False


def seen(world: World, item: DocumentImport | Execution) -> bool:
    """Whether a list shows a new item yet; counts the lists that do not."""
    key = f"{type(item).__name__}/{item.id}"
    missing_from = world.unseen.get(key, 0)
    world.unseen[key] = missing_from + 1
    return missing_from >= world.behaviour.lists_until_seen


def import_of(world: World, parameters: Parameters) -> DocumentImport:
    """The import that a path names. Raises ApiError."""
    found = world.executions.imports.get(parameters["import"])
    if found is None:
        raise not_found()
    return found


def execution_of(world: World, parameters: Parameters) -> Execution:
    """The execution that a path names. Raises ApiError."""
    document_import = import_of(world, parameters)
    found = world.executions.by_id.get(parameters["execution"])
    if found is None or found.import_id != document_import.id:
        raise not_found()
    return found


def shown_import(world: World, document_import: DocumentImport) -> dict[str, Any]:
    """An import's resource."""
    return import_resource(document_import, world.datamart_id, world.behaviour)


def shown_execution(world: World, execution: Execution) -> dict[str, Any]:
    """An execution's resource."""
    file_uri = world.files.uri(execution.payload.path)
    return execution_resource(execution, world.datamart_id, file_uri, world.behaviour)
