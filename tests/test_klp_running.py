"""Objects are proved against a module, which is relocatable itself, and what they
refer to is found by the live patch core's rules."""

import gzip
import lzma
import subprocess
from pathlib import Path

import pytest

from lpengine.elf import open_image
from lpengine.errors import ElfError
from lpengine.patch.linux.module_file import ModuleFile, open_module
from lpengine.patch.linux.running import RunningModule
from lpengine.patch.model import KlpSymbol
from lpengine.patch.proof import Proof, prove

FIRST = """\
extern int outside(const char *text);
int shared = 5;
static int limit = 3;
static const char *const table[] = { "one", "two" };
static int __attribute__((noinline)) twin(void) { return 7; }
int first(int x)
{
	static int count = 1;

	count += x;
	return outside(table[x & 1]) + count + limit + twin() + shared;
}
"""
SECOND = """\
extern int first(int x);
extern int shared;
static int __attribute__((noinline)) twin(void) { return 7; }
static int other(void) { return shared; }
int (*const handlers[])(void) = { other };
int second(int x)
{
	static int count = 2;

	return first(x) + count++ + twin() + handlers[0]();
}
"""
MODINFO = """\
static const char name[] __attribute__((used, section(".modinfo"))) =
	"name=some_module";
"""
FLAGS = (
    *("-O2", "-fno-pic", "-mcmodel=kernel", "-ffunction-sections", "-fdata-sections"),
    "-fno-asynchronous-unwind-tables",
)


def compiled(directory: Path, name: str, text: str, *flags: str) -> Path:
    source, output = directory / f"{name}.c", directory / f"{name}.o"
    source.write_text(text)
    subprocess.run(["gcc", *FLAGS, *flags, "-c", source, "-o", output], check=True)
    return output


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    directory = tmp_path_factory.mktemp("module")
    found = {
        name: compiled(directory, name, text)
        for name, text in (("first", FIRST), ("second", SECOND), ("info", MODINFO))
    }
    linked = directory / "some-module.ko"
    subprocess.run(["ld", "-r", "-o", linked, *found.values()], check=True)
    return {**found, "module": linked}


@pytest.fixture(scope="module")
def module(objects: dict[str, Path]) -> ModuleFile:
    return open_module(objects["module"])


def proof_of(objects: dict[str, Path], name: str, module: ModuleFile) -> Proof:
    return prove(name, open_image(objects[name]), RunningModule(module))


def found(proof: Proof, name: str) -> tuple[KlpSymbol, int]:
    """How the core finds what the object calls so."""
    (symbol,) = proof.object.symbols.named(name)
    section = proof.object.sections[symbol.section_index].name
    address = proof.locate(section, symbol.value, symbol.index)
    assert address is not None
    assert isinstance(proof.running, RunningModule)
    landmark = proof.running.landmark(address, name)
    assert landmark is not None
    return landmark.symbol, landmark.offset


def test_objects_are_those_that_a_module_was_linked_from(
    objects: dict[str, Path], module: ModuleFile
) -> None:
    for name, functions in (("first", 2), ("second", 3)):
        proof = proof_of(objects, name, module)
        assert proof.differences == ()
        assert len(proof.functions) == functions


def test_a_static_local_is_the_right_one_of_its_name(
    objects: dict[str, Path], module: ModuleFile
) -> None:
    """gcc calls both of them count.0."""
    places = [
        found(proof_of(objects, name, module), "count.0")
        for name in ("first", "second")
    ]
    assert places == [
        (KlpSymbol("some_module", "count.0", 1), 0),
        (KlpSymbol("some_module", "count.0", 2), 0),
    ]


def test_functions_that_are_alike_are_told_apart_by_who_calls_them(
    objects: dict[str, Path], module: ModuleFile
) -> None:
    places = [
        found(proof_of(objects, name, module), "twin") for name in ("first", "second")
    ]
    assert [symbol.occurrence for symbol, _offset in places] == [1, 2]


def test_what_has_no_symbol_is_found_from_the_one_before_it(
    objects: dict[str, Path], module: ModuleFile
) -> None:
    running = RunningModule(module)
    (spot,) = running.named("shared")
    landmark = running.landmark(spot.address + 2, "")
    assert landmark is not None
    assert landmark.symbol == KlpSymbol("some_module", "shared", 0)
    assert landmark.offset == 2


def test_a_module_of_other_sources_is_told_from_it(
    objects: dict[str, Path], module: ModuleFile, tmp_path: Path
) -> None:
    changed = compiled(tmp_path, "second", SECOND.replace("count++", "++count"))
    proof = prove("second", open_image(changed), RunningModule(module))
    assert [each.function for each in proof.differences] == ["second"]


def test_a_module_compiled_in_another_way_is_told_from_it(
    objects: dict[str, Path], module: ModuleFile, tmp_path: Path
) -> None:
    other = compiled(tmp_path, "first", FIRST, "-O1")
    proof = prove("first", open_image(other), RunningModule(module))
    assert "first" in [each.function for each in proof.differences]


@pytest.mark.parametrize(
    ("suffix", "pack"), [(".xz", lzma.compress), (".gz", gzip.compress)]
)
def test_a_packed_module_is_the_same(
    objects: dict[str, Path], module: ModuleFile, tmp_path: Path, suffix: str, pack
) -> None:
    path = tmp_path / f"some-module.ko{suffix}"
    path.write_bytes(pack(objects["module"].read_bytes()))
    packed = open_module(path)
    assert packed.name == module.name
    assert packed.image.data == module.image.data


def test_nothing_is_read_outside_of_sections(module: ModuleFile) -> None:
    running = RunningModule(module)
    (spot,) = running.named("second")
    for address in (0, spot.address - 0x10000, spot.address + 0x800000, 1 << 63):
        with pytest.raises(ElfError):
            running.read(address, 16)
