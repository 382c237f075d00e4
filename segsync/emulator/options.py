"""The emulator's switches: one for each question that the platform's documentation leaves open.

The defaults are the likeliest answers, and strict wherever the documentation says something.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

from segsync.emulator.settings import WrongOption


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How this platform behaves where the documentation is silent. Times are milliseconds."""

    # Lines of a payload
    bad_line: Literal["counted", "refuses_upload", "fails_execution"] = "counted"
    """A line that is wrong: one `total_failure`, an HTTP 400 for the file, or status FAILED."""
    failed_execution_applies: Literal["nothing", "good_lines"] = "nothing"
    """What a FAILED execution has done to the membership."""
    unknown_identifier: Literal["created", "skipped", "failed"] = "created"
    """An UPDATE for an identifier of no known person; skipped counts as a success."""
    unknown_identifier_on_delete: Literal["skipped", "failed"] = "skipped"
    unknown_segment: Literal["failed", "skipped", "refuses_file"] = "failed"
    """refuses_file: the whole execution is FAILED. The same words below."""
    paused_segment: Literal["failed", "skipped", "refuses_file"] = "skipped"
    wrong_type_segment: Literal["failed", "skipped", "refuses_file"] = "failed"
    """A line for a segment that is no USER_LIST fed by FILE_IMPORT."""
    create_segments: bool = False
    """Make a segment at its first look-up or line, for rehearsals."""
    two_identifiers: Literal["failed", "first"] = "failed"
    """first: the first of user_account_id, email_hash, user_agent_id counts."""
    no_identifier: Literal["failed", "skipped"] = "failed"
    both_segment_fields: Literal["failed", "id_wins", "name_wins"] = "failed"
    both_expirations: Literal["ts_wins", "duration_wins", "failed"] = "ts_wins"
    missing_duration_on_update: Literal["failed", "default_ttl", "never"] = "failed"
    """Without expiration_ts. With expiration_ts, `duration_optional_with_ts` decides."""
    duration_optional_with_ts: bool = False
    missing_duration_on_delete: Literal["failed", "accepted"] = "failed"
    expiration_ts_unit: Literal["ms", "s"] = "ms"
    past_expiration: Literal["lapses_at_once", "failed"] = "lapses_at_once"
    expiration_starts: Literal["upload", "processing"] = "processing"
    """From when expiration_duration counts."""
    data_bag_on_update: Literal["replaced", "merged"] = "replaced"
    absent_data_bag: Literal["cleared", "kept"] = "cleared"
    """An UPDATE without data_bag for a member that has one."""
    data_bag_max_bytes: int = 65_536
    unknown_fields: Literal["failed", "ignored"] = "failed"
    null_fields: Literal["failed", "absent"] = "failed"
    blank_lines: Literal["failed", "ignored"] = "ignored"
    csv_header_case: Literal["exact", "any"] = "exact"
    line_order: Literal["random", "file", "reversed"] = "random"

    # Executions
    timing: Literal["polls", "clock", "real"] = "polls"
    """What moves an execution on: reads of its status, the emulator's clock, or real time."""
    polls_until_running: int = 1
    polls_until_finished: int = 2
    starts_after_ms: int = 1_000
    finishes_after_ms: int = 2_000
    """For the timings `clock` and `real`, from the upload."""
    execution_order: Literal["independent", "one_by_one"] = "independent"
    """one_by_one: an execution starts when all older ones of the datamart have ended."""
    cancel_running: Literal["refused", "nothing_applied", "half_applied"] = "refused"
    max_active_executions: int | None = None
    """More are refused with HTTP 429."""
    retry_after: str | None = None
    """The value of Retry-After on a 429."""

    # Error files
    error_file: Literal[
        "json_flat",
        "json_nested",
        "json_line_number",
        "csv",
        "text",
        "input_lines",
        "identifiers",
        "missing",
        "empty",
        "garbage",
        "expired",
        "half",
    ] = "json_flat"
    """json_flat: the input's fields and `error`; json_nested: {"input": …, "error": {…}};
    json_line_number: {"line": n, "error": …}; csv: line,identifier,error; text: `Line n: …`;
    missing: no error_file_uri; expired: the download is a 404; half: json_flat, every other
    failure left out."""
    error_line_base: Literal[1, 0] = 1

    # HTTP
    create_status: Literal[200, 201] = 200
    bad_token_status: Literal[401, 403] = 401
    segment_rights: bool = True
    """False: the token may not read or create segments (403)."""
    dates: bool = True
    """False: answers have no header Date, by which segsync compares the clocks."""
    get_execution: bool = True
    """False: GET …/executions/{id} is a 404 and only the list exists."""
    max_upload_bytes: int = 100_000_000
    """Or 104,857,600. Larger files are refused with the next status."""
    too_large_status: Literal[413, 400] = 413
    too_large_answer: Literal["early", "after_body"] = "early"
    import_keywords: Literal["contains", "exact", "prefix", "ignored", "nothing"] = "contains"
    """nothing: the list is empty whatever the keywords."""
    lists_until_seen: int = 0
    """A new import or execution is missing from so many lists of it."""
    segment_name_filter: Literal["exact", "contains", "any_case", "ignored"] = "exact"
    default_page_size: int = 50
    max_page_size: int = 500
    oversized_page: Literal["clamped", "refused"] = "clamped"
    list_total: bool = True
    """False: lists carry no `total`, as older endpoints."""
    list_order: Literal["newest", "oldest", "random"] = "newest"
    num_tasks: Literal["number", "string", "null", "absent"] = "number"
    status_words: Literal["public", "wide"] = "public"
    """wide: SCHEDULED, WAITING_DEPENDENT_JOB and SUCCESS appear as well."""
    extra_fields: bool = False
    """Answers carry fields that no document names."""

    # Speed
    sink: bool = False
    """Store and count the lines of a payload, and apply nothing: for benchmarks."""
    upload_bytes_per_second: int | None = None
    answer_bytes_per_second: int | None = None

    def __post_init__(self) -> None:
        """Raise WrongOption for a number of something of which there cannot be so few."""
        for field in fields(self):
            value, least = getattr(self, field.name), _LEAST.get(field.name, 0)
            if type(value) is int and value < least:
                raise WrongOption(f"{field.name}: {value} is less than {least}")


_LEAST = {
    "default_page_size": 1,
    "max_page_size": 1,
    "max_upload_bytes": 1,
    "data_bag_max_bytes": 1,
    "upload_bytes_per_second": 1,
    "answer_bytes_per_second": 1,
}


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """What `segsync emulator` is told. Port 0 is any free port; `data` is the file to live in."""

    port: int = 8765
    datamart_id: str = "1509"
    token: str = "emulator-token"
    default_compartment: str = "1000"
    data: Path | None = None
    seed: int = 0
    behaviour: Behaviour = Behaviour(create_segments=True)
    certificate: Path | None = None
    key: Path | None = None
