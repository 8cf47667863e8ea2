"""Functions and symbols that the kernel's live patching looks up."""

from collections.abc import Iterator

from lpengine.patch.model import FunctionPatch, Patch
from lpengine.planner.facts import SymbolFact
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import note, warn
from lpengine.planner.rules.linux_findings import refuse
from lpengine.planner.situation import Situation

KERNEL = "vmlinux"


def objects_present(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """A module that is not there is patched as it comes in; if the patch does not fit
    it, it is the module that the kernel refuses. Its file tells beforehand."""
    for name in patch.objects:
        if name and not object_there(name, situation):
            seen = on_disk(name, situation)
            yield note(
                "target-absent",
                patch.name,
                name,
                observed="the module is not loaded; its file was checked instead"
                if seen
                else "the module is not loaded, so its part was not checked",
                remedy=f"it takes effect when {name} is loaded"
                + ("" if seen else f"; if it does not fit, {name} will not load"),
            )


def symbols_seen(patch: Patch, situation: Situation) -> Iterator[Finding]:
    kernel = situation.facts.kernel
    if kernel is not None and not kernel.symbols_known:
        yield warn(
            "code-not-seen",
            patch.name,
            "/proc/kallsyms",
            observed="the kernel does not show its symbols",
            needed="a kernel with CONFIG_KALLSYMS, read by root",
            remedy="run it as root",
        )


def functions_located(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """klp_init_object_loaded, then klp_patch_func."""
    for function in patch.functions:
        if not checkable(function.object, situation):
            continue
        facts = of_object(function.name, function.object, situation)
        wrong = placed(
            patch.name,
            function.name,
            function.object,
            function.occurrence,
            facts,
            "old-function-not-found",
        )
        if wrong is not None:
            yield wrong
        else:
            chosen = facts[max(function.occurrence, 1) - 1]
            yield from redirectable(patch, function, chosen)


def redirectable(
    patch: Patch, function: FunctionPatch, fact: SymbolFact
) -> Iterator[Finding]:
    if fact.init:
        yield refuse(
            "function-not-traced",
            patch.name,
            function.name,
            observed="it runs while booting only, and its memory is gone",
            needed="a function that is still there",
            remedy="nothing is left to patch: the fix takes effect with the next boot",
            init="yes",
        )
    elif fact.traced is False:
        yield refuse(
            "function-not-traced",
            patch.name,
            function.name,
            observed="it does not begin with a call of the function tracer",
            needed="a function that the tracer can redirect",
            remedy="patch its callers instead; assembly, notrace and inlined functions "
            "cannot be redirected",
        )
    elif fact.hooked:
        yield refuse(
            "function-hooked",
            patch.name,
            function.name,
            observed="somebody else redirects it (a kprobe, a BPF program, another "
            "live patcher)",
            needed="a function that nobody else redirects",
            remedy="end it; /sys/kernel/tracing/enabled_functions shows it with flag I",
        )


def klp_symbols_found(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """klp_resolve_symbols. Symbols of a module are looked up when it is there."""
    for symbol in patch.klp_symbols:
        where = "" if symbol.object == KERNEL else symbol.object
        if not checkable(where, situation):
            continue
        facts = of_object(symbol.name, where, situation)
        wrong = placed(
            patch.name,
            symbol.name,
            where,
            symbol.occurrence,
            facts,
            "klp-symbol-not-found",
        )
        if wrong is not None:
            yield wrong
        elif facts[max(symbol.occurrence, 1) - 1].init:
            yield refuse(
                "init-reference",
                patch.name,
                symbol.name,
                observed="its memory is gone since the end of the boot",
                needed="a symbol that is still there",
                remedy="rebuild the patch without it",
            )


def placed(
    patch: str,
    name: str,
    where: str,
    occurrence: int,
    facts: tuple[SymbolFact, ...],
    missing: str,
) -> Finding | None:
    """klp_find_object_symbol: position 0 wants exactly one symbol of the name."""
    count, place = len(facts), where or "the kernel"
    if count == 0:
        cause, observed = missing, f"{place} has no symbol of that name"
    elif occurrence == 0 and count > 1:
        cause, observed = "symbol-ambiguous", f"{place} has {count} of that name"
    elif occurrence > count:
        cause, observed = "symbol-position", f"{place} has {count} of that name"
    else:
        return None
    return refuse(
        cause,
        patch,
        name,
        observed=observed,
        needed=f"number {occurrence} of them" if occurrence else "exactly one",
        remedy="rebuild the patch for the kernel that is running",
        object=where or KERNEL,
        occurrence=occurrence,
        addresses=[f"{fact.address:#x}" for fact in facts],
    )


def of_object(name: str, where: str, situation: Situation) -> tuple[SymbolFact, ...]:
    """Of whatever type, since the kernel counts them all."""
    found = situation.facts.symbols.get(name, ())
    return tuple(fact for fact in found if fact.owner == where)


def checkable(where: str, situation: Situation) -> bool:
    kernel = situation.facts.kernel
    if kernel is None:
        return False
    if where and not object_there(where, situation):
        return on_disk(where, situation)
    return kernel.symbols_known


def on_disk(name: str, situation: Situation) -> bool:
    kernel = situation.facts.kernel
    return kernel is not None and kernel.file(name) is not None


def object_there(name: str, situation: Situation) -> bool:
    kernel = situation.facts.kernel
    return kernel is not None and kernel.module(name) is not None
