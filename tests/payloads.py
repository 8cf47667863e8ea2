"""One good Xen payload, and for each rule a byte edit that breaks just that rule."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from lpengine.elf.constants import SHF_ALLOC, SHF_EXECINSTR, SHF_WRITE
from lpengine.elf.layout import (
    HEADER,
    RELA,
    SECTION_HEADER,
    SYMBOL,
    RawHeader,
    RawSection,
    RawSymbol,
)
from lpengine.patch.model import HookKind
from lpengine.patch.xen.spec import (
    AlternativeSpec,
    BugFrameSpec,
    ExceptionSpec,
    FunctionSpec,
    HookSpec,
    PayloadSpec,
    Place,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)
from lpengine.patch.xen.writer import write_payload

RET = b"\xc3"
CALL_RET = bytes.fromhex("e800000000c3")
VETO = bytes.fromhex("31c0c3")
IMAGE_ID = "bb" * 20
PLT32, PC32, ABS64 = 4, 2, 1
RECORD = 104


def good_spec(
    function: str = "old_function", callee: str = "helper", **changes: Any
) -> PayloadSpec:
    """A payload with something of everything; `changes` are fields of PayloadSpec.

    It redirects `function`, whose new code calls `callee`, and blanks 8 bytes of
    "blanked"."""
    call = RelocationSpec(1, PLT32, callee, -4)
    spec = PayloadSpec(
        depends=IMAGE_ID,
        xen_depends=IMAGE_ID,
        functions=(
            FunctionSpec(function, 40, CALL_RET, (call,), expectation=b"\x55\x48"),
            FunctionSpec("blanked", 20, new_size=8),
        ),
        hooks=(
            HookSpec(HookKind.LOAD, RET),
            HookSpec(HookKind.LOAD, RET),
            HookSpec(HookKind.PREAPPLY, VETO),
        ),
        metadata=(("title", "an example"), ("cve", "CVE-2026-0001")),
        sections=(
            SectionSpec(".data", b"\1\2\3\4", SHF_ALLOC | SHF_WRITE, alignment=4),
            SectionSpec(".bss", size=64, flags=SHF_ALLOC | SHF_WRITE, alignment=8),
        ),
        symbols=(SymbolSpec("new_counter", Place(".data"), 4),),
        alternatives=(AlternativeSpec(Place(".text", 0), 5, b"\x90" * 5, 100),),
        exceptions=(ExceptionSpec(Place(".text", 0), Place(".text", 5)),),
        bug_frames=(BugFrameSpec(1, bytes(8)),),
    )
    return replace(spec, **changes)


def good_payload() -> bytes:
    return write_payload(good_spec())


class Edit:
    """The headers and tables of a payload, to be changed in place."""

    def __init__(self, raw: bytes) -> None:
        self.data = bytearray(raw)

    @property
    def header(self) -> RawHeader:
        return RawHeader._make(HEADER.unpack_from(self.data))

    def set_header(self, **fields: Any) -> "Edit":
        HEADER.pack_into(self.data, 0, *self.header._replace(**fields))
        return self

    def at(self, name: str) -> int:
        """Where the header of the first section of that name is."""
        start = self.header.section_header_offset
        count = self.header.section_header_count
        names = self._raw(start + self.header.section_name_index * 64)
        wanted = name.encode() + b"\0"
        for offset in range(start, start + count * 64, 64):
            where = names.offset + self._raw(offset).name
            if self.data[where : where + len(wanted)] == wanted:
                return offset
        raise KeyError(name)

    def _raw(self, offset: int) -> RawSection:
        return RawSection._make(SECTION_HEADER.unpack_from(self.data, offset))

    def section(self, name: str) -> RawSection:
        return self._raw(self.at(name))

    def set(self, name: str, /, **fields: int) -> "Edit":
        offset = self.at(name)
        new = self._raw(offset)._replace(**fields)
        SECTION_HEADER.pack_into(self.data, offset, *new)
        return self

    def write(self, name: str, offset: int, data: bytes) -> "Edit":
        start = self.section(name).offset + offset
        self.data[start : start + len(data)] = data
        return self

    def rename(self, name: str, new: str) -> "Edit":
        """To a name of the same length, or a shorter one."""
        table = self._raw(
            self.header.section_header_offset + self.header.section_name_index * 64
        )
        start = table.offset + self.section(name).name
        self.data[start : start + len(name)] = new.encode().ljust(len(name), b"\0")
        return self

    def relocation(self, target: str, number: int = 0, **fields: int) -> "Edit":
        """Changes offset, type, symbol or addend of a relocation of `target`."""
        start = self.section(".rela" + target).offset + number * RELA.size
        keys = ("offset", "type", "symbol", "addend")
        values = dict(zip(keys, RELA.unpack_from(self.data, start), strict=True))
        RELA.pack_into(self.data, start, *(values | fields).values())
        return self

    def symbol(self, name: str, /, **fields: int) -> "Edit":
        table, strings = self.section(".symtab"), self.section(".strtab")
        wanted = name.encode() + b"\0"
        for start in range(table.offset, table.offset + table.size, SYMBOL.size):
            raw = RawSymbol._make(SYMBOL.unpack_from(self.data, start))
            where = strings.offset + raw.name
            if self.data[where : where + len(wanted)] == wanted:
                SYMBOL.pack_into(self.data, start, *raw._replace(**fields))
                return self
        raise KeyError(name)

    def done(self) -> bytes:
        return bytes(self.data)


Break = Callable[[bytes], bytes]


def _edit(change: Callable[[Edit], Edit]) -> Break:
    return lambda raw: change(Edit(raw)).done()


def _respec(**changes: Any) -> Break:
    """A breach that a specification can express."""
    return lambda _raw: write_payload(good_spec(**changes))


def _record(index: int, offset: int, data: bytes) -> Break:
    where = index * RECORD + offset
    return _edit(lambda e: e.write(".livepatch.funcs", where, data))


def _no_patching(edit: Edit) -> Edit:
    edit.rename(".livepatch.funcs", ".livepatch.xxxxx")
    edit.rename(".livepatch.hooks.load", ".livepatch.xxxxx.load")
    return edit.rename(".livepatch.hooks.preapply", ".livepatch.xxxxx.preapply")


def _many_sections(_raw: bytes) -> bytes:
    extra = tuple(SectionSpec(f".text.{n}", RET) for n in range(1010))
    return write_payload(good_spec(sections=(*good_spec().sections, *extra)))


# Those that Xen refuses, each with Xen's name for it (patch/xen/refusals.py).
BROKEN: Mapping[str, Break] = {
    "payload-empty": lambda _raw: b"",
    "payload-too-large": lambda raw: raw + bytes((2 << 20) + 1 - len(raw)),
    "not-elf": lambda raw: b"\x7fELG" + raw[4:],
    "header-invalid": _edit(lambda e: e.set_header(type=2)),
    "wrong-machine": _edit(lambda e: e.set_header(machine=183)),
    "no-section-names": _edit(lambda e: e.set_header(section_name_index=0)),
    "too-many-sections": _many_sections,
    "section-headers-corrupt": _edit(
        lambda e: e.set_header(section_header_offset=len(e.data))
    ),
    "section-out-of-file": _edit(lambda e: e.set(".data", offset=1 << 40)),
    "section-alignment": _edit(lambda e: e.set(".data", alignment=3)),
    "section-address": _edit(lambda e: e.set(".data", address=2)),
    "bss-too-large": _edit(lambda e: e.set(".bss", size=(2 << 20) + 1)),
    "two-symbol-tables": _edit(lambda e: e.set(".data", type=2, link=1)),
    "symbol-table-corrupt": _edit(lambda e: e.set(".symtab", entry_size=23)),
    "no-symbol-table": _edit(lambda e: e.set(".symtab", type=1)),
    "string-table-corrupt": _edit(lambda e: e.write(".strtab", 0, b"x")),
    "section-name-corrupt": _edit(lambda e: e.set(".data", name=1 << 20)),
    "symbol-name-corrupt": _edit(lambda e: e.symbol("new_counter", name=1 << 20)),
    "writable-and-executable": _edit(
        lambda e: e.set(".data", flags=SHF_ALLOC | SHF_WRITE | SHF_EXECINSTR)
    ),
    "out-of-memory": _edit(lambda e: e.set(".bss", alignment=1 << 40)),
    "common-symbol": _edit(lambda e: e.symbol("new_counter", section_index=0xFFF2)),
    "symbol-section": _edit(lambda e: e.symbol("new_counter", section_index=999)),
    "relocation-link": _edit(lambda e: e.set(".rela.text", link=1)),
    "relocation-header": _edit(lambda e: e.set(".rela.text", entry_size=23)),
    "rel-unsupported": _edit(lambda e: e.set(".rela.text", type=9)),
    "relocation-undef": _edit(lambda e: e.relocation(".text", symbol=0)),
    "relocation-symbol": _edit(lambda e: e.relocation(".text", symbol=999)),
    "relocation-ignored-symbol": _edit(lambda e: e.set(".livepatch.strings", flags=0)),
    "relocation-out-of-section": _edit(lambda e: e.relocation(".text", offset=1 << 32)),
    "relocation-unsupported": _edit(lambda e: e.relocation(".text", type=11)),
    "section-missing": _respec(xen_depends=None),
    "section-empty": _edit(lambda e: e.set(".livepatch.depends", size=0)),
    "nothing-to-patch": _edit(_no_patching),
    "funcs-size": _edit(lambda e: e.set(".livepatch.funcs", size=2 * RECORD - 8)),
    "wrong-version": _record(1, 32, b"\1"),
    "old-size-zero": _record(0, 28, bytes(4)),
    "nop-too-long": _record(1, 24, b"\x20"),
    "nop-beyond-function": _record(1, 24, b"\x15"),
    "function-too-small": _record(0, 28, b"\4"),
    "hook-size": _edit(
        lambda e: e.set(".livepatch.hooks.preapply", size=16, offset=64)
    ),
    "note-malformed": _edit(lambda e: e.write(".livepatch.depends", 8, b"\4")),
    "bug-frames-size": _edit(lambda e: e.set(".bug_frames.1", size=7)),
    "alternatives-size": _edit(lambda e: e.set(".altinstructions", size=13)),
    "alternatives-without-text": _respec(
        functions=(FunctionSpec("blanked", 20, new_size=8),),
        hooks=(),
        exceptions=(),
        alternatives=(),
        sections=(SectionSpec(".altinstructions", bytes(14)),),
        symbols=(),
    ),
    "alternatives-without-replacement": _edit(
        lambda e: e.rename(".altinstr_replacement", ".altinstr_other")
    ),
    "alternative-outside-text": _edit(
        lambda e: e.relocation(".altinstructions", 0, addend=1 << 20)
    ),
    "alternative-outside-replacement": _edit(
        lambda e: e.relocation(".altinstructions", 1, addend=-1)
    ),
    "ex-table-size": _edit(lambda e: e.set(".ex_table", size=9)),
    "modinfo-not-terminated": _edit(
        lambda e: e.set(".modinfo", size=e.section(".modinfo").size - 1)
    ),
}


def _mid_function(_raw: bytes) -> bytes:
    function = FunctionSpec("f", 40, RET, old_symbol="f")
    edit = Edit(write_payload(good_spec(functions=(function,))))
    return edit.relocation(".livepatch.funcs", 2, addend=8).done()


# Those that Xen takes and suffers from (patch/xen/defects.py).
DEFECTIVE: Mapping[str, Break] = {
    "nop-underflow": _record(1, 24, b"\0"),
    "function-twice": _respec(
        functions=(*good_spec().functions, FunctionSpec("old_function", 40, RET))
    ),
    "section-not-allocated": _edit(lambda e: e.set(".livepatch.depends", flags=0)),
    "foreign-alternatives": _respec(
        alternatives=(AlternativeSpec(Place(".text", 0), 5, b"\x90" * 6, 100),)
    ),
    "zero-alignment": _edit(lambda e: e.set(".data", alignment=0)),
    "wrong-old-size": _mid_function,
    "readonly-funcs": _respec(funcs_writable=False),
    "unchecked-pointer": _edit(lambda e: e.set(".modinfo", size=0)),
}
