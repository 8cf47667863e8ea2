"""What is on the running Linux kernel already, and what this patch would mean."""

import re
from collections.abc import Iterator

from lpengine.patch.model import Patch
from lpengine.planner.facts import LoadedPatch, PatchState
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, note, warn
from lpengine.planner.rules.linux_findings import refuse
from lpengine.planner.situation import Situation

# Since then a module may be patched, unloaded and loaded again.
RELOADS_SINCE = (6, 3)


def states_compatible(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """klp_is_patch_compatible, against each patch that is on: a known state must not
    go back, and one that replaces must know them all."""
    own = {state.id: state.version for state in patch.states}
    for other in situation.loaded:
        if other.state is not PatchState.APPLIED or other.states is None:
            continue
        for state in other.states:
            version = own.get(state.id)
            if version is None and not patch.replace:
                continue
            if version is None or version < state.version:
                yield refuse(
                    "states-incompatible",
                    patch.name,
                    f"state {state.id}",
                    observed=f"{other.name} has changed it to version {state.version}",
                    needed=f"a patch that knows at least version {state.version}"
                    + ("" if version is None else f", not {version}"),
                    remedy=f"get a newer patch, or revert {other.name} first",
                )


def survives_reload(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Before 6.3 the places of a module's relocations are not cleared as it goes, and
    must be clear as it comes (klp_apply_section_relocs: existing value is nonzero)."""
    kernel = situation.facts.kernel
    if kernel is None or version(kernel.release) >= RELOADS_SINCE:
        return
    modules = {one.object for one in patch.klp_relocations} - {"vmlinux"}
    for name in sorted(modules):
        yield warn(
            "target-reload",
            patch.name,
            name,
            observed=f"kernel {kernel.release} cannot load {name} twice under this "
            "patch",
            needed="Linux 6.3, or a module that stays loaded",
            remedy=f"before {name} is loaded again, revert and unload {patch.name}",
        )


def version(release: str) -> tuple[int, int]:
    """(6, 1) for "6.1.0-56-cloud-amd64"; (0, 0) for what is none: the oldest."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def replaces_others(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Taking it back means bringing the others in again, which takes their files."""
    if not patch.replace:
        return
    for name in situation.applied:
        other = situation.found(name)
        if other is not None and not other.sha256:
            yield warn(
                "not-revertible",
                patch.name,
                name,
                observed=f"{name} will go off, and its module was not loaded by "
                "lpengine",
                needed="its module, to bring it back if this patch has to go",
                remedy=f"keep the file of {name} at hand",
            )


def callbacks_may_veto(patch: Patch, situation: Situation) -> Iterator[Finding]:
    for callback in patch.callbacks:
        if callback.kind == "pre_patch":
            yield note(
                "hook-veto",
                patch.name,
                callback.symbol or callback.kind,
                observed="a callback runs before the patch is on and may refuse",
                remedy="if it does, the kernel's log says so",
                object=callback.object or "vmlinux",
            )


def not_cumulative(patch: Patch) -> Finding:
    return refuse(
        "not-cumulative",
        patch.name,
        patch.name,
        observed="it was not built to replace what is on",
        needed="a module that replaces all others",
        remedy="build it so, or revert what is applied and then apply it; between "
        "the two nothing is fixed",
    )


def pinned(one: LoadedPatch) -> Finding:
    return refuse(
        "pinned",
        one.name,
        one.name,
        observed="a transition of it was forced",
        needed="a patch whose tasks have all switched by themselves",
        remedy="its module stays in the kernel until the next boot",
    )


def wrong_format(patch: Patch, situation: Situation) -> Finding:
    takes = situation.facts.capabilities.format
    return block(
        "wrong-format",
        patch.name,
        patch.name,
        observed=f"the module is in the format of {patch.format}",
        needed=f"a module in the format of {takes}",
        remedy=f"build it for this target: lpengine build --for {takes}",
        errno="ENOEXEC" if takes == "linux" else "EINVAL",
    )
