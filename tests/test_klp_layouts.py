"""Struct layouts of a built object against those that a kernel says it has."""

import subprocess
from dataclasses import dataclass, field

import pytest

from lpengine.diff.layouts import Types, types_of
from lpengine.elf import open_image
from lpengine.elf.btf import Struct
from lpengine.elf.dwarf import DebugInfo
from lpengine.patch.linux.layouts import differing_layouts

SOURCE = """\
struct inner { int a, b; };
struct all {
	char first;
	const struct { long x; short y; };
	struct inner named;
	struct { char c; } nameless;
	unsigned low : 3, high : 5;
	struct { } mark;
	union { long u; char v; };
	int tail[0];
};
union choice { long l; char c[3]; };
struct all all;
union choice choice;
"""
INNER = Struct("inner", 8, {"a": 0, "b": 4}, {})
ALL = Struct(
    "all",
    56,
    {
        **{"first": 0, "x": 8, "y": 16, "named": 24, "nameless": 32},
        **{"low": 33, "high": 33, "u": 40, "v": 40, "tail": 48},
    },
    {"low": 3, "high": 5},
)


@dataclass(frozen=True)
class Told:
    """What stands in for BTF."""

    structs: dict[str, list[Struct]] = field(default_factory=dict)


@pytest.fixture(scope="module")
def types(tmp_path_factory: pytest.TempPathFactory) -> Types:
    directory = tmp_path_factory.mktemp("types")
    (directory / "a.c").write_text(SOURCE)
    subprocess.run(["gcc", "-g", "-c", "a.c"], cwd=directory, check=True)
    return types_of(DebugInfo(open_image(directory / "a.o")))


def differences(types: Types, *structs: Struct) -> dict[str, str]:
    told: dict[str, list[Struct]] = {}
    for each in structs:
        told.setdefault(f"struct {each.name}", []).append(each)
    return dict(differing_layouts(types, [Told(told)]))


def size_of(types: Types, name: str) -> int:
    return types.layouts[name].size


def with_size(types: Types, struct: Struct) -> Struct:
    size = size_of(types, f"struct {struct.name}")
    return Struct(struct.name, size, struct.members, struct.bits)


def test_equal_layouts_are_no_difference(types: Types) -> None:
    assert differences(types, with_size(types, ALL), INNER) == {}


def test_types_that_the_kernel_does_not_tell_of_are_left_alone(types: Types) -> None:
    assert differences(types) == {}


def test_one_of_several_of_a_name_is_enough(types: Types) -> None:
    other = Struct("inner", 4, {"z": 0}, {})
    assert differences(types, other, INNER) == {}


def test_another_size_is_told(types: Types) -> None:
    found = differences(types, Struct("inner", 16, {"a": 0, "b": 4}, {}))
    assert found == {"struct inner": "8 bytes, in the running kernel 16"}


@pytest.mark.parametrize(
    ("members", "evidence"),
    [
        ({"a": 4, "b": 0}, "a at 0x0, in the running kernel at 0x4"),
        ({"a": 0}, "b at 0x4, in the running kernel missing"),
        ({"a": 0, "b": 4, "c": 4}, "c missing, in the running kernel at 0x4"),
    ],
)
def test_members_elsewhere_within_one_size_are_told(
    types: Types, members: dict[str, int], evidence: str
) -> None:
    found = differences(types, Struct("inner", 8, members, {}))
    assert found == {"struct inner": evidence}
