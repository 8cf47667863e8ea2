"""lpengine machine: create and call"""

from pathlib import Path

import click

from lpengine.api import machines as api
from lpengine.cli.options import JSON
from lpengine.report import documents, shapes, text
from lpengine.report.documents import to_json
from lpengine.report.table import show

DIRECTORY = click.argument("directory", type=click.Path(path_type=Path))


@click.group("machine")
def command() -> None:
    """Make an emulated machine that outlives the process; call functions in it."""


@command.command("create")
@DIRECTORY
@click.option(
    "--image",
    required=True,
    type=click.Path(path_type=Path),
    help="The ELF image it runs: xen-syms, or any ELF64 x86-64 executable.",
)
@click.option("--cpus", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--cpu-feature",
    "features",
    type=click.IntRange(min=0),
    multiple=True,
    metavar="BIT",
    help="A CPU feature bit that alternatives find set; may be repeated.",
)
@JSON
def create(
    directory: Path, image: Path, cpus: int, features: tuple[int, ...], as_json: bool
) -> int:
    """Make a machine in the new directory DIRECTORY."""
    machine = api.create_machine(directory, image, cpus=cpus, features=features)
    document = documents.MachineDocument(
        schema="lpengine/machine/1",
        directory=str(directory),
        image_build_id=machine.image.image.build_id,
        version=machine.version,
        cpus=cpus,
    )
    if as_json:
        show([to_json(document)])
    else:
        version = document.version or "unknown version"
        show([f"{directory}: {version}, build id {document.image_build_id}"])
    return 0


@command.command("call", context_settings={"ignore_unknown_options": True})
@DIRECTORY
@click.argument("function")
@click.argument("arguments", nargs=-1, metavar="[ARG...]")
@click.option(
    "--returns",
    default="int",
    show_default=True,
    help="int, string (rax points to it) or bytes:N.",
)
@click.option("--cpu", type=click.IntRange(min=0), default=0, show_default=True)
@click.option(
    "--budget",
    type=click.IntRange(min=1),
    default=10_000_000,
    show_default=True,
    help="Instructions after which the call counts as hung.",
)
@JSON
def call(
    directory: Path,
    function: str,
    arguments: tuple[str, ...],
    returns: str,
    cpu: int,
    budget: int,
    as_json: bool,
) -> int:
    """Call FUNCTION of the machine in DIRECTORY and show what it returns.

    An ARG that reads as an integer (12, -1, 0xff) is one, hex:00ff is a buffer,
    anything else a string. What the call changes in memory stays; a call that
    faults changes nothing.
    """
    result = api.call(
        directory, function, arguments, returns=returns, cpu=cpu, budget=budget
    )
    if as_json:
        show([to_json(shapes.call_document(result))])
    else:
        show(text.call_lines(result))
    return 0
