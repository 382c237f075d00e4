"""Spec files for tests: a folder with one, and what loading it says."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from textwrap import dedent, indent

import pytest

from segsync.errors import Problem, SpecError
from segsync.model import Segment, Spec
from segsync.spec import load_spec
from tests.support.canary import SPEC_PASSWORD, SPEC_TOKEN

ROOT = Path(__file__).parent.parent.parent
EXAMPLE = ROOT / "segments.yaml.example"
ENVIRON = {
    "MICS_API_TOKEN": SPEC_TOKEN,
    "WAREHOUSE_URL": f"postgresql://u:{SPEC_PASSWORD}@h/db",
}
HEAD = """\
version: 1
destination: {datamart_id: "1509", api_token: "${MICS_API_TOKEN}"}
sources: {warehouse: "${WAREHOUSE_URL}"}
"""
EVERY_DEFAULT = """\
defaults:
  source: warehouse
  compartment_id: "7"
  expiration: 30d
  renew_at: 20%
  reassert: 1d
  hash_email: sha1
  on_conflict: any
  invalid_rows: skip
  guard: {max_removed: 5, max_members: 9}
"""
ONE = HEAD + "segments:\n  one: {query: SELECT 1}\n"
QUERY = "query: SELECT 1"
FULL = """\
version: 1
destination: {datamart_id: "1509", api_token: "${MICS_API_TOKEN}"}
sources:
  warehouse: "${WAREHOUSE_URL}"
defaults: {source: warehouse}
segments:
  one:
    query: SELECT id, total FROM t WHERE total > 1 AND x = :a
    params: {a: 1}
    expiration: 30d
    data_bag: [total]
    guard: {max_removed: 30%}
removed: {old: delete}
"""


def with_segment(keys: str) -> str:
    """A spec whose segment `one` has `keys`; the first of them is in line 6."""
    return f"{HEAD}segments:\n  one:\n{indent(dedent(keys), '    ')}\n"


def with_destination(keys: str) -> str:
    """A spec whose destination has `keys` beside an id and a token; they are in line 5."""
    body = 'datamart_id: "1509"\n  api_token: ${MICS_API_TOKEN}\n'
    return (
        f"version: 1\ndestination:\n  {body}{indent(dedent(keys), '  ')}\n"
        f'sources: {{warehouse: "${{WAREHOUSE_URL}}"}}\nsegments: {{one: {{{QUERY}}}}}\n'
    )


class SpecFolder:
    """A folder that the test has made its working directory, so that places are short."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, name: str, content: str | bytes) -> Path:
        """Write a file of the folder."""
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def load(
        self, content: str | bytes | None = None, environ: Mapping[str, str] = ENVIRON
    ) -> Spec:
        """The spec in segments.yaml, after writing `content` there."""
        if content is not None:
            self.write("segments.yaml", content)
        return load_spec(Path("segments.yaml"), environ)

    def segment(self, keys: str, environ: Mapping[str, str] = ENVIRON) -> Segment:
        """The one segment of a spec, which has `keys`."""
        [segment] = self.load(with_segment(keys), environ).segments
        return segment

    def problems(
        self, content: str | bytes | None = None, environ: Mapping[str, str] = ENVIRON
    ) -> tuple[Problem, ...]:
        """What is wrong with the spec."""
        with pytest.raises(SpecError) as caught:
            self.load(content, environ)
        return caught.value.problems

    def problem(
        self, content: str | bytes | None = None, environ: Mapping[str, str] = ENVIRON
    ) -> str:
        """The one thing that is wrong with the spec, with its place and hint."""
        [problem] = self.problems(content, environ)
        return str(problem)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SpecFolder:
    """A folder for a spec, and the current one."""
    monkeypatch.chdir(tmp_path)
    return SpecFolder(tmp_path)
