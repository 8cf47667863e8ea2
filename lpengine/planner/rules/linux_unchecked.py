"""What the kernel takes without a look and then crashes on, or stalls for ever."""

from collections.abc import Iterator

from lpengine.patch.model import FunctionPatch, KlpRelocation, Patch
from lpengine.planner.findings import Finding
from lpengine.planner.rules.linux_findings import refuse
from lpengine.planner.rules.linux_symbols import object_there
from lpengine.planner.situation import Situation

KERNEL = "vmlinux"
UNWIND = (".orc_unwind", ".orc_unwind_ip")
# The kernel goes through these while the patch's own module comes in.
EARLY = (
    ".init",
    ".exit",
    ".altinstructions",
    ".parainstructions",
    "__jump_table",
    ".static_call_sites",
    ".smp_locks",
)


def relocations_filed(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A relocation is applied when the object that its section is named after is
    there; its symbol must be there then as well, and nobody may have used the place
    before."""
    running_for: dict[str, set[int]] = {}
    sections = {section.index: section.name for section in patch.sections}
    for one in patch.klp_relocations:
        if one.symbol is None:
            continue
        if not is_found(one.symbol.object, one.object, situation):
            yield misfiled(patch, one, situation)
        elif one.object != KERNEL:
            name = sections.get(one.section_index, "")
            user = user_of(patch, one)
            if name.startswith(EARLY) or (user and user.object != one.object):
                key = user.name if user else name
                seen = running_for.setdefault(key, set())
                if one.section_index not in seen:
                    seen.add(one.section_index)
                    yield used_early(patch, one, key)


def is_found(where: str, applied_with: str, situation: Situation) -> bool:
    """Whether a symbol is there when what uses it is filled in. A module that the
    patched one depends on is, by then; the kernel's symbols are taken only before."""
    if where == applied_with:
        return True
    if KERNEL in (where, applied_with):
        return False
    return object_there(where, situation) or not object_there(applied_with, situation)


def user_of(patch: Patch, one: KlpRelocation) -> FunctionPatch | None:
    """The new function that the relocation lies in."""
    return next(
        (
            function
            for function in patch.functions
            if function.new_section == one.section_index
            and function.new_offset
            <= one.offset
            < function.new_offset + function.new_size
        ),
        None,
    )


def misfiled(patch: Patch, one: KlpRelocation, situation: Situation) -> Finding:
    """The kernel refuses it where it comes across: for a module that it patches, or
    that is not there (klp_resolve_symbols, klp_find_object_symbol)."""
    assert one.symbol is not None
    if one.object == KERNEL:
        seen = not object_there(one.symbol.object, situation)
    else:
        seen = one.object in patch.objects and object_there(one.object, situation)
    return refuse(
        "klp-relocation-misfiled",
        patch.name,
        one.symbol.name,
        observed=f"its relocation is filed under {one.object}",
        needed=f"under {one.symbol.object}, whose symbol it is, or under a module that "
        "depends on it",
        remedy="rebuild the module",
        errno="EINVAL" if seen else "",
        offset=f"{one.offset:#x}",
    )


def used_early(patch: Patch, one: KlpRelocation, user: str) -> Finding:
    return refuse(
        "klp-relocation-early",
        patch.name,
        user,
        observed=f"it uses {one.symbol.name if one.symbol else '?'} of {one.object}, "
        f"which is filled in when {one.object} is loaded",
        needed=f"code that runs only when {one.object} is loaded",
        remedy="rebuild the module: such a reference has to go through the patched "
        "functions of that module",
        effect="the kernel jumps to an address that is still 0",
    )


def new_functions_sized(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """klp_init_object_loaded asks the module's own symbols how long the new function
    is; where it has none, the answer is another one's, and the check whether a task
    is inside of it looks in the wrong place."""
    symbols = {(s.section_index, s.value): s.size for s in patch.new_symbols}
    for function in patch.functions:
        if function.is_nop:
            continue
        if not symbols.get((function.new_section, function.new_offset)):
            yield refuse(
                "new-function-unsized",
                patch.name,
                function.name,
                observed="the module has no symbol, with a size, for the new function",
                needed="a symbol that covers the new function",
                remedy="rebuild the module; do not strip its symbols",
                effect="the patch may be taken off while a task runs its code",
            )


def unwindable(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Without tables for the new code every stack that it is on is unreliable."""
    kernel = situation.facts.kernel
    if kernel is None or kernel.unwinder != "orc" or not patch.functions:
        return
    present = {section.name for section in patch.sections if section.size}
    missing = [name for name in UNWIND if name not in present]
    if missing:
        yield refuse(
            "unwind-missing",
            patch.name,
            ", ".join(missing),
            observed="the module has no unwind tables",
            needed="ORC tables for its code, as this kernel reads stacks by them",
            remedy="rebuild the module with unwind tables",
            effect="a task asleep in the new code blocks this and every other patch",
        )
