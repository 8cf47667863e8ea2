"""The bytes the patch expects, against those that will be there."""

from collections.abc import Iterator

from lpengine.patch.model import Expectation, FunctionPatch, Patch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block
from lpengine.planner.sites import Site, label, sites
from lpengine.planner.situation import Situation

LONGEST = 31


def expectations_sound(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: livepatch_verify_expectation_fn, all but the comparison."""
    for function in patch.functions:
        expected = function.expectation
        if not expected.enabled:
            continue
        if not function.wanted and not function.old_address:
            yield from unsound(patch, function, "expectation-no-address", "an address")
        if expected.length > LONGEST:
            at_most = f"at most {LONGEST} bytes"
            yield from unsound(patch, function, "expectation-too-long", at_most)
        if expected.reserved:
            yield from unsound(patch, function, "expectation-reserved", "zero bits")
        if expected.length > function.old_size:
            at_most = f"at most the function's {function.old_size} bytes"
            yield from unsound(patch, function, "expectation-beyond-function", at_most)


def unsound(
    patch: Patch, function: FunctionPatch, cause: str, needed: str
) -> Iterator[Finding]:
    expected = function.expectation
    yield block(
        cause,
        patch.name,
        label(function),
        observed=f"{expected.length} bytes expected, reserved bits {expected.reserved}",
        needed=needed,
        length=expected.length,
        reserved=expected.reserved,
        old_size=function.old_size,
    )


def expectations_met(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """The comparison. What an earlier step of the plan writes is not known to the
    byte (where the new code will lie is not), so expecting anything there fails."""
    for site in sites(patch, situation):
        expected = site.function.expectation
        if not expected.enabled or expected.length > site.function.old_size:
            continue
        writer = overwritten_by(site, expected)
        if writer or site.now[: expected.length] != expected.bytes:
            yield mismatch(patch, site, writer)


def overwritten_by(site: Site, expected: Expectation) -> str:
    """The patch whose redirect will lie on expected bytes, "" for none."""
    writers = [w.patch for w in site.rewrites if w.start < expected.length]
    return writers[-1] if writers else ""


def mismatch(patch: Patch, site: Site, writer: str) -> Finding:
    expected = site.function.expectation
    writer = writer or redirector(site)
    actual = site.now[: expected.length].hex()
    remedy = "rebuild the patch for the code that is running"
    if writer:
        remedy = (
            f"{writer} redirects {site.label}: revert {writer} first, replace it by "
            "a cumulative patch, or build this one on top of it"
        )
    return block(
        "expectation-mismatch",
        patch.name,
        site.label,
        observed=f"the jump of {writer}" if writer else actual,
        needed=expected.bytes.hex(),
        remedy=remedy,
        address=f"{site.address:#x}",
        expected=expected.bytes.hex(),
        actual=actual,
        redirected_by=writer,
    )


def redirector(site: Site) -> str:
    ours = site.code.redirected_by
    return ours[-1] if ours and not site.bare else ""
