"""The target as it will be when a step of the plan runs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

from lpengine.arch.x86 import starts_with_endbr
from lpengine.patch.model import FunctionPatch, HookKind, Patch
from lpengine.planner.facts import (
    CodeFact,
    Facts,
    LoadedPatch,
    PatchState,
    Span,
    SymbolFact,
)
from lpengine.planner.plan import Policy

PAGE = 4096
NEAR_JUMP = 5
ENDBR = 4
# The address of a symbol whose patch an earlier step of the same plan loads.
UNPLACED = -1


@dataclass(frozen=True)
class Rewrite:
    """Bytes [start, end) of a function that `patch` will have overwritten."""

    patch: str
    start: int
    end: int


@dataclass(frozen=True)
class Situation:
    """`loaded` and `applied` as in Facts, `rewrites` what earlier steps of the plan
    do to functions (by old address), `free` the bytes left for new code, `bare`
    that everything applied has been reverted, as within a replace."""

    facts: Facts
    policy: Policy
    loaded: tuple[LoadedPatch, ...]
    applied: tuple[str, ...]
    free: int
    planned: tuple[Patch, ...] = ()
    rewrites: Mapping[int, tuple[Rewrite, ...]] = field(default_factory=dict)
    bare: bool = False

    @property
    def version(self) -> str:
        return self.facts.image.version

    @property
    def top(self) -> LoadedPatch | None:
        return self.found(self.applied[-1]) if self.applied else None

    def found(self, name: str) -> LoadedPatch | None:
        return next((one for one in self.loaded if one.name == name), None)

    def symbols(self, name: str) -> tuple[SymbolFact, ...]:
        """Every place where `name` is: the image's first, as Xen looks it up
        (symbols_lookup_by_name, then livepatch_symbols_lookup_by_name)."""
        here = [
            fact
            for fact in self.facts.symbols.get(name, ())
            if not fact.owner or fact.owner in self.settled
        ]
        here.sort(key=lambda fact: bool(fact.owner))
        return (*here, *self.coming.get(name, ()))

    @cached_property
    def settled(self) -> frozenset[str]:
        """The loaded patches that the target has been asked about."""
        fresh = {patch.name for patch in self.planned}
        return frozenset(one.name for one in self.loaded) - fresh

    @cached_property
    def coming(self) -> Mapping[str, tuple[SymbolFact, ...]]:
        """What patches bring that earlier steps of the plan load."""
        found: dict[str, tuple[SymbolFact, ...]] = {}
        for patch in self.planned:
            for symbol in patch.new_symbols:
                fact = SymbolFact(
                    symbol.name, UNPLACED, symbol.size, True, owner=patch.name
                )
                found[symbol.name] = (*found.get(symbol.name, ()), fact)
        return found

    def code(self, address: int) -> CodeFact | None:
        return self.facts.code.get(address)

    def rewritten(self, address: int) -> tuple[Rewrite, ...]:
        return () if self.bare else self.rewrites.get(address, ())


def observe(facts: Facts, policy: Policy) -> Situation:
    return Situation(
        facts=facts,
        policy=policy,
        loaded=facts.loaded,
        applied=facts.applied,
        free=facts.image.patch_area_free,
    )


def after_load(situation: Situation, patch: Patch) -> Situation:
    return replace(
        without(situation, patch.name),
        loaded=(*without(situation, patch.name).loaded, as_loaded(patch, situation)),
        planned=(*without(situation, patch.name).planned, patch),
        free=situation.free - room_needed(patch),
    )


def after_apply(situation: Situation, patch: Patch) -> Situation:
    """`patch` must be loaded in `situation`."""
    rewrites = dict(situation.rewrites)
    for function in patch.functions:
        address = old_address(function, situation)
        if address is None or address == UNPLACED:
            continue
        start, end = overwritten(function, situation, address)
        rewrites[address] = (
            *rewrites.get(address, ()),
            Rewrite(patch.name, start, end),
        )
    return replace(
        with_state(situation, patch.name, PatchState.APPLIED),
        applied=(*situation.applied, patch.name),
        rewrites=rewrites,
    )


def after_revert_all(situation: Situation) -> Situation:
    """As in the middle of a replace: everything off, the image's own bytes back."""
    for name in situation.applied:
        situation = with_state(situation, name, PatchState.CHECKED)
    return replace(situation, applied=(), bare=True)


def without(situation: Situation, name: str) -> Situation:
    """The target if `name` were not loaded."""
    return replace(
        situation,
        loaded=tuple(one for one in situation.loaded if one.name != name),
        planned=tuple(one for one in situation.planned if one.name != name),
    )


def with_state(situation: Situation, name: str, state: PatchState) -> Situation:
    return replace(
        situation,
        loaded=tuple(
            replace(one, state=state) if one.name == name else one
            for one in situation.loaded
        ),
    )


def as_loaded(patch: Patch, situation: Situation) -> LoadedPatch:
    """What the target will list once `patch` is loaded."""
    starts = [(f, old_address(f, situation)) for f in patch.functions]
    return LoadedPatch(
        name=patch.name,
        build_id=patch.build_id,
        depends=patch.depends,
        state=PatchState.CHECKED,
        sha256=patch.sha256,
        safe_to_reapply=patch.safe_to_reapply,
        vetoing_hooks=patch.has_vetoing_hooks,
        irreversible=has_action_hooks(patch),
        functions=tuple(
            Span(start, start + function.old_size)
            for function, start in starts
            if start is not None and start != UNPLACED
        ),
        symbols=tuple(symbol.name for symbol in patch.new_symbols),
        uses=patch.undefined,
        metadata=patch.metadata,
    )


def has_action_hooks(patch: Patch) -> bool:
    """Whether it patches by code of its own instead of by redirection."""
    return any(h.kind in (HookKind.APPLY, HookKind.REVERT) for h in patch.hooks)


def old_address(function: FunctionPatch, situation: Situation) -> int | None:
    """Where the old function is; None where its name is unknown. The record's own
    address wins over its name (Xen: resolve_old_address)."""
    if not function.wanted:
        return function.old_address or None
    symbols = situation.symbols(function.wanted)
    return symbols[0].address if symbols else None


def overwritten(
    function: FunctionPatch, situation: Situation, address: int
) -> tuple[int, int]:
    """The offsets [start, end) that applying `function` overwrites (Xen:
    arch_livepatch_apply): after an endbr64, a near jump or the NOPs."""
    code = situation.code(address)
    start = ENDBR if code and starts_with_endbr(code.live) else 0
    if function.is_nop:
        return start, max(start, function.new_size)
    return start, start + NEAR_JUMP


def room_needed(patch: Patch) -> int:
    """Bytes the patch takes when loaded: code, data and constants on pages of
    their own (Xen: move_payload)."""
    regions = {"text": 0, "data": 0, "constants": 0}
    for section in patch.sections:
        region = (
            "text"
            if section.executable
            else "data"
            if section.writable
            else "constants"
        )
        regions[region] = round_up(regions[region], section.alignment) + section.size
    return sum(round_up(size, PAGE) for size in regions.values())


def round_up(value: int, alignment: int) -> int:
    step = max(alignment, 1)
    return (value + step - 1) // step * step
