"""What the pointers in a payload's tables refer to."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from lpengine.elf.constants import R_X86_64_64, R_X86_64_NONE, SHN_UNDEF
from lpengine.patch.model import PatchRelocation
from lpengine.patch.xen.payload_file import FileSection, PayloadFile, is_absolute
from lpengine.patch.xen.placing import Placing
from lpengine.patch.xen.rules_relocations import width_of
from lpengine.patch.xen.violations import Violations

_LIMIT = 1 << 64

# A section's index and an offset into it.
Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Reference:
    """`offset` into the payload's section `section`; or, where that is 0, `offset`
    behind the target's `symbol`; or, where that is "", the address `offset`."""

    section: int
    symbol: str
    offset: int

    @property
    def is_null(self) -> bool:
        return not (self.section or self.symbol or self.offset)


@dataclass(frozen=True)
class View:
    """A payload whose relocations are known, while its contents are read."""

    file: PayloadFile
    placing: Placing
    relocations: dict[int, list[PatchRelocation]]
    violations: Violations

    @classmethod
    def of(
        cls,
        file: PayloadFile,
        placing: Placing,
        relocations: Iterable[PatchRelocation],
        violations: Violations,
    ) -> "View":
        by_section: dict[int, list[PatchRelocation]] = {}
        for relocation in relocations:
            by_section.setdefault(relocation.section_index, []).append(relocation)
        return cls(file, placing, by_section, violations)

    def names_at(self, places: Collection[Place]) -> dict[Place, str]:
        """The first symbol's name at each of these places that has one."""
        found: dict[Place, str] = {}
        for index in range(1, self.file.symbol_count if places else 0):
            symbol = self.file.symbol(index)
            place = (symbol.section_index, symbol.value)
            if place in places and symbol.name:
                found.setdefault(place, self.file.symbol_name(symbol))
        return found

    def fields(
        self, section: FileSection, type_: int = R_X86_64_64
    ) -> dict[int, Reference]:
        """What the relocations of one type put where, by offset. The last one wins,
        as it does in Xen."""
        return {
            relocation.offset: self._reference(relocation)
            for relocation in self.relocations.get(section.index, ())
            if relocation.type == type_
        }

    def refuse_strays(
        self, section: FileSection, type_: int, places: Iterable[int], stride: int
    ) -> None:
        """Reports relocations that change something else than the pointers, which
        are at `places` in each `stride` bytes of the section: what they change then
        has a value only where the payload is loaded."""
        allowed = frozenset(places)
        for relocation in self.relocations.get(section.index, ()):
            if relocation.type == R_X86_64_NONE:
                continue
            if relocation.type != type_ or relocation.offset % stride not in allowed:
                self.violations.suffer(
                    "unchecked-pointer",
                    f"{section.label}+{relocation.offset:#x}",
                    f"a relocation of {width_of(relocation)} bytes",
                    "relocations at this section's pointers only",
                )

    def _reference(self, relocation: PatchRelocation) -> Reference:
        symbol = self.file.symbol(relocation.symbol_index)
        place = symbol.value + relocation.addend
        section = self.file.section_of(symbol)
        if section is not None:
            return Reference(section.index, "", place)
        if symbol.section_index == SHN_UNDEF:
            return Reference(0, relocation.symbol, relocation.addend)
        return Reference(0, "", place % _LIMIT if is_absolute(symbol) else 0)

    def check_code(self, reference: Reference, subject: str, what: str) -> None:
        """Reports a pointer to code that cannot be run. Null is not judged."""
        observed = ""
        if reference.section:
            section = self.file.sections[reference.section]
            if not 0 <= reference.offset < section.size:
                observed = f"{reference.offset:#x} in {section.size:#x} bytes of "
                observed += section.label
            elif not section.executable:
                observed = f"{section.label}, which is not executable"
        elif not reference.symbol and reference.offset:
            observed = f"the address {reference.offset:#x}"
        if observed:
            self.violations.suffer(
                "unchecked-pointer",
                subject,
                f"{what} is at {observed}",
                "a relocation that refers to code",
            )
