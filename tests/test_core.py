"""The C core through Python: transactions, and outside oracles."""

import subprocess
from pathlib import Path
from struct import pack

import pytest
from elftools.elf.elffile import ELFFile
from hypothesis import given
from hypothesis import strategies as st

from lpengine.core import (
    Memory,
    RedirectError,
    RelocationError,
    Site,
    SymbolIndex,
    changed_chunks,
    redirect,
    relocate,
    scan_stack,
    take_back,
)

BASE = 0xFFFF82D040200000
SIZE = 512


def make_memory(content: bytes) -> tuple[Memory, bytearray]:
    memory, buffer = Memory(), bytearray(content)
    memory.add(BASE, buffer)
    return memory, buffer


contents = st.binary(min_size=SIZE, max_size=SIZE)
site_sets = st.lists(
    st.builds(
        Site,
        address=st.integers(0, SIZE // 16 - 2).map(lambda i: BASE + 16 * i),
        target=st.sampled_from([0, BASE + 0x1000, 1 << 40]),
        room=st.just(16),
        nop_size=st.integers(5, 16),
        far=st.booleans(),
    ),
    max_size=8,
)


@given(contents, site_sets)
def test_all_or_nothing_and_back(content: bytes, sites: list[Site]) -> None:
    memory, buffer = make_memory(content)
    try:
        done = redirect(memory, sites)
    except RedirectError:
        done = ()
        assert buffer == content
    for redirection in done:
        start = redirection.site.address + redirection.offset
        assert memory.read(start, len(redirection.installed)) == redirection.installed
    take_back(memory, done)
    assert buffer == content


@given(st.integers(0, 9))
def test_failing_site_leaves_all_bytes(bad: int) -> None:
    memory, buffer = make_memory(b"\x90" * SIZE)
    sites = [
        Site(BASE + 32 * i, BASE, 16, expected=b"\xcc" if i == bad else b"\x90")
        for i in range(10)
    ]
    with pytest.raises(RedirectError) as caught:
        redirect(memory, sites)
    assert (caught.value.index, caught.value.reason) == (bad, "mismatch")
    assert buffer == b"\x90" * SIZE


@pytest.mark.parametrize(
    ("site", "reason", "cause", "errno"),
    [
        (Site(BASE, 1 << 40, 16), "reach", "function-out-of-reach", "EOVERFLOW"),
        (Site(BASE, BASE, 4), "size", "function-too-small", "EINVAL"),
        (Site(BASE - 1, BASE, 16), "range", "memory-range", "EFAULT"),
        (Site(BASE + 18, BASE, 16), "overlap", "function-twice", "EINVAL"),
    ],
)
def test_refusals(site: Site, reason: str, cause: str, errno: str) -> None:
    memory, _ = make_memory(b"\x90" * SIZE)
    with pytest.raises(RedirectError) as caught:
        redirect(memory, [Site(BASE + 16, BASE, 16), site])
    error = caught.value
    assert (error.reason, error.cause, error.errno) == (reason, cause, errno)
    assert error.index == 1
    assert error.hint


def build(tmp_path: Path, source: str) -> tuple[Path, Path]:
    text, made, linked = (tmp_path / f"a.{end}" for end in ("s", "o", "elf"))
    text.write_text(source)
    subprocess.run(["as", "-o", made, text], check=True)
    subprocess.run(
        ["ld", "-Ttext=0x400000", "-e", "0", "--no-relax", "-o", linked, made],
        check=True,
    )
    return made, linked


def section(path: Path, name: str) -> bytes:
    with path.open("rb") as file:
        return bytes(ELFFile(file).get_section_by_name(name).data())


def test_jump_is_the_assemblers(tmp_path: Path) -> None:
    _, linked = build(tmp_path, ".globl f\nf: jmp f + 0x12345\n")
    memory = Memory()
    memory.add(0x400000, bytearray(16))
    (done,) = redirect(memory, [Site(0x400000, 0x412345, 16)])
    assert done.installed == section(linked, ".text")[:5]


def test_relocation_is_the_linkers(tmp_path: Path) -> None:
    made, linked = build(
        tmp_path,
        ".globl f\nf: call f\n lea g(%rip), %rax\n mov $g, %eax\n mov $g, %rax\n"
        " .quad g - 3\n .long g - .\n .quad g - .\n.globl g\ng: ret\n",
    )
    with linked.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        values = {s.name: s["st_value"] for s in table.iter_symbols()}
    with made.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        symbols = [
            0x400000 if s["st_info"]["type"] == "STT_SECTION" else values.get(s.name, 0)
            for s in table.iter_symbols()
        ]
    code = bytearray(section(made, ".text"))
    relocate(code, 0x400000, section(made, ".rela.text"), symbols, [0] * len(symbols))
    assert code == section(linked, ".text")


def test_relocation_refusals_change_nothing() -> None:
    code = bytearray(16)
    for offset, kind, reason in [
        (0, 10, "overflow"),
        (0, 3, "unsupported"),
        (13, 10, "range"),
    ]:
        records = pack("<QQq", 8, 1 << 32 | 1, 0)
        records += pack("<QQq", offset, 1 << 32 | kind, 0)
        with pytest.raises(RelocationError) as caught:
            relocate(code, 0, records, [0, 1 << 32], [0, 0])
        assert (caught.value.index, caught.value.reason) == (1, reason)
        assert code == bytes(16)


def test_symbol_index_agrees_with_pyelftools(tmp_path: Path) -> None:
    made, _ = build(
        tmp_path,
        "local: nop\nother: nop\n.globl f\nf: nop\n",
    )
    with made.open("rb") as file:
        table = ELFFile(file).get_section_by_name(".symtab")
        names = [symbol.name for symbol in table.iter_symbols()]
        index = SymbolIndex(table.data(), 24, table.stringtable.data())
    assert len(index) == len(names)
    for name in set(names) - {""}:
        assert index.named(name) == tuple(i for i, n in enumerate(names) if n == name)
    assert index.at(2) == (names.index("f"), 0)
    assert index.next_after(0) == 1


@given(st.binary(max_size=300), st.binary(max_size=300), st.integers(1, 70))
def test_changed_chunks(left: bytes, right: bytes, size: int) -> None:
    length = min(len(left), len(right))
    left, right = left[:length], right[:length]
    expected = [
        at // size
        for at in range(0, length, size)
        if left[at : at + size] != right[at : at + size]
    ]
    assert changed_chunks(left, right, size) == tuple(expected)


@given(
    st.lists(st.integers(0, 40), max_size=12),
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 40)), max_size=5),
)
def test_scan_stack(words: list[int], ranges: list[tuple[int, int]]) -> None:
    stack = b"".join(pack("<Q", word) for word in words)
    hits = [
        8 * i
        for i, word in enumerate(words)
        if any(start <= word < end for start, end in ranges)
    ]
    found = scan_stack(stack, ranges)
    assert (found[0] if found else None) == (hits[0] if hits else None)
    if found:
        start, end = ranges[found[1]]
        assert start <= words[found[0] // 8] < end


def test_statics_are_found_by_their_file() -> None:
    strings = b"\0a.c\0b.c\0f\0b.c#f\0"
    entries = [(0, 0), (1, 4), (9, 2), (5, 4), (9, 2), (9, 0x12), (11, 0x12)]
    table = b"".join(
        pack("<IBBHQQ", name, info, 0, 0xFFF1, 16 * i, 0)
        for i, (name, info) in enumerate(entries)
    )
    index = SymbolIndex(table, 24, strings)
    assert index.named("f") == (2, 4, 5)
    assert index.named("a.c#f") == (2,)
    assert index.named("b.c#f") == (4, 6)
    assert index.named("c.c#f") == ()
    assert [index.file_of(i) for i in range(7)] == [0, 0, 1, 0, 3, 0, 0]
