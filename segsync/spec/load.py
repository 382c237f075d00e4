"""From a path to a Spec: the order of things."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from segsync.model import DestinationSettings, RemovedSegment, Segment, Spec
from segsync.spec import urls
from segsync.spec.check import check, check_keys
from segsync.spec.connection import Connections
from segsync.spec.files import Document, Folder, included, read_main
from segsync.spec.interpolate import Expander
from segsync.spec.nodes import find
from segsync.spec.problems import Place, Problems, nearest, shown
from segsync.spec.schema import TEXTS, VERSION, Defaults, IncludedFile, SpecFile
from segsync.spec.segments import Collector, Shared
from segsync.spec.values import to_value

_PLACES = {"place", "query_place"}


def load(path: Path, environ: Mapping[str, str], *, connecting: bool) -> Spec:
    """The spec at `path`. Raises UsageError, SpecError."""
    problems = Problems()
    main = read_main(path, problems)
    if main is None:
        problems.fail()
    check_keys(SpecFile, main.root, problems)
    _check_version(main, problems)
    expander = Expander(environ, problems)
    connections = Connections(main, expander, problems, connecting=connecting)
    destination = connections.destination()
    sources = connections.sources()
    state = connections.state()
    names = _source_names(main)
    folder = Folder.of(path)
    shared = Shared(
        sources=names,
        dialects={name: urls.dialect(url.reveal()) for name, url in sources.items()},
        connecting=connecting,
        defaults=_defaults(main, names, problems),
        default_source=find(main.root, ("defaults", "source")) is not None,
        folder=folder,
        expander=expander,
    )
    collector = Collector(shared, problems)
    for document in (main, *_included(main, folder, problems)):
        collector.add_file(document)
    collector.finish()
    if problems or destination is None:
        problems.fail()
    segments, removed = tuple(collector.segments), tuple(collector.removed)
    return Spec(
        path=path,
        destination=destination,
        sources=sources,
        state=state,
        segments=segments,
        removed=removed,
        sha256=digest(destination, tuple(sources), segments, removed),
        source_places=connections.source_places(),
    )


def digest(
    destination: DestinationSettings,
    sources: tuple[str, ...],
    segments: tuple[Segment, ...],
    removed: tuple[RemovedSegment, ...],
) -> str:
    """The sha256 of everything in a spec that decides what is sent, and to where.

    Not of secrets (the sources' URLs are), nor of places, the order of segments, or the state's
    path: the same spec has the same digest in a colleague's checkout.
    """
    meaning = {
        "destination": {
            "datamart_id": destination.datamart_id,
            "api_url": destination.api_url,
            "format": destination.format,
            "max_upload_bytes": destination.max_upload_bytes,
        },
        "sources": sorted(sources),
        "segments": {segment.name: _without_places(segment) for segment in segments},
        "removed": {segment.name: segment.members for segment in removed},
    }
    text = json.dumps(meaning, sort_keys=True, allow_nan=False, default=dataclasses.asdict)
    return hashlib.sha256(text.encode("ascii")).hexdigest()


def _without_places(segment: Segment) -> dict[str, object]:
    keys = (field.name for field in dataclasses.fields(segment))
    return {key: getattr(segment, key) for key in keys if key not in _PLACES}


def _check_version(main: Document, problems: Problems) -> None:
    node = main.root.get("version")
    if node is not None:
        check(VERSION, to_value(node), main.root, ("version",), problems)


def _source_names(main: Document) -> tuple[str, ...]:
    """The names under `sources`, also of those whose URL is wrong."""
    node = main.root.get("sources")
    return tuple(getattr(node, "entries", {}))


def _defaults(main: Document, sources: tuple[str, ...], problems: Problems) -> Defaults:
    node = main.root.get("defaults")
    if node is None:
        return Defaults()
    found = check(Defaults, to_value(node), main.root, ("defaults",), problems)
    if found and found.source is not None and found.source not in sources:
        place = (find(node, ("source",)) or node).place
        message = f"there is no source {shown(found.source)}"
        problems.add(place, message, nearest(found.source, sources))
    return found or Defaults()


def _included(main: Document, folder: Folder, problems: Problems) -> list[Document]:
    node = main.root.get("include")
    if node is None:
        return []
    texts = check(TEXTS, to_value(node), main.root, ("include",), problems) or []
    patterns = [(text, _place_of(main, index)) for index, text in enumerate(texts)]
    documents = list(included(patterns, main, folder, problems))
    for document in documents:
        _check_included_keys(document, main, problems)
    return documents


def _place_of(main: Document, index: int) -> Place:
    return (find(main.root, ("include", index)) or main.root).place


def _check_included_keys(document: Document, main: Document, problems: Problems) -> None:
    for key, entry in document.root.entries.items():
        if key in IncludedFile.model_fields:
            continue
        if key in SpecFile.model_fields:
            hint = f"it belongs in {main.label}; an included file has `segments` and `removed`"
        else:
            hint = nearest(key, IncludedFile.model_fields) or ""
        problems.add(
            entry.key.place, f"{shown(key)} is not a key of an included file", hint or None
        )
