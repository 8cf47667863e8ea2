"""Versions of packages compare as rpm and dpkg have them."""

import shutil
import subprocess
from itertools import product

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lpengine.package.model import Applicability, Inequality, Version
from lpengine.package.versions import (
    ORDERS,
    compare,
    debian_key,
    matches,
    parse_debian,
    parse_rpm,
    parse_rpm_package,
    rpm_key,
)

# Left, its relation, right: one a rule.
RPM = [
    ("2.4", "=", "2.4"),
    ("2.04", "=", "2.4"),
    ("2.4.0", ">", "2.4"),
    ("2.10", ">", "2.9"),
    ("2.0010", ">", "2.9"),
    ("2.4b", ">", "2.4"),
    ("2.4", ">", "2.b"),
    ("2.4a", "<", "2.4.1"),
    ("2.4a", "<", "2.4b"),
    ("2.4B", "<", "2.4b"),
    ("beta4", "=", "beta.4"),
    ("2_4", "=", "2.4"),
    ("2.4.", "=", "2.4"),
    ("2.4~rc1", "<", "2.4"),
    ("2.4~rc1", "<", "2.4~rc2"),
    ("2.4~", "<", "2.4"),
    ("2.4~rc1~git3", "<", "2.4~rc1"),
    ("2.4^git3", ">", "2.4"),
    ("2.4^git3", "<", "2.4.1"),
    ("2.4^git3", "<", "2.4a"),
    ("2.4^git3", "<", "2.4^git4"),
    ("2.4~rc1^git3", "<", "2.4"),
    ("2.4^git3~rc1", "<", "2.4^git3"),
    ("9" * 5000, "<", "1" + "0" * 5000),
]

DEBIAN = [
    ("2.4", "=", "2.4"),
    ("2.04", "=", "2.4"),
    ("2.4.0", ">", "2.4"),
    ("2.10", ">", "2.9"),
    ("2.4a", ">", "2.4"),
    ("2.4a", "<", "2.4+a"),
    ("2.4a", "=", "2.4a0"),
    ("2.4~rc1", "<", "2.4"),
    ("2.4~~", "<", "2.4~"),
    ("2.4~", "<", "2.4"),
    ("2.4+dfsg", ">", "2.4"),
    ("2.4+dfsg", "<", "2.4.1"),
    ("", "=", "0"),
    ("2.4B", "<", "2.4b"),
]

CHARACTERS = "0019aAzZ.+~^_"
WORDS = st.text(alphabet=CHARACTERS, min_size=1, max_size=9)


def relation(left: object, right: object) -> str:
    if left == right:
        return "="
    return "<" if left < right else ">"  # type: ignore[operator]


@pytest.mark.parametrize(("left", "expected", "right"), RPM)
def test_rpm_compares_piece_by_piece(left: str, expected: str, right: str) -> None:
    mirrored = {"<": ">", ">": "<", "=": "="}[expected]
    assert relation(rpm_key(left), rpm_key(right)) == expected
    assert relation(rpm_key(right), rpm_key(left)) == mirrored


@pytest.mark.parametrize(("left", "expected", "right"), DEBIAN)
def test_debian_compares_by_policy(left: str, expected: str, right: str) -> None:
    assert relation(debian_key(left), debian_key(right)) == expected


@pytest.mark.parametrize("package_format", sorted(ORDERS))
def test_epoch_comes_first_and_release_last(package_format: str) -> None:
    def order(one: Version, other: Version) -> int:
        return compare(one, other, package_format)

    assert order(Version("1", "1", 1), Version("9", "9")) == 1
    assert order(Version("1", "1", 0), Version("1", "1")) == 0
    assert order(Version("1", "1", 1), Version("1", "1", 2)) == -1
    assert order(Version("1", "2"), Version("2", "1")) == -1
    assert order(Version("2", "2"), Version("2", "1")) == 1


def test_no_revision_of_debian_is_revision_0() -> None:
    assert compare(Version("1"), Version("1", "0"), "deb") == 0
    assert compare(Version("1"), Version("1", "1"), "deb") == -1


@pytest.mark.parametrize(
    ("inequality", "release", "expected"),
    [
        (inequality, release, expected)
        for inequality, row in {
            Inequality.LT: (False, False, True),
            Inequality.LTE: (False, True, True),
            Inequality.EQ: (False, True, False),
            Inequality.GTE: (True, True, False),
            Inequality.GT: (True, False, False),
        }.items()
        for release, expected in zip(("3", "4", "5"), row, strict=True)
    ],
)
def test_every_inequality(inequality: Inequality, release: str, expected: bool) -> None:
    asked = Applicability("xen", "x86_64", inequality, Version("4.17", release))
    assert matches(asked, Version("4.17", "4")) is expected


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("4.17.4-6.xs8", Version("4.17.4", "6.xs8")),
        ("2:4.17.4-6", Version("4.17.4", "6", 2)),
        ("(none):4.17.4-6", Version("4.17.4", "6")),
        ("None:4.17.4-6", Version("4.17.4", "6")),
        ("0:4.17.4-6", Version("4.17.4", "6")),
    ],
)
def test_rpm_versions_are_read(text: str, version: Version) -> None:
    assert parse_rpm(text) == version


@pytest.mark.parametrize(
    "text", ["", "4.17", "4-1-2", "-1", "4-", ":4-1", "x:4-1", "-2:4-1", "1:2:4-1"]
)
def test_what_rpm_does_not_print_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="not an epoch"):
        parse_rpm(text)


def test_names_of_rpm_packages_are_taken_apart() -> None:
    parts = ("qemu-dp", Version("4.2.1", "5.xs8", 2), "x86_64")
    assert parse_rpm_package("qemu-dp-2:4.2.1-5.xs8.x86_64") == parts
    with pytest.raises(ValueError, match="not a package"):
        parse_rpm_package("qemu")


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("4.17.4+deb12u1-6", Version("4.17.4+deb12u1", "6")),
        ("1:2-3-4", Version("2-3", "4", 1)),
        ("5.10", Version("5.10")),
    ],
)
def test_debian_versions_are_read(text: str, version: Version) -> None:
    assert parse_debian(text) == version


@pytest.mark.parametrize("text", ["", "-1", "1-", "x:1", ":1"])
def test_what_dpkg_does_not_print_is_no_version(text: str) -> None:
    with pytest.raises(ValueError, match="not a version"):
        parse_debian(text)


@given(one=WORDS, other=WORDS, third=WORDS)
def test_keys_are_an_order(one: str, other: str, third: str) -> None:
    for key in (rpm_key, debian_key):
        assert relation(key(one), key(one)) == "="
        low, middle, high = sorted((one, other, third), key=key)
        assert key(low) <= key(middle) <= key(high)
        assert key(low) <= key(high)


def dpkg(left: str, right: str) -> str:
    for sign, name in (("<", "lt"), ("=", "eq"), (">", "gt")):
        command = ["dpkg", "--compare-versions", left, name, right]
        done = subprocess.run(command, check=False, stderr=subprocess.DEVNULL)
        if done.returncode == 0:
            return sign
    raise AssertionError(f"dpkg has no relation for {left} and {right}")


@pytest.mark.skipif(not shutil.which("dpkg"), reason="dpkg is Debian's")
@settings(max_examples=60, deadline=None)
@given(
    one=st.text(alphabet="0019az.+~-", max_size=8),
    other=st.text(alphabet="0019az.+~-", max_size=8),
)
def test_dpkg_agrees(one: str, other: str) -> None:
    left, right = f"1{one}-1", f"1{other}-1"
    order = compare(parse_debian(left), parse_debian(right), "deb")
    assert {-1: "<", 0: "=", 1: ">"}[order] == dpkg(left, right)


@pytest.mark.system
def test_rpm_agrees() -> None:
    """rpm's own comparison, through its macro language."""
    assert shutil.which("rpm"), "apt-get install rpm"
    texts = [left for left, _, _ in RPM[:-1]] + [right for _, _, right in RPM[:-1]]
    pairs = list(product(sorted(set(texts)), repeat=2))
    lua = "".join(f"print(rpm.vercmp('{a}','{b}')..' ') " for a, b in pairs)
    done = subprocess.run(
        ["rpm", "--eval", f"%{{lua:{lua}}}"], capture_output=True, check=True, text=True
    )
    said = [int(word) for word in done.stdout.split()]
    ours = [
        {"<": -1, "=": 0, ">": 1}[relation(rpm_key(a), rpm_key(b))] for a, b in pairs
    ]
    assert [p for p, a, b in zip(pairs, ours, said, strict=True) if a != b] == []
