"""The verb that needs only a module: inspect."""

from pathlib import Path

from lpengine.elf import parse_image
from lpengine.errors import ElfError
from lpengine.patch.reader import load_patch
from lpengine.report.values import Inspection


def inspect(path: str | Path, *, name: str = "") -> Inspection:
    """What a patch module holds. Never refuses: violations are part of it."""
    patch = load_patch(Path(path), name)
    try:
        image = parse_image(patch.raw, str(path))
    except ElfError:
        image = None
    return Inspection(str(path), patch, image)
