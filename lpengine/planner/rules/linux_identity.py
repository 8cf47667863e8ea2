"""Was the module built for the Linux kernel that is running, and its modules?"""

from collections.abc import Iterator

from lpengine.patch.model import Patch
from lpengine.planner.facts import ExportFact, KernelFacts
from lpengine.planner.findings import Finding
from lpengine.planner.judgement import warn
from lpengine.planner.rules.linux_findings import refuse
from lpengine.planner.situation import Situation

# The symbol whose CRC stands for struct module and what it holds.
LAYOUT = "module_layout"
KERNEL = "vmlinux"


def built_for_release(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """same_magic: with CRCs in the module the kernel skips the release and compares
    the rest. Another build's code is not what this module replaces, so that the
    release counts here."""
    kernel = situation.facts.kernel
    if kernel is None or not patch.vermagic:
        return
    release, _, flags = patch.vermagic.partition(" ")
    if release != kernel.release:
        yield other_build(patch, KERNEL, kernel.release, release)
    _, _, wanted = kernel.vermagic.partition(" ")
    if kernel.vermagic and flags.strip() != wanted.strip():
        yield refuse(
            "vermagic-mismatch",
            patch.name,
            "vermagic",
            observed=f"the kernel says '{kernel.vermagic.strip()}'",
            needed=f"'{patch.vermagic.strip()}'",
            remedy="rebuild the module for the kernel that is running",
        )


def built_for_image(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Nothing in the kernel checks this."""
    facts = situation.facts
    for where, wanted in patch.target_ids:
        running = facts.image.build_id
        if where != KERNEL:
            kernel = facts.kernel
            module = (kernel.module(where) or kernel.file(where)) if kernel else None
            running = module.build_id if module else ""
        if running and running != wanted:
            yield other_build(patch, where, running, wanted)


def other_build(patch: Patch, where: str, running: str, wanted: str) -> Finding:
    return refuse(
        "image-mismatch",
        patch.name,
        where,
        observed=f"{where} that is running is {running}",
        needed=wanted,
        remedy=f"get the patch that was built for {running}",
        running=running,
        patch_for=wanted,
        effect="the kernel takes it and redirects functions of another build",
    )


def versions_given(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """Without CRCs the kernel either refuses or takes the module by force, blind
    (try_to_force_load)."""
    if situation.facts.kernel is not None and not patch.versions:
        yield refuse(
            "versions-missing",
            patch.name,
            "__versions",
            observed="the module does not say what it was built against",
            needed="the CRC of each exported symbol that it uses",
            remedy="rebuild the module; do not strip __versions",
            effect="depending on its configuration the kernel loads it unchecked",
        )


def versions_fit(patch: Patch, situation: Situation) -> Iterator[Finding]:
    """check_version, for struct module first and then for each symbol used."""
    kernel = situation.facts.kernel
    if kernel is None or not patch.versions:
        return
    if not kernel.exports_known:
        yield not_checked(patch, kernel)
    given = {version.name: version.crc for version in patch.versions}
    yield from layout_fits(patch, kernel, given.get(LAYOUT))
    for name in patch.undefined:
        export = kernel.exports.get(name)
        if export is not None:
            yield from version_fits(patch, name, export, given.get(name))
        elif kernel.exports_known:
            yield not_exported(patch, name, situation)


def layout_fits(
    patch: Patch, kernel: KernelFacts, given: int | None
) -> Iterator[Finding]:
    export = kernel.exports.get(LAYOUT)
    if given is not None and (not export or export.crc in (None, given)):
        return
    yield refuse(
        "module-layout-mismatch",
        patch.name,
        LAYOUT,
        observed=f"the kernel has {crc(export.crc if export else None)}",
        needed=crc(given),
        remedy="rebuild the module for the kernel that is running",
    )


def version_fits(
    patch: Patch, name: str, export: ExportFact, given: int | None
) -> Iterator[Finding]:
    if export.crc is None or export.crc == given:
        return
    cause = "symbol-version-missing" if given is None else "symbol-version-mismatch"
    yield refuse(
        cause,
        patch.name,
        name,
        observed=f"the kernel has {crc(export.crc)}",
        needed=crc(given),
        remedy="rebuild the module for the kernel that is running",
    )


def not_exported(patch: Patch, name: str, situation: Situation) -> Finding:
    there = any(not fact.owner for fact in situation.facts.symbols.get(name, ()))
    remedy = "load the module that exports it, or rebuild the patch for this kernel"
    if there:
        remedy = "it is not for modules: rebuild the patch with a live patch symbol"
    return refuse(
        "unknown-symbol",
        patch.name,
        name,
        observed="it is there, but not exported" if there else "nobody exports it",
        needed=f"an exported symbol named {name}",
        remedy=remedy,
    )


def not_checked(patch: Patch, kernel: KernelFacts) -> Finding:
    return warn(
        "code-not-seen",
        patch.name,
        "exported symbols",
        observed="no file of the running kernel was found"
        if not kernel.image
        else f"{kernel.image} could not be read",
        needed="the running kernel's vmlinuz, to compare the CRCs",
        remedy="name it: --target linux:PATH; the kernel itself will compare them",
    )


def crc(value: int | None) -> str:
    return "none" if value is None else f"CRC {value:#010x}"
