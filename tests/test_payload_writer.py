"""Payloads mean the same after writing and reading, and binutils agree."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.errors import InputError, NotFoundError, UsageError
from lpengine.patch.model import Expectation, HookKind, Patch
from lpengine.patch.xen.reader import load_payload, read_payload
from lpengine.patch.xen.spec import (
    FunctionSpec,
    HookSpec,
    PayloadSpec,
    Place,
    RelocationSpec,
    SectionSpec,
    SymbolSpec,
)
from lpengine.patch.xen.writer import write_payload
from tests.payloads import ABS64, IMAGE_ID, PC32, PLT32, RET, good_payload, good_spec

NAMES = st.text("abcdefg_.#/\u00e9", min_size=1, max_size=12)
CODE = st.binary(min_size=8, max_size=40)
IDS = st.binary(min_size=1, max_size=32).map(bytes.hex)


@st.composite
def relocations(draw: st.DrawFn) -> tuple[RelocationSpec, ...]:
    """One that fits into any CODE, or none."""
    if draw(st.booleans()):
        return ()
    type_ = draw(st.sampled_from([PC32, PLT32, ABS64]))
    addend = draw(st.integers(-(1 << 31), 1 << 31))
    return (RelocationSpec(0, type_, draw(NAMES), addend),)


@st.composite
def expectations(draw: st.DrawFn) -> Expectation | bytes | None:
    if draw(st.booleans()):
        return draw(st.one_of(st.none(), st.binary(max_size=31)))
    data = draw(st.binary(min_size=31, max_size=31))
    length, reserved = draw(st.integers(0, 31)), draw(st.integers(0, 3))
    return Expectation(draw(st.booleans()), length, reserved, data)


@st.composite
def functions(draw: st.DrawFn, name: str) -> FunctionSpec:
    common = {"old_size": draw(st.integers(31, 1 << 20)), "expectation": None}
    common["expectation"] = draw(expectations())
    where = draw(st.sampled_from(["name", "symbol", "address"]))
    if where == "symbol":
        common["old_symbol"] = name
    elif where == "address":
        # Names are unique, and so are addresses made of them.
        base = draw(st.integers(0, (1 << 56) - 1)) << 8
        common["old_address"] = base | int.from_bytes(name.encode()) % 251 + 1
    if draw(st.booleans()):
        return FunctionSpec(name, new_size=draw(st.integers(1, 31)), **common)
    return FunctionSpec(
        name, code=draw(CODE), relocations=draw(relocations()), **common
    )


@st.composite
def specs(draw: st.DrawFn) -> PayloadSpec:
    distinct = st.lists(
        NAMES,
        min_size=1,
        max_size=4,
        unique_by=lambda name: int.from_bytes(name.encode()) % 251,
    )
    names = draw(distinct)
    kinds = draw(st.lists(st.sampled_from(HookKind), max_size=8, unique=True))
    keys = st.text("abcxyz", min_size=1, max_size=5)
    return PayloadSpec(
        depends=draw(IDS),
        xen_depends=draw(IDS),
        build_id=draw(st.one_of(st.none(), IDS)),
        functions=tuple(draw(functions(name)) for name in names),
        hooks=tuple(HookSpec(kind, draw(CODE)) for kind in kinds),
        metadata=tuple(draw(st.lists(st.tuples(keys, keys), max_size=3))),
    )


def check_functions(spec: PayloadSpec, patch: Patch) -> None:
    sections = {s.index: s for s in patch.sections}
    for wanted, found in zip(spec.functions, patch.functions, strict=True):
        assert found.name == wanted.name
        assert found.old_symbol == wanted.old_symbol
        assert found.old_address == wanted.old_address
        assert found.old_size == wanted.old_size
        assert found.is_nop == (wanted.code is None)
        if wanted.code is not None:
            assert sections[found.new_section].name == ".text"
            assert found.new_size == len(wanted.code)
            assert spec.code_place(found.index).offset == found.new_offset
        if isinstance(wanted.expectation, Expectation):
            assert found.expectation == wanted.expectation
        else:
            assert found.expectation.enabled == (wanted.expectation is not None)
            assert found.expectation.bytes == (wanted.expectation or b"")


@settings(max_examples=150, deadline=None)
@given(specs())
def test_reads_what_was_written(spec: PayloadSpec) -> None:
    raw = write_payload(spec)
    assert raw == write_payload(spec)
    patch = read_payload(raw, "x")
    assert patch.violations == ()
    check_functions(spec, patch)
    assert patch.depends == spec.depends
    assert patch.image_build_id == spec.xen_depends
    assert spec.build_id in (None, patch.build_id)
    assert sorted(h.kind for h in patch.hooks) == sorted(h.kind for h in spec.hooks)
    assert patch.metadata == spec.metadata
    assert patch.new_symbols == ()
    wanted = {f.old_symbol for f in spec.functions if f.old_symbol}
    wanted |= {r.symbol for f in spec.functions for r in f.relocations}
    assert set(patch.undefined) == wanted
    assert patch.safe_to_reapply


def code_of(patch: Patch, section: int, offset: int, size: int) -> bytes:
    from lpengine.elf import parse_image

    image = parse_image(patch.raw)
    return bytes(image.section_data(image.sections[section])[offset : offset + size])


def test_something_of_everything() -> None:
    patch = read_payload(good_payload(), "good")
    new, blanked = patch.functions
    assert (new.wanted, blanked.wanted) == ("old_function", "blanked")
    assert blanked.is_nop
    assert code_of(patch, new.new_section, new.new_offset, 6).hex() == "e800000000c3"
    assert patch.undefined == ("helper",)
    call = next(r for r in patch.relocations if r.type == PLT32)
    assert (call.symbol, call.offset, call.addend) == ("helper", 1, -4)
    assert [h.kind for h in patch.hooks] == ["load", "load", "preapply"]
    for hook in patch.hooks:
        expected = RET if hook.kind is HookKind.LOAD else bytes.fromhex("31c0c3")
        assert code_of(patch, hook.section_index, hook.offset, 3).startswith(expected)
    assert patch.metadata == (("title", "an example"), ("cve", "CVE-2026-0001"))
    (symbol,) = patch.new_symbols
    assert (symbol.name, symbol.value, symbol.size) == ("new_counter", 0, 4)
    (alternative,) = patch.alternatives
    names = {s.index: s.name for s in patch.sections}
    assert names[alternative.original[0]] == ".text"
    assert names[alternative.replacement[0]] == ".altinstr_replacement"
    assert (alternative.feature, alternative.inverted) == (100, False)
    assert not patch.safe_to_reapply
    assert patch.has_vetoing_hooks


@pytest.mark.parametrize("tool", [["readelf", "-aW"], ["objdump", "-xdr"]])
def test_binutils_accept_it_silently(tool: list[str], tmp_path: Path) -> None:
    path = tmp_path / "p.livepatch"
    path.write_bytes(good_payload())
    done = subprocess.run([*tool, path], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    assert "arning" not in done.stdout


def test_readelf_sees_the_build_ids(tmp_path: Path) -> None:
    path = tmp_path / "p.livepatch"
    path.write_bytes(good_payload())
    shown = subprocess.run(
        ["readelf", "-nW", path], capture_output=True, text=True, check=True
    ).stdout
    found = re.findall(r"Build ID: ([0-9a-f]+)", shown)
    patch = load_payload(path)
    assert found == [patch.build_id, patch.depends, patch.image_build_id]
    assert len(patch.build_id) == 40
    assert patch.name == "p"


def test_ld_links_it_again(tmp_path: Path) -> None:
    path = tmp_path / "p.livepatch"
    path.write_bytes(good_payload())
    subprocess.run(["ld", "-r", "-o", tmp_path / "again", path], check=True)
    patch = load_payload(tmp_path / "again")
    assert patch.violations == ()
    assert [f.name for f in patch.functions] == ["old_function", "blanked"]
    assert patch.hooks[0].section_index


def test_build_id_follows_the_content() -> None:
    one, other = good_spec(), good_spec(metadata=(("title", "another"),))
    ids = {read_payload(write_payload(s), "x").build_id for s in (one, other)}
    assert len(ids) == 2
    assert read_payload(write_payload(one), "x").build_id in ids


def test_compiled_code_comes_as_sections() -> None:
    """What a compiler made stays as it is; records and hooks point into it."""
    text = SectionSpec(
        ".text.f",
        bytes.fromhex("e800000000 c3 90 90 c3"),
        6,
        alignment=16,
        relocations=(RelocationSpec(1, PLT32, Place(".text.f", 8), -4),),
    )
    spec = PayloadSpec(
        depends=IMAGE_ID,
        xen_depends=IMAGE_ID,
        functions=(
            FunctionSpec("f", 30, new=Place(".text.f"), new_size=6),
            FunctionSpec("g", 30, new="h"),
        ),
        hooks=(HookSpec(HookKind.APPLY, target=Place(".text.f", 8), symbol="act"),),
        sections=(text,),
        symbols=(SymbolSpec("fresh", Place(".text.f", 8), function=True),),
    )
    patch = read_payload(write_payload(spec), "x")
    assert patch.violations == ()
    f, g = patch.functions
    assert (f.new_offset, f.new_size, f.new_symbol) == (0, 6, "")
    assert (g.new_section, g.new_symbol, g.is_nop) == (0, "h", False)
    assert [h.symbol for h in patch.hooks] == ["act"]
    assert [s.name for s in patch.new_symbols] == ["act", "fresh"]
    assert patch.undefined == ("h",)


def test_old_function_may_be_called_by_the_new_one() -> None:
    call = RelocationSpec(1, PLT32, "f", -4)
    function = FunctionSpec("f", 30, bytes.fromhex("e800000000c3"), (call,))
    spec = good_spec(functions=(function,))
    patch = read_payload(write_payload(spec), "x")
    assert patch.undefined == ("f",)
    assert "f" not in {s.name for s in patch.new_symbols}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"depends": "xyz"}, "not hex"),
        ({"metadata": (("a=b", "c"),)}, "'='"),
        ({"metadata": (("a", "c\0"),)}, "NUL"),
        ({"functions": (FunctionSpec("a\0", 9, RET),)}, "NUL"),
        ({"functions": (FunctionSpec("a", 9, RET, new="x"),)}, "either code"),
        (
            {"functions": (FunctionSpec("a", 9, old_symbol="a", old_address=1),)},
            "either old",
        ),
        ({"functions": (FunctionSpec("a", 9, expectation=bytes(32)),)}, "32 bytes"),
        ({"functions": (FunctionSpec("a", 9, new=Place(".nope")),)}, r"\.nope"),
        ({"sections": (SectionSpec(".text"),)}, "two sections"),
    ],
)
def test_contradictions_are_named(changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        write_payload(good_spec(**changes))


def test_load_payload_names_what_is_wrong(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="No such file"):
        load_payload(tmp_path / "none")
    huge = tmp_path / "huge"
    with huge.open("wb") as stream:
        stream.truncate((64 << 20) + 1)
    with pytest.raises(InputError, match="larger than"):
        load_payload(huge)
    (tmp_path / "small.x").write_bytes(b"hello")
    patch = load_payload(tmp_path / "small.x", "other")
    assert patch.name == "other"
    assert [v.cause for v in patch.violations] == ["not-elf"]
