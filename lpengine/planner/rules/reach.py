"""Is everything that must be near within two gigabytes?"""

from collections.abc import Iterator

from lpengine.patch.model import Patch, PatchRelocation
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, warn
from lpengine.planner.sites import Site, sites
from lpengine.planner.situation import (
    ENDBR,
    NEAR_JUMP,
    UNPLACED,
    Situation,
    room_needed,
)

R_X86_64_PC32 = 2
R_X86_64_PLT32 = 4
LIMIT = 1 << 31
# jmp [rip+0] and the address behind it
FAR_JUMP = 14


def relocations_supported(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: arch_livepatch_perform_rela."""
    if any(v.cause == "relocation-unsupported" for v in patch.violations):
        return
    known = situation.facts.capabilities.relocations
    names = section_names(patch)
    for relocation in patch.relocations:
        if relocation.type not in known:
            yield block(
                "relocation-unsupported",
                patch.name,
                where(names, relocation),
                observed=f"relocation type {relocation.type}",
                needed=f"one of {', '.join(str(kind) for kind in known)}",
                remedy="rebuild with -fPIC -fvisibility=hidden",
                type=relocation.type,
            )


def relocations_reach(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A 32-bit displacement from the patch area to the symbol. Where the module
    will lie is not known beforehand: out of reach from everywhere blocks, from
    somewhere warns."""
    undefined, names = frozenset(patch.undefined), section_names(patch)
    room = room_needed(patch)
    for relocation in patch.relocations:
        if relocation.type not in (R_X86_64_PC32, R_X86_64_PLT32):
            continue
        outside = relocation.symbol in undefined
        near, far = (
            span_of(relocation, situation) if outside else within(relocation, room)
        )
        if far >= LIMIT:
            judge = block if near >= LIMIT else warn
            to = relocation.symbol or "its symbol"
            yield judge(
                "relocation-overflow",
                patch.name,
                where(names, relocation),
                observed=f"{to} is {near:#x} to {far:#x} bytes away",
                needed=f"less than {LIMIT:#x} bytes",
                remedy=f"reach {to} by its 64-bit address",
                symbol=relocation.symbol,
                addend=relocation.addend,
            )


def span_of(relocation: PatchRelocation, situation: Situation) -> tuple[int, int]:
    """How far it is to a symbol of the target; (0, 0) where that is not known."""
    found = situation.symbols(relocation.symbol)
    if not found or found[0].address == UNPLACED:
        return 0, 0
    return distances(situation, found[0].address + relocation.addend)


def within(relocation: PatchRelocation, room: int) -> tuple[int, int]:
    """How far it is to a place in the patch itself, which takes `room` bytes."""
    away = abs(relocation.addend)
    return max(away - room, 0), away + room


def section_names(patch: Patch) -> dict[int, str]:
    return {section.index: section.name for section in patch.sections}


def where(names: dict[int, str], relocation: PatchRelocation) -> str:
    section = names.get(relocation.section_index, f"#{relocation.section_index}")
    return f"{section}+{relocation.offset:#x}"


def distances(situation: Situation, address: int) -> tuple[int, int]:
    """The shortest and the longest way from the patch area; (0, 0) where its
    place is unknown."""
    area = situation.facts.image.patch_area
    if area.end <= area.start:
        return 0, 0
    ends = (abs(address - area.start), abs(address - area.end))
    return (0 if address in area else min(ends)), max(ends)


def functions_reach(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: livepatch_verify_distance."""
    for site in sites(patch, situation):
        if site.function.is_nop or jumps_far(site, situation):
            continue
        near, far = new_code_away(site, situation)
        if far < LIMIT:
            continue
        judge = block if near >= LIMIT else warn
        yield judge(
            "function-out-of-reach",
            patch.name,
            site.label,
            observed=f"the new code is {near:#x} to {far:#x} bytes away",
            needed=f"less than {LIMIT:#x} bytes",
            address=f"{site.address:#x}",
        )


def new_code_away(site: Site, situation: Situation) -> tuple[int, int]:
    """The new code is in the patch area, or is a symbol that is there already."""
    behind = site.address + (ENDBR if site.keeps_endbr else 0) + NEAR_JUMP
    new = new_code(site, situation)
    if new is None:
        return distances(situation, behind - site.function.new_offset)
    return abs(new - behind), abs(new - behind)


def new_code(site: Site, situation: Situation) -> int | None:
    """Where the new code is if the patch does not bring it: at a symbol, or at an
    address, which the module's reader writes in place of the symbol's name."""
    name = site.function.new_symbol
    if name.startswith("0x"):
        return int(name, 16)
    found = situation.symbols(name) if name else ()
    return found[0].address if found and found[0].address != UNPLACED else None


def jumps_far(site: Site, situation: Situation) -> bool:
    needed = (ENDBR if site.keeps_endbr else 0) + FAR_JUMP
    return situation.facts.capabilities.far_jumps and site.size >= needed
