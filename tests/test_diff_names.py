"""What compilers' numbering leaves of names, and which codes the differ speaks of."""

import pytest

from lpengine.diff import codes
from lpengine.diff.names import is_static_local, is_text, stem
from lpengine.planner import CATALOGUE


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("copy.constprop.0", "copy.constprop.12"),
        ("copy.isra.3", "copy.isra.0"),
        ("copy.part.1.constprop.2", "copy.part.7.constprop.0"),
        ("copy.llvm.1234567890", "copy.llvm.99"),
        ("count.3", "count.12345"),
        ("f.count", "f.count"),
        ("f.count.1", "f.count"),
        ("__func__.17", "__func__.3"),
        ("CSWTCH.5", "CSWTCH.77"),
        ("__UNIQUE_ID_ddebug1402.9", "__UNIQUE_ID_ddebug7.12"),
        ("__UNIQUE_ID___addressable_f_12", "__UNIQUE_ID___addressable_f_99"),
        ("copy.cold", "copy.cold.3"),
        ("copy.constprop.0.cold", "copy.constprop.4.cold.1"),
    ],
)
def test_numbers_do_not_count(one: str, two: str) -> None:
    assert stem(one).text == stem(two).text


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("copy", "copy.constprop.0"),
        ("copy.isra.0", "copy.constprop.0"),
        ("copy", "copy.cold"),
        ("count.3", "total.3"),
        ("f1", "f2"),
        ("__UNIQUE_ID_gate1", "__UNIQUE_ID_key1"),
    ],
)
def test_everything_else_does(one: str, two: str) -> None:
    assert stem(one).text != stem(two).text


def test_cold_parts_have_parents() -> None:
    assert stem("copy.isra.3.cold").parent == stem("copy.isra.0").text
    assert not stem("cold.3").is_cold


def test_static_locals_of_either_compiler() -> None:
    functions = frozenset({"use"})
    assert is_static_local("count.3", functions)
    assert is_static_local("use.count", functions)
    assert not is_static_local("other.count", functions)
    assert not is_static_local("count", functions)


def test_texts_of_either_compiler() -> None:
    assert is_text("__func__.3")
    assert is_text("__func__.use")
    assert is_text("use.__func__")
    assert not is_text("names.3")


def test_every_code_is_explained() -> None:
    assert set(CATALOGUE) >= codes.ALL
