"""Finds what a module patches, in the three ways in which modules say so.

- `klp`: struct klp_patch and what it points to (linux/livepatch.h), as modules of
  this engine and of the kernel's own build have it;
- `kpatch`: the records of kpatch-build (kmod/patch/kpatch-patch.h), of which its init
  function makes the structures;
- `klp-build`: the records of Linux 6.19's klp-build (linux/livepatch_external.h),
  likewise.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lpengine.patch.linux import layout
from lpengine.patch.linux.pointers import Pointers, Target
from lpengine.patch.model import KlpCallback, SystemState

# What modules fill in stands at the same places in all kernels since 5.1; the sizes
# are those of 5.1 to 6.18 without CONFIG_DEBUG_KOBJECT_RELEASE.
_MOD, _OBJECTS, _STATES, _REPLACE = 0, 8, 16, 24
_NAME, _FUNCTIONS, _CALLBACKS = 0, 8, 16
_OLD_NAME, _NEW_FUNCTION, _POSITION = 0, 8, 16
_OBJECT_SIZE, _FUNCTION_SIZE, _STATE_SIZE = 168, 152, 24

_KPATCH_FUNCTIONS, _KPATCH_CALLBACKS = ".kpatch.funcs", ".kpatch.callbacks."
_KPATCH_SIZE, _KPATCH_CALLBACK_SIZE = 56, 16
_KLP_BUILD_OBJECTS = ("__klp_objects", ".init.klp_objects")
_KLP_BUILD_SIZE, _KLP_BUILD_FUNCTION_SIZE = 64, 24
_KLP_BUILD_COUNT = 56

# Arrays end with an element without pointers; what has more is damaged.
_MOST = 1 << 16


@dataclass(frozen=True, slots=True)
class Redirect:
    """One function: `object` "" is the kernel; `new` None is a missing pointer."""

    object: str
    name: str
    occurrence: int
    new: Target | None


@dataclass(frozen=True)
class Structures:
    """`found`: the module has such structures, if only empty ones."""

    functions: tuple[Redirect, ...] = ()
    callbacks: tuple[KlpCallback, ...] = ()
    states: tuple[SystemState, ...] = ()
    replace: bool = False
    found: bool = True


def read_structures(pointers: Pointers) -> Structures:
    """What the module patches; nothing where it does not say so in a known way."""
    image = pointers.image
    kpatch = image.section(_KPATCH_FUNCTIONS)
    if kpatch is not None and kpatch.size:
        return _read_kpatch(pointers, kpatch.index, kpatch.size)
    for name in _KLP_BUILD_OBJECTS:
        section = image.section(name)
        if section is not None and section.size:
            return _read_klp_build(pointers, section.index, section.size)
    place = _find_patch(pointers)
    return _read_klp(pointers, place) if place else Structures(found=False)


def _find_patch(pointers: Pointers) -> Target | None:
    """struct klp_patch begins with a pointer to the module itself, then one to its
    objects."""
    this_module = pointers.image.section(layout.THIS_MODULE)
    if this_module is None:
        return None
    for section in pointers.image.sections:
        if not section.allocated or section.index == this_module.index:
            continue
        found = pointers.of(section.index)
        for offset in sorted(found):
            target = found[offset]
            itself = (target.section, target.offset) == (this_module.index, 0)
            if itself and offset + _OBJECTS in found:
                return Target(section.index, offset, "")
    return None


def _read_klp(pointers: Pointers, patch: Target) -> Structures:
    functions: list[Redirect] = []
    callbacks: list[KlpCallback] = []
    objects = pointers.at(patch.section, patch.offset + _OBJECTS)
    for place in _elements(pointers, objects, _OBJECT_SIZE, (_NAME, _FUNCTIONS)):
        name = pointers.string(place.section, place.offset + _NAME) or ""
        records = pointers.at(place.section, place.offset + _FUNCTIONS)
        functions += _functions(pointers, name, records, _FUNCTION_SIZE)
        callbacks += _callbacks(pointers, name, place)
    states = pointers.at(patch.section, patch.offset + _STATES)
    return Structures(
        tuple(functions),
        tuple(callbacks),
        tuple(_states(pointers, states)),
        bool(pointers.number(patch.section, patch.offset + _REPLACE, 1)),
    )


def _elements(
    pointers: Pointers, first: Target | None, size: int, members: tuple[int, ...]
) -> Iterator[Target]:
    """The elements of an array up to one in which none of `members` points
    anywhere."""
    if first is None or first.section == 0:
        return
    found = pointers.of(first.section)
    for number in range(_MOST):
        at = first.offset + number * size
        if not any(at + member in found for member in members):
            return
        yield Target(first.section, at, "")


def _functions(
    pointers: Pointers, name: str, first: Target | None, size: int
) -> Iterator[Redirect]:
    for place in _elements(pointers, first, size, (_OLD_NAME, _NEW_FUNCTION)):
        yield _function(pointers, name, place)


def _function(pointers: Pointers, name: str, place: Target) -> Redirect:
    section, offset = place.section, place.offset
    return Redirect(
        name,
        pointers.string(section, offset + _OLD_NAME) or "",
        pointers.number(section, offset + _POSITION, 8),
        pointers.at(section, offset + _NEW_FUNCTION),
    )


def _callbacks(pointers: Pointers, name: str, place: Target) -> Iterator[KlpCallback]:
    for number, kind in enumerate(layout.CALLBACKS):
        offset = place.offset + _CALLBACKS + 8 * number
        target = pointers.at(place.section, offset)
        if target is not None:
            yield KlpCallback(name, kind, pointers.function_name(target))


def _states(pointers: Pointers, first: Target | None) -> Iterator[SystemState]:
    if first is None or first.section == 0:
        return
    for number in range(_MOST):
        at = first.offset + number * _STATE_SIZE
        identity = pointers.number(first.section, at, 8)
        if identity == 0:
            return
        yield SystemState(identity, pointers.number(first.section, at + 8, 4))


def _read_kpatch(pointers: Pointers, section: int, size: int) -> Structures:
    functions = tuple(
        Redirect(
            _object(pointers.string(section, at + 48)),
            pointers.string(section, at + 40) or "",
            pointers.number(section, at + 32, 8),
            pointers.at(section, at),
        )
        for at in range(0, size - size % _KPATCH_SIZE, _KPATCH_SIZE)
    )
    # kpatch-build compiles this choice into code; without -R it is so.
    return Structures(functions, tuple(_kpatch_callbacks(pointers)), replace=True)


def _kpatch_callbacks(pointers: Pointers) -> Iterator[KlpCallback]:
    for kind in layout.CALLBACKS:
        section = pointers.image.section(_KPATCH_CALLBACKS + kind)
        if section is None:
            continue
        for at in range(0, section.size - 15, _KPATCH_CALLBACK_SIZE):
            target = pointers.at(section.index, at)
            if target is not None:
                name = _object(pointers.string(section.index, at + 8))
                yield KlpCallback(name, kind, pointers.function_name(target))


def _object(name: str | None) -> str:
    return "" if name in (None, layout.KERNEL) else str(name)


def _read_klp_build(pointers: Pointers, section: int, size: int) -> Structures:
    functions: list[Redirect] = []
    callbacks: list[KlpCallback] = []
    for at in range(0, size - size % _KLP_BUILD_SIZE, _KLP_BUILD_SIZE):
        place = Target(section, at, "")
        name = _object(pointers.string(section, at))
        callbacks += _callbacks(pointers, name, place)
        first = pointers.at(section, at + _FUNCTIONS)
        count = pointers.number(section, at + _KLP_BUILD_COUNT, 4)
        for number in range(min(count, _MOST) if first else 0):
            assert first is not None
            offset = first.offset + number * _KLP_BUILD_FUNCTION_SIZE
            functions.append(
                _function(pointers, name, Target(first.section, offset, ""))
            )
    # klp-build compiles this choice into code; without --no-replace it is so.
    return Structures(tuple(functions), tuple(callbacks), replace=True)
