"""`${NAME}` and `${NAME:-default}` in values, and the literal secrets they are there to avoid."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from segsync.spec.nodes import ScalarNode
from segsync.spec.problems import Hidden, Place, Problems, Wrong, nearest
from segsync.spec.values import Broken

_REFERENCE = re.compile(
    r"\$\$\{|\$\{(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?::-(?P<default>(?:(?!\$\{)[^}])*))?\}|\$\{"
)


@dataclass(frozen=True, slots=True)
class Reference:
    """A `${NAME}`; `default` stands where the variable is unset or empty."""

    name: str
    default: str | None


MISSPELT = 0.8
"""Variables have beginnings in common: MICS_API_URL is no misspelt MICS_API_TOKEN."""

Template = tuple[str | Reference, ...]


def template(text: str) -> Template:
    """`text` cut into literal texts and references. Raises Wrong for a `${` that is neither."""
    parts: list[str | Reference] = []
    end = 0
    for found in _REFERENCE.finditer(text):
        parts.append(text[end : found.start()])
        end = found.end()
        if found[0] == "$${":
            parts.append("${")
        elif found["name"]:
            parts.append(Reference(found["name"], found["default"]))
        else:
            raise Wrong(
                "`${` begins no reference here",
                "write ${NAME} or ${NAME:-default}, or $${ for the characters themselves",
            )
    parts.append(text[end:])
    return tuple(part for part in parts if part)


class Expander:
    """Replaces references by the values of an environment; what fails becomes a problem."""

    def __init__(self, environ: Mapping[str, str], problems: Problems) -> None:
        self._environ = environ
        self._problems = problems

    def __call__(self, node: ScalarNode) -> object:
        """The text of `node` with its references replaced, or Broken."""
        try:
            parts = template(node.text)
        except Wrong as wrong:
            self._problems.add(node.place, wrong.message, wrong.hint)
            return Broken()
        texts = {part: self._text_of(part, node.place) for part in dict.fromkeys(parts)}
        if None in texts.values():
            return Broken()
        whole = "".join(texts[part] or "" for part in parts)
        return Hidden(whole) if any(isinstance(text, Hidden) for text in texts.values()) else whole

    def lacks(self, parts: Template) -> bool:
        """Whether a variable among `parts` is not set or empty, and has no default.

        A secret that a runner of CI may not see is an empty variable.
        """
        references = [part for part in parts if isinstance(part, Reference)]
        return any(part.default is None and not self._environ.get(part.name) for part in references)

    def empty(self, parts: Template) -> list[str]:
        """The variables among `parts` that are set to nothing, and have no default."""
        references = [part for part in parts if isinstance(part, Reference)]
        unset = [part.name for part in references if part.default is None]
        return [name for name in unset if self._environ.get(name) == ""]

    def _text_of(self, part: str | Reference, place: Place) -> str | None:
        if isinstance(part, str):
            return part
        value = self._environ.get(part.name)
        if not value and part.default is not None:
            return part.default
        if value is None:
            message = f"the environment variable {part.name} is not set"
            self._problems.add(place, message, self._hint(part.name))
            return None
        if re.search("[\0\ud800-\udfff]", value):
            self._problems.add(place, f"the environment variable {part.name} is not UTF-8 text")
            return None
        self._problems.hide([value])
        return Hidden(value)

    def _hint(self, name: str) -> str:
        close = nearest(name, self._environ, likeness=MISSPELT) or ""
        if close.startswith("did you mean"):
            return close
        return "set it in the environment"
