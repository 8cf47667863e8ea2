"""Reads struct layouts out of BTF (Documentation/bpf/btf.rst)."""

import struct
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from lpengine.errors import InputError, NotFoundError

_MAGIC = 0xEB9F
_HEADER = struct.Struct("<HBBIIIII")
_TYPE = struct.Struct("<III")
_MEMBER = struct.Struct("<III")

_KIND_ARRAY, _KIND_STRUCT, _KIND_UNION = 3, 4, 5
_QUALIFIERS = (9, 10, 11)  # volatile, const, restrict
# Bytes behind a type's head: fixed, and for each of its `vlen` members.
_FIXED = {1: 4, _KIND_ARRAY: 12, 14: 4, 17: 4}
_EACH = {_KIND_STRUCT: 12, _KIND_UNION: 12, 6: 8, 13: 8, 15: 12, 19: 12}
_KINDS = range(1, 20)
_KEYWORDS = {_KIND_STRUCT: "struct", _KIND_UNION: "union"}
_DEEPEST = 16


@dataclass(frozen=True)
class Struct:
    """A struct or union. `members` are byte offsets by name, those of nameless
    inner structs included, those of type `struct { }` not; `bits` says, for each bit
    field, how many it has."""

    name: str
    size: int
    members: dict[str, int]
    bits: dict[str, int]


class Btf:
    """The types of one BTF section. InputError where it is damaged.

    That of a module says only what `base`, the kernel's, does not, and its numbers of
    types and places of names go on from there.
    """

    def __init__(self, data: bytes, base: "Btf | None" = None) -> None:
        if len(data) < _HEADER.size:
            raise InputError("BTF: shorter than its header")
        fields = _HEADER.unpack_from(data)
        magic, _version, _flags, header_size = fields[:4]
        types_at, types_size, strings_at, strings_size = fields[4:]
        if magic != _MAGIC:
            raise InputError(f"BTF: magic number {magic:#x} is not {_MAGIC:#x}")
        types_at, strings_at = types_at + header_size, strings_at + header_size
        if max(types_at + types_size, strings_at + strings_size) > len(data):
            raise InputError("BTF: its parts end behind the section")
        self._types = data[types_at : types_at + types_size]
        self._strings = data[strings_at : strings_at + strings_size]
        self._own = 0
        if base is not None:
            self._own = len(base._types)
            self._types = base._types + self._types
            self._strings = base._strings + self._strings

    def struct(self, name: str) -> Struct:
        """The first struct of that name. NotFoundError where there is none."""
        wanted = self._name_offsets(name)
        for place in self._places:
            name_at, info, _size = _TYPE.unpack_from(self._types, place)
            if name_at in wanted and _kind(info) == _KIND_STRUCT:
                return self._struct(name, place)
        raise NotFoundError(f"BTF: no struct {name}")

    @cached_property
    def structs(self) -> Mapping[str, Sequence[Struct]]:
        """All structs and unions that have a name, as C says it ("struct list_head"),
        without those of the base: files of a kernel may have different ones of one
        name."""
        found: dict[str, list[Struct]] = defaultdict(list)
        for place in self._places[bisect_left(self._places, self._own) :]:
            name_at, info, _size = _TYPE.unpack_from(self._types, place)
            keyword = _KEYWORDS.get(_kind(info))
            if keyword and name_at:
                name = f"{keyword} {self._string(name_at)}"
                found[name].append(self._struct(name, place))
        return found

    def _struct(self, name: str, place: int) -> Struct:
        _name, _info, size = _TYPE.unpack_from(self._types, place)
        members: dict[str, int] = {}
        bits: dict[str, int] = {}
        for member, offset, width in self._members(place, 0, 0):
            members.setdefault(member, offset // 8)
            if width:
                bits.setdefault(member, width)
        return Struct(name, size, members, bits)

    def _members(
        self, place: int, base: int, depth: int
    ) -> Iterator[tuple[str, int, int]]:
        """Name, offset in bits, and width of a bit field or 0."""
        if depth > _DEEPEST:
            raise InputError("BTF: structs are nested without an end")
        _name, info, _size = _TYPE.unpack_from(self._types, place)
        for number in range(info & 0xFFFF):
            at = place + _TYPE.size + number * _MEMBER.size
            name_at, type_, offset = _MEMBER.unpack_from(self._types, at)
            # With kind_flag, the upper 8 bits are the width of a bit field.
            width, offset = (
                (offset >> 24, offset & 0xFFFFFF) if info >> 31 else (0, offset)
            )
            inner = self._composite(type_)
            if name_at and (inner is None or not self._is_nothing(inner)):
                yield self._string(name_at), base + offset, width
            elif not name_at and inner is not None:
                yield from self._members(inner, base + offset, depth + 1)

    def _is_nothing(self, place: int) -> bool:
        """Whether a composite is `struct { }`, which only marks a place."""
        name_at, info, _size = _TYPE.unpack_from(self._types, place)
        return bool(name_at == 0 and info & 0xFFFF == 0)

    def _composite(self, type_: int) -> int | None:
        """Where type number `type_` is, if it is a struct or union, also a constant
        or volatile one."""
        for _ in range(_DEEPEST):
            if not 1 <= type_ <= len(self._places):
                raise InputError(f"BTF: no type has the number {type_}")
            place = self._places[type_ - 1]
            _name, info, inner = _TYPE.unpack_from(self._types, place)
            if _kind(info) not in _QUALIFIERS:
                return place if _kind(info) in _KEYWORDS else None
            type_ = inner
        raise InputError("BTF: qualifiers without an end")

    @cached_property
    def _places(self) -> list[int]:
        """Where each type is, by its number less one."""
        places: list[int] = []
        at, types = 0, self._types
        while at + _TYPE.size <= len(types):
            _name, info, _size = _TYPE.unpack_from(types, at)
            kind = _kind(info)
            if kind not in _KINDS:
                raise InputError(f"BTF: type {len(places) + 1} is of kind {kind}")
            places.append(at)
            at += _TYPE.size + _FIXED.get(kind, 0)
            at += _EACH.get(kind, 0) * (info & 0xFFFF)
        if at != len(types):
            raise InputError("BTF: its last type is cut off")
        return places

    def _name_offsets(self, name: str) -> set[int]:
        """Every place in the string table where that name is."""
        wanted, found = b"\0" + name.encode() + b"\0", set()
        at = self._strings.find(wanted)
        while at >= 0:
            found.add(at + 1)
            at = self._strings.find(wanted, at + 1)
        return found

    def _string(self, at: int) -> str:
        end = self._strings.find(b"\0", at)
        if end < 0:
            raise InputError("BTF: a name has no end")
        return self._strings[at:end].decode("utf-8", "backslashreplace")


def _kind(info: int) -> int:
    return info >> 24 & 0x1F
