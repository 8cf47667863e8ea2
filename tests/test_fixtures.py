"""The compiled fixtures hold what other tests rely on (oracles: readelf, nm)."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

BASE = 0xFFFF82D040200000


def output(*command: object) -> str:
    return subprocess.run(
        [str(word) for word in command], check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture(scope="module")
def symbols(hv_image: Path) -> dict[str, tuple[int, int]]:
    """Name -> (address, size), by nm."""
    table = {}
    for line in output("nm", "-S", hv_image).splitlines():
        words = line.split()
        size = int(words[1], 16) if len(words) == 4 else 0
        table[words[-1]] = (int(words[0], 16), size)
    return table


def test_is_linked_where_xen_is(hv_image: Path) -> None:
    segments = output("readelf", "-lW", hv_image)
    assert f"0x{BASE:x}" in segments
    assert segments.count("LOAD  ") == 1


def test_readelf_finds_nothing_to_complain_about(hv_image: Path) -> None:
    done = subprocess.run(["readelf", "-aW", hv_image], capture_output=True, text=True)
    assert done.stderr == ""
    assert "Build ID: " in done.stdout


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("short_padded", 3),
        ("short_tight", 3),
        ("exact_five", 5),
        ("exact_nine", 9),
        ("endbr_eight", 8),
        ("xen_extra_version", 12),
        ("without_size", 0),
    ],
)
def test_exact_sizes(symbols: dict[str, tuple[int, int]], name: str, size: int) -> None:
    assert symbols[name][1] == size


def test_short_functions_are_padded_or_not(
    symbols: dict[str, tuple[int, int]],
) -> None:
    assert symbols["short_tight"][0] - symbols["short_padded"][0] == 16
    assert symbols["short_neighbour"][0] - symbols["short_tight"][0] == 3


def test_init_functions_lie_between_their_bounds(
    symbols: dict[str, tuple[int, int]],
) -> None:
    start, end = symbols["_sinittext"][0], symbols["_einittext"][0]
    assert start <= symbols["boot_setup"][0] < end
    assert not start <= symbols["xen_extra_version"][0] < end


def test_file_symbols_are_paths(hv_image: Path) -> None:
    table = output("readelf", "-sW", hv_image)
    assert "common/twin.c" in table
    assert "arch/x86/entry.S" in table
    assert "ticket.0" in table


def test_statics_of_one_name_exist_twice(hv_image: Path) -> None:
    names = [line.split()[-1] for line in output("nm", hv_image).splitlines()]
    assert names.count("scale") == 2
    assert names.count("total") == 2
    assert names.count("only_here") == 1


def test_definitions_change_the_build_id(
    build_hv: Callable[..., Path], hv_image: Path, tmp_path: Path
) -> None:
    other = build_hv(tmp_path / "other", VERSION_EXTRA=".8")
    again = build_hv(tmp_path / "again")
    assert again.read_bytes() == hv_image.read_bytes()
    assert other.read_bytes() != hv_image.read_bytes()
    assert b".8\0" in other.read_bytes()
