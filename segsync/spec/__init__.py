"""The spec: YAML files to a checked `model.Spec`, with a place on every error.

yaml_text (bytes to nodes) → values (nodes to Python values) → schema + check (pydantic, its errors
as problems) → load (files, defaults, references: the Spec). The imports stand inside the functions
because pydantic and yaml cost a tenth of a second that `segsync --help` need not pay.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from segsync.model import Spec

__all__ = ["json_schema", "load_spec"]


def load_spec(path: Path, environ: Mapping[str, str], *, connecting: bool = True) -> Spec:
    """The spec at `path` with everything it includes, `${NAME}` taken from `environ`.

    Without `connecting`, the variables of sources, token, proxy and params may be unset: such a
    source is not in the spec, such a token is empty, and `params` stay as they are
    written. For those who look at the state only.

    Raises UsageError where `path` cannot be read, and SpecError with the problems of all files.
    """
    from segsync.spec.load import load

    return load(path, environ, connecting=connecting)


def json_schema(part: Literal["spec", "included"] = "spec") -> dict[str, object]:
    """The JSON Schema (draft 2020-12) of a spec, or of a file that a spec includes."""
    from segsync.spec.schema import describe_schema

    return describe_schema(part)
