"""What the checks of a destination are made of."""

from __future__ import annotations

from pathlib import Path

from segsync.destination import Destination, Execution, ExecutionState
from segsync.emulator import Emulator

POLLS = 10


def command(operation: str, account: str, segment: str) -> str:
    return (
        f'{{"operation":"{operation}","user_account_id":"{account}",'
        f'"segment_technical_name":"{segment}","expiration_duration":0}}\n'
    )


def payload(folder: Path, *commands: str) -> Path:
    path = folder / f"part-{len(list(folder.iterdir()))}.ndjson"
    path.write_text("".join(commands))
    return path


def segment(emulator: Emulator, name: str) -> str:
    """A segment of this name, new unless it is there."""
    try:
        emulator.members(name)
    except KeyError:
        emulator.add_segment(name)
    return name


def finished(destination: Destination, document_import: str) -> Execution:
    """The last execution of an import, when it has ended."""
    for _ in range(POLLS):
        last = destination.list_executions(document_import)[-1]
        if last.state is not ExecutionState.ACTIVE:
            return last
    raise AssertionError(f"still {last.status} after {POLLS} polls")


def prepared(
    destination: Destination, emulator: Emulator, folder: Path, name: str
) -> tuple[str, Path]:
    """A new import, and a payload that adds one account to a segment of this name."""
    made = destination.create_import(f"segsync-{name}").id
    return made, payload(folder, command("UPDATE", "u1", segment(emulator, name)))


def uploaded(destination: Destination, reference: str, path: Path) -> Execution:
    """The end of the one execution of a new import."""
    made = destination.create_import(reference).id
    begun = destination.upload(made, path)
    ended = finished(destination, made)
    assert ended.id == begun.id
    return ended
