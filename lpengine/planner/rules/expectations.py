"""The bytes the patch expects, against those that will be there."""

from collections.abc import Iterator

from lpengine.patch.model import Expectation, FunctionPatch, Patch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, warn
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
        if writer or known_bytes(site, expected, expected.bytes) != known_bytes(
            site, expected, site.now
        ):
            yield mismatch(patch, site, writer)
        elif rewritten := unsure(site, expected):
            yield uncertain(patch, site, rewritten)


def unsure(site: Site, expected: Expectation) -> tuple[int, ...]:
    """The addresses of expected bytes that the image may have rewritten itself."""
    return tuple(
        address
        for address in range(site.address, site.address + expected.length)
        if any(address in span for span in site.code.unsure)
    )


def known_bytes(site: Site, expected: Expectation, data: bytes) -> bytes:
    """Of bytes at the site, those that can be compared."""
    hidden = unsure(site, expected)
    return bytes(
        byte
        for address, byte in enumerate(data[: expected.length], site.address)
        if address not in hidden
    )


def uncertain(patch: Patch, site: Site, rewritten: tuple[int, ...]) -> Finding:
    """Xen: alternatives, and endbr64 poisoned; its code cannot be read."""
    first, last = rewritten[0], rewritten[-1]
    return warn(
        "expectation-mismatch",
        patch.name,
        site.label,
        observed=f"the image may have rewritten {first:#x} to {last:#x} itself",
        needed="expected bytes that are the same in the image's file and in memory",
        remedy="nothing to do if it was built from the running code; the target"
        " compares the bytes before it changes any",
        address=f"{site.address:#x}",
    )


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
