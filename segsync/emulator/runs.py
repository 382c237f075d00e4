"""What moves executions: uploads, reads of their status, the clock; and what their end does."""

from __future__ import annotations

from pathlib import Path
from random import Random

from segsync.emulator.commands import CommandReader
from segsync.emulator.errorfile import write_error_file
from segsync.emulator.executions import DocumentImport, Execution
from segsync.emulator.faults import ExecutionScript
from segsync.emulator.files import UploadedFile
from segsync.emulator.payloads import PayloadReader
from segsync.emulator.processing import Outcome, Processing
from segsync.emulator.world import Upload, World

BLOCK = 1_000_000


def announce(world: World, document_import: DocumentImport, payload: UploadedFile) -> None:
    """Tell the hooks of a payload; what they raise refuses the upload."""
    upload = Upload(
        payload.sha256, document_import.name, document_import.id, payload.size, payload.path
    )
    for hook in world.upload_hooks:
        hook(upload)


def start(
    world: World,
    document_import: DocumentImport,
    payload: UploadedFile,
    script: ExecutionScript | None = None,
) -> Execution:
    """Create the execution of a payload, and the duplicates that a script asks for."""
    script = script or ExecutionScript()
    made = [
        Execution(
            id=world.executions.new_execution_id(),
            import_id=document_import.id,
            mime_type=document_import.mime_type,
            created_ms=world.now_ms(),
            payload=payload,
            script=script,
        )
        for _ in range(1 + script.duplicates)
    ]
    for execution in made:
        world.executions.add(execution)
    settle(world)
    return made[0]


def settle(world: World) -> None:
    """Let executions do what they are due to have done by now."""
    for execution, end_ms in world.executions.due(world.behaviour, world.now_ms()):
        finish(world, execution, end_ms)


def poll(world: World, execution: Execution) -> None:
    """Someone reads an execution's status."""
    world.executions.count_poll(execution, world.behaviour)
    settle(world)


def finish_all(world: World) -> None:
    """Let all executions end at once, held ones too."""
    for execution in world.executions.active():
        execution.started_ms = execution.started_ms or world.now_ms()
        finish(world, execution, world.now_ms())


def cancel(world: World, execution: Execution) -> None:
    """Cancel; what a RUNNING one has applied, if the behaviour says that, stays."""
    if execution.status == "RUNNING" and world.behaviour.cancel_running == "half_applied":
        lines = count_lines(execution.payload.path) // 2
        carry_out(world, execution, world.now_ms(), lines)
    execution.status = "CANCELED"
    execution.finished_ms = world.now_ms()


def check(world: World, mime_type: str, payload: UploadedFile) -> Outcome:
    """What a payload would do, without doing it."""
    now_ms = world.now_ms()
    return _processing(world).check(_reader(world, payload, mime_type, now_ms, now_ms))


def finish(world: World, execution: Execution, now_ms: int) -> None:
    """Carry an execution's payload out, and set its status and result."""
    execution.finished_ms = now_ms
    if execution.script.ends_as:
        end_early(world, execution, now_ms)
        return
    if world.behaviour.sink:
        succeed(world, execution, Outcome(success=count_lines(execution.payload.path)))
        return
    failed = why_failed(world, execution) if checks_first(world) else None
    outcome = Outcome()
    if failed is None or world.behaviour.failed_execution_applies == "good_lines":
        outcome = carry_out(world, execution, now_ms)
    failed = failed or outcome.refused_file
    if failed is None:
        succeed(world, execution, outcome)
    else:
        execution.status = "FAILED"
        execution.error = {"message": failed}


def end_early(world: World, execution: Execution, now_ms: int) -> None:
    """End as the script says, with as many lines applied."""
    script = execution.script
    if script.applies != "nothing":
        lines = count_lines(execution.payload.path)
        if script.applies == "some":
            lines = Random(f"{world.seed}/{execution.id}/end").randint(0, lines)
        carry_out(world, execution, now_ms, lines)
    execution.status = script.ends_as or "FAILED"
    execution.error = {"message": "scripted end"}


def carry_out(world: World, execution: Execution, now_ms: int, lines: int | None = None) -> Outcome:
    """Apply an execution's payload, or so many lines of it."""
    reader = _reader(world, execution.payload, execution.mime_type, execution.created_ms, now_ms)
    random = Random(f"{world.seed}/{execution.id}")
    outcome = _processing(world).carry_out(reader, random, now_ms=now_ms, lines=lines)
    world.refused.update(outcome.codes())
    return outcome


def checks_first(world: World) -> bool:
    """Whether one line can make the whole execution fail."""
    behaviour = world.behaviour
    rules = (behaviour.unknown_segment, behaviour.paused_segment, behaviour.wrong_type_segment)
    return behaviour.bad_line == "fails_execution" or "refuses_file" in rules


def why_failed(world: World, execution: Execution) -> str | None:
    """The reason for which an execution fails as a whole."""
    checked = check(world, execution.mime_type, execution.payload)
    if checked.failures and world.behaviour.bad_line == "fails_execution":
        world.refused.update(checked.codes())
        return checked.failures[0].reason
    return checked.refused_file


def succeed(world: World, execution: Execution, outcome: Outcome) -> None:
    """End well, though some lines may have failed."""
    failures = outcome.failures
    execution.status = "SUCCEEDED"
    error_file_uri = None
    if failures:
        execution.error = {"message": f"{len(failures)} lines failed"}
        if world.behaviour.error_file != "missing":
            path = world.files.new("errors")
            error_file_uri = world.files.uri(path)
            if world.behaviour.error_file != "expired":
                write_error_file(path, failures, world.behaviour)
    execution.result = {
        "total_success": outcome.success,
        "total_failure": len(failures),
        "input_file_name": execution.payload.path.name,
        "input_file_uri": world.files.uri(execution.payload.path),
        "error_file_uri": error_file_uri,
    }


def count_lines(path: Path) -> int:
    """How many lines a file has; a last one without a line end counts."""
    count, last = 0, b"\n"
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            count += block.count(b"\n")
            last = block[-1:]
    return count + (last != b"\n")


def _processing(world: World) -> Processing:
    return Processing(
        world.behaviour,
        world.people,
        world.memberships,
        find_segment=world.find_segment,
        rejecters=world.rejecters,
    )


def _reader(
    world: World, payload: UploadedFile, mime_type: str, created_ms: int, now_ms: int
) -> PayloadReader:
    at_upload = world.behaviour.expiration_starts == "upload"
    commands = CommandReader(
        world.behaviour,
        default_compartment=world.default_compartment,
        counted_from_ms=created_ms if at_upload else now_ms,
        now_ms=now_ms,
    )
    return PayloadReader(payload.path, mime_type, commands)
