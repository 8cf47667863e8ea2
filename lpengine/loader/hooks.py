"""Finds a module's hooks, and runs them on the machine."""

import errno

from lpengine.errors import FaultError
from lpengine.loader.prepare import Preparation
from lpengine.loader.refusing import refusal
from lpengine.loader.stack import Loaded, LoadedHook
from lpengine.machine.base import Machine
from lpengine.patch.model import HookKind

_POINTER_SIZE = 8
_ARRAYS = (HookKind.LOAD, HookKind.UNLOAD)

# The order in which Xen looks for them.
_ORDER = (
    HookKind.LOAD,
    HookKind.UNLOAD,
    HookKind.PREAPPLY,
    HookKind.APPLY,
    HookKind.POSTAPPLY,
    HookKind.PREREVERT,
    HookKind.REVERT,
    HookKind.POSTREVERT,
)


def find_hooks(view: Preparation) -> tuple[LoadedHook, ...]:
    """Xen 4.17, LIVEPATCH_ASSIGN_MULTI_HOOK and LIVEPATCH_ASSIGN_SINGLE_HOOK. A
    single hook that is a null pointer is none."""
    hooks = []
    for kind in _ORDER:
        addresses = _read_section(view, kind)
        if kind not in _ARRAYS:
            addresses = [address for address in addresses if address]
        hooks += [LoadedHook(kind, address) for address in addresses]
    return tuple(hooks)


def _read_section(view: Preparation, kind: HookKind) -> list[int]:
    name = f".livepatch.hooks.{kind}"
    section = view.module.first(name)
    if section is None:
        return []
    right = (
        section.size % _POINTER_SIZE == 0
        if kind in _ARRAYS
        else section.size == _POINTER_SIZE
    )
    if not right:
        needed = "a multiple of 8" if kind in _ARRAYS else "8"
        raise refusal(
            "hook-size",
            f"{view.name}: {name} has {section.size} bytes, needed: {needed}",
        )
    start = view.placement.addresses.get(section.index)
    if start is None:
        raise refusal(
            "section-not-allocated", f"{view.name}: {name} is not marked to be loaded"
        )
    data = view.read(start, section.size)
    return [
        int.from_bytes(data[at : at + _POINTER_SIZE], "little")
        for at in range(0, len(data), _POINTER_SIZE)
    ]


def run_hooks(machine: Machine, patch: Loaded, kind: HookKind) -> None:
    """Runs hooks whose result does not matter, in the order of their section. Load
    and unload hooks take no argument, the others the payload's handle."""
    for address in patch.hooks_of(kind):
        _run(machine, patch, kind, address)


def run_deciding_hooks(machine: Machine, patch: Loaded, kind: HookKind) -> bool:
    """Runs hooks that may say no: `TargetError` hook-veto with the hook's own
    errno. False where there are none."""
    addresses = patch.hooks_of(kind)
    for address in addresses:
        answer = _run(machine, patch, kind, address) & 0xFFFFFFFF
        if answer:
            code = answer - (1 << 32) if answer >> 31 else answer
            name = errno.errorcode.get(abs(code), "")
            raise refusal(
                "hook-veto",
                f"{patch.name}: its {kind} hook said no: {code}"
                + (f" ({name})" if name else ""),
                errno=name,
            )
    return bool(addresses)


def _run(machine: Machine, patch: Loaded, kind: HookKind, address: int) -> int:
    # What a hook gets is opaque to it; the payload's address serves as its handle.
    arguments = () if kind in _ARRAYS else (patch.start,)
    try:
        return machine.call(address, arguments)
    except FaultError as error:
        raise FaultError(
            f"{patch.name}: its {kind} hook faulted: {error.message}",
            address=error.address,
            report=error.report,
        ) from error
