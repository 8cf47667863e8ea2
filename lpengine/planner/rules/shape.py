"""Is the old function what the patch says it is, and long enough?"""

from collections.abc import Iterator

from lpengine.arch.x86 import branches_into, is_padding
from lpengine.patch.model import FunctionPatch, Patch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, note, warn
from lpengine.planner.sites import Site, label, sites
from lpengine.planner.situation import (
    ENDBR,
    NEAR_JUMP,
    UNPLACED,
    Situation,
    old_address,
)


def image_seen(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Without the image's names and code the build id alone vouches for the rest."""
    unseen = situation.facts.image.unseen
    if unseen:
        yield warn(
            "code-not-seen",
            patch.name,
            "image",
            observed="names and code of the running image are not known: symbols,"
            " sizes, jumps, NOPs and code that is gone after boot are not checked",
            needed="the image's symbols",
            remedy=unseen,
        )


def code_seen(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """What could not be read is not patched blindly."""
    if situation.facts.image.unseen:
        return
    for function in patch.functions:
        address = old_address(function, situation)
        if address == UNPLACED:
            yield not_yet_loaded(patch, function)
        elif address is not None and situation.code(address) is None:
            yield block(
                "code-not-seen",
                patch.name,
                label(function),
                observed=f"the code at {address:#x} could not be read",
                needed="the code that is to be overwritten",
                address=f"{address:#x}",
            )


def not_yet_loaded(patch: Patch, function: FunctionPatch) -> Finding:
    return warn(
        "code-not-seen",
        patch.name,
        label(function),
        observed="the function comes with a patch that this plan loads first",
        needed="its code, to check size and jumps",
        remedy="load the other patch first and plan again to have it checked",
    )


def sizes_true(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """The hypervisor believes old_size and old_addr; a wrong one overwrites what
    lies behind, or the middle of a function."""
    for site in sites(patch, situation):
        if site.into:
            yield mid_function(patch, site)
        elif site.function.old_size and site.function.old_size != true_size(site):
            yield borrowed(patch, site) if borrows(site) else wrong_size(patch, site)


def true_size(site: Site) -> int:
    """The function's size; where the image does not say (assembly), what the
    patch says as long as there is room."""
    return site.size or min(site.function.old_size, site.room)


def mid_function(patch: Patch, site: Site) -> Finding:
    return block(
        "wrong-old-size",
        patch.name,
        site.label,
        observed=f"{site.address:#x} is {site.into:#x} bytes inside {site.code.symbol}",
        needed="the start of a function",
        remedy=f"patch {site.code.symbol} at {site.code.address:#x}",
        address=f"{site.address:#x}",
        function=site.code.symbol,
        function_address=f"{site.code.address:#x}",
    )


def wrong_size(patch: Patch, site: Site) -> Finding:
    return block(
        "wrong-old-size",
        patch.name,
        site.label,
        observed=f"old_size {site.function.old_size}",
        needed=f"{true_size(site)}, the size of {site.code.symbol} in the image",
        remedy=f"rebuild the patch with old_size {true_size(site)}",
        address=f"{site.address:#x}",
        old_size=site.function.old_size,
        size=site.size,
        room=site.room,
    )


def needed_for_jump(site: Site) -> int:
    return NEAR_JUMP + (ENDBR if site.keeps_endbr else 0)


def borrows(site: Site) -> bool:
    """Whether the patch takes from the padding behind a function that is too short
    for a jump, and nothing else."""
    if site.function.is_nop or site.size >= needed_for_jump(site):
        return False
    wanted = site.function.old_size
    return needed_for_jump(site) <= wanted <= padded_size(site)


def padded_size(site: Site) -> int:
    """How many bytes a redirect may use: the function, and what lies behind it as
    far as that is nothing but padding which the function does not jump into."""
    size = true_size(site)
    start, end = site.code.address + size, site.code.address + len(site.code.live)
    if not is_padding(site.code.live[size:]) or not is_padding(
        site.code.shipped[size:]
    ):
        return size
    inside = branches_into(site.original, site.code.address, start - 1, end)
    return size if inside else len(site.code.live)


def borrowed(patch: Patch, site: Site) -> Finding:
    return note(
        "uses-padding",
        patch.name,
        site.label,
        observed=f"old_size {site.function.old_size} reaches into the padding behind "
        f"the function's {site.size} bytes",
        needed="padding that nothing runs or jumps into; it is",
        remedy="nothing to do",
        size=site.size,
        room=site.room,
        padding=site.code.live[site.size :].hex(),
    )


def room_for_jump(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: arch_livepatch_verify_func; 5 bytes, and 4 more behind an ENDBR64."""
    for site in sites(patch, situation):
        if site.function.is_nop or not site.function.old_size:
            continue
        needed = needed_for_jump(site)
        if site.function.old_size >= needed:
            continue
        yield block(
            "function-too-small",
            patch.name,
            site.label,
            observed=f"{site.function.old_size} bytes",
            needed=f"{needed} bytes for the jump"
            + (" and the ENDBR64 before it" if site.keeps_endbr else ""),
            remedy=way_around(site, needed),
            address=f"{site.address:#x}",
            bytes=site.now[: site.function.old_size].hex(),
            old_size=site.function.old_size,
            room=site.room,
            padded_size=padded_size(site),
        )


def way_around(site: Site, needed: int) -> str:
    if not site.into and padded_size(site) >= needed:
        return (
            f"{site.room} bytes up to the next symbol are free, all of it padding: "
            f"rebuild the patch with old_size {needed}, or patch the callers"
        )
    return f"patch the callers of {site.code.symbol or site.label} instead"
