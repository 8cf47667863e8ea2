"""What .deb and .rpm files say about themselves, as dpkg and rpm read them."""

import struct
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lpengine.package.distribution import check_package, read_package
from lpengine.package.doubts import Malformed
from lpengine.package.model import Content, DiskPackage, Version
from lpengine.package.package_file import PackageFile
from tests.deb_cases import PACKERS, make_ar, make_deb, tool_deb

TOOL = PackageFile("deb", "tool", "amd64", Version("1.2", "3", 1), 12 << 10)


@pytest.mark.parametrize("suffix", PACKERS)
@pytest.mark.parametrize("member", ["control", "./control"])
def test_a_deb_says_what_it_is(suffix: str, member: str) -> None:
    control = (
        "Package: tool\nVersion: 1:1.2-3\nArchitecture: amd64\nInstalled-Size: 12\n"
    )
    assert read_package(make_deb(control, suffix, member), "x") == TOOL


DEBIAN_VERSIONS = [
    ("1.2-3", Version("1.2", "3")),
    ("1.2", Version("1.2")),
    ("2:1.2", Version("1.2", "", 2)),
    (
        "4.17.5+23-ga4e5191dc0-1+deb12u1",
        Version("4.17.5+23-ga4e5191dc0", "1+deb12u1"),
    ),
]


@pytest.mark.parametrize(("text", "version"), DEBIAN_VERSIONS)
def test_debian_versions(text: str, version: Version) -> None:
    assert read_package(tool_deb(text), "x").version == version


def test_dpkg_agrees(tmp_path: Path) -> None:
    """On a package that dpkg itself has made."""
    root = tmp_path / "root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        "Package: xen-tool\nVersion: 2:4.17.5+23-g1-1~deb12\nArchitecture: all\n"
        "Maintainer: me <me@example.org>\nInstalled-Size: 77\nDescription: x\n y\n"
    )
    for compression in ("none", "gzip", "xz"):
        path = tmp_path / f"{compression}.deb"
        build = ["dpkg-deb", f"-Z{compression}", "--root-owner-group", "-b", root, path]
        subprocess.run(build, check=True, capture_output=True)
        fields = "${Package} ${Architecture} ${Version} ${Installed-Size}"
        show = ["dpkg-deb", "-W", f"--showformat={fields}", path]
        said = subprocess.run(show, check=True, capture_output=True, text=True).stdout
        found = read_package(path.read_bytes(), path.name)
        kib = found.installed_size >> 10
        assert f"{found.name} {found.architecture} {found.version} {kib}" == said


BROKEN_DEBS = [
    (b"", "neither"),
    (b"!<arch>\n", "not a Debian package"),
    (make_ar(("debian-binary", b"3.0\n")), "not a Debian package"),
    (make_ar(("debian-binary", b"2.0\n"), ("data.tar", b"")), "not where it must be"),
    (
        make_ar(("debian-binary", b"2.0\n"), ("control.tar.gz", b"\x1f\x8bxx")),
        "damaged",
    ),
    (make_ar(("debian-binary", b"2.0\n"), ("control.tar.xz", b"xx")), "damaged"),
    (make_ar(("debian-binary", b"2.0\n"), ("control.tar.zst", b"xx")), "damaged"),
    (make_ar(("debian-binary", b"2.0\n"), ("control.tar", b"x" * 512)), "damaged"),
    (make_deb("Package: tool\n", member="other"), "no control file"),
    (make_deb("Package: tool\nVersion: 1\n"), "no Architecture"),
    (make_deb("Package: tool\nVersion: x:1\nArchitecture: all\n"), "version of Debian"),
    (
        make_deb("Package: a\nVersion: 1\nArchitecture: b\nInstalled-Size: x\n"),
        "an installed size",
    ),
    (tool_deb()[:200], "truncated"),
    # A bomb: a control archive that unpacks to more than any has.
    (
        make_ar(
            ("debian-binary", b"2.0\n"),
            ("control.tar.zst", PACKERS[".zst"](bytes(40 << 20))),
        ),
        "unpacks to more",
    ),
]


@pytest.mark.parametrize(("data", "complaint"), BROKEN_DEBS)
def test_broken_debs(data: bytes, complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        read_package(data, "x.deb")


def make_header(values: Mapping[int, tuple[int, int, bytes]]) -> bytes:
    index, store = b"", b""
    for tag, (kind, count, data) in values.items():
        store += bytes(-len(store) % 4)
        index += struct.pack(">IIII", tag, kind, len(store), count)
        store += data
    lead = struct.pack(">4sIII", b"\x8e\xad\xe8\x01", 0, len(values), len(store))
    return lead + index + store


TAGS = {
    1000: (6, 1, b"tool\0"),
    1001: (6, 1, b"1.2\0"),
    1002: (6, 1, b"3.xs8\0"),
    1003: (4, 1, struct.pack(">I", 1)),
    1009: (4, 1, struct.pack(">I", 4711)),
    1022: (6, 1, b"x86_64\0"),
    1047: (8, 2, b"tool\0livepatch(x)\0"),
}


def make_rpm(tags: Mapping[int, tuple[int, int, bytes]]) -> bytes:
    signatures = make_header({62: (7, 5, b"12345")})
    start = b"\xed\xab\xee\xdb" + bytes(92) + signatures
    return start + bytes(-len(start) % 8) + make_header(tags)


def test_an_rpm_says_what_it_is() -> None:
    assert read_package(make_rpm(TAGS), "x") == PackageFile(
        "rpm",
        "tool",
        "x86_64",
        Version("1.2", "3.xs8", 1),
        4711,
        ("tool", "livepatch(x)"),
    )
    without_epoch = {tag: value for tag, value in TAGS.items() if tag != 1003}
    assert read_package(make_rpm(without_epoch), "x").version.epoch is None


BROKEN_RPMS = [
    (b"\xed\xab\xee\xdb", "truncated"),
    (b"\xed\xab\xee\xdb" + bytes(300), "no header"),
    (make_rpm(TAGS)[:-5], "truncated"),
    (make_rpm({**TAGS, 1000: (4, 1, bytes(4))}), "name is not text"),
    (make_rpm({**TAGS, 1000: (6, 1 << 30, b"x\0")}), "name is not text"),
    (make_rpm({**TAGS, 1047: (8, 60_000, b"x\0")}), "provides has no end"),
    (make_rpm({**TAGS, 1003: (6, 1, b"1\0")}), "epoch is not a number"),
    (make_rpm({**TAGS, 1003: (4, 1 << 30, b"")}), "epoch is not a number"),
    (make_rpm({1000: TAGS[1000]}), "has no architecture"),
]


@pytest.mark.parametrize(("data", "complaint"), BROKEN_RPMS)
def test_broken_rpms(data: bytes, complaint: str) -> None:
    with pytest.raises(Malformed, match=complaint):
        read_package(data, "x.rpm")


@given(st.data())
def test_no_bytes_break_the_readers(data: st.DataObject) -> None:
    raw = bytearray(data.draw(st.sampled_from([tool_deb(), make_rpm(TAGS)])))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(Malformed):
        read_package(bytes(raw), "x")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("format", "rpm"),
        ("name", "tools"),
        ("architecture", "arm64"),
        ("version", Version("1.2", "4", 1)),
    ],
)
def test_an_update_may_not_lie_about_a_package(field: str, value: object) -> None:
    content = Content("packages/tool.deb", "ab" * 32, 1)
    said = {
        "format": "deb",
        "name": "tool",
        "architecture": "amd64",
        "version": Version("1.2", "3", 1),
    }
    check_package(DiskPackage(**said, content=content), tool_deb())  # type: ignore[arg-type]
    lie = DiskPackage(**{**said, field: value}, content=content)  # type: ignore[arg-type]
    with pytest.raises(Malformed, match=f"its {field} is"):
        check_package(lie, tool_deb())


SPEC = """
Name: xen-livepatch
Version: 4
Release: 1.xs8
Epoch: 3
Summary: x
License: x
BuildArch: noarch
Provides: livepatch(component/xen/base/4.17.4-1.xs8/to/4.17.4-6.xs8/base-buildid/0fb0)
%description
x
%files
"""


@pytest.mark.system
def test_rpm_agrees(tmp_path: Path) -> None:
    """On a package that rpmbuild has made."""
    (tmp_path / "x.spec").write_text(SPEC)
    build = ["rpmbuild", "-bb", "--define", f"_topdir {tmp_path}", "x.spec"]
    subprocess.run(build, check=True, capture_output=True, cwd=tmp_path)
    (path,) = tmp_path.glob("RPMS/noarch/*.rpm")
    wanted = "%{NAME} %{ARCH} %{EPOCH}:%{VERSION}-%{RELEASE} %{SIZE}"
    query = ["rpm", "-qp", "--qf", wanted, path]
    said = subprocess.run(query, check=True, capture_output=True, text=True).stdout
    found = read_package(path.read_bytes(), path.name)
    size = found.installed_size
    assert f"{found.name} {found.architecture} {found.version} {size}" == said
    provides = subprocess.run(
        ["rpm", "-qp", "--qf", "[%{PROVIDENAME}\n]", path],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split("\n")
    assert list(found.provides) == provides[:-1]
