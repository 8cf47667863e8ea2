"""Lays out the live patch structures that a module registers (linux/livepatch.h)."""

import struct
from dataclasses import dataclass, field

from lpengine.elf.constants import R_X86_64_64, SHF_ALLOC, SHF_WRITE
from lpengine.patch.linux.abi import ModuleAbi
from lpengine.patch.linux.spec import (
    FunctionSpec,
    ModuleSpec,
    ObjectSpec,
    Place,
    Reference,
    RelocationSpec,
    SectionSpec,
)

PATCH = ".data.klp_patch"
_NAMES = ".rodata.klp_names"
_ALIGNMENT = 32


def record_sections(
    spec: ModuleSpec, abi: ModuleAbi, this_module: Place
) -> tuple[SectionSpec, SectionSpec]:
    """The section that begins with struct klp_patch, and the one of its strings."""
    records = _Records(abi)
    records.add_patch(spec, this_module)
    data = SectionSpec(
        PATCH,
        bytes(records.data),
        SHF_WRITE | SHF_ALLOC,
        alignment=_ALIGNMENT,
        relocations=tuple(records.relocations),
    )
    return data, SectionSpec(_NAMES, bytes(records.names) or b"\0", alignment=1)


@dataclass
class _Records:
    abi: ModuleAbi
    data: bytearray = field(default_factory=bytearray)
    names: bytearray = field(default_factory=bytearray)
    relocations: list[RelocationSpec] = field(default_factory=list)

    def add_patch(self, spec: ModuleSpec, this_module: Place) -> None:
        patch = self._take("klp_patch", 1)
        self._point(patch, "klp_patch", "mod", this_module)
        if spec.replace:
            self.data[patch + self.abi.offset("klp_patch", "replace")] = 1
        # Each array ends with an element of zeroes.
        objects = self._take("klp_object", len(spec.objects) + 1)
        self._point(patch, "klp_patch", "objs", Place(PATCH, objects))
        for number, each in enumerate(spec.objects):
            self._add_object(objects + number * self.abi.size("klp_object"), each)
        if spec.states:
            states = self._take("klp_state", len(spec.states) + 1)
            self._point(patch, "klp_patch", "states", Place(PATCH, states))
            for number, state in enumerate(spec.states):
                at = states + number * self.abi.size("klp_state")
                self._put(at, "klp_state", "id", "<Q", state.id)
                self._put(at, "klp_state", "version", "<I", state.version)

    def _add_object(self, at: int, spec: ObjectSpec) -> None:
        if spec.name:
            self._point(at, "klp_object", "name", self._string(spec.name))
        functions = self._take("klp_func", len(spec.functions) + 1)
        self._point(at, "klp_object", "funcs", Place(PATCH, functions))
        for number, function in enumerate(spec.functions):
            self._add_function(functions + number * self.abi.size("klp_func"), function)
        callbacks = at + self.abi.offset("klp_object", "callbacks")
        for callback in spec.callbacks:
            self._point(callbacks, "klp_callbacks", callback.kind, callback.function)

    def _add_function(self, at: int, spec: FunctionSpec) -> None:
        self._point(at, "klp_func", "old_name", self._string(spec.name))
        self._point(at, "klp_func", "new_func", spec.new)
        self._put(at, "klp_func", "old_sympos", "<Q", spec.occurrence)

    def _take(self, name: str, count: int) -> int:
        start = len(self.data)
        size = self.abi.size(name) * count
        self.data += bytes(-(-size // _ALIGNMENT) * _ALIGNMENT)
        return start

    def _point(self, at: int, name: str, member: str, target: Reference) -> None:
        offset = at + self.abi.offset(name, member)
        if isinstance(target, Place):
            base, addend = Place(target.section), target.offset
            self.relocations.append(RelocationSpec(offset, R_X86_64_64, base, addend))
        else:
            self.relocations.append(RelocationSpec(offset, R_X86_64_64, target))

    def _put(self, at: int, name: str, member: str, format: str, value: int) -> None:
        struct.pack_into(format, self.data, at + self.abi.offset(name, member), value)

    def _string(self, text: str) -> Place:
        start = len(self.names)
        self.names += text.encode() + b"\0"
        return Place(_NAMES, start)
