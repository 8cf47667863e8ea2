"""lpengine emulate"""

import shlex
import tempfile
from datetime import timedelta
from pathlib import Path

import click

from lpengine.api import machines as api
from lpengine.cli import verdicts
from lpengine.cli.options import JSON, NODEPS, PAYLOADS, TIMEOUT
from lpengine.planner import Policy
from lpengine.report import shapes, text
from lpengine.report.documents import to_json
from lpengine.report.table import show


@click.command("emulate")
@PAYLOADS
@click.option(
    "--image",
    required=True,
    type=click.Path(path_type=Path),
    help="The ELF image to make the machine from (xen-syms).",
)
@click.option("--cpus", type=click.IntRange(1, 64), default=1, show_default=True)
@click.option(
    "--call",
    "calls",
    multiple=True,
    metavar="'FUNCTION [ARG...]'",
    help="Call this before, with and after the patch; may be repeated.",
)
@click.option(
    "--returns",
    default="int",
    show_default=True,
    help="What the calls return: int, string or bytes:N.",
)
@NODEPS
@TIMEOUT
@JSON
def command(
    payloads: tuple[Path, ...],
    image: Path,
    cpus: int,
    calls: tuple[str, ...],
    returns: str,
    nodeps: bool,
    timeout: timedelta | None,
    as_json: bool,
) -> int:
    """Apply MODULE... to a throw-away emulated machine made from an image, show
    what calls return before, with and after the patch, take it back and check
    that every byte is as it was."""
    wanted = [(words[0], words[1:], returns) for words in map(shlex.split, calls)]
    with tempfile.TemporaryDirectory(prefix="lpengine-") as directory:
        emulated = api.emulate(
            payloads,
            image,
            Policy(nodeps=nodeps),
            cpus=cpus,
            calls=wanted,
            timeout=timeout,
            state_directory=directory,
        )
    if as_json:
        show([to_json(shapes.emulation_document(emulated))])
    else:
        show(text.emulation_lines(emulated))
    return verdicts.of_action(emulated.acted)
