"""BTF as the same entries that DWARF has (Documentation/bpf/btf.rst)."""

from collections.abc import Iterator, Sequence
from struct import Struct, iter_unpack, unpack_from
from typing import NamedTuple

from lpengine.core.dwarf import IN_STRINGS, Entry, EntryFlag
from lpengine.elf.dwarf.info import TypeInfo
from lpengine.elf.dwarf.tags import Tag
from lpengine.errors import InputError

_MAGIC = 0xEB9F
_HEADER = Struct("<HBBIIIII")
_TYPE = Struct("<III")
# Numbers of types become offsets of entries, with room for members behind each.
_SHIFT = 17

_TAGS = {
    1: Tag.BASE,
    2: Tag.POINTER,
    3: Tag.ARRAY,
    4: Tag.STRUCTURE,
    5: Tag.UNION,
    6: Tag.ENUMERATION,
    8: Tag.TYPEDEF,
    9: Tag.VOLATILE,
    10: Tag.CONST,
    11: Tag.RESTRICT,
    12: Tag.FUNCTION,
    13: Tag.SUBROUTINE,
    14: Tag.VARIABLE,
    16: Tag.BASE,
    18: Tag.CONST,  # a type with a tag is that type
    19: Tag.ENUMERATION,
}
_INT, _ARRAY, _STRUCT, _UNION, _ENUM, _FUNCTION = 1, 3, 4, 5, 6, 12
_PROTOTYPE, _FLOAT, _ENUM_64 = 13, 16, 19
_SIZED = frozenset((_INT, _STRUCT, _UNION, _ENUM, _FLOAT, _ENUM_64))
# Bytes behind a type's head: fixed, and for each of its `vlen` members.
_FIXED = {_INT: 4, _ARRAY: 12, 14: 4, 17: 4}
_EACH = {_STRUCT: 12, _UNION: 12, _ENUM: 8, _PROTOTYPE: 8, 15: 12, _ENUM_64: 12}
_FLOAT_ENCODING = 4


class _Raw(NamedTuple):
    """One type as it is stored: `word` is a size or another type's number."""

    name: int
    kind: int
    flag: int
    length: int
    word: int
    rest: bytes


class BtfInfo(TypeInfo):
    """The types and functions of a .BTF section that stands for itself, as gcc -gbtf
    makes it. InputError, when it is made, where it is damaged."""

    def __init__(self, data: bytes) -> None:
        types, self._text = _parts(data)
        super().__init__(tuple(_Entries(_raw_types(types)).make()))

    def _read(self, section: int, offset: int) -> str:
        end = self._text.find(b"\0", offset)
        return self._text[offset:end].decode("utf-8", "backslashreplace")


def _parts(data: bytes) -> tuple[bytes, bytes]:
    if len(data) < _HEADER.size:
        raise InputError("BTF: shorter than its header")
    magic, _, _, header, type_at, type_size, text_at, text_size = _HEADER.unpack_from(
        data
    )
    if magic != _MAGIC:
        raise InputError(f"BTF: magic number {magic:#x} is not {_MAGIC:#x}")
    if header + max(type_at + type_size, text_at + text_size) > len(data):
        raise InputError("BTF: its parts end behind the section")
    types = data[header + type_at : header + type_at + type_size]
    return types, data[header + text_at : header + text_at + text_size]


def _raw_types(types: bytes) -> list[_Raw]:
    found = []
    at = 0
    while at + _TYPE.size <= len(types):
        name, info, word = _TYPE.unpack_from(types, at)
        kind, count = info >> 24 & 0x1F, info & 0xFFFF
        size = _FIXED.get(kind, 0) + _EACH.get(kind, 0) * count
        at += _TYPE.size
        if at + size > len(types):
            raise InputError("BTF: its last type is cut off")
        rest = types[at : at + size]
        found.append(_Raw(name, kind, info >> 31, count, word, rest))
        at += size
    return found


class _Entries:
    def __init__(self, types: Sequence[_Raw]) -> None:
        self._types = types
        self._count = 0

    def make(self) -> Iterator[Entry]:
        for number, raw in enumerate(self._types, 1):
            tag = _TAGS.get(raw.kind)
            if tag is None:
                continue
            yield self._entry(number << _SHIFT, raw, tag)
            parent = self._count
            for place, child in enumerate(self._children(raw), 1):
                yield self._child((number << _SHIFT) + place, parent, child)

    def _entry(self, offset: int, raw: _Raw, tag: Tag) -> Entry:
        sized = raw.kind in _SIZED
        type_ = 0 if sized else raw.word
        flags = EntryFlag.SIZE if sized else 0
        value = 0
        if raw.kind == _ARRAY:
            type_ = unpack_from("<I", raw.rest)[0]
        elif raw.kind == _FUNCTION:
            # gcc does not say which are static; the symbol table does.
            flags |= EntryFlag.EXTERNAL
            prototype = self._prototype(raw)
            type_ = prototype.word if prototype else 0
        elif raw.kind == _FLOAT:
            value = _FLOAT_ENCODING
        self._count += 1
        return _made(
            offset,
            raw.name,
            tag,
            type=type_,
            flags=flags,
            value=value,
            size=raw.word if sized else 0,
        )

    def _child(self, offset: int, parent: int, child: Entry) -> Entry:
        self._count += 1
        return child._replace(offset=offset, parent=parent)

    def _prototype(self, raw: _Raw) -> _Raw | None:
        if not 1 <= raw.word <= len(self._types):
            return None
        found = self._types[raw.word - 1]
        return found if found.kind == _PROTOTYPE else None

    def _children(self, raw: _Raw) -> Iterator[Entry]:
        if raw.kind == _FUNCTION:
            prototype = self._prototype(raw)
            if prototype is not None:
                yield from self._children(prototype)
        elif raw.kind in (_STRUCT, _UNION):
            for name, type_, offset in iter_unpack("<III", raw.rest):
                # With the flag, the upper 8 bits are the width of a bit field.
                bits = offset >> 24 if raw.flag else 0
                place = offset & 0xFFFFFF if raw.flag else offset
                yield _made(0, name, Tag.MEMBER, type=type_, place=place, bits=bits)
        elif raw.kind == _ENUM:
            for name, value in iter_unpack("<Ii", raw.rest):
                yield _made(0, name, Tag.ENUMERATOR, value=value)
        elif raw.kind == _ENUM_64:
            for name, low, high in iter_unpack("<III", raw.rest):
                yield _made(0, name, Tag.ENUMERATOR, value=high << 32 | low)
        elif raw.kind == _PROTOTYPE:
            for name, type_ in iter_unpack("<II", raw.rest):
                tag = Tag.PARAMETER if type_ else Tag.MORE_PARAMETERS
                yield _made(0, name, tag, type=type_)
        elif raw.kind == _ARRAY:
            count = unpack_from("<I", raw.rest, 8)[0]
            yield _made(0, 0, Tag.SUBRANGE, value=count, flags=EntryFlag.VALUE)


def _made(
    offset: int,
    name: int,
    tag: Tag,
    *,
    type: int = 0,
    size: int = 0,
    place: int = 0,
    value: int = 0,
    bits: int = 0,
    flags: int = 0,
) -> Entry:
    return Entry(
        offset=offset,
        name_in=IN_STRINGS if name else 0,
        name_at=name,
        type=type << _SHIFT,
        origin=0,
        size=size,
        place=place,
        value=value,
        tag=int(tag),
        parent=0,
        bit_size=bits,
        bit_offset=0,
        file=0,
        line=0,
        flags=flags,
    )
