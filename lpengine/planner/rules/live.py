"""The bytes that are there now: as shipped, and safe to overwrite."""

from collections.abc import Iterator

from lpengine.arch.x86 import (
    Instruction,
    branches_into,
    is_padding,
    starts_with_endbr,
)
from lpengine.patch.model import Patch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, warn
from lpengine.planner.sites import Site, sites
from lpengine.planner.situation import ENDBR, NEAR_JUMP, Situation

FAR_JUMP = 14
LONGEST_NOP = 31
MOST_SHOWN = 32
_NEAR = b"\xe9"
_FAR = b"\xff\x25"


def text_unmodified(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Nobody but the applied patches has written here: not a probe, nor a jump
    that some earlier tool left behind."""
    for site in sites(patch, situation):
        foreign = foreign_bytes(site)
        if not foreign:
            continue
        first, last = foreign[0], foreign[-1]
        live, shipped = site.code.live, site.code.shipped
        place = site.code.address + first
        yield block(
            "target-text-modified",
            patch.name,
            site.label,
            observed=f"{shown(live, first, last)} at {place:#x}",
            needed=f"{shown(shipped, first, last)} as in the image",
            errno="",
            address=f"{place:#x}",
            live=shown(live, first, last),
            shipped=shown(shipped, first, last),
            size=last + 1 - first,
            redirected_by=list(site.code.redirected_by),
        )


def shown(code: bytes, first: int, last: int) -> str:
    """The differing bytes as hex, the first ones of many."""
    end = min(last + 1, first + MOST_SHOWN)
    return code[first:end].hex() + ("..." if end <= last else "")


def foreign_bytes(site: Site) -> list[int]:
    """Offsets of differing bytes that no applied patch accounts for."""
    live, shipped = site.code.live, site.code.shipped
    size = max(len(live), len(shipped))
    ours = own_bytes(site)
    return [
        at
        for at in range(size)
        if live[at : at + 1] != shipped[at : at + 1] and at not in ours
    ]


def own_bytes(site: Site) -> range:
    """What the applied patches may have overwritten: a jump behind the ENDBR64, or
    NOPs, or both on top of one another."""
    if not site.code.redirected_by:
        return range(0)
    start = ENDBR if starts_with_endbr(site.code.shipped) else 0
    live = site.code.live[start:]
    if len(site.code.redirected_by) > 1:
        return range(start, start + LONGEST_NOP)
    if live.startswith(_NEAR):
        return range(start, start + NEAR_JUMP)
    if live.startswith(_FAR):
        return range(start, start + FAR_JUMP)
    blank = [n for n in range(1, LONGEST_NOP + 1) if is_padding(live[:n])]
    return range(start, start + max(blank, default=0))


def code_decodes(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Without instructions nothing can be said of jumps: a warning."""
    for site in sites(patch, situation):
        end = site.code.address + len(site.original)
        instructions = site.instructions
        reached = instructions[-1].end if instructions else site.code.address
        if reached < end:
            yield warn(
                "function-undecodable",
                patch.name,
                site.label,
                observed=f"no instruction at {reached:#x}",
                needed=f"instructions up to {end:#x}",
                address=f"{reached:#x}",
                bytes=site.original[reached - site.code.address :][:16].hex(),
            )


def no_jump_into(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A branch of the function to behind the first overwritten byte would run into
    the middle of the jump (or of a long NOP)."""
    for site in sites(patch, situation):
        inside = branches(site)
        if inside:
            yield block(
                "jump-into-patched-bytes",
                patch.name,
                site.label,
                observed="; ".join(f"'{i.text}' at {i.address:#x}" for i in inside),
                needed=f"no branch to between {site.address + site.start:#x} and "
                f"{site.address + site.end:#x}",
                remedy=f"patch the callers of {site.label}, or another function "
                "on the way",
                branches=[f"{i.address:#x}" for i in inside],
                targets=[f"{i.target or 0:#x}" for i in inside],
            )


def branches(site: Site) -> tuple[Instruction, ...]:
    """Branches from the blanked bytes themselves do not count: they are gone."""
    start, end = site.address + site.start, site.address + site.end
    found = branches_into(site.original, site.code.address, start, end)
    return tuple(i for i in found if not start <= i.address < end)
