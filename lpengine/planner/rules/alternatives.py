"""Alternatives are applied while the module is loaded, before its build ids are
looked at: a foreign one stops the machine."""

from collections.abc import Iterator

from lpengine.patch.model import Alternative, Patch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, harms
from lpengine.planner.situation import Situation

# More feature bits than any x86 hypervisor has; used where the number is unknown.
MOST_FEATURES = 1024
# Xen: MAX_PATCH_LEN, the buffer of _apply_alternatives
LONGEST = 254


def alternatives_known(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: _apply_alternatives; BUG() before 4.20, EINVAL from there on."""
    features = situation.facts.capabilities.features or MOST_FEATURES
    errno = "" if harms("foreign-alternatives", situation.version) else "EINVAL"
    for number, one in enumerate(patch.alternatives):
        for observed, needed in faults(one, features):
            yield block(
                "foreign-alternatives",
                patch.name,
                f".altinstructions[{number}]",
                observed=observed,
                needed=needed,
                remedy="rebuild the patch from the source of the running image",
                errno=errno,
                feature=one.feature,
                original_size=one.original_size,
                replacement_size=one.replacement_size,
                padding=one.padding,
            )


def faults(one: Alternative, features: int) -> Iterator[tuple[str, str]]:
    room = one.original_size + one.padding
    if one.feature >= features:
        yield f"CPU feature {one.feature}", f"a feature below {features}"
    if one.replacement_size > room:
        yield f"{one.replacement_size} bytes for {room}", "a replacement that fits"
    if room > LONGEST:
        yield f"a site of {room} bytes", f"at most {LONGEST} bytes"
