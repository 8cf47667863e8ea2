"""Will the machine stand still at a safe point?"""

from collections.abc import Iterator

from lpengine.patch.model import HookKind, Patch
from lpengine.planner.facts import BusyFact, LoadedPatch
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block, note, warn
from lpengine.planner.sites import Site, sites
from lpengine.planner.situation import Situation


def functions_idle(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A processor inside an old function now. At a stackless point none can be, so
    that such a target needs no look."""
    if situation.facts.capabilities.consistency == "stackless":
        return
    for site in sites(patch, situation):
        for busy in situation.facts.busy:
            if inside(busy, site, situation):
                yield warn(
                    "function-busy",
                    patch.name,
                    site.label,
                    observed=f"{busy.who} is in it at {busy.address:#x}",
                    needed="nobody inside",
                    who=busy.who,
                    address=f"{busy.address:#x}",
                    backtrace=list(busy.backtrace),
                )


def inside(busy: BusyFact, site: Site, situation: Situation) -> bool:
    start, end = site.address, site.address + site.function.old_size
    if situation.facts.capabilities.consistency == "entry":
        start, end = site.address + site.start, site.address + site.end
    return start <= busy.address < end


def patch_idle(one: LoadedPatch, situation: Situation) -> Iterator[Finding]:
    """Who is inside a patch's own code, or in a function that it redirects, keeps it
    from being taken off."""
    if situation.facts.capabilities.consistency == "stackless":
        return
    for busy in situation.facts.busy:
        if any(busy.address in span for span in (one.code, *one.functions)):
            yield warn(
                "function-busy",
                one.name,
                busy.function,
                observed=f"{busy.who} is in {busy.function} at {busy.address:#x}",
                needed="nobody inside",
                who=busy.who,
                address=f"{busy.address:#x}",
                backtrace=list(busy.backtrace),
            )


def no_waitqueues(situation: Situation) -> Iterator[Finding]:
    """Xen: arch_livepatch_safety_check."""
    for guest in situation.facts.waitqueues:
        yield block(
            "waitqueue-active",
            "",
            guest,
            observed=f"a virtual CPU of {guest} sleeps inside the hypervisor",
            needed="no active wait queue",
            remedy=f"end memory introspection, paging or sharing of {guest}",
        )


def hooks_may_veto(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Only running it tells what a hook returns."""
    for hook in patch.hooks:
        if hook.kind is HookKind.PREAPPLY:
            yield note(
                "hook-veto",
                patch.name,
                hook.symbol or str(hook.kind),
                observed="a hook runs before the patch is applied and may refuse",
                remedy="if it does, its own message says why",
                kind=str(hook.kind),
            )
