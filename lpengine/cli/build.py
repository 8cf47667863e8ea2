"""lpengine build: c and asm, source, objects, cache"""

import hashlib
from pathlib import Path

import click

from lpengine.api import builds as api
from lpengine.cli.build_objects import build_objects
from lpengine.cli.build_options import (
    ATOMIC,
    COMPILER,
    DEPENDS,
    FORMAT,
    IMAGE,
    MODINFO,
    MODULE,
    NAME,
    OUTPUT,
    module_name,
)
from lpengine.cli.build_source import build_cache, build_source
from lpengine.cli.options import JSON, parse_pairs
from lpengine.patch.built import Built
from lpengine.report import module_shapes as shapes
from lpengine.report.documents import to_json
from lpengine.report.files import write_whole
from lpengine.report.table import show


@click.group("build")
def command() -> None:
    """Make a patch module from a source fix, from two builds of objects, from C or
    from assembly. The same input gives the same bytes."""


command.add_command(build_source)
command.add_command(build_objects)
command.add_command(build_cache)


@command.command("c")
@click.argument("source", type=click.Path(path_type=Path))
@click.option(
    "--replace",
    "replacements",
    multiple=True,
    required=True,
    metavar="FUNCTION[=NEW]",
    help="Put SOURCE's NEW (default: of the same name) in the place of the image's "
    "FUNCTION; a static is path/file.c#name, in Linux name,POSITION. May be repeated.",
)
@IMAGE
@OUTPUT
@NAME
@DEPENDS
@FORMAT
@MODULE
@ATOMIC
@MODINFO
@COMPILER
@JSON
def build_c(
    source: Path,
    replacements: tuple[str, ...],
    image: Path,
    output: Path,
    name: str,
    depends: Path | None,
    format_: str | None,
    module: Path | None,
    atomic_replace: bool,
    modinfo: tuple[str, ...],
    compiler: str,
    as_json: bool,
) -> int:
    """Compile the C file SOURCE into a module that replaces functions of an image.

    Build ids, sizes and expectations are taken from the image, for Linux also CRCs
    and layouts: it needs no headers. Hooks and callbacks are carried from the source.
    """
    built = api.build_c(
        source,
        dict(map(parse_replacement, replacements)),
        image,
        name=name or module_name(output),
        depends=depends,
        modinfo=parse_pairs(modinfo, "--modinfo"),
        format=format_ or "",
        module=module,
        atomic_replace=atomic_replace,
        compiler=compiler,
    )
    return deliver(built, output, as_json)


@command.command("asm")
@click.option("--function", required=True, help="The image's function to replace.")
@click.option("--code", required=True, help="Intel syntax: 'mov eax, -38; ret'.")
@IMAGE
@OUTPUT
@NAME
@DEPENDS
@FORMAT
@MODULE
@ATOMIC
@MODINFO
@JSON
def build_asm(
    function: str,
    code: str,
    image: Path,
    output: Path,
    name: str,
    depends: Path | None,
    format_: str | None,
    module: Path | None,
    atomic_replace: bool,
    modinfo: tuple[str, ...],
    as_json: bool,
) -> int:
    """Assemble CODE into a module that runs in the place of a function: the
    emergency stop for a vulnerable entry point. Needs no compiler."""
    built = api.build_asm(
        function,
        code,
        image,
        name=name or module_name(output),
        depends=depends,
        modinfo=parse_pairs(modinfo, "--modinfo"),
        format=format_ or "",
        module=module,
        atomic_replace=atomic_replace,
    )
    return deliver(built, output, as_json)


def parse_replacement(text: str) -> tuple[str, str]:
    """FUNCTION[=NEW]; a static's NEW is by default its name without the file."""
    old, _, new = text.partition("=")
    return old, new or old.rpartition("#")[2]


def deliver(built: Built, output: Path, as_json: bool) -> int:
    write_whole(output, built.payload)
    digest = hashlib.sha256(built.payload).hexdigest()
    if as_json:
        show([to_json(shapes.build_document(built, output, digest))])
        return 0
    functions = ", ".join(built.functions)
    show([f"{output}: {functions}, build id {built.build_id}"])
    show(f"note: {note}" for note in built.notes)
    return 0
