"""Puts a module into a machine's memory: Xen's load_payload_data, step by step.

Each step refuses what Xen refuses there, so that of several things that are wrong
with a module the one that Xen would name is named. What Xen 4.17 takes and dies of
is refused last, or where going on makes no sense.
"""

from lpengine.loader.alternatives import apply_alternatives, sort_exceptions
from lpengine.loader.hooks import find_hooks
from lpengine.loader.names import Names
from lpengine.loader.place import commit, place
from lpengine.loader.prepare import Preparation, check_targets, prepare_functions
from lpengine.loader.refusing import refusal, refuse_violations
from lpengine.loader.relocate import relocate
from lpengine.loader.resolve import Resolved, collect_symbols, resolve
from lpengine.loader.stack import Loaded, LoadedFunction, Stack
from lpengine.machine.base import Machine
from lpengine.patch.model import Patch
from lpengine.patch.xen.payload_file import PayloadFile
from lpengine.patch.xen.rules_header import read_header
from lpengine.patch.xen.rules_sections import read_file
from lpengine.patch.xen.violations import Violations

_UPLOAD = ("bad-name", "payload-empty", "payload-too-large")
_FORMAT = (
    "not-elf",
    "header-invalid",
    "wrong-machine",
    "too-many-sections",
    "no-section-names",
    "section-headers-corrupt",
    "section-out-of-file",
    "section-alignment",
    "section-address",
    "bss-too-large",
    "two-symbol-tables",
    "no-symbol-table",
    "symbol-table-corrupt",
    "string-table-corrupt",
    "section-name-corrupt",
    "symbol-name-corrupt",
)
_REQUIRED = ("section-missing", "section-empty", "nothing-to-patch")
_NOTES = ("note-malformed", "bug-frames-size")

# Harmless here: the loader keeps its state outside the module, as Xen has done
# since 4.17.3.
_ACCEPTED = ("readonly-funcs",)


def upload(patch: Patch, machine: Machine, stack: Stack) -> Loaded:
    """Allocates, fills and protects the patch's pages. `TargetError` with cause and
    errno of the first thing that is wrong; the caller's transaction undoes the
    rest."""
    refuse_violations(patch, _UPLOAD)
    if stack.find(patch.name) is not None:
        raise refusal("name-in-use", f"{patch.name}: a patch of that name is loaded")
    refuse_violations(patch, _FORMAT)
    module = _parse(patch)
    placement = place(module, machine, patch.name)
    names = Names(machine.image, stack.loaded)
    resolved = resolve(module, placement, names, patch.name)
    relocate(module, placement, resolved, patch.name)
    refuse_violations(patch, _REQUIRED)
    view = Preparation(patch.name, module, placement, machine, names, stack)
    loaded = _prepare(patch, view, resolved)
    _refuse_defects(patch, view, loaded.functions, resolved)
    commit(placement, machine)
    return loaded


def _parse(patch: Patch) -> PayloadFile:
    """The file as Xen sees it. What is wrong with its form was refused before."""
    found = Violations()
    header = read_header(patch.raw, found)
    module = read_file(patch.raw, header, found) if header else None
    if module is None:
        refuse_violations(patch, (violation.cause for violation in patch.violations))
        raise refusal("header-invalid", f"{patch.name}: cannot be read")
    return module


def _prepare(patch: Patch, view: Preparation, resolved: Resolved) -> Loaded:
    """Xen 4.17, prepare_payload, xen_build_id_dep and build_symbol_table."""
    functions = prepare_functions(view)
    hooks = find_hooks(view)
    _check_build_id(patch, view.stack)
    refuse_violations(patch, _NOTES)
    apply_alternatives(view)
    sort_exceptions(view)
    refuse_violations(patch, (violation.cause for violation in patch.violations))
    _check_image(patch, view.machine)
    replacements = (function.new_address for function in functions)
    return Loaded(
        name=patch.name,
        raw=patch.raw,
        build_id=patch.build_id,
        depends=patch.depends,
        start=view.placement.start,
        size=view.placement.size,
        text_size=view.placement.text_size,
        functions=functions,
        hooks=hooks,
        symbols=collect_symbols(
            view.module, resolved, replacements, view.names, patch.name
        ),
    )


def _check_build_id(patch: Patch, stack: Stack) -> None:
    for other in stack.loaded:
        if patch.build_id and other.build_id == patch.build_id:
            raise refusal(
                "build-id-in-use",
                f"{patch.name}: build id {patch.build_id} is loaded as {other.name}",
            )


def _check_image(patch: Patch, machine: Machine) -> None:
    running = machine.image.image.build_id
    if not running:
        raise refusal(
            "no-xen-build-id", f"{patch.name}: {machine.name}'s image has no build id"
        )
    if patch.image_build_id != running:
        raise refusal(
            "xen-build-id-mismatch",
            f"{patch.name}: made for image {patch.image_build_id or '(none)'},"
            f" {machine.name} runs {running}",
        )


def _refuse_defects(
    patch: Patch,
    view: Preparation,
    functions: tuple[LoadedFunction, ...],
    resolved: Resolved,
) -> None:
    check_targets(view, functions)
    if resolved.init:
        raise refusal(
            "init-reference",
            f"{patch.name}: refers to {', '.join(resolved.init)}, gone after boot",
        )
    for violation in patch.violations:
        if violation.cause not in _ACCEPTED:
            raise refusal(
                violation.cause,
                f"{patch.name}: {violation.subject}: {violation.observed},"
                f" needed: {violation.needed}",
                errno=violation.errno,
            )
