"""`segsync demo`: the whole story in a folder that one can go on in."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path

from segsync.demo.folder import DATAMART, PLATFORM, TOKEN, lay_out, prepare_folder
from segsync.demo.stage import Stage, Unexpected
from segsync.demo.story import DAYS_LATER, tell
from segsync.emulator import Behaviour, Emulator, EmulatorServer
from segsync.emulator.serve import ended_by_signal

DEFAULT_FOLDER = Path("segsync-demo")


def run(folder: Path | None, serve: bool, say: Callable[[str], None]) -> int:
    """Tell the story in `folder`; with `serve`, keep the platform up until Ctrl-C.

    Gives the exit status. Raises UsageError where the folder cannot be used.
    """
    chosen = folder or DEFAULT_FOLDER
    if prepare_folder(chosen):
        say(f"(The demo in {chosen} is told anew, from its beginning.)")
    emulator = Emulator(
        datamart_id=DATAMART,
        token=TOKEN,
        seed=1,
        behaviour=Behaviour(create_segments=True),
        data=chosen / PLATFORM,
    )
    try:
        with EmulatorServer(emulator) as server:
            lay_out(chosen, server.url, DAYS_LATER)
            return _tell(Stage(chosen, emulator, say), server.url, serve)
    finally:
        emulator.close()


def _tell(stage: Stage, url: str, serve: bool) -> int:
    stage.explain(
        f"This is segsync in the folder {stage.folder}, with a shop in SQLite and a local "
        f"mediarithmics on {url}. Every command below is real; nothing leaves this machine."
    )
    try:
        tell(stage)
    except Unexpected as error:
        stage.say("")
        stage.explain(f"The demo stops here: {error}")
        return 1
    go_on(stage, url, serve)
    return 0


def go_on(stage: Stage, url: str, serve: bool) -> None:
    """Say what to type next, and keep the platform up if asked to."""
    say = stage.say
    stage.chapter("Go on by hand", "Everything is still there: change the shop or the queries.")
    say("")
    say(f"  cd {shlex.quote(str(stage.folder))}")
    if not serve:
        say(f"  segsync emulator --port {url.rpartition(':')[2]} --data {PLATFORM} &")
    say(f"  export MICS_API_TOKEN={TOKEN}")
    say(f"  segsync plan --now {stage.now}")
    say("")
    say("(apply and status want --now as well: README.md in the folder says why.)")
    if serve:
        with ended_by_signal() as ended:
            say("")
            say(f"The local mediarithmics stays up on {url}; Ctrl-C ends it.")
            ended.wait()
