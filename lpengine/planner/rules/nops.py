"""Blanking instructions: only whole ones, and never the end of a function."""

from collections.abc import Iterator

from lpengine.arch.x86 import Instruction
from lpengine.patch.model import Patch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block
from lpengine.planner.sites import Site, sites
from lpengine.planner.situation import ENDBR, NEAR_JUMP, Situation

# What Xen can save of a function (livepatch.h: LIVEPATCH_OPAQUE_SIZE).
LONGEST = 31
_STOPS = frozenset({"ud2", "hlt", "iretq", "sysretq", "sysexitq", "int3"})


def nop_sizes(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Xen: arch_livepatch_verify_func; and livepatch_insn_len, whose subtraction
    of the ENDBR64 it does not check."""
    for site in nop_sites(patch, situation):
        size = site.function.new_size
        if size > LONGEST:
            yield from once(patch, site, "nop-too-long", f"at most {LONGEST} bytes")
        elif size > site.function.old_size:
            at_most = f"at most the function's {site.function.old_size} bytes"
            yield from once(patch, site, "nop-beyond-function", at_most)
        if size == 0 or (site.keeps_endbr and size <= ENDBR):
            least = ENDBR + 1 if site.keeps_endbr else 1
            yield from once(patch, site, "nop-underflow", f"at least {least} bytes")


def nop_sites(patch: Patch, situation: Situation) -> Iterator[Site]:
    for site in sites(patch, situation):
        if site.function.is_nop:
            yield site


def once(patch: Patch, site: Site, cause: str, needed: str) -> Iterator[Finding]:
    yield block(
        cause,
        patch.name,
        site.label,
        observed=f"{site.function.new_size} bytes to blank",
        needed=needed,
        remedy=f"blank {needed}, or redirect the function",
        address=f"{site.address:#x}",
        bytes=site.now[:LONGEST].hex(),
        new_size=site.function.new_size,
        old_size=site.function.old_size,
    )


def nop_whole(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Half an instruction left over, or a function without its return, runs into
    whatever comes next."""
    for site in nop_sites(patch, situation):
        if site.into or not fits(site):
            continue
        reason = torn(site) or unended(site)
        if reason:
            yield block(
                "nop-partial-instruction",
                patch.name,
                site.label,
                observed=reason,
                needed="whole instructions, the last of the function not among them",
                remedy=f"blank one of {sizes(site)} bytes, or redirect the function",
                address=f"{site.address:#x}",
                bytes=site.original[:LONGEST].hex(),
                new_size=site.function.new_size,
                instructions=[one.text for one in blanked(site)],
            )


def fits(site: Site) -> bool:
    """Whether the other rules have nothing against the size."""
    return site.start < site.end <= min(LONGEST, site.function.old_size)


def torn(site: Site) -> str:
    end = site.address + site.end
    for one in site.instructions:
        if one.address < end < one.end:
            return f"the blank ends inside '{one.text}' at {one.address:#x}"
    if site.instructions and end <= site.instructions[-1].end:
        return torn_jump(site)
    return f"the code before {end:#x} cannot be decoded"


def torn_jump(site: Site) -> str:
    """A redirection that is there already is one instruction of five bytes."""
    redirected = not site.bare and (site.rewrites or site.code.redirected_by)
    if redirected and site.end < site.start + NEAR_JUMP:
        return "the blank ends inside the jump of the patch below"
    return ""


def unended(site: Site) -> str:
    for one in blanked(site):
        if leaves(one, site):
            return f"'{one.text}' at {one.address:#x} is how the function ends"
    return ""


def blanked(site: Site) -> tuple[Instruction, ...]:
    start, end = site.address + site.start, site.address + site.end
    return tuple(i for i in site.instructions if i.end > start and i.address < end)


def leaves(one: Instruction, site: Site) -> bool:
    """Control does not come to the next instruction: a return, a jump out, a stop,
    or the last instruction there is."""
    if one.is_return or one.mnemonic in _STOPS:
        return True
    if one.end >= site.code.address + len(site.original):
        return True
    if not one.is_branch or not one.mnemonic.rpartition(" ")[2].startswith("jmp"):
        return False
    body = range(site.code.address, site.code.address + len(site.original))
    return one.target is None or one.target not in body


def sizes(site: Site) -> str:
    """The sizes that would do."""
    fine = []
    for one in site.instructions:
        if leaves(one, site) or one.end > site.address + LONGEST:
            break
        if one.end > site.address + site.start:
            fine.append(str(one.end - site.address))
    return ", ".join(fine) or "no"
