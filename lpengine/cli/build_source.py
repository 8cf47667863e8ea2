"""lpengine build: source and cache"""

from pathlib import Path

import click

from lpengine.api import source_builds as api
from lpengine.cli import exits
from lpengine.cli.build_options import (
    ATOMIC,
    COMPILER,
    DEPENDS,
    IMAGE,
    MODINFO,
    MODULES,
    NAME,
    OUTPUT,
    module_name,
)
from lpengine.cli.options import JSON, parse_pairs
from lpengine.compile import cache
from lpengine.compile.linux_tree import LinuxTree
from lpengine.diff.changes import Verdict
from lpengine.report import change_shapes as shapes
from lpengine.report.build_progress import BuildProgress
from lpengine.report.change_html import changes_page
from lpengine.report.change_text import source_lines
from lpengine.report.documents import to_json
from lpengine.report.files import write_whole
from lpengine.report.table import show, show_table

PATH = click.Path(path_type=Path)


@click.command("source")
@click.option(
    "--tree",
    required=True,
    type=PATH,
    help="The source that the image was built from, with all its patches. It is only "
    "read: building is done in copies.",
)
@click.option(
    "--patch",
    "patches",
    required=True,
    multiple=True,
    type=PATH,
    metavar="FIX.patch",
    help="A unified diff against the tree, from git, diff -u or a mail; several make "
    "one module, in this order. Every hunk has to match exactly.",
)
@IMAGE
@OUTPUT
@NAME
@click.option(
    "--config",
    "configuration",
    type=PATH,
    help="The configuration of the image; by default the one that the image holds, "
    "else the tree's.",
)
@COMPILER
@click.option(
    "--make",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable for make; may be repeated.",
)
@click.option("--jobs", "-j", type=click.IntRange(1), help="Default: all processors.")
@DEPENDS
@click.option(
    "--replaces",
    multiple=True,
    type=PATH,
    metavar="MODULE",
    help="A module whose place this one is to take: it must patch all that one does. "
    "May be repeated.",
)
@MODULES
@ATOMIC
@click.option(
    "--fan-out",
    type=click.IntRange(1),
    help="Linux: how many objects a changed header may let be compiled.  [default: "
    f"{LinuxTree.most_objects}]",
)
@click.option(
    "--hook",
    "hooks",
    multiple=True,
    metavar="SUBJECT=HOOK",
    help="HOOK, declared in the fixed source, makes up for what is refused about "
    "SUBJECT. May be repeated.",
)
@click.option(
    "--report", type=PATH, metavar="OUT.html", help="Write a page to look at."
)
@MODINFO
@JSON
def build_source(
    tree: Path,
    patches: tuple[Path, ...],
    image: Path,
    output: Path,
    name: str,
    configuration: Path | None,
    compiler: str,
    variables: tuple[str, ...],
    jobs: int | None,
    depends: Path | None,
    replaces: tuple[Path, ...],
    modules: tuple[Path, ...],
    atomic_replace: bool,
    fan_out: int | None,
    hooks: tuple[str, ...],
    report: Path | None,
    modinfo: tuple[str, ...],
    as_json: bool,
) -> int:
    """Turn a source fix into a module for the image that runs, or say why not.

    The tree is built once as it is, which takes minutes, and kept; then, with the
    fix, only what that touches. A kernel is never built, only the objects that the fix
    touches, twice. Before anything is trusted the original objects are compared with
    the image and its modules, function by function. What cannot be a live patch is
    refused with its cause.

    Exit code 0: the module is written; 10: refused; 15: the image is not affected,
    there is no module.
    """
    result = api.build_source(
        tree,
        patches,
        image,
        name=name or module_name(output) or output.stem,
        configuration=configuration,
        compiler=compiler,
        variables=dict(parse_pairs(variables, "--make")),
        modinfo=parse_pairs(modinfo, "--modinfo"),
        depends=depends,
        replaces=replaces,
        hooks=dict(parse_pairs(hooks, "--hook")),
        modules=modules,
        atomic_replace=atomic_replace,
        fan_out=fan_out or 0,
        jobs=jobs or 0,
        notify=BuildProgress(),
    )
    if result.built is not None:
        write_whole(output, result.built.payload)
    if report is not None:
        write_whole(report, changes_page(result).encode())
    document = shapes.source_document(result, output)
    show([to_json(document)] if as_json else source_lines(document))
    codes = {Verdict.REFUSED: exits.REFUSED, Verdict.UNCHANGED: exits.UNCHANGED}
    return codes.get(result.verdict, exits.DONE)


@click.group("cache")
def build_cache() -> None:
    """Built source trees that are kept, one for each content, configuration and
    compiler."""


@build_cache.command("list")
@JSON
def list_bases(as_json: bool) -> int:
    """Show what is kept, the one used last first."""
    deliver(cache.kept_bases(), as_json)
    return exits.DONE


@build_cache.command("prune")
@click.option(
    "--days",
    type=click.FloatRange(min=0),
    default=30,
    show_default=True,
    help="Forget what was not used for so long; 0 for everything.",
)
@JSON
def prune_bases(days: float, as_json: bool) -> int:
    """Forget what was not used for a while."""
    deliver(cache.prune(days), as_json)
    return exits.DONE


def deliver(bases: tuple[cache.Kept, ...], as_json: bool) -> None:
    document = shapes.bases_document(bases, cache.builds_directory())
    if as_json:
        show([to_json(document)])
        return
    headings = ("KEY", "MIB", "USED", "COMPILER", "TREE")
    rows = (
        (b.key, str(b.size >> 20), b.used, b.compiler, b.tree) for b in document.bases
    )
    show_table(headings, list(rows))
