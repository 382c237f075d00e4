"""Whatever a file holds, loading it gives a Spec or a SpecError, soon."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from segsync.errors import Problem, SpecError
from segsync.spec import json_schema, load_spec, yaml_text
from tests.support.peaks import Taken, measured
from tests.support.seeds import SEEDS, lay_out
from tests.support.size import size
from tests.support.specs import ENVIRON, HEAD, ONE, SpecFolder

SLOWEST = 2.0
"""Seconds of processor time: what else the machine does must not decide a test."""
MOST_MEMORY = 200_000_000
"""Bytes, of the whole process."""
FRAGMENTS = [
    b"\0", b"\xff", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\xe2\x80\xa8", b"\xc2\x85", b"\xf0\x9f",
    b"\xf0\x9f\x98\x80", b"&a ", b"*a", b"<<: ", b"!!str ", b"!", b"---\n", b"...\n", b"? ",
    b"%YAML 1.1\n", b": ", b"- ", b"{", b"}", b"[", b"]", b"'", b'"', b"|", b">", b"|2-\n", b"\t",
    b"\r", b"\n", b"#", b" #", b"@",
    b"${", b"${X}", b"${X:-", b"$${", b"\\u0000", b"\\ud800", b"\\x", b"~", b"null", b"=", b".nan",
    b"010", b"12:30", b"1e3", b"9" * 5000, b"[" * 3000, b"- " * 50, b"segments:\n", b"  a:\n",
    b"include: ['a**b', '', '[']\n", b"query: ", b"guard: ", b"30%", b"30d",
]  # fmt: skip
KEYS = [
    "version", "destination", "sources", "state", "defaults", "include", "segments", "removed",
    "datamart_id", "api_token", "api_url", "format", "ca_file", "proxy", "insecure_http",
    "execution_max_age", "max_upload_bytes", "source", "compartment_id", "expiration", "renew_at",
    "reassert", "guard", "hash_email", "on_conflict", "invalid_rows", "segment_id", "description",
    "query", "query_file", "params", "data_bag", "max_removed", "allow_empty", "max_members", "w",
    "a", "[key]", "no", "5",
]  # fmt: skip
VALUES = [
    "1", "0", "-1", "1.5", "1e3", "true", "no", "null", "~", "", "''", "x", "w", "a b", "30d", "30",
    "never", "50%", "101%", "sha256", "delete", "keep", "csv", "SELECT 1", "SELECT :a", "q.sql",
    "../x", "/", "'*'", "'**'", "${X}", "'${X}'", "'${MICS_API_TOKEN}'", "https://a", "http://a",
    "postgresql://u:p@h/d", "sqlite://", "2024-01-01", "010", "'\\0'", '"\\0"', '"\\e"', "&x y",
    "*x",
]  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpecFolder:
    monkeypatch.chdir(tmp_path)
    folder = SpecFolder(tmp_path)
    lay_out(folder)
    return folder


def check(folder: SpecFolder, content: bytes) -> bool:
    """Whether the content is a spec; fails for anything but a Spec or a SpecError."""
    folder.write("segments.yaml", content)
    start = time.process_time()
    found: tuple[Problem, ...] = ()
    try:
        load_spec(Path("segments.yaml"), ENVIRON | {"X": "value"})
    except SpecError as error:
        found = error.problems or (Problem("SpecError without problems", 0, 0, ""),)
    assert time.process_time() - start < SLOWEST
    for problem in found:
        assert problem.line >= 1
        assert problem.column >= 1
        assert str(problem).isprintable()
        assert "canary" not in str(problem)
    return not found


@pytest.mark.parametrize("number", range(len(SEEDS)))
def test_what_is_mutated_is_right_before(folder: SpecFolder, number: int) -> None:
    assert check(folder, SEEDS[number].encode())


def test_what_is_mutated_has_every_key() -> None:
    text = "\n".join(SEEDS)
    assert len(SEEDS) == len(set(SEEDS)) == 30
    for key in keys_of(json_schema()):
        assert re.search(rf"\b{key}:", text), key


def keys_of(schema: object) -> set[str]:
    """The keys that a JSON schema names, at any depth."""
    if isinstance(schema, list):
        return {key for part in schema for key in keys_of(part)}
    if not isinstance(schema, dict):
        return set()
    own = set(schema.get("properties", {}))
    return own.union(*(keys_of(part) for part in schema.values()))


def mutated(source: random.Random) -> bytes:
    raw = bytearray(source.choice(SEEDS).encode())
    for _ in range(source.choice([1, 1, 2, 4, 20])):
        at = source.randrange(len(raw))
        match source.randrange(4):
            case 0:
                raw[at:at] = source.choice(FRAGMENTS)
            case 1:
                del raw[at : at + source.choice([1, 2, 10])]
            case 2:
                raw[at] = source.randrange(256)
            case _:
                start = source.randrange(len(raw))
                raw[at:at] = raw[start : start + source.choice([5, 40, 200])]
        raw = raw or bytearray(b" ")
    return bytes(raw)


def flow(source: random.Random, depth: int) -> str:
    """A random YAML value in flow style: mostly known keys, mostly wrong values."""
    kind = source.random() if depth < 4 else 1.0
    if kind < 0.5:
        keys = source.choices(KEYS, k=source.randrange(6))
        return "{" + ", ".join(f"{key}: {flow(source, depth + 1)}" for key in keys) + "}"
    if kind < 0.6:
        return "[" + ", ".join(flow(source, depth + 1) for _ in range(source.randrange(4))) + "]"
    return source.choice(VALUES)


def generated(source: random.Random) -> bytes:
    keys = source.sample(KEYS[:8], k=source.randrange(1, 9))
    body = "".join(f"{key}: {flow(source, 1)}\n" for key in keys)
    return ((HEAD if source.random() < 0.5 else "") + body).encode()


@pytest.mark.parametrize("loader", ["CSafeLoader", "SafeLoader"])
def test_mutated_specs(folder: SpecFolder, monkeypatch: pytest.MonkeyPatch, loader: str) -> None:
    monkeypatch.setattr(yaml_text, "_LOADER", getattr(yaml, loader))
    source = random.Random(f"mutations {loader}")
    count = size(2_000, 20_000) if loader == "CSafeLoader" else size(300, 3_000)
    accepted = sum(check(folder, mutated(source)) for _ in range(count))
    assert 0 < accepted < count


def test_generated_specs(folder: SpecFolder) -> None:
    source = random.Random("grammar")
    for _ in range(size(500, 5_000)):
        check(folder, generated(source))


MEBIBYTE = 1024 * 1024
LARGE = {
    "brackets": "[" * MEBIBYTE,
    "dashes": "- " * (MEBIBYTE // 2),
    "questions": "? " * (MEBIBYTE // 2),
    "anchors": "- &a x\n" * (MEBIBYTE // 7),
    "keys": ONE + "".join(f"k{n}: 1\n" for n in range(90_000)),
    "repeated": ONE + "  one: {query: SELECT 1}\n" * 40_000,
    "unknown params": HEAD + "segments:\n a:\n  query: SELECT :p\n  params:\n"
    + "".join(f"   k{n}: 1\n" for n in range(80_000)),
    "semicolons": HEAD + "segments:\n a:\n  query: SELECT 1" + ";" * 900_000,
    "references": ONE + 'state: "' + "${X_1}" * 150_000 + '"\n',
    "digits": ONE + "state: " + "9" * 900_000,
    "sexagesimal": ONE + "state: 1" + ":59" * 300_000,
    "patterns": ONE + "include: [" + "'x*', " * 100_000 + "]\n",
    "spaces": ONE + "state: x" + " " * 900_000 + "#\n",
    "url": HEAD.replace("${WAREHOUSE_URL}", "a://" + "x:y@" * 200_000),
}  # fmt: skip


MEASURED = """
from pathlib import Path
from tests.support.specs import SpecFolder
from tests.test_spec_fuzz import LARGE, MEBIBYTE, check

def run(name):
    check(SpecFolder(Path(".")), LARGE[name].encode()[:MEBIBYTE])
"""


@pytest.fixture(scope="module")
def taken(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Taken]:
    """What each of LARGE takes, in a process of its own."""
    path = tmp_path_factory.mktemp("large")
    lay_out(SpecFolder(path))
    return measured(MEASURED, list(LARGE), path)


@pytest.mark.parametrize("name", LARGE)
def test_a_mebibyte_of_anything_is_read_or_refused_soon_and_in_little_memory(
    taken: Mapping[str, Taken], name: str
) -> None:
    assert taken[name].status == 0, taken[name].told
    assert taken[name].peak < MOST_MEMORY
