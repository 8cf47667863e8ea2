"""Reads the eight kinds of hook sections."""

from collections.abc import Iterator
from dataclasses import replace

from lpengine.elf.constants import R_X86_64_64
from lpengine.patch.model import Hook, HookKind
from lpengine.patch.xen import layout
from lpengine.patch.xen.payload_file import FileSection
from lpengine.patch.xen.references import View
from lpengine.patch.xen.rules_required import is_whole

# Xen's order (prepare_payload).
_KINDS = (
    HookKind.LOAD,
    HookKind.UNLOAD,
    HookKind.PREAPPLY,
    HookKind.APPLY,
    HookKind.POSTAPPLY,
    HookKind.PREREVERT,
    HookKind.REVERT,
    HookKind.POSTREVERT,
)


def read_hooks(view: View) -> tuple[Hook, ...]:
    """common/livepatch.c, LIVEPATCH_ASSIGN_MULTI_HOOK and _SINGLE_HOOK. A null
    pointer is no hook where only one may be."""
    hooks = [hook for kind in _KINDS for hook in _read(view, kind)]
    names = view.names_at({(h.section_index, h.offset) for h in hooks if not h.symbol})
    return tuple(
        replace(h, symbol=h.symbol or names.get((h.section_index, h.offset), ""))
        for h in hooks
    )


def _read(view: View, kind: HookKind) -> Iterator[Hook]:
    section = view.file.first(layout.hook_section(kind))
    if section is None or not section.size or not section.readable:
        return
    size = layout.POINTER_SIZE
    if not is_whole(section, size, "hook-size", view.violations):
        return
    if kind not in layout.ARRAY_HOOKS and section.size != size:
        view.violations.refuse(
            "hook-size", section.name, f"{section.size} bytes", f"{size} bytes"
        )
        return
    view.refuse_strays(section, R_X86_64_64, (0,), size)
    pointers = view.fields(section)
    end = size if section.zero_filled else section.size
    for offset in range(0, end, size):
        reference = pointers.get(offset)
        if reference is None or reference.is_null:
            _check_unrelocated(view, kind, section, offset)
            continue
        view.check_code(reference, f"{kind.value} hook", "the hook")
        yield Hook(kind, reference.symbol, reference.section, reference.offset)


def _check_unrelocated(
    view: View, kind: HookKind, section: FileSection, offset: int
) -> None:
    data = view.file.contents(section, offset, layout.POINTER_SIZE)
    address = int.from_bytes(data, "little")
    if address or kind in layout.ARRAY_HOOKS:
        view.violations.suffer(
            "unchecked-pointer",
            f"{section.name}+{offset:#x}",
            f"a hook at the address {address:#x}",
            "a relocation that refers to code",
        )
