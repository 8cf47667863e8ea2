"""The tables of refusals and defects."""

import errno

import pytest

from lpengine.patch.xen.refusals import DEFECTS, REFUSALS


def test_refusals_are_complete_sentences_with_known_numbers() -> None:
    for cause, refusal in REFUSALS.items():
        assert refusal.cause == cause
        assert refusal.meaning
        assert ":" in refusal.source
        assert not refusal.errno or hasattr(errno, refusal.errno)
    silent = [cause for cause, refusal in REFUSALS.items() if not refusal.errno]
    assert silent == ["wrong-state", "hook-veto"]


def test_refusals_are_in_the_order_of_an_upload() -> None:
    order = list(REFUSALS)
    path = [
        "bad-name",
        "payload-too-large",
        "not-elf",
        "wrong-machine",
        "section-out-of-file",
        "no-symbol-table",
        "symbol-name-corrupt",
        "writable-and-executable",
        "unknown-symbol",
        "relocation-unsupported",
        "section-missing",
        "nothing-to-patch",
        "wrong-version",
        "hook-size",
        "modinfo-not-terminated",
        "xen-build-id-mismatch",
        "duplicate-symbol",
        "not-found",
    ]
    assert sorted(path, key=order.index) == path


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("4.16.5", False),
        ("4.17.0", False),
        ("4.17.1", True),
        ("4.17.1-pre", True),
        ("4.17.2", True),
        ("4.17.2+9-gabcdef", True),
        ("4.17.3-pre", True),
        ("4.17.3", False),
        ("4.17.7", False),
        ("4.17.7-pre", False),
        ("4.17", True),
        ("4.18", False),
        ("5.0", False),
        ("", True),
        ("unknown", True),
    ],
)
def test_readonly_funcs_affects(version: str, affected: bool) -> None:
    assert DEFECTS["readonly-funcs"].affects(version) == affected


@pytest.mark.parametrize(
    ("version", "affected"),
    [
        ("4.17.7", True),
        ("4.17.7+13-g2445b30a44", True),
        ("4.19.9", True),
        ("4.20-unstable", True),
        ("4.20.0-rc3", True),
        ("4.20", False),
        ("4.20.1", False),
        ("4.21-unstable", False),
        ("4.22", False),
        ("", True),
    ],
)
def test_foreign_alternatives_affect(version: str, affected: bool) -> None:
    assert DEFECTS["foreign-alternatives"].affects(version) == affected


def test_all_others_affect_every_version() -> None:
    limited = {"readonly-funcs", "foreign-alternatives"}
    for cause, defect in DEFECTS.items():
        assert defect.cause == cause
        assert defect.effect
        if cause not in limited:
            assert defect.affects("4.17.7")
            assert defect.affects("4.22")
            assert defect.affects("")
