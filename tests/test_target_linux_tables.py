"""The kernel's big tables are read again when they may have changed, and only then."""

import stat
from pathlib import Path

import pytest

from lpengine.targets.linux_tables import Tables

MODULES = ("ext4 999 0x1", "loop 12 0x2")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "kallsyms"
    path.write_bytes(b"1 T one\n")
    return path


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def test_what_was_read_is_kept_for_the_next_process(source: Path, state: Path) -> None:
    assert Tables(state, "boot").read(source, MODULES) == b"1 T one\n"
    source.write_bytes(b"2 T two\n")
    assert Tables(state, "boot").read(source, MODULES) == b"1 T one\n"
    (kept,) = state.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    assert stat.S_IMODE(state.stat().st_mode) == 0o700


@pytest.mark.parametrize(
    ("boot", "modules"),
    [
        ("another", MODULES),
        ("boot", MODULES[:1]),
        ("boot", ("ext4 999 0x1", "loop 12 0x3")),
        ("boot", ()),
    ],
)
def test_another_boot_or_module_has_other_symbols(
    source: Path, state: Path, boot: str, modules: tuple[str, ...]
) -> None:
    Tables(state, "boot").read(source, MODULES)
    source.write_bytes(b"2 T two\n")
    assert Tables(state, boot).read(source, modules) == b"2 T two\n"


@pytest.mark.parametrize("cut", [0, 1, 30, -1])
def test_what_is_damaged_is_read_again(source: Path, state: Path, cut: int) -> None:
    Tables(state, "boot").read(source, MODULES)
    (kept,) = state.iterdir()
    kept.write_bytes(kept.read_bytes()[:cut])
    source.write_bytes(b"2 T two\n")
    assert Tables(state, "boot").read(source, MODULES) == b"2 T two\n"


def test_what_was_changed_is_read_again(source: Path, state: Path) -> None:
    Tables(state, "boot").read(source, MODULES)
    (kept,) = state.iterdir()
    kept.write_bytes(kept.read_bytes().replace(b"one", b"owe"))
    assert Tables(state, "boot").read(source, MODULES) == b"1 T one\n"


def test_without_a_place_to_keep_it_it_is_read_all_the_same(
    source: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    tables = Tables(tmp_path / "file" / "state", "boot")
    assert tables.read(source, MODULES) == b"1 T one\n"
    assert tables.read(tmp_path / "missing", MODULES) is None
