"""Names that the patch looks up, and names that it brings."""

from collections.abc import Iterator

from lpengine.patch.model import FunctionPatch, Patch
from lpengine.planner.facts import SymbolFact
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import block
from lpengine.planner.sites import label
from lpengine.planner.situation import UNPLACED, Situation, old_address


def references_known(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Every undefined symbol is somewhere, once, and outlives the boot (Xen:
    livepatch_elf_resolve_symbols, which neither minds ambiguity nor init code)."""
    targets = {f.old_symbol for f in patch.functions if f.old_symbol}
    for name in patch.undefined:
        found = situation.symbols(name)
        if not found and situation.facts.image.unseen:
            continue
        if not found:
            yield unknown_symbol(patch, name, situation)
        elif several(found):
            yield ambiguous(patch, name, found)
        elif gone_after_boot(found[0], situation) and name not in targets:
            yield init_reference(patch, found[0])


def unknown_symbol(patch: Patch, name: str, situation: Situation) -> Finding:
    remedy = "rebuild the patch for the image that is running"
    owner = bringer(name, situation)
    if owner:
        remedy = f"{name} comes with {owner}: load that patch first"
    elif "#" not in name:
        remedy += "; a static symbol is named by its file, as in path/file.c#name"
    return block(
        "unknown-symbol",
        patch.name,
        name,
        observed="neither the image nor a loaded patch has it",
        needed=f"a symbol named {name}",
        remedy=remedy,
        image=situation.facts.image.build_id,
    )


def bringer(name: str, situation: Situation) -> str:
    """A patch that is known to bring `name` although it is not loaded."""
    facts = situation.facts.symbols.get(name, ())
    return next((fact.owner for fact in facts if fact.owner), "")


def several(found: tuple[SymbolFact, ...]) -> bool:
    """Two places for one name within the image; a patch's own symbol of the same
    name is never reached and does not count."""
    return len({fact.address for fact in found if not fact.owner}) > 1


def ambiguous(patch: Patch, name: str, found: tuple[SymbolFact, ...]) -> Finding:
    places = [f"{fact.address:#x}" for fact in found if not fact.owner]
    return block(
        "ambiguous-symbol",
        patch.name,
        name,
        observed=f"{len(places)} symbols of that name: {', '.join(places)}",
        needed="one",
        remedy="name the file too (path/file.c#name), or give the address",
        addresses=places,
    )


def gone_after_boot(fact: SymbolFact, situation: Situation) -> bool:
    return fact.init or in_init(fact.address, situation)


def in_init(address: int, situation: Situation) -> bool:
    return any(address in span for span in situation.facts.image.init)


def init_reference(patch: Patch, fact: SymbolFact) -> Finding:
    return block(
        "init-reference",
        patch.name,
        fact.name,
        observed=f"{fact.address:#x} is in a section that is freed after boot",
        needed="a symbol that is still there",
        remedy=f"bring a copy of {fact.name} in the patch, or do without it",
        address=f"{fact.address:#x}",
    )


def functions_found(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Every old function is somewhere, once, in code that is still there."""
    undefined = frozenset(patch.undefined)
    for function in patch.functions:
        address = old_address(function, situation)
        if address is None and situation.facts.image.unseen:
            continue
        if address is None:
            # As a relocation it fails earlier, as an unknown symbol.
            if function.wanted not in undefined:
                yield not_found(patch, function)
        elif function.wanted and several(situation.symbols(function.wanted)):
            yield ambiguous(patch, function.wanted, situation.symbols(function.wanted))
        elif address != UNPLACED:
            yield from in_patchable_code(patch, function, address, situation)


def not_found(patch: Patch, function: FunctionPatch) -> Finding:
    return block(
        "old-function-not-found",
        patch.name,
        label(function),
        observed=f"no symbol {function.wanted or '(the name is empty)'}",
        needed="the function to be patched",
        remedy="rebuild the patch for the image that is running; a static function "
        "is named by its file, as in path/file.c#name",
        name=function.wanted,
    )


def in_patchable_code(
    patch: Patch, function: FunctionPatch, address: int, situation: Situation
) -> Iterator[Finding]:
    found = situation.symbols(function.wanted) if function.wanted else ()
    image = situation.facts.image
    if in_init(address, situation) or (found and found[0].init):
        yield block(
            "init-target",
            patch.name,
            label(function),
            observed=f"{address:#x} is code that is freed after boot",
            needed="a function that is still there",
            remedy="leave it out: it has run and never runs again; what it set up "
            "needs a hook, or a boot",
            errno="",
            address=f"{address:#x}",
        )
    elif found and found[0].owner:
        return  # code that another patch brought
    elif image.text.end > image.text.start and address not in image.text:
        yield block(
            "not-in-text",
            patch.name,
            label(function),
            observed=f"{address:#x} is outside the image's code",
            needed=f"{image.text.start:#x} to {image.text.end:#x}",
            remedy="rebuild the patch for the image that is running",
            address=f"{address:#x}",
        )


def new_names_free(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A new symbol is new to the image and to every loaded patch (Xen:
    build_symbol_table, EEXIST)."""
    brought = {name: one.name for one in situation.loaded for name in one.symbols}
    for symbol in patch.new_symbols:
        found = situation.symbols(symbol.name)
        if found or symbol.name in brought:
            owner = found[0].owner if found else brought[symbol.name]
            yield duplicate(patch, symbol.name, owner)


def duplicate(patch: Patch, name: str, owner: str) -> Finding:
    where = f"patch {owner}" if owner else "the image"
    remedy = "rebuild the patch with that symbol removed or renamed"
    if owner:
        remedy += f", or revert and unload {owner} first"
    return block(
        "duplicate-symbol",
        patch.name,
        name,
        observed=f"{where} already has a symbol {name}",
        needed="names that are new to the target",
        remedy=remedy,
        owner=owner or "image",
    )
