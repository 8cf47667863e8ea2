"""Whether the structs of a built object look as those of the running kernel: equal
code of the functions that were proved does not tell about members that only a fix
uses."""

from collections.abc import Iterator, Sequence

from lpengine.diff.layouts import Layout, Types, types_of
from lpengine.elf.btf import Btf, Struct
from lpengine.elf.dwarf import DebugInfo
from lpengine.elf.kernel import KernelImage
from lpengine.patch.linux.running import RunningModule
from lpengine.patch.proof import Difference, Kind, Proof

_BYTE = 8


def layout_differences(
    name: str, proof: Proof, kernel: KernelImage
) -> Iterator[Difference]:
    """What the debug information of an original object says of types, against the
    kernel and, where it is part of one, its module."""
    if proof.object.section(".debug_info") is None:
        return
    running, owner = [kernel.btf], proof.running
    if isinstance(owner, RunningModule) and owner.module.btf:
        running.append(Btf(owner.module.btf, kernel.btf))
    types = types_of(DebugInfo(proof.object))
    for type_, evidence in differing_layouts(types, running):
        yield Difference(name, type_, Kind.LAYOUT, evidence)


def differing_layouts(
    types: Types, running: Sequence[Btf]
) -> Iterator[tuple[str, str]]:
    """The name of each struct or union that the running code has, but none of that
    layout, and what is different."""
    for name, layout in types.layouts.items():
        found = [each for btf in running for each in btf.structs.get(name, ())]
        if found and not any(_first_difference(layout, each) == "" for each in found):
            yield name, _first_difference(layout, found[0])


def _first_difference(layout: Layout, other: Struct) -> str:
    if layout.size != other.size:
        return f"{layout.size} bytes, in the running kernel {other.size}"
    ours, theirs = _offsets(layout), other.members
    for name in sorted(ours.keys() | theirs.keys()):
        if ours.get(name) != theirs.get(name):
            return (
                f"{name} {_at(ours.get(name))}, in the running kernel "
                f"{_at(theirs.get(name))}"
            )
    return ""


def _at(offset: int | None) -> str:
    return "missing" if offset is None else f"at {offset:#x}"


def _offsets(layout: Layout) -> dict[str, int]:
    """In bytes, of the members themselves: those of nameless types are taken apart
    as "member.inner"."""
    starts: dict[str, int] = {}
    for each in layout.members:
        name = each.name.partition(".")[0]
        starts[name] = min(each.start, starts.get(name, each.start))
    return {name: start // _BYTE for name, start in starts.items()}
