"""Reads .livepatch.funcs, by the rules of Xen's prepare_payload."""

from collections.abc import Iterator

from lpengine.elf.constants import R_X86_64_64
from lpengine.patch.model import Expectation, FunctionPatch
from lpengine.patch.xen import layout
from lpengine.patch.xen.payload_file import FileSection
from lpengine.patch.xen.references import Reference, View
from lpengine.patch.xen.rules_required import is_whole

# Bytes of the near jump that redirects (ARCH_PATCH_INSN_SIZE).
_JUMP_SIZE = 5
_POINTERS = (layout.FUNCTION_NAME, layout.FUNCTION_NEW, layout.FUNCTION_OLD)


def read_functions(view: View) -> tuple[FunctionPatch, ...]:
    """common/livepatch.c, prepare_payload; arch/x86/livepatch.c,
    arch_livepatch_verify_func as far as it needs no target."""
    section = view.file.first(layout.FUNCS)
    if section is None or not section.readable:
        return ()
    size = layout.FUNCTION.size
    if not is_whole(section, size, "funcs-size", view.violations):
        return ()
    # A zero-filled table is refused for its first record's version.
    count = min(section.size, size) if section.zero_filled else section.size
    functions = tuple(_read_records(view, section, count // size))
    view.refuse_strays(section, R_X86_64_64, _POINTERS, size)
    return functions


def _read_records(
    view: View, section: FileSection, count: int
) -> Iterator[FunctionPatch]:
    pointers = view.fields(section)
    for index in range(count):
        base = index * layout.FUNCTION.size
        data = view.file.contents(section, base, layout.FUNCTION.size)
        name, new, old, new_size, old_size, version, bits, expected = (
            layout.FUNCTION.unpack(data)
        )
        named = pointers.get(base + layout.FUNCTION_NAME, Reference(0, "", name))
        target = pointers.get(base + layout.FUNCTION_OLD, Reference(0, "", old))
        function = _function(
            view,
            index,
            named,
            pointers.get(base + layout.FUNCTION_NEW, Reference(0, "", new)),
            target,
            (new_size, old_size, version),
            Expectation(bool(bits & 1), bits >> 1 & 31, bits >> 6, expected),
        )
        _check(function, target.is_null and _is_empty(view, named), view)
        yield function


def _function(
    view: View,
    index: int,
    name: Reference,
    new: Reference,
    old: Reference,
    numbers: tuple[int, int, int],
    expectation: Expectation,
) -> FunctionPatch:
    text = _name(view, index, name, needed=old.is_null)
    subject = text or f"function {index}"
    view.check_code(new, subject, "the new code")
    _check_old(view, old, subject)
    new_size, old_size, version = numbers
    literal = "" if new.section or new.is_null else f"{new.offset:#x}"
    return FunctionPatch(
        index=index,
        name=text,
        old_address=0 if old.section else old.offset,
        old_symbol=old.symbol,
        old_size=old_size,
        new_symbol=new.symbol or literal,
        new_section=new.section,
        new_offset=new.offset if new.section or new.symbol else 0,
        new_size=new_size,
        version=version,
        expectation=expectation,
    )


def _name(view: View, index: int, name: Reference, needed: bool) -> str:
    """The name a record points to; `needed` where Xen looks the function up by it."""
    if name.is_null and not needed:
        return ""
    text, ended, observed = "", False, "a null pointer"
    if name.section:
        section = view.file.sections[name.section]
        text, ended = view.file.string(section, name.offset)
        observed = f"{section.label}+{name.offset:#x}, which holds no whole name"
    elif not name.is_null:
        observed = name.symbol or f"{name.offset:#x}"
    if not ended:
        view.violations.suffer(
            "unchecked-pointer",
            f"function {index}",
            f"its name is at {observed}",
            "a string of the payload, of at most 127 bytes",
        )
    return text


def _is_empty(view: View, name: Reference) -> bool:
    """Whether it is a string, but of no characters."""
    section = view.file.sections[name.section]
    return bool(name.section) and view.file.contents(section, name.offset, 1) == b"\0"


def _check_old(view: View, old: Reference, subject: str) -> None:
    if old.section:
        view.violations.suffer(
            "unchecked-pointer",
            subject,
            f"the old function is in {view.file.sections[old.section].label}",
            "a function of the target",
        )
    elif old.symbol and old.offset:
        view.violations.suffer(
            "wrong-old-size",
            subject,
            f"the old code starts {old.offset} bytes behind {old.symbol}",
            "the start of a function",
        )


def _check(function: FunctionPatch, nameless: bool, view: View) -> None:
    subject = function.name or function.old_symbol or f"function {function.index}"
    refuse = view.violations.refuse
    if function.version != layout.FUNCTION_VERSION:
        refuse(
            "wrong-version",
            subject,
            f"version {function.version}",
            f"version {layout.FUNCTION_VERSION}",
        )
    if not function.old_size:
        refuse("old-size-zero", subject, "old size 0", "the old function's size")
    elif nameless:
        refuse("old-function-not-found", subject, "an empty name", "a function's name")
    elif function.is_nop:
        _check_nop(function, subject, view)
    elif function.old_size < _JUMP_SIZE:
        refuse(
            "function-too-small",
            subject,
            f"{function.old_size} bytes",
            f"{_JUMP_SIZE} bytes, {_JUMP_SIZE + 4} behind an ENDBR64",
        )


def _check_nop(function: FunctionPatch, subject: str, view: View) -> None:
    size = function.new_size
    if size > layout.SAVED_MAX:
        view.violations.refuse(
            "nop-too-long", subject, f"{size} bytes", f"at most {layout.SAVED_MAX}"
        )
    elif function.old_size < size:
        view.violations.refuse(
            "nop-beyond-function",
            subject,
            f"{size} bytes",
            f"at most the function's {function.old_size}",
        )
    elif not size:
        view.violations.suffer(
            "nop-underflow", subject, "0 bytes to blank", "at least 1 (5 with ENDBR64)"
        )
