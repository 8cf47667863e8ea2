"""Findings about Linux modules: each cause with the errno the kernel answers.

Sources: kernel/module/main.c, version.c and signing.c, kernel/livepatch/core.c,
patch.c and state.c, all as of 6.1; the answers were seen on Debian's 6.1.
"""

from collections.abc import Mapping
from types import MappingProxyType

from lpengine.planner.findings import Finding
from lpengine.planner.judgement import Evidence, answer, block
from lpengine.planner.situation import Situation

# "" where the kernel takes the module and misbehaves.
ANSWERS: Mapping[str, str] = MappingProxyType(
    {
        "no-live-patching": "ENOEXEC",
        "not-privileged": "EPERM",
        "name-in-use": "EEXIST",
        "unload-applied": "EAGAIN",
        "modules-disabled": "EPERM",
        "module-unsigned": "EKEYREJECTED",
        "locked-down": "EPERM",
        "wrong-format": "ENOEXEC",
        "vermagic-mismatch": "ENOEXEC",
        "image-mismatch": "",
        "module-layout-mismatch": "ENOEXEC",
        "versions-missing": "",
        "not-marked-livepatch": "EINVAL",
        "symbol-version-missing": "EINVAL",
        "symbol-version-mismatch": "EINVAL",
        "unknown-symbol": "ENOENT",
        "klp-symbol-not-found": "EINVAL",
        "symbol-ambiguous": "EINVAL",
        "symbol-position": "EINVAL",
        "klp-relocation-misfiled": "EINVAL",
        "klp-relocation-early": "",
        "relocation-target-nonzero": "ENOEXEC",
        "old-function-not-found": "EINVAL",
        "init-reference": "",
        "function-not-traced": "EINVAL",
        "function-hooked": "EBUSY",
        "tracing-disabled": "EBUSY",
        "new-function-unsized": "",
        "unwind-missing": "",
        "states-incompatible": "EINVAL",
        "not-cumulative": "EINVAL",
        "function-resident": "EBUSY",
        "pinned": "EAGAIN",
    }
)


def errno_of(cause: str, situation: Situation) -> str:
    """For causes that several kinds of target know: what this one answers."""
    linux = situation.facts.capabilities.format == "linux"
    return ANSWERS[cause] if linux else answer(cause)


def refuse(
    cause: str,
    patch: str,
    subject: str,
    *,
    observed: str,
    needed: str,
    remedy: str = "",
    errno: str | None = None,
    **evidence: Evidence,
) -> Finding:
    """`errno` where the kernel answers otherwise than it usually does."""
    return block(
        cause,
        patch,
        subject,
        observed=observed,
        needed=needed,
        remedy=remedy,
        errno=ANSWERS[cause] if errno is None else errno,
        **evidence,
    )
