"""What Xen takes without complaint and suffers from afterwards."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

# (major, minor, patch level, 0 before the release and 1 from it on)
_Version = tuple[int, int, int, int]

_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")
_BEFORE_RELEASE = re.compile(r"[-~._]?(?:pre|rc|unstable|dev)", re.IGNORECASE)
_LATEST = 1 << 31


@dataclass(frozen=True)
class Defect:
    """`effect` is what happens to the hypervisor. The versions concerned are those
    from `since` up to, and without, `fixed`; None leaves the end open."""

    cause: str
    effect: str
    since: _Version | None = None
    fixed: _Version | None = None

    def affects(self, version: str) -> bool:
        """Whether the hypervisor `version` ("4.17.7", "4.17.7-pre", "4.20-unstable",
        "4.17.7+13-g2445b30a44") has the defect. True where it may: for a version
        that is unknown, and for "4.17" where some 4.17.x has it."""
        span = _span(version)
        if span is None:
            return True
        first, last = span
        return not (
            (self.fixed is not None and first >= self.fixed)
            or (self.since is not None and last < self.since)
        )


def _span(version: str) -> tuple[_Version, _Version] | None:
    """The first and the last release that `version` may mean."""
    numbers = _NUMBERS.match(version.strip())
    if numbers is None:
        return None
    major, minor = int(numbers[1]), int(numbers[2])
    rest = version.strip()[numbers.end() :]
    released = 0 if _BEFORE_RELEASE.match(rest) else 1
    if numbers[3] is None and released:
        return (major, minor, 0, 1), (major, minor, _LATEST, 1)
    exact = (major, minor, int(numbers[3] or 0), released)
    return exact, exact


_DEFECTS = (
    Defect(
        "nop-underflow",
        "the number of bytes to blank wraps around below the 4 bytes of an ENDBR64, "
        "and the hypervisor dies at once when the payload is applied",
    ),
    Defect(
        "function-twice",
        "a revert reports success but leaves the function redirected into memory "
        "that unload frees; the next call kills the hypervisor",
    ),
    Defect(
        "init-target",
        "code that is gone after boot is read at upload: a fatal page fault",
    ),
    Defect(
        "init-reference",
        "the new code calls or reads what is gone after boot: a double fault when "
        "it runs",
    ),
    Defect(
        "section-not-allocated",
        "a section that Xen uses is not loaded (no SHF_ALLOC): it follows a null "
        "pointer, or one into freed memory",
    ),
    Defect(
        "foreign-alternatives",
        "an alternative does not fit this hypervisor: it stops with a BUG at upload, "
        "even where the payload is for another build",
        fixed=(4, 20, 0, 1),
    ),
    Defect(
        "zero-alignment",
        "loaded sections with alignment 0 are laid over one another",
    ),
    Defect(
        "nop-partial-instruction",
        "the rest of a cut instruction is executed: a double fault",
    ),
    Defect(
        "wrong-old-size",
        "what follows the old function is overwritten, or its middle is",
    ),
    Defect(
        "readonly-funcs",
        "the hypervisor writes into read-only .livepatch.funcs when the payload is "
        "applied: a fatal page fault",
        since=(4, 17, 1, 0),
        fixed=(4, 17, 3, 1),
    ),
    Defect(
        "wrong-state",
        "an action in the wrong state reports success and does nothing",
    ),
    Defect(
        "unchecked-pointer",
        "Xen follows a reference of the payload that leads nowhere, or takes a "
        "number that a relocation overwrote",
    ),
)

DEFECTS: Mapping[str, Defect] = MappingProxyType({d.cause: d for d in _DEFECTS})
