"""A local mediarithmics: the documented API, real membership, its own clock, scripted faults.

emulator = Emulator(datamart_id="1509", token="token")
emulator.add_segment("high_value_customers")
with EmulatorServer(emulator) as server:
    ...  # point a client at server.url
emulator.members("high_value_customers")
"""

from segsync.emulator.emulator import Emulator
from segsync.emulator.executions import DocumentImport, Execution
from segsync.emulator.faults import (
    Answer,
    Cut,
    Drip,
    ExecutionScript,
    Fault,
    Framing,
    Rewrite,
    Stall,
    big_answer,
    deep_json,
    fault_from,
    html_page,
    http_error,
)
from segsync.emulator.local import ConnectionEnded, LocalClient
from segsync.emulator.options import Behaviour, ServeOptions
from segsync.emulator.people import Identifier, Member
from segsync.emulator.serve import serve
from segsync.emulator.server import EmulatorServer
from segsync.emulator.settings import WrongOption, described, with_words
from segsync.emulator.world import Upload

__all__ = [
    "Answer",
    "Behaviour",
    "ConnectionEnded",
    "Cut",
    "DocumentImport",
    "Drip",
    "Emulator",
    "EmulatorServer",
    "Execution",
    "ExecutionScript",
    "Fault",
    "Framing",
    "Identifier",
    "LocalClient",
    "Member",
    "Rewrite",
    "ServeOptions",
    "Stall",
    "Upload",
    "WrongOption",
    "big_answer",
    "deep_json",
    "described",
    "fault_from",
    "html_page",
    "http_error",
    "serve",
    "with_words",
]
