"""Why a tree's objects are not those of the running kernel."""

import re
from collections.abc import Sequence
from pathlib import Path

from lpengine.compile.source import SourceBuild
from lpengine.compile.toolchain import Toolchain
from lpengine.compile.tree import Settings
from lpengine.elf.kernel import KernelImage
from lpengine.errors import BuildError
from lpengine.patch.proof import Difference
from lpengine.patch.unproved import likely_cause

_OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$", re.MULTILINE)
_NUMBER = r"^{} = *(\d+)$"
_PARTS = ("VERSION", "PATCHLEVEL", "SUBLEVEL")


def cause(
    kernel: KernelImage,
    differences: Sequence[Difference],
    source: SourceBuild,
    settings: Settings,
) -> str:
    """One sentence: what to look at first."""
    ours, theirs = _tree_version(source.base), _image_version(kernel)
    if ours and theirs and ours != theirs:
        return f"the tree is Linux {ours}, the kernel {theirs}: take its own source"
    return likely_cause(
        differences,
        len(source.pairs),
        image_compilers=[kernel.compiler] if kernel.compiler else [],
        our_compilers=(settings.toolchain.signature,),
        configuration=settings.origin,
        other_configuration=_other_options(settings.configuration, kernel),
    )


def require_kind(kernel: KernelImage, toolchain: Toolchain) -> None:
    """BuildError where the kernel is of another compiler altogether, whose options
    the configuration is about: nothing would come of trying."""
    if bool(kernel.compiler) is toolchain.is_clang:
        made_by = kernel.compiler or "another compiler than gcc"
        raise BuildError(
            f"{kernel.path}: was compiled by {made_by}, this is "
            f"{toolchain.description}",
            codes=("LP-TGT-108",),
            hint="give the kernel's own with --compiler",
        )


def _tree_version(base: Path) -> str:
    text = (base / "Makefile").read_text(errors="replace")
    found = [re.search(_NUMBER.format(part), text, re.MULTILINE) for part in _PARTS]
    return ".".join(each[1] for each in found if each)


def _image_version(kernel: KernelImage) -> str:
    """The newest number that the banner names: distributions leave the last part out
    of the release, and say it elsewhere."""
    major, minor = kernel.version
    found = re.findall(rf"\b{major}\.{minor}\.(\d+)", kernel.banner)
    newest = max(map(int, found), default=0)
    return f"{major}.{minor}.{newest}" if newest else ""


def _other_options(configuration: bytes, kernel: KernelImage) -> list[str]:
    theirs = dict(_OPTION.findall(kernel.configuration.decode(errors="replace")))
    ours = dict(_OPTION.findall(configuration.decode(errors="replace")))
    return [
        f"{name}={value}"
        for name, value in sorted(theirs.items())
        if ours.get(name) != value
    ]
