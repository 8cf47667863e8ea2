"""lpengine build objects"""

from pathlib import Path

import click

from lpengine.api import object_builds as api
from lpengine.cli import exits
from lpengine.cli.build_options import (
    ATOMIC,
    DEPENDS,
    MODINFO,
    MODULES,
    NAME,
    module_name,
)
from lpengine.cli.options import JSON, parse_pairs
from lpengine.diff.changes import System, Verdict
from lpengine.report import change_shapes as shapes
from lpengine.report.change_html import changes_page
from lpengine.report.change_text import objects_lines
from lpengine.report.documents import to_json
from lpengine.report.files import write_whole
from lpengine.report.table import show

PATH = click.Path(path_type=Path)
CODES = {Verdict.REFUSED: exits.REFUSED, Verdict.UNCHANGED: exits.UNCHANGED}


@click.command("objects")
@click.option(
    "--original",
    required=True,
    type=PATH,
    help="An object file of the build that runs, or a directory of them.",
)
@click.option(
    "--patched",
    required=True,
    type=PATH,
    help="The same with the fix. Of a directory every object is compared with the "
    "original of the same path; one that is not there was not rebuilt.",
)
@click.option(
    "--image",
    type=PATH,
    help="What is running: Xen's ELF file with symbols (xen-syms), or Linux's vmlinuz. "
    "With it the originals are proved to be what it was linked from, and a module is "
    "made.",
)
@click.option("-o", "--output", type=PATH, help="Where the module goes; needs --image.")
@NAME
@click.option(
    "--for",
    "system",
    type=click.Choice([each.value for each in System]),
    help="Whose rules the objects follow; by default their sections tell.",
)
@click.option(
    "--patch",
    "patches",
    multiple=True,
    type=PATH,
    metavar="FIX.patch",
    help="The source change, which says which lines moved. Without, debug information "
    "or the company that a number keeps tells a line from a number.",
)
@click.option(
    "--hook",
    "hooks",
    multiple=True,
    metavar="SUBJECT=HOOK",
    help="HOOK, declared in the patched source, makes up for what is refused about "
    "SUBJECT. May be repeated.",
)
@click.option(
    "--report", type=PATH, metavar="OUT.html", help="Write a page to look at."
)
@DEPENDS
@MODULES
@ATOMIC
@MODINFO
@JSON
def build_objects(
    original: Path,
    patched: Path,
    image: Path | None,
    output: Path | None,
    name: str,
    system: str | None,
    patches: tuple[Path, ...],
    hooks: tuple[str, ...],
    report: Path | None,
    depends: Path | None,
    modules: tuple[Path, ...],
    atomic_replace: bool,
    modinfo: tuple[str, ...],
    as_json: bool,
) -> int:
    """Say what differs between two builds of objects, and make a module of it.

    Both builds are made with -ffunction-sections -fdata-sections, by gcc or clang.
    Functions are compared by what they do: numbering and moved lines are no change.
    What cannot become a live patch is refused with its cause. With debug information
    (-g) struct layouts and prototypes are guarded as well.

    Exit code 0: something to patch; 10: refused; 15: no code differs, the fix does
    not affect this build.
    """
    if output is not None and image is None:
        raise click.UsageError("-o needs --image, for which the module is to be")
    result = api.build_objects(
        original,
        patched,
        image=image,
        name=name or (module_name(output) or output.stem if output else ""),
        system=system or "",
        patches=patches,
        hooks=dict(parse_pairs(hooks, "--hook")),
        depends=depends,
        modules=modules,
        atomic_replace=atomic_replace,
        modinfo=parse_pairs(modinfo, "--modinfo"),
    )
    if output is not None and result.built is not None:
        write_whole(output, result.built.payload)
    if report is not None:
        write_whole(report, changes_page(result).encode())
    document = shapes.objects_document(result, output)
    show([to_json(document)] if as_json else objects_lines(document))
    return CODES.get(result.verdict, exits.DONE)
