"""Debian's own sources by package name, and the packages built from them."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from lpengine.hosts.lab.storage import cache_directory
from tests.missing import not_there

XEN = ("xen-hypervisor-4.17-amd64", "xen-hypervisor-4.17-amd64-dbg")
SOURCES = (Path("/etc/apt/sources.list"), Path("/etc/apt/sources.list.d"))
# apt's own user could not write into a private cache.
APT = ("apt-get", "-q", "-o", "APT::Sandbox::User=root")


@dataclass(frozen=True)
class Sourced:
    """An unpacked source package, and binary packages of just that version unpacked
    into one directory."""

    version: str
    tree: Path
    files: Path

    @property
    def xen_symbols(self) -> Path:
        """Of XEN's packages: the hypervisor with its symbols."""
        found = (self.files / "usr/lib/debug/boot").glob("xen-syms-*")
        return next(path for path in found if path.suffix != ".map")


def fetch_xen() -> Sourced:
    """Debian's hypervisor, with what it was built from."""
    try:
        return fetch("xen", [*XEN], cache_directory())
    except Exception as error:
        not_there("cannot fetch Debian's source of Xen", error)


def fetch(source: str, binaries: list[str], cache: Path) -> Sourced:
    """The newest version of which everything can be had: mirrors do not keep all
    that their lists name. Complete or not there at all."""
    home = cache / "sources"
    home.mkdir(parents=True, exist_ok=True)
    options = _source_lists(home)
    failure: Exception | None = None
    for version in _versions(binaries[0]):
        name = re.sub(r"[^\w.+~-]", "_", f"{source}-{version}")
        if not (home / name).is_dir():
            try:
                _fetch(source, binaries, version, home / name, options)
            except subprocess.SubprocessError as error:
                failure = error
                continue
        (tree,) = (home / name / "source").iterdir()
        return Sourced(version, tree, home / name / "files")
    raise failure or FileNotFoundError(f"apt knows no {binaries[0]}")


def _fetch(
    source: str, binaries: list[str], version: str, place: Path, options: list[str]
) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent) as scratch:
        whole = Path(scratch) / "whole"
        (whole / "source").mkdir(parents=True)
        _run([*APT, *options, "source", f"{source}={version}"], whole / "source")
        for path in (whole / "source").iterdir():
            if path.is_file():
                path.unlink()
        for binary in binaries:
            _run([*APT, "download", f"{binary}={version}"], whole)
        for archive in whole.glob("*.deb"):
            _run(["dpkg", "-x", str(archive), "files"], whole)
            archive.unlink()
        whole.rename(place)


def _versions(binary: str) -> list[str]:
    said = subprocess.run(
        ["apt-cache", "madison", binary], capture_output=True, text=True, check=True
    )
    rows = (line.split("|")[1].strip() for line in said.stdout.splitlines())
    return list(dict.fromkeys(rows))


def _source_lists(home: Path) -> list[str]:
    """apt's options for lists of its own that name sources: the system's may not."""
    parts, lists = home / "apt.d", home / "lists"
    parts.mkdir(exist_ok=True)
    (lists / "partial").mkdir(parents=True, exist_ok=True)
    for path in _system_lists():
        text = path.read_text()
        text = re.sub(r"^Types:.*$", "Types: deb-src", text, flags=re.MULTILINE)
        text = re.sub(r"^deb(\s)", r"deb-src\1", text, flags=re.MULTILINE)
        if "debian" in text:
            (parts / path.name).write_text(text)
    options = ["-o", "Dir::Etc::sourcelist=/dev/null"]
    options += ["-o", f"Dir::Etc::sourceparts={parts}"]
    options += ["-o", f"Dir::State::lists={lists}"]
    if not any(lists.glob("*_Sources*")):
        _run([*APT, *options, "update"], home)
    return options


def _system_lists() -> list[Path]:
    main, parts = SOURCES
    found = [path for path in parts.iterdir() if path.suffix in (".list", ".sources")]
    return [*([main] if main.is_file() else []), *sorted(found)]


def _run(argv: list[str], directory: Path) -> None:
    subprocess.run(argv, cwd=directory, check=True, capture_output=True, timeout=600)
