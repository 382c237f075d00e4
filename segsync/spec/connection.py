"""The parts of a spec that say where things are: destination, sources, state."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from segsync.model import DestinationSettings
from segsync.secret import Secret
from segsync.spec import names, urls
from segsync.spec.check import check, section
from segsync.spec.files import Document, refuse_odd_path
from segsync.spec.interpolate import Expander, Reference, Template, template
from segsync.spec.nodes import MapNode, Node, ScalarNode, find
from segsync.spec.problems import Problems, Wrong, shown
from segsync.spec.schema import TEXT, DestinationEntry, SpecFile
from segsync.spec.values import to_value

_TO_CONNECT = ("api_token", "proxy")
DEFAULT_STATE = str(SpecFile.model_fields["state"].default)


class Connections:
    """Reads the main file's destination, sources and state; what is wrong becomes a problem.

    Without `connecting`, variables that only a connection needs may be unset.
    """

    def __init__(
        self, main: Document, expander: Expander, problems: Problems, *, connecting: bool
    ) -> None:
        self._main = main
        self._expander = expander
        self._problems = problems
        self._connecting = connecting

    def destination(self) -> DestinationSettings | None:
        """The destination, or None where problems says what is wrong."""
        node = section(self._main.root, "destination", self._problems)
        if node is None:
            return None
        self._refuse_literals(node)
        unset = {key for key in _TO_CONNECT if self._may_stay_unset(node.get(key))}
        given = {
            key: to_value(entry.value, self._expander)
            for key, entry in node.entries.items()
            if key not in unset
        }
        value = given | dict.fromkeys(unset & {"api_token"}, "")
        found = check(DestinationEntry, value, self._main.root, ("destination",), self._problems)
        self._refuse_plain_http(given)
        token = self._token(given.get("api_token"))
        ca_file = self._ca_file(given.get("ca_file"))
        if found is None:
            return None
        return DestinationSettings(
            datamart_id=found.datamart_id,
            api_token=token,
            api_url=found.api_url,
            format=found.format,
            ca_file=ca_file,
            proxy=Secret(found.proxy) if found.proxy else None,
            insecure_http=found.insecure_http,
            execution_max_age_minutes=found.execution_max_age,
            max_upload_bytes=found.max_upload_bytes,
        )

    def sources(self) -> dict[str, Secret]:
        """The sources whose URLs can be used, by name."""
        node = section(self._main.root, "sources", self._problems)
        if node is None:
            return {}
        if not node.entries:
            self._problems.add(node.place, "there is no source", "write NAME: ${NAME_URL}")
        usable = {name: self._source(name, node) for name in node.entries}
        return {name: Secret(url) for name, url in usable.items() if url is not None}

    def source_places(self) -> dict[str, str]:
        """Where the URL of each source stands, and the variables in it."""
        node = self._main.root.get("sources")
        entries = node.entries if isinstance(node, MapNode) else {}
        return {name: _described(entry.value) for name, entry in entries.items()}

    def state(self) -> Path:
        """The path of the state file.

        It may stand outside the spec's folder, unlike everything else: a runner's checkout is
        thrown away, and the state must survive it.
        """
        node = self._main.root.get("state")
        value = DEFAULT_STATE if node is None else to_value(node, self._expander)
        if node is not None:
            check(TEXT, value, self._main.root, ("state",), self._problems)
        text = value if isinstance(value, str) and value else DEFAULT_STATE
        try:
            for name in self._expander.empty(_parts(node)):
                # The rest would be another path, where there is no state: everybody would be new.
                raise Wrong(f"the environment variable {name} is empty", "put the path in it")
            refuse_odd_path(text, absolute=True)
            if "://" in text:
                raise Wrong("the state is a local file, not an address", "write a path")
            if text.endswith(("/", "/.", "/..")):
                raise Wrong("the state is a file, not a folder", "add a file's name: …/state.db")
            path = self._main.path.parent / text
            if path.resolve() == self._main.path.resolve():
                raise Wrong("that is this file, the spec", f"write another path: {DEFAULT_STATE}")
        except Wrong as wrong:
            self._add(node, wrong)
        return self._main.path.parent / text

    def _source(self, name: str, node: MapNode) -> str | None:
        path = ("sources", name)
        entry = node.entries[name]
        try:
            names.source_name(name)
        except Wrong as wrong:
            self._problems.add(entry.key.place, wrong.message, wrong.hint)
            return None
        self._refuse_password(entry.value)
        if self._may_stay_unset(entry.value):
            return None
        value = to_value(entry.value, self._expander)
        text = check(TEXT, value, self._main.root, path, self._problems)
        if text is None:
            return None
        self._problems.hide([text])
        try:
            return urls.source_url(text)
        except Wrong as wrong:
            self._add(entry.value, wrong)
            return None

    def _may_stay_unset(self, node: Node | None) -> bool:
        return not self._connecting and self._expander.lacks(_parts(node))

    def _refuse_literals(self, destination: MapNode) -> None:
        token = destination.get("api_token")
        if isinstance(token, ScalarNode) and token.text and not _is_one_variable(token):
            self._problems.hide([token.text])
            self._problems.add(
                token.place,
                "the API token must come from the environment, and nothing else may stand here",
                "write api_token: ${MICS_API_TOKEN}; a token that was in a file should be revoked",
            )
        proxy = destination.get("proxy")
        if proxy is not None:
            self._refuse_password(proxy)

    def _refuse_password(self, node: Node) -> None:
        try:
            urls.refuse_literal_password(_parts(node))
        except Wrong as wrong:
            self._add(node, wrong)

    def _token(self, text: object) -> Secret:
        """The token, or an empty one where problems says what is wrong with it."""
        node = find(self._main.root, ("destination", "api_token"))
        if not isinstance(text, str) or not isinstance(node, ScalarNode):
            return Secret("")
        used = [part.name for part in _parts(node) if isinstance(part, Reference)]
        origin = f"the variable {' '.join(used)}"
        try:
            return Secret(names.token(text, origin), origin)
        except Wrong as wrong:
            self._add(node, wrong)
            return Secret("")

    def _ca_file(self, text: object) -> Path | None:
        if not isinstance(text, str):
            return None
        path = self._main.path.parent / text
        try:
            refuse_odd_path(text, absolute=True)
            if not path.is_file():
                raise Wrong(f"there is no file {shown(text)}", "it is relative to this file")
        except Wrong as wrong:
            self._add(find(self._main.root, ("destination", "ca_file")), wrong)
        return path

    def _refuse_plain_http(self, given: Mapping[str, object]) -> None:
        """The token may travel unencrypted within this machine only, also through a proxy."""
        try:
            url = urls.api_url(given.get("api_url"))
            hops = [url, urls.proxy_url(given["proxy"])] if "proxy" in given else [url]
        except ValueError:
            return
        inside = url.startswith("https:") or all(map(urls.is_loopback, hops))
        if not inside and given.get("insecure_http") is not True:
            node = find(self._main.root, ("destination", "api_url"))
            message = "api_url is http: the token would travel readable over the network"
            self._add(node, Wrong(message, "write https://, or insecure_http: true if you must"))

    def _add(self, node: Node | None, wrong: Wrong) -> None:
        place = (node or self._main.root).place
        self._problems.add(place, wrong.message, wrong.hint)


def _parts(node: Node | None) -> Template:
    """The template of a scalar; what is no template is reported by the expander."""
    try:
        return template(node.text) if isinstance(node, ScalarNode) else ()
    except Wrong:
        return ()


def _described(node: Node) -> str:
    names = [f"${{{part.name}}}" for part in _parts(node) if isinstance(part, Reference)]
    return f"{node.place} ({', '.join(names)})" if names else str(node.place)


def _is_one_variable(node: ScalarNode) -> bool:
    try:
        parts = template(node.text.strip())
    except Wrong:
        return False
    return len(parts) == 1 and isinstance(parts[0], Reference) and parts[0].default is None
