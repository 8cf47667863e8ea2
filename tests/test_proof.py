"""Objects are told from those that an image was not linked from, and the linker's
placing is found out from the image."""

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from lpengine.elf import open_image
from lpengine.patch.proof import Kind, LinkedFile, Proof, Spot, prove

FIXTURE = Path(__file__).parent.parent / "fixtures/hv"


@pytest.fixture(scope="module")
def built(build_hv, tmp_path_factory) -> Path:
    directory = tmp_path_factory.mktemp("proof")
    build_hv(directory)
    return directory


def proof_of(directory: Path, name: str, image: Path) -> Proof:
    return prove(name, open_image(directory / name), LinkedFile(open_image(image)))


def where(proof: Proof, name: str) -> int | None:
    symbol = next(s for s in proof.object.symbols if s.name.startswith(name))
    section = proof.object.sections[symbol.section_index].name
    return proof.locate(section, symbol.value, symbol.index)


def test_every_object_is_that_of_its_image(built: Path) -> None:
    objects = sorted(built.rglob("*.o"))
    assert len(objects) >= 9
    for path in objects:
        proof = proof_of(built, str(path.relative_to(built)), built / "hv")
        assert proof.differences == (), path
        found = {s.index for s in proof.object.symbols if s.is_function and s.size}
        assert set(proof.functions) == found, path


@pytest.mark.parametrize("name", ["common/twin", "common/counter"])
def test_statics_of_one_name_are_told_apart(built: Path, name: str) -> None:
    proof = proof_of(built, f"{name}.o", built / "hv")
    image = open_image(built / "hv")
    for what in ("total", "scale"):
        (wanted,) = image.symbols.named(f"{name}.c#{what}")
        assert where(proof, what) == wanted.value


@pytest.mark.parametrize("name", ["common/twin", "common/counter"])
def test_statics_are_told_apart_without_their_files(built: Path, name: str) -> None:
    """As in an image whose symbols do not say their files: the code tells."""

    class Nameless(LinkedFile):
        def named(self, name: str) -> Sequence[Spot]:
            return [Spot(each.address) for each in super().named(name)]

    image = open_image(built / "hv")
    proof = prove(name, open_image(built / f"{name}.o"), Nameless(image))
    (wanted,) = image.symbols.named(f"{name}.c#total")
    assert proof.differences == ()
    assert where(proof, "total") == wanted.value


def test_a_static_local_is_found_by_its_address(built: Path) -> None:
    proof = proof_of(built, "common/counter.o", built / "hv")
    (ticket,) = [s for s in proof.object.symbols if s.name.startswith("ticket")]
    (wanted,) = [
        s
        for s in open_image(built / "hv").symbols
        if s.name.startswith("ticket") and s.file == "common/counter.c"
    ]
    section = proof.object.sections[ticket.section_index].name
    assert where(proof, "ticket") == wanted.value
    assert proof.locate(section, ticket.value) == wanted.value


def test_what_differs_is_named(built: Path, tmp_path: Path, build_hv) -> None:
    source = tmp_path / "hv"
    shutil.copytree(FIXTURE, source)
    path = source / "common/counter.c"
    text = path.read_text()
    path.write_text(text.replace("value * 3", "value * 4").replace("++calls", "calls"))
    subprocess.run(["make", "-s", "-C", source, f"OUT={tmp_path / 'out'}"], check=True)
    proof = proof_of(tmp_path / "out", "common/counter.o", built / "hv")
    seen = {each.function: each for each in proof.differences}
    assert set(seen) == {"scale", "count_call"}
    assert seen["count_call"].kind is Kind.SIZE
    assert seen["scale"].kind in (Kind.SIZE, Kind.CODE)
    assert where(proof, "total") is not None


def test_another_string_is_told_from_other_code(
    built: Path, tmp_path: Path, build_hv
) -> None:
    build_hv(tmp_path, VERSION_EXTRA=".8")
    proof = proof_of(tmp_path, "common/version.o", built / "hv")
    assert {(d.function, d.kind) for d in proof.differences} == {
        ("xen_extra_version", Kind.TEXT),
        ("xen_banner", Kind.TEXT),
    }
    assert proof.disproved == ()
    assert len(proof.functions) == 4
    (extra,) = [d for d in proof.differences if d.function == "xen_extra_version"]
    assert extra.evidence == "'.8', where the image has '.7'"


WEAK = """\
__attribute__((weak, noinline)) int choice(void) { return 1; }
int user(void) { return choice() + 1; }
"""
STRONG = "int choice(void) { return 22; }\n"


def test_a_weak_function_may_be_another_objects(tmp_path: Path) -> None:
    for name, text in (("weak", WEAK), ("strong", STRONG)):
        (tmp_path / f"{name}.c").write_text(text)
        argv = ["gcc", "-O2", "-c", f"{name}.c"]
        subprocess.run(argv, cwd=tmp_path, check=True)
    for name, objects in (("both", ["weak.o", "strong.o"]), ("alone", ["weak.o"])):
        argv = ["ld", "-e", "user", "-o", name, *objects]
        subprocess.run(argv, cwd=tmp_path, check=True)
    weak = open_image(tmp_path / "weak.o")
    (symbol,) = weak.symbols.named("choice")
    for name, used in (("both", False), ("alone", True)):
        proof = prove("weak.o", weak, LinkedFile(open_image(tmp_path / name)))
        assert proof.differences == ()
        assert (symbol.index in proof.functions) is used
        assert proof.overridden == (set() if used else {"choice"})
        (user,) = weak.symbols.named("user")
        assert user.index in proof.functions


def test_another_callee_is_a_difference(built: Path, tmp_path: Path) -> None:
    """The same bytes but for a field that the linker fills in."""
    subprocess.run(
        [
            "objcopy",
            "--redefine-sym=__x86_return_thunk=memcpy",
            built / "common/version.o",
            tmp_path / "version.o",
        ],
        check=True,
    )
    proof = proof_of(tmp_path, "version.o", built / "hv")
    kinds = {each.kind for each in proof.differences}
    assert kinds == {Kind.REFERENCE}
    assert "memcpy, where the image has 0x" in proof.differences[0].evidence


def test_functions_that_are_not_there(built: Path, tmp_path: Path) -> None:
    source = tmp_path / "new.c"
    source.write_text("int nobody_has_this(void) { return 1; }\n")
    output = tmp_path / "new.o"
    subprocess.run(["gcc", "-c", "-O2", source, "-o", output], check=True)
    proof = proof_of(tmp_path, "new.o", built / "hv")
    assert not proof.is_linked
    assert [each.kind for each in proof.differences] == [Kind.ABSENT]
