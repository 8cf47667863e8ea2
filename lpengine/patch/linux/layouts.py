"""Whether the structs of a built object look as those of the running kernel: equal
code of the functions that were proved does not tell about members that only a fix
uses."""

from collections.abc import Iterator, Sequence

from lpengine.diff.layouts import Layout, Types
from lpengine.elf.btf import Btf, Struct

_BYTE = 8


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
