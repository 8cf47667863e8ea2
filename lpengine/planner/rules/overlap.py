"""No two redirections may share bytes."""

from collections.abc import Iterator

from lpengine.patch.model import FunctionPatch, Patch
from lpengine.planner.facts import PatchState, Span
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block
from lpengine.planner.sites import Site, label, sites
from lpengine.planner.situation import UNPLACED, Situation, old_address


def functions_distinct(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Within one patch. The hypervisor takes it back in the order in which it was
    put on, so the second entry's saved bytes are the first one's jump."""
    other: FunctionPatch | None = None
    before = Span(0, 0)
    for function, span in sorted(places(patch, situation), key=lambda p: p[1].start):
        if other is not None and meet(before, span):
            late, early = sorted((function, other), key=lambda one: -one.index)
            yield twice(patch, late, early, span, before)
        if span.end > before.end:
            other, before = function, span


def places(patch: Patch, situation: Situation) -> Iterator[tuple[FunctionPatch, Span]]:
    for function in patch.functions:
        address = old_address(function, situation)
        if address is not None and address != UNPLACED:
            yield function, Span(address, address + max(function.old_size, 1))


def twice(
    patch: Patch, late: FunctionPatch, early: FunctionPatch, one: Span, other: Span
) -> Finding:
    same = one.start == other.start
    return block(
        "function-twice",
        patch.name,
        label(late),
        observed=f"shares bytes with {label(early)}: {text(other)} and {text(one)}",
        needed="functions that share no bytes",
        remedy="keep one of the two entries"
        if same
        else "correct old_addr and old_size of the two entries",
        first=text(other),
        second=text(one),
    )


def meet(one: Span, other: Span) -> bool:
    return one.start < other.end and other.start < one.end


def text(span: Span) -> str:
    return f"{span.start:#x}-{span.end:#x}"


def applied_distinct(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Against what is applied: stacking starts at the same byte or not at all."""
    for site in sites(patch, situation):
        mine = Span(site.address, site.address + max(site.function.old_size, 1))
        for other in situation.loaded:
            if other.state is PatchState.APPLIED:
                for span in other.functions:
                    if meet(mine, span) and span.start != mine.start:
                        yield overlapping(patch, site, mine, other.name, span)


def overlapping(
    patch: Patch, site: Site, mine: Span, owner: str, span: Span
) -> Finding:
    return block(
        "overlaps-applied",
        patch.name,
        site.label,
        observed=f"{owner} redirects {text(span)}",
        needed=f"{text(mine)} to itself",
        remedy=f"revert {owner} first, or rebuild one of the two",
        owner=owner,
        span=text(span),
    )
