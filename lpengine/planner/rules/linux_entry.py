"""May this module come into the running Linux kernel?"""

from collections.abc import Iterator

from lpengine.patch.model import Patch
from lpengine.planner.findings import Finding
from lpengine.planner.rules.linux_findings import refuse
from lpengine.planner.situation import Situation

# What scripts/sign-file ends a signed module with.
SIGNATURE_MARK = b"~Module signature appended~\n"


def modules_allowed(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """may_init_module and module_sig_check. Whether a signature is by a key that the
    kernel trusts shows only there."""
    kernel = situation.facts.kernel
    if kernel is None:
        return
    if kernel.modules_disabled:
        yield refuse(
            "modules-disabled",
            patch.name,
            "kernel.modules_disabled",
            observed="it is 1: no module comes in or goes until the next boot",
            needed="0",
            remedy="reboot into the fixed kernel; this switch has no way back",
        )
    if patch.raw.endswith(SIGNATURE_MARK):
        return
    if kernel.signature_required:
        yield refuse(
            "module-unsigned",
            patch.name,
            "signature",
            observed="the module is not signed, and module.sig_enforce is on",
            needed="a signature by a key that the kernel trusts",
            remedy="sign it with the kernel's sign-file",
        )
    elif kernel.lockdown not in ("", "none"):
        yield refuse(
            "locked-down",
            patch.name,
            "signature",
            observed=f"the module is not signed, and the kernel is in lockdown: "
            f"{kernel.lockdown}",
            needed="a signature by a key that the kernel trusts",
            remedy="sign it with the kernel's sign-file",
            lockdown=kernel.lockdown,
        )


def tracing_on(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Functions are redirected by the tracer (klp_patch_func)."""
    kernel = situation.facts.kernel
    if kernel is not None and not kernel.tracing and patch.functions:
        yield refuse(
            "tracing-disabled",
            patch.name,
            "kernel.ftrace_enabled",
            observed="the function tracer is switched off",
            needed="kernel.ftrace_enabled = 1",
            remedy="sysctl kernel.ftrace_enabled=1, then plan again",
        )


def name_not_taken(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A module of that name which is no live patch (add_unformed_module), or a part of
    the kernel that has a place in /sys/module (mod_sysfs_init)."""
    kernel = situation.facts.kernel
    if kernel is None:
        return
    if kernel.module(patch.name) is not None:
        yield name_taken(patch, "a kernel module", "EEXIST")
    elif patch.name in kernel.built_in:
        yield name_taken(patch, "a part of the kernel", "EINVAL")


def name_taken(patch: Patch, by: str, errno: str) -> Finding:
    return refuse(
        "name-in-use",
        patch.name,
        patch.name,
        observed=f"{by} has the name {patch.name}",
        needed="a name of its own",
        remedy="give this patch another name",
        errno=errno,
    )
