"""A saved plan: one private file with everything that apply needs, for one state at one serial.

A ZIP archive of three entries: `plan.json` (the plan), `commands.parquet` (its changes, one row for
each member) and `seal` (the SHA-256 of both, so that an edited file is noticed).
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from segsync.engine import Engine, Place, Target
from segsync.errors import PlanFileError
from segsync.model import DAY_MS, Address, IdentifierKind, LineRange, Part, Spec
from segsync.plan import (
    CLOCK_DIFFERENCE_MS,
    Counts,
    Plan,
    Sample,
    SegmentPlan,
    SegmentStatus,
    Violation,
)
from segsync.planning import Planned, layout_of, targets
from segsync.scratch import scratch_folder
from segsync.state import State, StateSegment

VERSION = 1
PLAN, COMMANDS, SEAL = "plan.json", "commands.parquet", "seal"
LONGEST_MS = DAY_MS
"""A duration in minutes says when a member leaves only as long as its command is fresh."""
LARGEST_PLAN = 256 * 1024 * 1024
LONGEST_SEAL = 1024


def save(planned: Planned, path: Path) -> None:
    """Write a plan to `path` (mode 0600), whole or not at all. Raises PlanFileError."""
    draft = path.with_name(f"{path.name}.{secrets.token_hex(4)}")
    try:
        descriptor = os.open(draft, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
        try:
            with (
                scratch_folder() as folder,
                os.fdopen(descriptor, "wb") as file,
            ):
                text, commands = _document(planned, path), folder / COMMANDS
                planned.engine.save_commands(commands)
                _write(file, text, commands)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            draft.unlink(missing_ok=True)
    except OSError as error:
        raise PlanFileError(
            f"the plan cannot be saved to {path}: {error.strerror}",
            hint="name a file in a folder that exists, is writable and has space left",
        ) from None


def _document(planned: Planned, path: Path) -> bytes:
    text = _to_json(planned)
    if len(text) > LARGEST_PLAN:
        raise PlanFileError(
            f"the plan cannot be saved to {path}: what it shows has {len(text):,} bytes, and "
            f"{LARGEST_PLAN:,} are read at most",
            hint="show fewer examples, with a lower --samples",
        )
    return text


def _write(file: Any, text: bytes, commands: Path) -> None:
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(PLAN, text)
        archive.write(commands, COMMANDS)
        archive.writestr(SEAL, _seal(hashlib.sha256(text).hexdigest(), _hash_file(commands)))


def _seal(plan_sha256: str, commands_sha256: str) -> bytes:
    text = f"{VERSION} {plan_sha256} {commands_sha256}"
    return hashlib.sha256(text.encode()).hexdigest().encode()


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_there(path: Path) -> None:
    """Raise PlanFileError where there is no such file."""
    if not path.exists():
        raise _missing(path)


def _missing(path: Path) -> PlanFileError:
    hint = "make one with `segsync plan --out`"
    return PlanFileError(f"there is no plan file {path}", hint=hint)


def lineage_of(path: Path, state: Path) -> str:
    """The lineage of the state that a plan was made for: a fresh state takes it over.

    Raises PlanFileError where the plan was not made for a fresh state, and there is no other.
    """
    with _unpacked(path) as (document, _):
        plan = document["plan"]
    if plan["serial"] and not state.exists():
        raise _unusable(
            path, f"it was made for a state at serial {plan['serial']}, and {state} is not there"
        )
    return str(plan["lineage"])


def load(path: Path, spec: Spec, state: State, engine: Engine, now_ms: int) -> Planned:
    """Read a saved plan into an engine that has arranged nothing yet.

    Raises PlanFileError unless the plan can be carried out exactly as it was shown.
    """
    with _unpacked(path) as (document, commands):
        _check_fits(path, document, spec, state, engine)
        plan = _plan_from(document["plan"])
        if plan.created_at_ms > now_ms + CLOCK_DIFFERENCE_MS:
            raise _unusable(path, "it was made for a later time than now")
        for number, kind, compartment, keyspace in document["keyspaces"]:
            engine.keyspaces.adopt(keyspace, (number, IdentifierKind(kind), compartment))
        parts = engine.restore_commands(
            commands,
            [_target_from(item) for item in document["targets"]],
            layout_of(spec, plan.created_at_ms),
        )
        if plan.created_at_ms + LONGEST_MS < now_ms and engine.has_row_expiries():
            raise _unusable(
                path, "it is more than a day old, and has members with an expiry of their own"
            )
        if parts != plan.parts:
            raise _unusable(path, "its commands are not those that were planned")
    return Planned(
        plan=plan,
        engine=engine,
        spec=spec,
        segments=tuple(_segment_from(item) for item in document["segments"]),
        reasserted=tuple(document["reasserted"]),
    )


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[dict[str, Any], Path]]:
    """The plan's document, and the file of its commands, which goes with the context."""
    with scratch_folder() as folder:
        commands = folder / COMMANDS
        text, seal = _extract(path, commands)
        document = _parse(text, path)
        if seal != _seal(hashlib.sha256(text).hexdigest(), _hash_file(commands)):
            raise _unusable(path, "it was edited")
        yield document, commands


def _extract(path: Path, commands: Path) -> tuple[bytes, bytes]:
    """Write the commands to a file; returns the plan's text and the seal."""
    try:
        if path.exists() and not path.is_file():
            raise _unusable(path, "it is not a file")
        with zipfile.ZipFile(path) as archive:
            if sorted(archive.namelist()) != sorted((PLAN, COMMANDS, SEAL)):
                raise _unusable(path, "it is not a plan of segsync")
            sizes = {name: archive.getinfo(name).file_size for name in (PLAN, SEAL)}
            if sizes[PLAN] > LARGEST_PLAN or sizes[SEAL] > LONGEST_SEAL:
                raise _unusable(path, "it is too large")
            with archive.open(COMMANDS) as packed, commands.open("wb") as file:
                shutil.copyfileobj(packed, file)
            return archive.read(PLAN), archive.read(SEAL)
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as error:
        raise PlanFileError(f"the plan {path} cannot be read: {error.strerror}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError):
        # What zipfile says of a file that is no archive, or a damaged one.
        raise _unusable(path, "it is cut, edited, or no plan of segsync") from None


def _unusable(path: Path, reason: str) -> PlanFileError:
    return PlanFileError(
        f"the plan {path} cannot be applied: {reason}",
        hint="nothing was sent; make a new one with `segsync plan --out`",
    )


def _parse(text: bytes, path: Path) -> dict[str, Any]:
    try:
        document = json.loads(text)
        version = document["version"]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _unusable(path, "it is edited, or no plan of segsync") from None
    if version != VERSION:
        raise _unusable(path, f"it was made by another version of segsync (format {version})")
    return dict(document)


def _check_fits(
    path: Path, document: dict[str, Any], spec: Spec, state: State, engine: Engine
) -> None:
    plan, identity = document["plan"], state.identity
    mine = (spec.destination.datamart_id, spec.destination.api_url)
    if (plan["datamart_id"], plan["api_origin"]) != mine:
        raise _unusable(path, f"it is for datamart {plan['datamart_id']} at {plan['api_origin']}")
    if plan["lineage"] != identity.lineage:
        raise _unusable(path, "it was made for another state (its lineage differs)")
    if plan["serial"] != identity.serial:
        raise _unusable(
            path,
            f"it is stale: it was made at serial {plan['serial']}, and the state is at "
            f"{identity.serial}; it was applied already, or another apply came between",
        )
    if plan["spec_sha256"] != spec.sha256:
        raise _unusable(path, "the spec has changed since, or a variable that it names")
    if document["digest_probe"] != engine.digest_probe():
        raise _unusable(path, "it was made by another version of the engine (DuckDB)")


def _to_json(planned: Planned) -> bytes:
    plan = asdict(planned.plan)
    numbers = planned.plan.sending
    places = [(number, place) for number, place in planned.engine.keyspaces.all()]
    document = {
        "version": VERSION,
        "digest_probe": planned.engine.digest_probe(),
        "plan": plan,
        "targets": [asdict(target) for target in targets(planned.plan, planned.spec)],
        "segments": [asdict(segment) for segment in planned.segments],
        "reasserted": list(planned.reasserted),
        "keyspaces": [_place_row(number, place) for number, place in places if place[0] in numbers],
    }
    return json.dumps(document, allow_nan=False, default=dict).encode()


def _place_row(number: int, place: Place) -> list[Any]:
    segment, kind, compartment = place
    return [segment, kind.value, compartment, number]


def _plan_from(data: dict[str, Any]) -> Plan:
    return Plan(
        **data
        | {
            "segments": tuple(_segment_plan_from(item) for item in data["segments"]),
            "parts": tuple(Part(**item) for item in data["parts"]),
            "ranges": tuple(LineRange(**item) for item in data["ranges"]),
            "watched": tuple(data.get("watched", ())),
        }
    )


def _segment_plan_from(data: dict[str, Any]) -> SegmentPlan:
    return SegmentPlan(
        **data
        | {
            "address": Address(**data["address"]),
            "status": SegmentStatus(data["status"]),
            "counts": Counts(**data["counts"]),
            "violations": tuple(Violation(**item) for item in data["violations"]),
            "samples": tuple(_sample_from(item) for item in data["samples"]),
        }
    )


def _sample_from(data: dict[str, Any]) -> Sample:
    kind = data["kind"]
    return Sample(**data | {"kind": IdentifierKind(kind) if kind else None})


def _target_from(data: dict[str, Any]) -> Target:
    return Target(**data | {"address": Address(**data["address"])})


def _segment_from(data: dict[str, Any]) -> StateSegment:
    return StateSegment(**data | {"address": Address(**data["address"])})
