"""Every fault of the wire at every endpoint: repeated, unknown, senseless or harmless."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random
from typing import get_args

import pytest

from segsync.destination import ExecutionState
from segsync.emulator import Behaviour, Cut, Emulator, EmulatorServer, Stall
from segsync.emulator.faults import (
    Answer,
    Drip,
    Ending,
    ExecutionScript,
    Fault,
    Framing,
    Rewrite,
    big_answer,
    deep_json,
    html_page,
    http_error,
)
from segsync.errors import NotSent, OutcomeUnknown, ProtocolError, Refused
from segsync.mediarithmics import Mediarithmics
from segsync.mediarithmics.exchange import Limits
from segsync.model import Address
from tests.support.conformance.scene import command, finished, payload
from tests.support.platform import DATAMART, TOKEN, assert_clean, destination, fails, lasting
from tests.support.raw_server import RawServer, early, head
from tests.support.tls import Authority

LINES = 100
IMPATIENT = Limits(
    request_seconds=0.3,
    upload_seconds=0.3,
    upload_bytes_per_second=1_000_000_000,
    error_file_seconds=0.3,
)
"""For the faults that end at a deadline only: a busy machine is slow by itself."""


@dataclass
class Scene:
    """A platform with one import of one finished execution that has an error file."""

    emulator: Emulator
    server: EmulatorServer
    platform: Mediarithmics
    folder: Path
    document_import: str = ""
    uri: str = ""

    def prepare(self) -> None:
        self.emulator.add_segment("vip")
        self.document_import = self.platform.create_import("segsync-scene").id
        self.platform.upload(self.document_import, self.payload("segment-that-is-missing"))
        self.uri = finished(self.platform, self.document_import).error_file_uri or ""

    def meet(self, endpoint: str, fault: Fault) -> None:
        """Let this fault happen at the next call."""
        if isinstance(fault, Stall | Drip):
            self.platform = destination(self.server.url, limits=IMPATIENT)
        self.emulator.faults.add(endpoint, fault)

    def payload(self, segment: str = "vip") -> Path:
        return payload(self.folder, *(command("UPDATE", f"u{n}", segment) for n in range(LINES)))

    def look_up(self) -> None:
        found = self.platform.look_up_segment(Address("segment_technical_name", "vip"))
        assert found.problem is None

    def find(self) -> None:
        assert [one.name for one in self.platform.find_imports("segsync-scene")] == [
            "segsync-scene"
        ]

    def list(self) -> None:
        one = self.platform.list_executions(self.document_import)[0]
        assert one.state is ExecutionState.SUCCEEDED
        assert one.total_failure == LINES

    def fetch(self) -> None:
        errors = self.folder / "errors"
        self.platform.fetch_error_file(self.uri, errors)
        assert len(errors.read_text().splitlines()) == LINES

    def create(self) -> None:
        made = self.platform.create_import("segsync-made")
        self.emulator.faults.clear()
        assert self.platform.find_imports("segsync-made") == [made]

    def uploads(self) -> int:
        return sum(one.endpoint == "upload" for one in self.emulator.request_log)


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    with a_scene(tmp_path) as made:
        yield made


@pytest.fixture
def secure_scene(tmp_path: Path) -> Iterator[Scene]:
    """The same over TLS."""
    with a_scene(tmp_path, Authority()) as made:
        yield made


@contextmanager
def a_scene(folder: Path, authority: Authority | None = None) -> Iterator[Scene]:
    emulator = Emulator(datamart_id=DATAMART, token=TOKEN, seed=7, behaviour=Behaviour(dates=False))
    more = {"ca_file": authority.write_to(folder)} if authority else {}
    with EmulatorServer(emulator, tls=authority.server() if authority else None) as server:
        made = Scene(emulator, server, destination(server.url, **more), folder)
        made.prepare()
        yield made
    emulator.close()


READS: dict[str, Callable[[Scene], None]] = {
    "segment_lookup": Scene.look_up,
    "list_imports": Scene.find,
    "list_executions": Scene.list,
    "error_file": Scene.fetch,
}
REPEATED: dict[str, Callable[[Scene], None]] = {**READS, "create_import": Scene.create}

POINTS = {
    "at the head": Cut("head"),
    "at the body's first byte": Cut("body", fraction=0.0),
    "at 1 % of the body": Cut("body", fraction=0.01),
    "at half of the body": Cut("body", fraction=0.5),
    "at 99 % of the body": Cut("body", fraction=0.99),
    "at the body's last byte": Cut("body", fraction=1.0),
    "before the answer": Cut("before_apply"),
    "after it took effect": Cut("after_apply"),
    "at the answer's first byte": Cut("answer", fraction=0.0),
    "in the middle of the answer": Cut("answer", fraction=0.5),
    "near the answer's end": Cut("answer", fraction=0.99),
}
CUTS: dict[str, Cut] = {
    f"cut {where} by {how}": replace(cut, how=how)
    for where, cut in POINTS.items()
    for how in get_args(Ending)
}
BREAKS: dict[str, Fault] = {
    **CUTS,
    "silent before it took effect": Stall("before_apply"),
    "silent after it took effect": Stall("after_apply"),
    "silent in the middle of the answer": Stall("answer", fraction=0.5),
    "slow": Drip(bytes_per_second=20),
    "busy": http_error(503),
    "busy, but it took effect": Answer(502, "<html>", {"Content-Type": "text/html"}, applied=True),
    "too many requests": http_error(429, retry_after="3"),
    "too slow a request": http_error(408),
}


def pairs(faults: Iterable[str]) -> list[tuple[str, str]]:
    """Each endpoint with each fault; what is read has no body that could break off."""
    return [
        (endpoint, fault)
        for endpoint in REPEATED
        for fault in faults
        if endpoint == "create_import" or "body" not in fault
    ]


def assert_outlasted(scene: Scene, endpoint: str, fault: Fault) -> None:
    """The fault strikes, and the platform is asked again."""
    before = len(scene.emulator.request_log)
    scene.meet(endpoint, fault)
    REPEATED[endpoint](scene)
    asked = scene.emulator.request_log[before:]
    assert [one.endpoint for one in asked if one.faults] == [endpoint]
    assert asked[0].faults
    assert len(asked) > 1 or endpoint == "create_import"


@pytest.mark.parametrize(("endpoint", "fault"), pairs(BREAKS))
def test_what_can_be_repeated_outlasts_it(endpoint: str, fault: str, scene: Scene) -> None:
    assert_outlasted(scene, endpoint, BREAKS[fault])


@pytest.mark.parametrize(("endpoint", "fault"), pairs(CUTS))
def test_what_can_be_repeated_outlasts_a_break_within_tls(
    endpoint: str, fault: str, secure_scene: Scene
) -> None:
    assert_outlasted(secure_scene, endpoint, CUTS[fault])


@pytest.mark.parametrize("endpoint", REPEATED)
def test_what_can_be_repeated_is_given_up_in_the_end(endpoint: str, scene: Scene) -> None:
    scene.emulator.faults.add(endpoint, Cut("before_apply"), call=None)
    with fails(OutcomeUnknown):
        REPEATED[endpoint](scene)
    assert not (scene.folder / "errors").exists()


UNKNOWN: dict[str, Fault] = {
    **BREAKS,
    "silent at half of the body": Stall("body", fraction=0.5),
    "taken slowly": Drip(10_000, direction="body"),
    "a login page": html_page(),
    "a login page in its place": html_page(503),
    "no content": Answer(204, applied=True),
    "a redirect": Answer(302, headers={"Location": "https://login.example.com/"}),
    "an empty answer": Rewrite("empty"),
    "half of the JSON": Rewrite("half"),
    "NaN": Rewrite("nan"),
    "a repeated key": Rewrite("duplicate_keys"),
    "deep JSON": deep_json(),
    "another charset": Rewrite("latin1"),
    "a large answer": big_answer(10),
    "padding": Rewrite("padded"),
    "an error in a success": Rewrite("error_in_200"),
    "no data": Rewrite("null_data"),
    "a bomb": Framing(gzip_padding_megabytes=10),
    "an interim answer as the last": Answer(103),
    "another import's execution": ExecutionScript(
        patch={"parameters": {"document_import_id": 4}}, patch_when="always"
    ),
    "no id": ExecutionScript(patch={"id": None}, patch_when="always"),
}
HAPPENED = {
    *(name for name, cut in CUTS.items() if cut.at in ("after_apply", "answer")),
    "silent after it took effect",
    "silent in the middle of the answer",
    "slow",
    "busy, but it took effect",
    "no content",
    "an empty answer",
    "half of the JSON",
    "NaN",
    "a repeated key",
    "another charset",
    "padding",
    "an error in a success",
    "no data",
    "a bomb",
    "another import's execution",
    "no id",
}
"""The unknown uploads that did take effect."""


@pytest.mark.parametrize("fault", UNKNOWN)
def test_an_upload_is_unknown_and_sent_once(fault: str, scene: Scene) -> None:
    made = scene.platform.create_import("segsync-unknown").id
    before = scene.uploads()
    scene.meet("upload", UNKNOWN[fault])
    with fails(OutcomeUnknown):
        scene.platform.upload(made, scene.payload())
    assert scene.uploads() - before == 1
    begun = [one.import_id for one in scene.emulator.world.executions.active()]
    assert begun == ([made] if fault in HAPPENED else [])


HARMLESS: dict[str, Fault] = {
    "chunked": Framing("chunked"),
    "ended by closing": Framing("close"),
    "HTTP/1.0": Framing(version="1.0"),
    "lower case headers": Framing(lower_case=True),
    "closed behind the answer": Framing(close_after=True),
    "an interim answer before": Framing(before="HTTP/1.1 100 Continue\r\n\r\n"),
    "a byte order mark": Rewrite("byte_order_mark"),
    "another content type": Rewrite("wrong_content_type"),
    "no content type": Rewrite("no_content_type"),
    "numbers as texts": Rewrite("numbers_as_strings"),
}


@pytest.mark.parametrize(
    ("endpoint", "fault"),
    [
        (endpoint, fault)
        for endpoint in REPEATED
        for fault in HARMLESS
        if endpoint != "error_file" or isinstance(HARMLESS[fault], Framing)
    ],
)
def test_what_is_harmless_does_not_matter(endpoint: str, fault: str, scene: Scene) -> None:
    scene.emulator.faults.add(endpoint, HARMLESS[fault], call=None)
    REPEATED[endpoint](scene)
    scene.list()


@pytest.mark.parametrize("fault", HARMLESS)
def test_what_is_harmless_does_not_matter_to_an_upload(fault: str, scene: Scene) -> None:
    made = scene.platform.create_import("segsync-harmless").id
    scene.emulator.faults.add("upload", HARMLESS[fault])
    begun = scene.platform.upload(made, scene.payload())
    assert [one.id for one in scene.platform.list_executions(made)] == [begun.id]


SENSELESS: dict[str, Fault] = {
    "a login page": html_page(),
    "an empty answer": Rewrite("empty"),
    "half of the JSON": Rewrite("half"),
    "NaN": Rewrite("nan"),
    "a repeated key": Rewrite("duplicate_keys"),
    "deep JSON": Rewrite("deep"),
    "another charset": Rewrite("latin1"),
    "a large answer": big_answer(10),
    "no data": Rewrite("null_data"),
    "a bomb": Framing(gzip_padding_megabytes=10),
    "a redirect": Answer(307, headers={"Location": "https://login.example.com/"}),
    "no content": Answer(204),
    "a part": Answer(206, "{}"),
}


@pytest.mark.parametrize("fault", SENSELESS)
@pytest.mark.parametrize("endpoint", ["segment_lookup", "list_imports", "list_executions"])
def test_what_makes_no_sense_is_an_error_of_the_protocol(
    endpoint: str, fault: str, scene: Scene
) -> None:
    scene.emulator.faults.add(endpoint, SENSELESS[fault], call=None)
    with fails(ProtocolError):
        REPEATED[endpoint](scene)


@pytest.mark.parametrize("fault", SENSELESS)
def test_an_import_whose_answer_made_no_sense_is_found_again_or_not_believed(
    fault: str, scene: Scene
) -> None:
    scene.emulator.faults.add("create_import", SENSELESS[fault])
    try:
        made = scene.platform.create_import("segsync-odd")
    except ProtocolError:
        return
    assert scene.platform.find_imports("segsync-odd") == [made]


def test_an_upload_that_is_refused_before_its_body_is_read_is_refused(scene: Scene) -> None:
    scene.emulator.faults.add("upload", Answer(413, "{}", early=True))
    with fails(Refused, "HTTP 413"):
        scene.platform.upload(scene.document_import, scene.payload())


def test_an_upload_that_succeeds_before_its_body_is_read_is_unknown(tmp_path: Path) -> None:
    body = b'{"status":"ok","data":{"id":"9","status":"PENDING"}}'
    (tmp_path / "large").write_bytes(b"x" * 30_000_000)
    with RawServer(early(head(length=len(body)) + body, how="close")) as server:
        sending = destination(server.url)
        with fails(OutcomeUnknown, "of 30,000,000 bytes"):
            sending.upload("77", tmp_path / "large")


def test_an_upload_to_a_platform_that_is_down_was_never_sent(scene: Scene) -> None:
    scene.server.refuse_connections()
    with fails(NotSent, "Connection refused"):
        scene.platform.upload(scene.document_import, scene.payload())


def test_an_upload_does_not_use_a_kept_connection(scene: Scene) -> None:
    # The platform closes the kept connection just when the upload would use it.
    scene.emulator.faults.add("list_executions", Framing(close_after=True))
    scene.list()
    scene.platform.upload(scene.document_import, scene.payload())


def test_a_status_that_goes_back_is_told_as_it_is(scene: Scene) -> None:
    made = scene.platform.create_import("segsync-back").id
    script = ExecutionScript(shown=("SUCCEEDED", "RUNNING", "LOST"))
    scene.emulator.faults.add("upload", script)
    scene.platform.upload(made, scene.payload())
    states = [scene.platform.list_executions(made)[0].state for _ in range(3)]
    assert ExecutionState.ACTIVE in states


def test_progress_of_an_upload_is_told(scene: Scene) -> None:
    told: list[int] = []
    sending = destination(scene.server.url, on_sent=told.append)
    sent = scene.payload()
    sending.upload(scene.document_import, sent)
    assert told[-1] == sent.stat().st_size


def test_the_total_time_of_a_dripping_answer_is_kept(scene: Scene) -> None:
    scene.meet("upload", Drip(bytes_per_second=5))
    with lasting(0.3), fails(OutcomeUnknown, "no complete answer within"):
        scene.platform.upload(scene.document_import, scene.payload())


LASTING = [fault for name, fault in BREAKS.items() if "silent" not in name and name != "slow"]
ANYTHING = [*LASTING, *HARMLESS.values(), *SENSELESS.values()]


@pytest.mark.parametrize("seed", range(6))
def test_any_mix_of_faults_ends_in_an_answer_or_a_known_error(seed: int, scene: Scene) -> None:
    chance = Random(seed)
    for endpoint in (*REPEATED, "upload"):
        for _ in range(3):
            fault = chance.choice(ANYTHING if endpoint != "error_file" else LASTING)
            scene.emulator.faults.add(endpoint, fault, chance.randint(1, 4), chance.randint(1, 3))
    known = (NotSent, Refused, OutcomeUnknown, ProtocolError)
    made = None
    for _ in range(4):
        with suppress(*known):
            made = scene.platform.create_import("segsync-mixed")
        uploads = scene.uploads()
        try:
            begun = scene.platform.upload(scene.document_import, scene.payload())
        except known as error:
            assert_clean(error)
        else:
            assert begun.state is ExecutionState.ACTIVE
        assert scene.uploads() == uploads + 1
        for read in READS.values():
            (scene.folder / "errors").unlink(missing_ok=True)
            with suppress(*known):
                read(scene)
    scene.emulator.faults.clear()
    made = made or scene.platform.create_import("segsync-mixed")
    assert made in scene.platform.find_imports("segsync-mixed")
