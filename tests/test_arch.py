"""x86-64 decoding and assembling, against GNU as and objdump."""

import re
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.arch import x86 as arch
from lpengine.arch.decoder import decoder
from lpengine.errors import UsageError

HERE = 0xFFFF82D040300000


def gnu_assemble(tmp_path: Path, text: str) -> bytes:
    """The bytes GNU as makes of AT&T `text` in .text."""
    source, binary = tmp_path / "a.o", tmp_path / "a.bin"
    subprocess.run(["as", "--64", "-o", source, "-"], input=text.encode(), check=True)
    subprocess.run(
        ["objcopy", "-O", "binary", "-j", ".text", source, binary], check=True
    )
    return binary.read_bytes()


def objdump_rows(tmp_path: Path, code: bytes) -> list[tuple[int, str]]:
    """(offset, hex bytes) of each instruction as objdump splits `code`."""
    binary = tmp_path / "code.bin"
    binary.write_bytes(code)
    shown = subprocess.run(
        ["objdump", "-D", "-b", "binary", "-mi386:x86-64", "-w", binary],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    found = re.findall(r"^ +([0-9a-f]+):\t((?:[0-9a-f]{2} )+)", shown, re.MULTILINE)
    return [(int(offset, 16), encoded.replace(" ", "")) for offset, encoded in found]


def test_splits_compiled_code_like_objdump(tmp_path: Path) -> None:
    source = tmp_path / "f.c"
    source.write_text(
        "int g(int); int f(int n, int *p) { int s = 0; for (int i = 0; i < n; i++)"
        " { if (p[i] > 3) s += g(p[i]); else s ^= i; } return s; }"
    )
    subprocess.run(
        ["gcc", "-O2", "-fcf-protection", "-c", source, "-o", tmp_path / "f.o"],
        check=True,
    )
    subprocess.run(
        ["objcopy", "-O", "binary", "-j", ".text", tmp_path / "f.o", tmp_path / "f"],
        check=True,
    )
    code = (tmp_path / "f").read_bytes()
    mine = arch.disassemble(code, HERE)
    assert mine[0].bytes == arch.ENDBR64
    rows = [(i.address - HERE, i.bytes.hex()) for i in mine]
    assert rows == objdump_rows(tmp_path, code)
    assert b"".join(i.bytes for i in mine) == code


@pytest.mark.parametrize(
    ("encoded", "kind", "target"),
    [
        ("e9fb000000", "branch", HERE + 0x100),
        ("ebfe", "branch", HERE),
        ("7410", "branch", HERE + 0x12),
        ("0f84fa0f0000", "branch", HERE + 0x1000),
        ("e3fe", "branch", HERE),
        ("e2fe", "branch", HERE),
        ("ff25 00000000", "branch", None),
        ("ffe0", "branch", None),
        ("3effe0", "branch", None),
        ("e8 fb000000", "call", HERE + 0x100),
        ("ff15 00000000", "call", None),
        ("c3", "return", None),
        ("f3c3", "return", None),
        ("c20800", "return", None),
        ("48cf", "return", None),
        ("cc", "", None),
        ("90", "", None),
    ],
)
def test_control_flow(encoded: str, kind: str, target: int | None) -> None:
    (instruction,) = arch.disassemble(bytes.fromhex(encoded), HERE)
    assert instruction.is_branch == (kind == "branch")
    assert instruction.is_call == (kind == "call")
    assert instruction.is_return == (kind == "return")
    assert instruction.target == target
    assert instruction.end == HERE + instruction.size


def test_stops_at_what_cannot_be_decoded() -> None:
    found = arch.disassemble(bytes.fromhex("90 06 90"), HERE)
    assert [i.text for i in found] == ["nop"]
    lines = arch.disassemble_lines(bytes.fromhex("90 06 90"), HERE)
    assert [line.split()[-1] for line in lines] == ["nop", "0x06", "0x90"]


def test_lines_name_targets() -> None:
    lines = arch.disassemble_lines(
        bytes.fromhex("e8fb000000c3"), HERE, lambda a: f"f+{a - HERE:#x}"
    )
    assert lines[0].endswith("call 0xffff82d040300100  <f+0x100>")
    assert lines[0].startswith("ffff82d040300000  e8 fb 00 00 00 ")
    assert lines[1].endswith("ret")


def test_boundaries_and_branches_into() -> None:
    code = bytes.fromhex("4885ff 7402 ffc0 c3")
    assert arch.boundaries(code, 0) == {0, 3, 5, 7, 8}
    assert arch.boundaries(b"", 5) == {5}
    into = arch.branches_into(code, 0, 5, 8)
    assert [i.address for i in into] == [3]
    assert arch.branches_into(code, 0, 7, 9) == ()
    assert arch.branches_into(code, 0, 0, 7) == ()


@pytest.mark.parametrize("size", range(1, 64))
def test_nops_decode_to_nops(size: int, tmp_path: Path) -> None:
    encoded = arch.nops(size)
    assert len(encoded) == size
    assert arch.is_padding(encoded)
    found = arch.disassemble(encoded, 0)
    assert len(found) == -(-size // 9)
    assert {i.mnemonic for i in found} == {"nop"}


def test_nops_are_those_of_gnu_as(tmp_path: Path) -> None:
    for size in range(1, 10):
        # "66 90" for two bytes is the same instruction with another name.
        text = f".byte 0xc3\n.p2align 5\n.skip {32 - size}, 0xc3\n.p2align 5\n"
        assert arch.is_padding(gnu_assemble(tmp_path, text)[-size:])


@pytest.mark.parametrize("fill", range(1, 33))
def test_padding_is_what_gnu_as_pads_with(tmp_path: Path, fill: int) -> None:
    text = f".skip {64 - fill}, 0xc3\n.balign 64\n"
    assert arch.is_padding(gnu_assemble(tmp_path, text)[64 - fill :])


@pytest.mark.parametrize(
    "encoded", ["c3", "00", "90c3", "f390", "660f1f01", "0f1f4010", "0f1f", "66"]
)
def test_not_padding(encoded: str) -> None:
    assert not arch.is_padding(bytes.fromhex(encoded))


def test_padding_takes_linear_time() -> None:
    assert not arch.is_padding(b"\x66" * 200_000)
    assert not arch.is_padding(b"\x66\x90" * 200_000 + b"\xc3")
    assert arch.is_padding(b"")


def test_endbr() -> None:
    assert arch.starts_with_endbr(arch.ENDBR64 + b"\xc3")
    assert arch.starts_with_endbr(arch.ENDBR64_POISON)
    assert not arch.starts_with_endbr(bytes.fromhex("f30f1efb"))
    assert not arch.starts_with_endbr(b"\xf3\x0f\x1e")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("vaddps %ymm0, %ymm1, %ymm2", True),
        ("vmovdqa64 %zmm0, %zmm1", True),
        ("andn %eax, %ebx, %ecx", True),
        ("vmovups %fs:(%rax), %xmm0", True),
        ("addps %xmm0, %xmm1", False),
        ("lock xadd %eax, (%rbx)", False),
        ("mov $0xc5, %eax", False),
        ("mov $0xc4, %r12b", False),
        ("ret", False),
    ],
)
def test_is_vex(tmp_path: Path, text: str, expected: bool) -> None:
    code = gnu_assemble(tmp_path, text + "\n")
    assert arch.is_vex(code) == expected
    assert [i.is_vex for i in arch.disassemble(code, 0)] == [expected]
    assert not arch.is_vex(b"")
    assert not arch.is_vex(b"\x66\x66")


SYMBOLS = {"there": HERE + 0x1000, "arch/x86/time.c#read_tsc": HERE + 0x2000}


@pytest.mark.parametrize(
    "text",
    [
        "call there",
        "jmp there",
        "je there",
        "nop; jne there; nop; call there",
        "lea rax, [rip + there]",
        "cmp dword ptr [rip+there], 5",
        "mov rax, there; call rax",
        "movabs rax, there",
        "endbr64\n  ENDBR64 ; call there # why not",
        "top: dec eax; jnz top; jmp out; nop; out: ret",
        "mov eax, -38; ret // ENOSYS",
        "mov eax, 10",
    ],
)
def test_assembles_what_gnu_as_does(tmp_path: Path, text: str) -> None:
    source = re.sub(r"(#|//).*", "", text).replace(
        "mov rax, there", "movabs rax, there"
    )
    source = source.replace("rip + there", "rip+there").replace("ENDBR64", "endbr64")
    source = source.replace("movabs rax, there", "movabs rax, offset there")
    (tmp_path / "a.s").write_text(f".intel_syntax noprefix\n{source}\n")
    (tmp_path / "b.s").write_text(f".globl there\nthere = {SYMBOLS['there']:#x}\n")
    for name in ("a", "b"):
        subprocess.run(
            ["as", "--64", "-o", tmp_path / f"{name}.o", tmp_path / f"{name}.s"],
            check=True,
        )
    subprocess.run(
        ["ld", "-e", "0", f"-Ttext={HERE:#x}", "-o", "out", "a.o", "b.o"],
        check=True,
        cwd=tmp_path,
    )
    subprocess.run(
        ["objcopy", "-O", "binary", "-j", ".text", tmp_path / "out", tmp_path / "bin"],
        check=True,
    )
    expected = (tmp_path / "bin").read_bytes()
    mine = arch.assemble(text, HERE, SYMBOLS)
    # as keeps long jumps to other files; the meaning is what has to be the same.
    assert _meaning(mine) == _meaning(expected)


def _meaning(code: bytes) -> list[str]:
    return [i.text for i in arch.disassemble(code, HERE) if i.mnemonic != "nop"]


def test_qualified_names_are_symbols() -> None:
    code = arch.assemble("call arch/x86/time.c#read_tsc", HERE, SYMBOLS)
    assert arch.disassemble(code, HERE)[0].target == HERE + 0x2000


@pytest.mark.parametrize(
    ("text", "bad"),
    [
        ("nop; bogus eax; ret", "bogus eax"),
        ("jmp out; nop\nmov eax\nout: ret", "mov eax"),
        ("nop; call nowhere; ret", "call nowhere"),
        ("nop\n\ncall 0x10", "call 0x10"),
    ],
)
def test_names_the_bad_statement(text: str, bad: str) -> None:
    with pytest.raises(UsageError, match=re.escape(repr(bad))):
        arch.assemble(text, HERE)


def test_error_shows_what_was_written() -> None:
    with pytest.raises(UsageError, match="'push offset there'"):
        arch.assemble("push offset there", HERE, SYMBOLS)


def test_label_hides_symbol() -> None:
    code = arch.assemble("jmp there\nthere: ret", HERE, SYMBOLS)
    assert [i.target for i in arch.disassemble(code, HERE)] == [HERE + 2, None]


def test_out_of_reach_is_said() -> None:
    with pytest.raises(UsageError, match="cannot reach"):
        arch.assemble("lea rax, [rip + far]", HERE, {"far": 0x1000})


def test_nothing_assembles_to_nothing() -> None:
    assert arch.assemble(" \n # just a comment\n ; ") == b""


@given(st.binary(max_size=64))
def test_decoding_is_total(code: bytes) -> None:
    found = arch.disassemble(code, HERE)
    assert b"".join(i.bytes for i in found) == code[: sum(i.size for i in found)]
    arch.disassemble_lines(code, HERE)
    arch.is_padding(code)
    arch.is_vex(code)


# Capstone's library against its module.


@given(st.binary(max_size=200), st.integers(0, 1 << 48))
def test_the_library_decodes_as_the_module_does(code: bytes, address: int) -> None:
    import capstone

    module = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    ours = list(decoder().disasm_lite(code, address))
    assert ours == list(module.disasm_lite(code, address))


def test_without_the_library_the_module_decodes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("lpengine.arch.decoder.find_spec", lambda _: None)
    found = decoder.__wrapped__().disasm_lite(b"\x90\xc3", 16)
    assert list(found) == [(16, 1, "nop", ""), (17, 1, "ret", "")]
