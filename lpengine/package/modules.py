"""What a patch module says about itself, against what an update says about it."""

from pathlib import PurePosixPath

from lpengine.package.doubts import Malformed
from lpengine.package.model import KERNEL, LivePatch
from lpengine.patch.model import Patch
from lpengine.patch.reader import read_patch


def read_module(raw: bytes, file: str) -> Patch:
    """The module that a live patch consists of. Malformed where it breaks a rule of
    its format: no target would take it."""
    patch = read_patch(raw, PurePosixPath(file).stem)
    if patch.violations:
        first = patch.violations[0]
        raise Malformed(
            file, f"{first.subject}: {first.observed}, needed: {first.needed}"
        )
    return patch


def format_for(component: str) -> str:
    """The module format that a component takes."""
    return "linux" if component == KERNEL else "xen"


def base_build_id_of(patch: Patch) -> str:
    """The build it was made for; "" where it does not say."""
    if patch.format == "linux":
        return dict(patch.target_ids).get("vmlinux", "")
    return patch.image_build_id or patch.depends


def check_module(livepatch: LivePatch, patch: Patch) -> None:
    """Malformed where a module is not what its update says it is."""
    wanted = format_for(livepatch.component)
    made_for = base_build_id_of(patch)
    if patch.format != wanted:
        what = f"a module for {patch.format}, not for {wanted}"
    elif made_for and made_for != livepatch.base_build_id:
        what = f"made for build {made_for}, not for {livepatch.base_build_id}"
    elif livepatch.name and patch.format == "linux" and patch.name != livepatch.name:
        what = f"called {patch.name}, not {livepatch.name}"
    else:
        return
    raise Malformed(livepatch.content.member if livepatch.content else "", what)
