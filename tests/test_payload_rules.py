"""Every rule of Xen's upload, broken by one payload each."""

import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.elf.layout import RELA, SYMBOL
from lpengine.patch.xen.reader import read_payload
from lpengine.patch.xen.refusals import DEFECTS, REFUSALS
from tests.payloads import BROKEN, DEFECTIVE, Edit, good_payload

# What cannot be seen in a file: it takes a target, or an action.
NEEDS_TARGET = set(REFUSALS) - set(BROKEN) - {"bad-name"}


def test_the_good_payload_breaks_no_rule() -> None:
    patch = read_payload(good_payload(), "good")
    assert patch.violations == ()
    assert len(patch.functions) == 2


@pytest.mark.parametrize("cause", BROKEN)
def test_refusal(cause: str) -> None:
    violations = read_payload(BROKEN[cause](good_payload()), "broken").violations
    assert violations
    first = violations[0]
    assert (first.cause, first.errno) == (cause, REFUSALS[cause].errno)
    assert first.subject
    assert first.observed
    assert first.needed


@pytest.mark.parametrize("cause", DEFECTIVE)
def test_defect(cause: str) -> None:
    violations = read_payload(DEFECTIVE[cause](good_payload()), "bad").violations
    assert [(v.cause, v.errno) for v in violations] == [(cause, "")]


def test_every_static_refusal_has_a_payload() -> None:
    assert {
        "expectation-mismatch",
        "duplicate-symbol",
        "old-function-not-found",
        "relocation-overflow",
    } <= NEEDS_TARGET
    assert set(BROKEN) <= set(REFUSALS)
    assert set(DEFECTIVE) <= set(DEFECTS)


@pytest.mark.parametrize("name", ["", "x" * 128, "a\0b", "\u00e9" * 64])
def test_bad_name(name: str) -> None:
    (violation,) = read_payload(good_payload(), name).violations
    assert (violation.cause, violation.errno) == ("bad-name", "EINVAL")


@pytest.mark.parametrize("name", ["x", "x" * 127, "\u00e9" * 63])
def test_good_name(name: str) -> None:
    assert read_payload(good_payload(), name).violations == ()


def test_reserved_section_number_has_its_own_errno() -> None:
    raw = Edit(good_payload()).symbol("new_counter", section_index=0xFF01).done()
    first = read_payload(raw, "x").violations[0]
    assert (first.cause, first.errno) == ("symbol-section", "EOPNOTSUPP")


def test_nameless_undefined_symbol() -> None:
    raw = Edit(good_payload()).symbol("helper", name=0).done()
    first = read_payload(raw, "x").violations[0]
    assert (first.cause, first.errno) == ("unknown-symbol", "ENOENT")


def test_empty_name() -> None:
    """Xen looks it up and finds nothing."""
    raw = Edit(good_payload()).write(".livepatch.strings", 0, b"\0").done()
    first = read_payload(raw, "x").violations[0]
    assert (first.cause, first.errno) == ("old-function-not-found", "ENOENT")


def test_all_violations_are_shown_in_the_order_of_the_checks() -> None:
    edit = Edit(good_payload())
    edit.write(".livepatch.funcs", 32, b"\1").set(".ex_table", size=9)
    edit.relocation(".text", type=11).set(".modinfo", size=1)
    causes = [v.cause for v in read_payload(edit.done(), "x").violations]
    assert causes == [
        "relocation-unsupported",
        "wrong-version",
        "ex-table-size",
        "modinfo-not-terminated",
    ]


def test_many_violations_of_one_kind_are_counted() -> None:
    edit = Edit(good_payload())
    table = edit.section(".symtab")
    for index in range(1, table.size // 24):
        edit.data[table.offset + index * 24 + 6 : table.offset + index * 24 + 8] = (
            b"\xf2\xff"
        )
    violations = read_payload(edit.done(), "x").violations
    assert 0 < len([v for v in violations if v.cause == "common-symbol"]) <= 17


@pytest.mark.parametrize(
    ("edit", "what"),
    [
        (lambda e: e.set(".rela.text", info=0), "section 0"),
        (lambda e: e.set(".symtab", link=0), "section 0"),
        (lambda e: e.relocation(".livepatch.funcs", 0, offset=24), "8 bytes"),
        (lambda e: e.relocation(".livepatch.hooks.load", 0, offset=8), "address 0x0"),
        (lambda e: e.relocation(".livepatch.funcs", 1, addend=1 << 20), "0x100000"),
        (lambda e: e.set(".text", offset=64, size=len(e.data) - 64), "of sections"),
    ],
)
def test_pointers_that_lead_nowhere(edit: object, what: str) -> None:
    assert callable(edit)
    violations = read_payload(edit(Edit(good_payload())).done(), "x").violations
    found = [v for v in violations if v.cause == "unchecked-pointer"]
    assert any(what in v.observed for v in found), violations


def test_entries_may_be_larger_than_needed() -> None:
    """Xen checks a minimum only, and steps by sh_entsize."""
    edit = Edit(good_payload())
    table = edit.section(".rela.text")
    assert table.size == 24
    start = len(edit.data)
    edit.data += edit.data[table.offset : table.offset + 24] + bytes(8)
    edit.set(".rela.text", offset=start, size=32, entry_size=32)
    patch = read_payload(edit.done(), "x")
    assert patch.violations == ()
    assert [r.symbol for r in patch.relocations if r.type == 4] == ["helper"]


def test_relocations_of_unloaded_sections_are_skipped() -> None:
    edit = Edit(good_payload())
    edit.set(".ex_table", flags=0).relocation(".ex_table", type=11, symbol=999)
    violations = read_payload(edit.done(), "x").violations
    assert [v.cause for v in violations] == ["section-not-allocated"]


def test_offset_of_a_none_relocation_does_not_matter() -> None:
    raw = Edit(good_payload()).relocation(".text", type=0, offset=1 << 40).done()
    assert read_payload(raw, "x").violations == ()


def _grown(section: str, data: bytes) -> bytes:
    edit = Edit(good_payload())
    start = len(edit.data)
    edit.data += data
    return edit.set(section, offset=start, size=len(data)).done()


def _names_that_share_one_string() -> bytes:
    edit = Edit(good_payload())
    start = len(edit.data)
    edit.data += b"\0" + b"x" * 100_000 + b"\0"
    edit.set(".strtab", offset=start, size=100_002)
    symbols = [SYMBOL.pack(1 + 20 * n, 0, 0, 4, n, n) for n in range(4000)]
    return _swapped(edit.done(), b"".join(symbols))


def _swapped(raw: bytes, symbols: bytes) -> bytes:
    edit = Edit(raw)
    start = len(edit.data)
    edit.data += symbols
    return edit.set(".symtab", offset=start, size=len(symbols)).done()


HOSTILE = {
    "relocations": lambda: _grown(
        ".rela.text", b"".join(RELA.pack(1, 4, 1, n) for n in range(8000))
    ),
    "symbols": lambda: _grown(
        ".symtab", b"".join(SYMBOL.pack(1 + n % 9, 0, 0, 4, n, n) for n in range(8000))
    ),
    "names": _names_that_share_one_string,
    "functions": lambda: _grown(".livepatch.funcs", bytes(104 * 2000)),
    "hooks": lambda: _grown(".livepatch.hooks.load", bytes(8 * 20000)),
    "alternatives": lambda: _grown(".altinstructions", bytes(14 * 15000)),
    "metadata": lambda: _grown(".modinfo", b"a\0" * 100_000),
    "zero-filled functions": lambda: (
        Edit(good_payload()).set(".livepatch.funcs", type=8, size=104 * 20000).done()
    ),
    "zero-filled note": lambda: (
        Edit(good_payload()).set(".livepatch.depends", type=8, size=2 << 20).done()
    ),
    "overlapping sections": lambda: (
        Edit(good_payload()).set(".rela.text", offset=64, size=2400).done()
    ),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_tables_cost_little_memory(what: str) -> None:
    raw = HOSTILE[what]()
    tracemalloc.start()
    try:
        read_payload(raw, "x")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 10 * len(raw)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_bytes_can_be_read(data: st.DataObject) -> None:
    raw = bytearray(good_payload())
    cut = data.draw(st.integers(0, len(raw)))
    if data.draw(st.booleans()):
        del raw[cut:]
    for _ in range(data.draw(st.integers(1, 6))):
        if raw:
            at = data.draw(st.integers(0, len(raw) - 1))
            raw[at] = data.draw(st.sampled_from([0, 1, 2, 4, 8, 127, 128, 254, 255]))
    patch = read_payload(bytes(raw), "x")
    assert patch.raw == raw
    for violation in patch.violations:
        assert violation.cause in REFUSALS or violation.cause in DEFECTS


@given(st.binary(max_size=256))
def test_noise_can_be_read(raw: bytes) -> None:
    assert read_payload(raw, "x").violations
    assert read_payload(good_payload()[:64] + raw, "x").violations
