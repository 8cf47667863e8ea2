"""Small packages, built here by the package managers' own tools."""

import shutil
import subprocess
from pathlib import Path

import pytest

from lpengine.package.model import Content, DiskPackage, Version
from lpengine.targets.packages import Dpkg, PackageTool, Rpm

PATH = "usr/share/lpengine-test"


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr


def need(tool: str) -> None:
    if shutil.which(tool) is None:
        pytest.skip(f"there is no {tool} here")


def build_deb(
    directory: Path,
    name: str,
    version: str,
    *,
    fields: str = "",
    scripts: dict[str, str] | None = None,
) -> Path:
    """A package with one file that has its version in it."""
    need("dpkg-deb")
    tree = directory / f"{name}-{version.replace(':', '_')}"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(
        f"Package: {name}\nVersion: {version}\nArchitecture: all\n"
        f"Maintainer: Test <test@example.org>\n{fields}Description: test\n"
    )
    for script, text in (scripts or {}).items():
        path = tree / "DEBIAN" / script
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    (tree / PATH).mkdir(parents=True)
    (tree / PATH / name).write_text(version)
    archive = directory / f"{name}_{version.replace(':', '%3a')}_all.deb"
    run("dpkg-deb", "--root-owner-group", "-Zgzip", "-z1", "-b", tree, archive)
    return archive


def build_rpm(
    directory: Path, name: str, version: str, *, fields: str = "", script: str = ""
) -> Path:
    need("rpmbuild")
    number, release = version.split("-")
    spec = directory / f"{name}-{version}.spec"
    spec.write_text(
        f"Name: {name}\nVersion: {number}\nRelease: {release}\nSummary: test\n"
        f"License: none\nBuildArch: noarch\n{fields}%description\ntest\n"
        f"%install\nmkdir -p %{{buildroot}}/{PATH}\n"
        f"printf {version} > %{{buildroot}}/{PATH}/{name}\n"
        f"%files\n/{PATH}/{name}\n{script}"
    )
    top = directory / "rpmbuild"
    run("rpmbuild", "-bb", "--quiet", "--define", f"_topdir {top}", spec)
    return top / "RPMS/noarch" / f"{name}-{version}.noarch.rpm"


def debian_root(root: Path) -> PackageTool:
    """An empty system that dpkg knows."""
    need("dpkg")
    for directory in ("info", "updates", "triggers"):
        (root / "var/lib/dpkg" / directory).mkdir(parents=True)
    (root / "var/lib/dpkg/status").touch()
    return Dpkg(root)


def rpm_root(root: Path) -> PackageTool:
    need("rpm")
    root.mkdir()
    run("rpm", f"--root={root}", "--dbpath=/var/lib/rpm", "--initdb")
    return Rpm(root, "/var/lib/rpm")


def disk_package(archive: Path, name: str, version: str) -> DiskPackage:
    """As an update would describe it."""
    from lpengine.package import content_of

    upstream, _, release = version.partition("-")
    content: Content = content_of(f"packages/{archive.name}", archive)
    kind = archive.suffix[1:]
    architecture = "all" if kind == "deb" else "noarch"
    return DiskPackage(kind, name, architecture, Version(upstream, release), content)
