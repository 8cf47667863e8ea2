"""What structs, unions, enumerations and functions look like, by debug information."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from lpengine.core.dwarf import Entry
from lpengine.elf.dwarf import Tag, TypeInfo
from lpengine.elf.dwarf.tags import COMPOSITES, QUALIFIERS

_DEEPEST = 24
_MEMBERS_MAX = 1 << 20
_FLOAT = 4  # DW_ATE_float
_BYTE = 8


@dataclass(frozen=True, slots=True)
class Member:
    """A member, with those of nameless inner structs as its equals. `start` and
    `bits` are in bits; `kind` is integer, pointer, float, composite or array, `type`
    how C says it. `shares` says that it is one of several in an inner union."""

    name: str
    start: int
    bits: int
    kind: str
    type: str
    shares: bool = False

    @property
    def end(self) -> int:
        return self.start + self.bits


@dataclass(frozen=True, slots=True)
class Layout:
    """A struct or union; `name` as in C. `file` is the number of its source file."""

    name: str
    size: int
    members: tuple[Member, ...]
    file: int = 0


@dataclass(frozen=True, slots=True)
class Prototype:
    """How a function is called: result and parameters, as in C. `shape` says how
    they are passed, whatever they are called."""

    name: str
    text: str
    shape: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable that can be written to, with an address: its type as in C, what it
    holds, and its bytes."""

    text: str
    shape: str
    size: int


@dataclass(frozen=True)
class Types:
    """The types of one object. `enumerators` are by their names, which C has only
    one of; `variables` by the function they are in, "" for none, and their names,
    without those of one function that share a name."""

    layouts: dict[str, Layout] = field(default_factory=dict)
    enumerators: dict[str, int] = field(default_factory=dict)
    prototypes: dict[str, Prototype] = field(default_factory=dict)
    variables: dict[tuple[str, str], Variable] = field(default_factory=dict)


def types_of(info: TypeInfo) -> Types:
    """All named types and all global functions that debug information knows."""
    return _Reader(info).read()


class _Reader:
    def __init__(self, info: TypeInfo) -> None:
        self._info = info
        self._texts: dict[int, str] = {}
        # Damaged types may lead back to themselves.
        self._left = _MEMBERS_MAX

    def read(self) -> Types:
        types = Types()
        for entry in self._info.composites:
            name = self._composite_name(entry)
            if name:
                types.layouts.setdefault(name, self._layout(entry, name))
        for entry in self._info.entries:
            if entry.tag == Tag.ENUMERATOR:
                types.enumerators.setdefault(self._info.name(entry), entry.value)
            elif entry.tag == Tag.FUNCTION and entry.is_external and not entry.origin:
                prototype = self._prototype(entry)
                types.prototypes.setdefault(prototype.name, prototype)
        types.variables.update(self._variables())
        return types

    def _variables(self) -> Iterator[tuple[tuple[str, str], Variable]]:
        entries = [
            ((self._function_around(entry), self._info.name(entry)), entry)
            for entry in self._info.entries
            if entry.tag == Tag.VARIABLE and entry.is_static and entry.type
        ]
        times = Counter(key for key, _ in entries)
        for key, entry in entries:
            if times[key] == 1 and not self._is_constant(entry.type):
                size = self._info.size_of(entry.type)
                shape = self._shape(self._wrapped(entry.type))
                yield key, Variable(self._text(entry.type), shape, size)

    def _wrapped(self, offset: int) -> int:
        """The type of the one value that a struct is around: those are the same
        bytes, read the same way."""
        for _ in range(_DEEPEST):
            entry = self._info.unqualified(offset)
            if entry is None or entry.tag not in COMPOSITES:
                break
            members = [e for e in self._info.children(entry) if e.tag == Tag.MEMBER]
            if len(members) != 1 or members[0].bit_size:
                break
            if self._info.size_of(members[0].type) != entry.size:
                break
            offset = members[0].type
        return offset

    def _is_constant(self, offset: int) -> bool:
        """Whether a type is one of constants, or of arrays of them."""
        for _ in range(_DEEPEST):
            entry = self._info.at(offset)
            if entry is None or entry.tag == Tag.CONST:
                return entry is not None
            if entry.tag not in (*QUALIFIERS, Tag.TYPEDEF, Tag.ARRAY):
                break
            offset = entry.type
        return False

    def _function_around(self, entry: Entry) -> str:
        """The function that a variable is local to."""
        for _ in range(_DEEPEST):
            if not entry.parent:
                break
            entry = self._info.entries[entry.parent - 1]
            if entry.tag == Tag.FUNCTION:
                return self._info.name(entry)
        return ""

    def _composite_name(self, entry: Entry) -> str:
        name = self._info.name(entry)
        if name:
            return f"{_keyword(entry)} {name}"
        return self._typedefs.get(entry.offset, "")

    @cached_property
    def _typedefs(self) -> dict[int, str]:
        """The names that nameless types are known by."""
        found: dict[int, str] = {}
        for entry in self._info.entries:
            if entry.tag == Tag.TYPEDEF and entry.type:
                found.setdefault(entry.type, self._info.name(entry))
        return found

    def _layout(self, entry: Entry, name: str) -> Layout:
        members = tuple(self._members(entry, 0, "", 0))
        return Layout(name, entry.size, members, entry.file)

    def _members(
        self, entry: Entry, base: int, prefix: str, depth: int
    ) -> Iterator[Member]:
        """The members of a composite; nameless ones and those of nameless types are
        taken apart, since they have no name to be compared by."""
        for child in self._info.children(entry):
            if child.tag != Tag.MEMBER or depth > _DEEPEST or self._left <= 0:
                continue
            self._left -= 1
            name = self._info.name(child)
            start = base + child.place
            inner = self._info.unqualified(child.type)
            nameless = inner is not None and not self._known(child.type)
            if inner is not None and inner.tag in COMPOSITES and nameless:
                dotted = f"{prefix}{name}." if name else prefix
                shares = inner.tag == Tag.UNION
                for member in self._members(inner, start, dotted, depth + 1):
                    yield replace(member, shares=member.shares or shares)
            else:
                yield self._member(child, prefix + name, start, inner)

    def _known(self, offset: int) -> bool:
        """Whether a composite type has a name, of its own or by typedef."""
        entry = self._info.unqualified(offset)
        return entry is not None and bool(self._composite_name(entry))

    def _member(
        self, child: Entry, name: str, start: int, inner: Entry | None
    ) -> Member:
        bits = child.bit_size or self._info.size_of(child.type) * _BYTE
        if child.bit_size and child.has_bit_offset:
            # DWARF 2 and 3 count from the other end of the storage unit.
            storage = (child.size or self._info.size_of(child.type)) * _BYTE
            start += storage - child.bit_offset - child.bit_size
        return Member(name, start, bits, _kind(inner), self._text(child.type))

    def _prototype(self, entry: Entry) -> Prototype:
        parameters = [
            child
            for child in self._info.children(entry)
            if child.tag in (Tag.PARAMETER, Tag.MORE_PARAMETERS)
        ]
        texts = [
            "..." if p.tag == Tag.MORE_PARAMETERS else self._text(p.type)
            for p in parameters
        ]
        shapes = [
            "..." if p.tag == Tag.MORE_PARAMETERS else self._shape(p.type)
            for p in parameters
        ]
        name = self._info.name(entry)
        text = f"{self._text(entry.type)} {name}({', '.join(texts) or 'void'})"
        return Prototype(name, text, (self._shape(entry.type), *shapes))

    def _shape(self, offset: int) -> str:
        """How a value of a type is passed: its kind and size, and for a pointer what
        it leads to."""
        if not offset:
            return "void"
        entry = self._info.unqualified(offset)
        if entry is None:
            return "void"
        kind = _kind(entry)
        if kind == "pointer":
            inner = self._info.unqualified(entry.type)
            if inner is not None and inner.tag in COMPOSITES:
                return f"{self._composite_name(inner) or 'nameless'} *"
            return "pointer"
        if kind == "composite":
            return self._composite_name(entry) or f"composite of {entry.size}"
        return f"{kind} of {self._info.size_of(offset)}"

    def _text(self, offset: int, depth: int = 0) -> str:
        """A type as C says it, without typedefs of named types."""
        if not offset:
            return "void"
        found = self._texts.get(offset)
        if found is None:
            found = self._text_of(offset, depth)
            self._texts[offset] = found
        return found

    def _text_of(self, offset: int, depth: int) -> str:
        entry = self._info.at(offset)
        if entry is None or depth > _DEEPEST:
            return "?"
        name = self._info.name(entry)
        if entry.tag == Tag.TYPEDEF:
            return name
        if entry.tag == Tag.POINTER:
            return f"{self._text(entry.type, depth + 1)} *"
        if entry.tag in QUALIFIERS:
            return self._text(entry.type, depth + 1)
        if entry.tag == Tag.ARRAY:
            inner = self._text(entry.type, depth + 1)
            return f"{inner}[{self._info.elements(entry)}]"
        if entry.tag == Tag.SUBROUTINE:
            return "function"
        if entry.tag in COMPOSITES or entry.tag == Tag.ENUMERATION:
            return f"{_keyword(entry)} {name}".rstrip()
        return name or "?"


def _keyword(entry: Entry) -> str:
    if entry.tag == Tag.UNION:
        return "union"
    return "enum" if entry.tag == Tag.ENUMERATION else "struct"


def _kind(entry: Entry | None) -> str:
    if entry is None:
        return "void"
    if entry.tag in COMPOSITES:
        return "composite"
    if entry.tag == Tag.BASE:
        return "float" if entry.value == _FLOAT else "integer"
    kinds = {
        int(Tag.POINTER): "pointer",
        int(Tag.ENUMERATION): "integer",
        int(Tag.ARRAY): "array",
        int(Tag.SUBROUTINE): "function",
    }
    return kinds.get(entry.tag, "other")
