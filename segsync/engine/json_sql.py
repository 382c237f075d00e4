"""Data bags as JSON: SQL that checks an object, and writes it in one way only."""

from __future__ import annotations

import json

from segsync.engine.session import quoted

LARGEST_DATA_BAG = 1024 * 1024
"""Bytes. The platform documents no limit, but thousands of them must fit into memory at once."""


def object_sql(fragments: list[tuple[str, str]]) -> str:
    """An object of these keys and the SQL of their values, in this order."""
    members = ", ',', ".join(
        f"{quoted(json.dumps(key, ensure_ascii=False) + ':')}, coalesce({sql}, 'null')"
        for key, sql in fragments
    )
    return f"concat('{{', {members}, '}}')"


def is_object_sql(name: str) -> str:
    """True for JSON that is an object with each key once. DuckDB's parser lets NaN through, and a
    comma without anything behind it.
    """
    strange = "(?i)nan|inf|,\\s*[}\\]]"
    return (
        f"(CASE WHEN NOT json_valid({name}) THEN false "
        f"WHEN json_type({name}) <> 'OBJECT' THEN false "
        f"WHEN len(json_keys({name})) <> len(list_distinct(json_keys({name}))) THEN false "
        f"WHEN regexp_matches({name}, '{strange}') "
        f"THEN NOT regexp_matches({_bare_sql(name)}, '{strange}') ELSE true END)"
    )


def _bare_sql(name: str) -> str:
    """JSON without what stands in its texts."""
    return f"regexp_replace({name}, '\"(\\\\.|[^\"\\\\])*\"', '\"\"', 'g')"


def has_long_number_sql(name: str) -> str:
    """True for JSON of which the engine would write a number with other digits."""
    bare = _bare_sql(name)
    digits = "ltrim(replace(n, '.', ''), '0')"
    return (
        f"(regexp_matches({name}, '[0-9.]{{19}}') AND (regexp_matches({bare}, '[0-9]{{20}}') "
        f"OR len(list_filter(regexp_extract_all({bare}, '[0-9]+[.][0-9]+'), "
        f"lambda n: strlen({digits}) > 17)) > 0 "
        f"OR len(list_filter(regexp_extract_all({bare}, '-[0-9]{{19}}'), "
        f"lambda n: n > '-{2**63}')) > 0))"
    )


def canonical_sql(name: str) -> str:
    """The object with its keys sorted, so that equal bags are equal texts."""
    entries = f"""list_sort(map_entries(from_json({name}, '"MAP(VARCHAR, JSON)"')))"""
    value = "coalesce(e.value::VARCHAR, 'null')"
    members = f"list_transform({entries}, lambda e: concat(to_json(e.key), ':', {value}))"
    return (
        f"CASE WHEN {name} IS NULL OR strlen({name}) > {LARGEST_DATA_BAG} THEN NULL "
        f"WHEN {is_object_sql(name)} "
        f"THEN concat('{{', array_to_string({members}, ','), '}}') END"
    )
