"""What the builder checks of its own product."""

from lpengine.errors import BuildError
from lpengine.patch.model import HookKind, Patch
from lpengine.patch.xen.build_material import Material
from lpengine.patch.xen.layout import ARRAY_HOOKS, POINTER_SIZE, hook_section
from lpengine.patch.xen.reader import read_payload

_HOOKS = ".livepatch.hooks."
_TOO_LARGE = ("payload-too-large", "bss-too-large", "too-many-sections")


def check_hooks(material: Material, *, patches_functions: bool) -> None:
    """Raises BuildError for hooks that Xen would refuse or overlook."""
    known = {hook_section(kind): kind for kind in HookKind}
    found = [each for each in material.sections if each.name.startswith(_HOOKS)]
    if not found and not patches_functions:
        raise BuildError(
            "there is nothing to patch: no function is replaced, no hook is there",
            codes=("LP-MOD-006",),
            hint="name a function with --replace",
        )
    for section in found:
        kind = known.get(section.name)
        count, rest = divmod(len(section.data), POINTER_SIZE)
        if kind is None or rest:
            raise BuildError(
                f"section {section.name} is no list of hooks that Xen knows",
                codes=("LP-MOD-003",),
                hint="use the LIVEPATCH_..._HOOK macros",
            )
        if kind not in ARRAY_HOOKS and count != 1:
            raise BuildError(
                f"there are {count} {kind} hooks, and Xen takes one of that kind",
                codes=("LP-MOD-003",),
                hint="call both functions from one hook",
            )


def check_payload(payload: bytes, name: str) -> Patch:
    """The payload as read back. BuildError for one that breaks a rule of Xen's."""
    patch = read_payload(payload, name)
    for violation in patch.violations:
        large = violation.cause in _TOO_LARGE
        raise BuildError(
            f"{name}: {violation.subject}: {violation.observed}, needed "
            f"{violation.needed} ({violation.cause})",
            codes=("LP-MOD-001" if large else "LP-MOD-002",),
            hint="make the payload smaller" if large else "",
        )
    return patch
