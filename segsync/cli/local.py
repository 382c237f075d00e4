"""Commands that need neither state nor platform: init, validate, schema, emulator, demo."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from segsync.cli import options
from segsync.cli.files import check_folder
from segsync.cli.session import session_of
from segsync.errors import UsageError
from segsync.render import figures
from segsync.render.lines import Span, Style, line
from segsync.render.printable import printable

if TYPE_CHECKING:
    from segsync.emulator import Behaviour

STARTER = Path(__file__).with_name("starter.yaml")


def init(context: typer.Context, file: options.File = None) -> None:
    """Write a first spec, with comments. An existing file is never overwritten."""
    session = session_of(context)
    path = session.path(file)
    check_folder(path)
    text = STARTER.read_text(encoding="utf-8")
    try:
        with path.open("x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        raise UsageError(f"{path} exists", hint="name another file with -f") from None
    except OSError as error:
        hint = "name another file with -f"
        raise UsageError(f"{path} cannot be written: {error.strerror}", hint=hint) from None
    option = session.option(file)
    session.show(
        line(Span(printable(f"Wrote {path}."), Style.GOOD)),
        line(),
        line("Keep the state and saved plans, which hold personal data, out of git:"),
        line(),
        line("  printf '%s\\n' .segsync/ '*.segsync' >> .gitignore"),
        line(),
        line("Then say which database and which datamart, and look:"),
        line(),
        line("  export MICS_API_TOKEN=… WAREHOUSE_URL=postgresql://…"),
        line(printable(f"  segsync validate{option}")),
        line(printable(f"  segsync plan{option}")),
    )


def validate(context: typer.Context, file: options.File = None) -> None:
    """Check the spec: all errors at once, each with its place."""
    session = session_of(context)
    spec = session.load(file)
    parts = [
        figures.plural(len(spec.segments), "segment"),
        figures.plural(len(spec.sources), "source"),
    ]
    if spec.removed:
        parts.append(f"{len(spec.removed):,} removed")
    session.show(line(Span(printable(f"{spec.path} is valid: "), Style.GOOD), ", ".join(parts)))


def schema(
    context: typer.Context,
    included: Annotated[
        bool, typer.Option("--included", help="Of the files that a spec includes.")
    ] = False,
) -> None:
    """Print the JSON Schema of a spec, for editors."""
    from segsync.spec import json_schema

    session_of(context).terminal.write_json(json_schema("included" if included else "spec"))


def emulator(
    context: typer.Context,
    port: Annotated[
        int, typer.Option("--port", metavar="N", min=0, max=65535, help="0 is any free port.")
    ] = 8765,
    data: Annotated[
        Path | None, typer.Option("--data", metavar="PATH", help="Keep everything in this file.")
    ] = None,
    datamart: Annotated[
        str, typer.Option("--datamart", metavar="ID", help="Its only datamart.")
    ] = "1509",
    token: Annotated[
        str,
        typer.Option(
            "--token", metavar="TEXT", help="What it takes for one; never use a real token here."
        ),
    ] = "emulator-token",
    seed: Annotated[
        int, typer.Option("--seed", metavar="N", help="Of the order of a payload's lines.")
    ] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Do not make segments that are unknown.")
    ] = False,
    timing: Annotated[
        Literal["polls", "clock", "real"],
        typer.Option("--timing", help="What moves executions on."),
    ] = "polls",
    certificate: Annotated[
        Path | None,
        typer.Option("--certificate", metavar="PATH", help="Speak TLS, with this one (PEM)."),
    ] = None,
    key: Annotated[
        Path | None, typer.Option("--key", metavar="PATH", help="The certificate's key (PEM).")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="Any switch of the emulator; repeatable."),
    ] = None,
) -> None:
    """Serve a local mediarithmics, to rehearse an apply against."""
    from segsync.emulator import ServeOptions
    from segsync.emulator.serve import serve

    session = session_of(context)
    if not re.fullmatch("0|[1-9][0-9]{0,18}", datamart):
        raise UsageError(f"--datamart {datamart}: not an id", hint="ids are digits, like 1509")
    if not re.fullmatch(r"[\x21-\x7e]+", token):
        hint = "write printable ASCII characters without spaces"
        raise UsageError("--token: no spec can have such a token", hint=hint)
    if key and not certificate:
        raise UsageError("--key is given without a certificate", hint="add --certificate PATH")
    behaviour = _behaviour([f"timing={timing}", *(settings or [])], strict=strict)
    chosen = ServeOptions(
        port=port,
        data=data,
        datamart_id=datamart,
        token=token,
        seed=seed,
        behaviour=behaviour,
        certificate=certificate,
        key=key,
    )
    serve(chosen, lambda text: session.show(line(text)))


def _behaviour(words: list[str], *, strict: bool) -> Behaviour:
    from segsync.emulator import Behaviour
    from segsync.emulator.settings import WrongOption, with_words

    try:
        return with_words(Behaviour(create_segments=not strict), words)
    except WrongOption as error:
        hint = "the README lists the switches that answer open questions"
        raise UsageError(f"--set {error}", hint=hint) from None


def demo(
    context: typer.Context,
    folder: Annotated[
        Path | None, typer.Argument(metavar="FOLDER", help="A new folder for it.")
    ] = None,
    serve: Annotated[
        bool, typer.Option("--serve", help="Leave the local platform running at the end.")
    ] = False,
) -> None:
    """Tell the whole story in real commands, on this machine."""
    from segsync.demo import run

    session = session_of(context)
    raise typer.Exit(run(folder, serve, lambda text: session.show(line(printable(text)))))
