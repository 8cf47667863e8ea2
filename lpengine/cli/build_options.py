"""Options that several ways to build a module share."""

from pathlib import Path

import click

from lpengine.cli.options import Decorator
from lpengine.compile import DEFAULT_COMPILER
from lpengine.patch.build import FORMATS

IMAGE: Decorator = click.option(
    "--image",
    required=True,
    type=click.Path(path_type=Path),
    help="What is running: Xen's ELF file with symbols (xen-syms), or Linux's vmlinuz "
    "or vmlinux.",
)
OUTPUT: Decorator = click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path)
)
NAME: Decorator = click.option("--name", default="", help="Name of the patch.")
DEPENDS: Decorator = click.option(
    "--depends",
    type=click.Path(path_type=Path),
    help="Xen: the module below it in the stack; without, it goes onto the image.",
)
FORMAT: Decorator = click.option(
    "--for",
    "format_",
    type=click.Choice(FORMATS),
    help="What it is for; by default the image tells.",
)
MODULE: Decorator = click.option(
    "--module",
    type=click.Path(path_type=Path),
    help="Linux: the .ko file that the functions are in.",
)
MODULES: Decorator = click.option(
    "--module",
    "modules",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="KO|DIRECTORY",
    help="Linux: a module that may be patched or used, or where they lie; by default "
    "those installed beside the image. May be repeated.",
)
ATOMIC: Decorator = click.option(
    "--atomic-replace",
    is_flag=True,
    help="Linux: take the place of all older live patches.",
)
MODINFO: Decorator = click.option(
    "--modinfo", multiple=True, metavar="KEY=VALUE", help="Metadata; may be repeated."
)
COMPILER: Decorator = click.option(
    "--compiler", default=DEFAULT_COMPILER, show_default=True
)


def module_name(output: Path) -> str:
    """A kernel module is called like its file."""
    return output.stem if output.suffix == ".ko" else ""
