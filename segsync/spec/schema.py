"""The form of a spec, once: pydantic validates with it, and the JSON Schema comes from it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

from segsync.model import LARGEST_UPLOAD, ParamValue
from segsync.spec import names, quantities, urls
from segsync.spec.problems import Unfit, Wrong

_DURATION = r"[1-9][0-9]*[mhdw]"
_PERCENT = r"[0-9]{1,3}(\.[0-9]+)?%"
_ID = "(0|[1-9][0-9]{0,18})"
_ID_SCHEMA = {
    "anyOf": [{"type": "string", "pattern": f"^{_ID}$"}, {"type": "integer", "minimum": 0}]
}


class _Checked:
    """Asks `check` before pydantic looks; `schema` is what the JSON Schema says of it.

    As pydantic's own BeforeValidator and WithJsonSchema do; but those look at the signature of each
    function, which takes some milliseconds. So does a `default_factory`: below, `{}` and `[]` are
    defaults, which pydantic copies.
    """

    def __init__(self, check: Callable[[object], object], **schema: Any) -> None:
        self._check = check
        self._schema = schema

    def __get_pydantic_core_schema__(
        self, source: object, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(self, *_: object) -> dict[str, Any]:
        return dict(self._schema)  # pydantic adds to it what stands at the field


def _or_none(check: Callable[[object], object]) -> Callable[[object], object]:
    return lambda value: None if value is None else check(value)


def _parameter(value: object) -> object:
    if value is not None and not isinstance(value, str | int | float | bool):
        raise Unfit("a text, a number, true, false or null")
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise Wrong("the integer does not fit into 64 bits", "put it in quotes")
    # A database driver looks for the type of a value, and knows no subclass of ours.
    return str(value) if isinstance(value, str) else value


_text_schema: dict[str, Any] = {"type": "string", "minLength": 1}
Name = Annotated[str, _Checked(names.name, **_text_schema, maxLength=names.LONGEST_NAME)]
SourceName = Annotated[
    str, _Checked(names.source_name, type="string", pattern="^[A-Za-z_][A-Za-z0-9_-]*$")
]
Text = Annotated[str, _Checked(names.text, **_text_schema)]
# `| None` is for the default: a null that somebody writes is refused, as by the types above.
TextIfGiven = Annotated[str | None, _Checked(names.text, **_text_schema)]
SourceIfGiven = Annotated[str | None, _Checked(names.source_name, **_text_schema)]
Column = Annotated[str, _Checked(names.column, **_text_schema)]
ParameterName = Annotated[
    str, _Checked(names.parameter_name, type="string", pattern="^[A-Za-z_][A-Za-z0-9_]*$")
]
EnvironmentId = Annotated[
    str,
    _Checked(
        names.identifier,
        anyOf=[{"type": "string", "pattern": rf"^{_ID}$|\$\{{"}, _ID_SCHEMA["anyOf"][1]],
    ),
]
IdIfGiven = Annotated[str | None, _Checked(names.identifier, **_ID_SCHEMA)]
IdOrNone = Annotated[
    str | None,
    _Checked(_or_none(names.identifier), anyOf=[*_ID_SCHEMA["anyOf"], {"type": "null"}]),
]
Duration = Annotated[
    int,
    _Checked(
        quantities.duration_or_never, type="string", pattern=f"^(never|{_DURATION})$",
        examples=["30d", "12h", "90m", "2w", "never"],
    ),
]  # fmt: skip
FiniteDuration = Annotated[
    int, _Checked(quantities.duration, type="string", pattern=f"^{_DURATION}$", examples=["24h"])
]
RenewalShare = Annotated[
    float,
    _Checked(
        quantities.renewal_share, type="string", pattern=f"^{_PERCENT}$", examples=["50%", "40%"]
    ),
]
RemovalLimit = Annotated[
    float | int,
    _Checked(
        quantities.removal_limit,
        anyOf=[{"type": "string", "pattern": f"^{_PERCENT}$"}, {"type": "integer", "minimum": 0}],
        examples=["30%", 1000],
    ),
]
MemberLimit = Annotated[
    int | None,
    _Checked(
        _or_none(quantities.whole_number),
        anyOf=[{"type": "integer", "minimum": 0}, {"type": "null"}],
    ),
]
UploadLimit = Annotated[
    int,
    _Checked(
        quantities.upload_limit,
        type="integer",
        minimum=quantities.LEAST_UPLOAD,
        maximum=quantities.MOST_UPLOAD,
    ),
]
ApiUrl = Annotated[str, _Checked(urls.api_url, **_text_schema)]
ParameterValue = Annotated[
    ParamValue, _Checked(_parameter, type=["string", "number", "boolean", "null"])
]
ProxyIfGiven = Annotated[str | None, _Checked(urls.proxy_url, **_text_schema)]


class _Closed(BaseModel):
    """Nothing but the keys that are named, and nothing converted on the quiet.

    A model that is not asked for anything is not built: that takes some milliseconds.
    """

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, defer_build=True)


class GuardEntry(_Closed):
    """Limits beyond which a segment is blocked instead of changed."""

    max_removed: RemovalLimit = Field(
        default=0.3,
        description="The largest part of the live members that one run may remove: a percentage,"
        " or a whole number of members. Counts once there are 10 members. Default: 30%.",
    )
    allow_empty: bool = Field(
        default=False,
        description="true lets an empty result remove every member. Default: false.",
    )
    max_members: MemberLimit = Field(
        default=None, description="The largest number of members that the query may return."
    )


class Defaults(_Closed):
    """What segments share. A segment's own key wins; `guard` is merged key by key."""

    source: SourceIfGiven = Field(
        default=None,
        description="The name of the source, under `sources`, that the query runs on."
        " May be left out where there is only one.",
    )
    compartment_id: IdOrNone = Field(
        default=None,
        description="The compartment of the user accounts, where the query has no column of that"
        " name. Without it (or null): the datamart's default compartment.",
    )
    expiration: Duration = Field(
        default=0,
        description="How long a member stays after the last confirmation: 30d, 12h, 90m, 2w, or"
        " never (the default). Members that stay in the query are renewed in time.",
    )
    renew_at: RenewalShare = Field(
        default=0.5,
        description="A member is renewed when this share of its expiration is left, spread up to"
        " half as much again. 1% to 95%. Default: 50%.",
    )
    reassert: Duration = Field(
        default=0,
        description="Say every member again once in this time, even where nothing changed; for"
        " those that are not renewed: who never expire, or when their row says. Default: never.",
    )
    guard: GuardEntry = Field(
        default_factory=GuardEntry,
        description="Limits beyond which the segment is blocked instead of changed.",
    )
    hash_email: Literal["sha256", "sha1", "md5"] | None = Field(
        default=None,
        description="Normalise (trim, lower-case) the column `email` and hash it into email_hash.",
    )
    on_conflict: Literal["error", "latest_expiry", "any"] = Field(
        default="error",
        description="What to do with rows of one identifier that differ in data bag or expiry:"
        " refuse (the default), keep the one that expires last, or keep any one of them.",
    )
    invalid_rows: Literal["error", "skip"] = Field(
        default="error",
        description="What to do with rows that cannot be a member (no identifier, two, a value"
        " that cannot be sent): refuse the segment (the default), or skip them.",
    )


class SegmentEntry(Defaults):
    """One segment: a query, and how its rows become members."""

    model_config = ConfigDict(
        json_schema_extra={"oneOf": [{"required": ["query"]}, {"required": ["query_file"]}]}
    )

    segment_id: IdIfGiven = Field(
        default=None,
        description="The segment's id on the platform. Without it, the key is its technical name.",
    )
    description: TextIfGiven = Field(default=None, description="For people who read the spec.")
    query: TextIfGiven = Field(
        default=None,
        description="The SQL query. Its columns are matched by name: user_account_id,"
        " compartment_id, email_hash, user_agent_id, email, expiration_ts, data_bag, and those"
        " listed under data_bag. Write it as a block: `query: |`.",
    )
    query_file: TextIfGiven = Field(
        default=None, description="A file with the query, relative to this file."
    )
    params: dict[ParameterName, ParameterValue] = Field(
        default={},
        max_length=100,
        description="Values for `:name` in the query, bound by the driver. ${NAME} is replaced,"
        " and gives a text.",
    )
    data_bag: list[Column] = Field(
        default=[],
        max_length=1000,
        description="The columns that become the member's data bag.",
    )


class DestinationEntry(_Closed):
    """The platform's datamart, and how to reach it."""

    datamart_id: EnvironmentId = Field(description="The id of the datamart.")
    api_token: str = Field(
        description="The API token, always as a variable: ${MICS_API_TOKEN}.",
        json_schema_extra={"pattern": r"^\s*\$\{[A-Za-z_][A-Za-z0-9_]*\}\s*$"},
    )
    api_url: ApiUrl = Field(
        default="https://api.mediarithmics.com",
        description="The address of the API. https only; http for this machine (127.0.0.1).",
    )
    format: Literal["ndjson", "csv"] = Field(
        default="ndjson",
        description="How commands are sent: ndjson (the default) or csv. The platform does not"
        " document the layout of its CSV: segsync writes the documented property names as header.",
    )
    ca_file: TextIfGiven = Field(
        default=None, description="A PEM file of certificate authorities, relative to this file."
    )
    proxy: ProxyIfGiven = Field(
        default=None, description="The address of an HTTP proxy; a password only as ${NAME}."
    )
    insecure_http: bool = Field(
        default=False, description="true allows http to other machines: the token travels readable."
    )
    execution_max_age: FiniteDuration = Field(
        default=24 * 60,
        description="How long an execution that cannot be found may still be running. Default: 1d.",
    )
    max_upload_bytes: UploadLimit = Field(
        default=LARGEST_UPLOAD,
        description="Each uploaded file stays below this size; larger payloads are sent as several."
        " Lower it where the platform refuses files as too large. 100 to 104857600."
        " Default: 100000000.",
    )


TEXT = TypeAdapter[str](Text)
TEXTS = TypeAdapter[list[str]](list[Text])
MEMBERS = TypeAdapter[Literal["delete", "keep"]](Literal["delete", "keep"])
VERSION = TypeAdapter[Literal[1]](Literal[1])
Segments = dict[Name, SegmentEntry]
Removed = dict[Name, Literal["delete", "keep"]]
_segments: Any = Field(
    default={},
    description="The segments, by their technical names on the platform.",
)
_removed: Any = Field(
    default={},
    description="Segments that were in this file once: `delete` their members, or `keep` them and"
    " forget the segment.",
)


class IncludedFile(_Closed):
    """A file that a spec includes: segments, and nothing else."""

    segments: Segments = _segments
    removed: Removed = _removed


class SpecFile(_Closed):
    """A spec of segsync: which query decides who is in which segment."""

    version: Literal[1] = Field(description="The version of this format: 1.")
    destination: DestinationEntry = Field(
        description="The platform's datamart, and how to reach it."
    )
    sources: dict[SourceName, Text] = Field(
        min_length=1,
        description="Databases by name, as SQLAlchemy URLs. A password only as ${NAME}.",
    )
    state: Text = Field(
        default=".segsync/state.db",
        description="The state file, relative to this file. Default: .segsync/state.db",
    )
    defaults: Defaults = Field(
        default_factory=Defaults,
        description="What segments share. A segment's own key wins; `guard` is merged key by key.",
    )
    include: list[Text] = Field(
        default=[],
        description="Patterns of files below this file's folder that hold further `segments:` and"
        " `removed:`, like segments/*.yaml",
    )
    segments: Segments = _segments
    removed: Removed = _removed


def describe_schema(part: Literal["spec", "included"]) -> dict[str, object]:
    """The JSON Schema of a spec, or of an included file."""
    model = SpecFile if part == "spec" else IncludedFile
    schema = model.model_json_schema()
    head: dict[str, object] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return head | _tidy(schema)


def _tidy(schema: dict[str, Any]) -> dict[str, Any]:
    """Without pydantic's titles and internal defaults, which editors would show as help."""
    tidy = {
        key: _tidy_value(key, value)
        for key, value in schema.items()
        if key not in {"title", "default"} or (key == "default" and _is_spelling(value))
    }
    if "patternProperties" in tidy:
        tidy["additionalProperties"] = False
    return tidy


def _tidy_value(key: str, value: Any) -> Any:
    if key in {"properties", "$defs"}:
        return {name: _tidy(part) for name, part in value.items()}
    if isinstance(value, dict):
        return _tidy(value)
    if isinstance(value, list):
        return [_tidy(part) if isinstance(part, dict) else part for part in value]
    return value


def _is_spelling(value: object) -> bool:
    """Whether a default is what a user would write: minutes and shares are not."""
    return isinstance(value, str | bool)
