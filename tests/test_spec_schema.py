"""The JSON Schema: it is one, helps at every key, and agrees with the loader."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from segsync.errors import SpecError
from segsync.spec import json_schema
from tests.support.specs import (
    EXAMPLE,
    FULL,
    HEAD,
    ONE,
    QUERY,
    SpecFolder,
    with_destination,
    with_segment,
)


def objects(schema: object) -> Iterator[dict[str, Any]]:
    """Every schema within a schema."""
    if isinstance(schema, dict):
        yield schema
        for value in schema.values():
            yield from objects(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from objects(value)


@pytest.mark.parametrize("part", ["spec", "included"])
def test_the_schema_is_a_schema_of_draft_2020_12(part: Any) -> None:
    schema = json_schema(part)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    Draft202012Validator.check_schema(schema)


def test_every_key_has_a_description_and_no_other_key_is_allowed() -> None:
    schema: Any = json_schema()
    seen = 0
    for part in objects(schema):
        if "properties" in part and "type" in part:
            assert part["additionalProperties"] is False
            for key, value in part["properties"].items():
                described = schema["$defs"][value["$ref"][8:]] if "$ref" in value else value
                assert len(described["description"]) > 15, key
                seen += 1
    assert seen > 35
    assert not [part for part in objects(schema) if isinstance(part.get("title"), str)]


def test_what_stands_at_one_key_is_not_said_of_others() -> None:
    """Many share one form of text, of which only the key `state` has a default."""
    shared = [
        part[key]
        for part in objects(json_schema())
        for key in ("items", "additionalProperties")
        if isinstance(part.get(key), dict)
    ]
    assert len(shared) > 3
    assert not [part for part in shared if part.keys() & {"default", "description"}]
    assert json_schema() == json_schema()


ACCEPTED = [
    ONE,
    ONE.replace('"1509"', "1509"),
    FULL,
    HEAD + "removed: {a: delete, b: keep}\n",
    ONE + "include: []\n",
    with_segment(f"{QUERY}\nsegment_id: 5\ncompartment_id: '5'"),
    with_segment(f"{QUERY}\nexpiration: never\nreassert: 30d\nrenew_at: 40%"),
    with_segment(f"{QUERY}\nguard: {{max_removed: 50%, max_members: 5}}"),
    with_segment(f"{QUERY}\nguard: {{max_removed: 0, max_members: null, allow_empty: true}}"),
    with_segment(f"{QUERY}\ncompartment_id: null\nhash_email: null"),
    with_segment("query: SELECT :a, :b\nparams: {a: null, b: 1.5}"),
    with_destination("execution_max_age: 12h\nformat: csv\ninsecure_http: true"),
    with_destination("max_upload_bytes: 100"),
    with_destination("max_upload_bytes: 104857600"),
]
REFUSED = [
    "version: 1\n",
    ONE.replace("version: 1", "version: 2"),
    ONE.replace("version: 1", "version: '1'"),
    ONE + "stat: x\n",
    ONE + "removed: {a: drop}\n",
    ONE.replace('"${MICS_API_TOKEN}"', "literal"),
    ONE.replace('"${MICS_API_TOKEN}"', '"${X:-literal}"'),
    ONE.replace('{warehouse: "${WAREHOUSE_URL}"}', "{}"),
    HEAD + "segments: {a: {}}\n",
    HEAD + "segments: {a: SELECT 1}\n",
    with_segment(f"{QUERY}\nquery_file: x"),
    with_segment(f"{QUERY}\nexpiraton: 3d"),
    with_segment(f"{QUERY}\nexpiration: 30"),
    with_segment(f"{QUERY}\nexpiration: 0d"),
    with_segment(f"{QUERY}\nexpiration: 1.5d"),
    with_segment(f"{QUERY}\nrenew_at: 0.4"),
    with_segment(f"{QUERY}\nguard: {{max_removed: 0.3}}"),
    with_segment(f"{QUERY}\nguard: {{max_removed: -1}}"),
    with_segment(f"{QUERY}\nguard: {{allow_empty: 1}}"),
    with_segment(f"{QUERY}\nhash_email: sha512"),
    with_segment(f"{QUERY}\nsource: null"),
    with_segment(f"{QUERY}\ndescription: 5"),
    with_segment(f"{QUERY}\ndata_bag: x"),
    with_segment(f"{QUERY}\ncompartment_id: a b"),
    with_segment(f"{QUERY}\ncompartment_id: crm"),
    with_segment(f"{QUERY}\nsegment_id: -5"),
    ONE.replace('"1509"', "abc"),
    with_segment("query: SELECT :a\nparams: {a: [1]}"),
    with_segment("query: SELECT :a\nparams: {a-b: 1}"),
    with_segment("query: 5"),
    with_destination("execution_max_age: never"),
    with_destination("max_upload_bytes: 99"),
    with_destination("max_upload_bytes: 104857601"),
    with_destination("max_upload_bytes: '5000'"),
    with_destination("format: json"),
    with_destination("insecure_http: 1"),
    with_destination("datamart: 5"),
]


@pytest.mark.parametrize("text", ACCEPTED, ids=range(len(ACCEPTED)))
def test_editor_and_loader_accept_the_same(folder: SpecFolder, text: str) -> None:
    folder.load(text)
    assert not list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text)))


@pytest.mark.parametrize("text", REFUSED, ids=range(len(REFUSED)))
def test_editor_and_loader_refuse_the_same(folder: SpecFolder, text: str) -> None:
    with pytest.raises(SpecError):
        folder.load(text)
    assert list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text)))


def test_the_example_is_valid_and_says_how_to_get_the_schema() -> None:
    text = EXAMPLE.read_text()
    assert text.startswith("# yaml-language-server: $schema=./segsync.schema.json\n")
    assert "segsync schema > segsync.schema.json" in text
    assert not list(Draft202012Validator(json_schema()).iter_errors(yaml.safe_load(text)))


def test_an_included_file_has_a_schema_of_its_own() -> None:
    validator = Draft202012Validator(json_schema("included"))
    assert validator.is_valid({"segments": {"a": {"query": "SELECT 1"}}, "removed": {"b": "keep"}})
    assert not validator.is_valid({"segments": {}, "defaults": {}})
    assert not validator.is_valid({"include": []})
