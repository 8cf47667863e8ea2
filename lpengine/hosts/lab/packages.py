"""Hypervisors and kernels from the distribution, fetched by package name through
apt and unpacked into a cache: nothing is installed."""

import gzip
import hashlib
import json
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from lpengine.command import CommandError, run
from lpengine.errors import NotFoundError, UsageError
from lpengine.hosts.lab.storage import cache_directory, exclusive, write_whole

KINDS = ("xen", "linux")
_FETCH_SECONDS = 1800
_HYPERVISOR = re.compile(r"xen-hypervisor-(\d+\.\d+)-amd64")


@dataclass(frozen=True)
class Stock:
    """What a kind of guest is made of; all paths are in the cache, in `tree`."""

    kind: str
    tree: Path
    kernel: Path
    release: str
    packages: tuple[tuple[str, str], ...]
    hypervisor: Path | None
    symbols: Path | None

    @property
    def modules(self) -> Path:
        return self.tree / "usr/lib/modules" / self.release

    @property
    def busybox(self) -> Path:
        return self.tree / "usr/bin/busybox"


def fetch(kind: str) -> Stock:
    """Download and unpack what the distribution offers today; what is there already
    is not fetched again, and a broken-off fetch goes on where it stopped.
    `NotFoundError` when apt knows no such packages."""
    packages = wanted_packages(kind)
    home = cache_directory() / "lab"
    with exclusive(home / f"{kind}.lock", f"fetching {kind}", _FETCH_SECONDS):
        tree = home / f"{kind}-{fingerprint(packages)}"
        if not tree.is_dir():
            _unpack(_download(packages, home / "packages"), tree, kind)
        write_whole(home / f"{kind}.json", _record(tree, packages))
    return stocked(kind)


def stocked(kind: str) -> Stock:
    """What was fetched last. `NotFoundError` where nothing was."""
    _check_kind(kind)
    try:
        record = json.loads((cache_directory() / "lab" / f"{kind}.json").read_bytes())
        packages = tuple((name, version) for name, version in record["packages"])
        return describe(kind, Path(record["tree"]), packages)
    except (OSError, ValueError, KeyError, TypeError):
        raise NotFoundError(
            f"nothing is fetched for {kind} guests", hint=f"lpengine lab fetch {kind}"
        ) from None


def describe(kind: str, tree: Path, packages: Iterable[tuple[str, str]]) -> Stock:
    """The parts of an unpacked tree, found by their places in it."""
    kernel = _newest(tree, "boot/vmlinuz-*")
    hypervisor = symbols = None
    if kind == "xen":
        hypervisor = _newest(tree, "boot/xen-*.elf")
        symbols = _newest(tree, "usr/lib/debug/boot/xen-syms-*[!p]")
    release = kernel.name.removeprefix("vmlinuz-")
    return Stock(kind, tree, kernel, release, tuple(packages), hypervisor, symbols)


def _newest(tree: Path, pattern: str) -> Path:
    found = sorted(tree.glob(pattern))
    if not found:
        raise NotFoundError(f"{tree}: no {pattern}", hint="fetch again")
    return found[-1]


def wanted_packages(kind: str) -> tuple[tuple[str, str], ...]:
    """(name, version) of every package, as apt's lists have them today."""
    _check_kind(kind)
    if kind == "linux":
        kernel = _depends("linux-image-cloud-amd64", r"linux-image-.*-cloud-amd64")
        return (*_current([kernel, "busybox-static"]),)
    hypervisor = _depends("xen-system-amd64", _HYPERVISOR.pattern)
    version = _one_version(hypervisor, f"{hypervisor}-dbg")
    release = _HYPERVISOR.fullmatch(hypervisor)
    tools = f"xen-utils-{release[1] if release else ''}"
    kernel = _depends("linux-image-amd64", r"linux-image-.*-amd64")
    rest = [kernel, "busybox-static", tools, *_libraries(tools)]
    return (
        (hypervisor, version),
        (f"{hypervisor}-dbg", version),
        *_current(rest),
    )


def _check_kind(kind: str) -> None:
    if kind not in KINDS:
        raise UsageError(f"{kind}: not a kind of guest", hint=f"one of {KINDS}")


def _depends(package: str, pattern: str) -> str:
    """The dependency of a package whose name matches."""
    listed = _apt_cache(["depends", "--important", package])
    for line in listed.splitlines():
        name = line.rpartition(" ")[2]
        if re.fullmatch(pattern, name):
            return name
    raise _unknown(package)


def _libraries(package: str) -> list[str]:
    """Xen's own libraries that a package needs, and those of theirs."""
    options = [f"--no-{o}" for o in ("recommends", "suggests", "conflicts", "breaks")]
    options += ["--no-replaces", "--no-enhances", "--recurse"]
    listed = _apt_cache(["depends", *options, package]).splitlines()
    return sorted({name for name in listed if name.startswith(("libxen", "libyajl"))})


def _versions(package: str) -> list[str]:
    """Newest first."""
    rows = _apt_cache(["madison", package]).splitlines()
    versions = [row.split("|")[1].strip() for row in rows if "Packages" in row]
    if not versions:
        raise _unknown(package)
    return list(dict.fromkeys(versions))


def _one_version(first: str, second: str) -> str:
    """The newest version of which there are both: the build ids of a hypervisor and
    of its symbols agree only then."""
    other = set(_versions(second))
    for version in _versions(first):
        if version in other:
            return version
    raise NotFoundError(f"apt offers no version of both {first} and {second}")


def _current(packages: Sequence[str]) -> Iterable[tuple[str, str]]:
    return ((package, _versions(package)[0]) for package in packages)


def _apt_cache(arguments: Sequence[str]) -> str:
    try:
        return run(["apt-cache", *arguments]).stdout.decode()
    except CommandError as error:
        raise _unknown(arguments[-1]) from error


def _unknown(package: str) -> NotFoundError:
    return NotFoundError(f"apt knows no package {package}", hint="run apt-get update")


def fingerprint(packages: Iterable[tuple[str, str]]) -> str:
    text = "\n".join(f"{name}={version}" for name, version in sorted(packages))
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _download(packages: Sequence[tuple[str, str]], store: Path) -> list[Path]:
    """The packages' files, of which those in the store are complete."""
    store.mkdir(parents=True, exist_ok=True)
    return [_stored(name, version, store) for name, version in packages]


def _stored(name: str, version: str, store: Path) -> Path:
    kept = store / f"{name}_{version.replace(':', '%3a')}.deb"
    if not kept.is_file():
        with tempfile.TemporaryDirectory(dir=store) as scratch:
            # apt's own user could not write into a private cache.
            argv = ["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download"]
            run([*argv, f"{name}={version}"], cwd=Path(scratch), timeout=_FETCH_SECONDS)
            (archive,) = Path(scratch).glob("*.deb")
            archive.rename(kept)
    return kept


def _unpack(archives: Iterable[Path], tree: Path, kind: str) -> None:
    """All packages into one tree, which appears when it is complete."""
    with tempfile.TemporaryDirectory(dir=tree.parent, prefix=".new-") as scratch:
        root = Path(scratch) / "tree"
        for archive in archives:
            run(["dpkg", "-x", str(archive), str(root)], timeout=_FETCH_SECONDS)
        for name in ("bin", "sbin", "lib"):
            _merge_into_usr(root, name)
        if kind == "xen":
            _decompress(_newest(root, "boot/xen-*-amd64.gz"))
        kernel = _newest(root, "boot/vmlinuz-*").name.removeprefix("vmlinuz-")
        run(["depmod", "-b", str(root / "usr"), kernel])
        root.chmod(0o755)
        root.rename(tree)


def _merge_into_usr(root: Path, name: str) -> None:
    """As the host is: a directory here would hide its link to usr/NAME."""
    if (root / name).is_dir():
        shutil.copytree(
            root / name, root / "usr" / name, symlinks=True, dirs_exist_ok=True
        )
        shutil.rmtree(root / name)


def _decompress(hypervisor: Path) -> None:
    """QEMU's multiboot loader takes no compressed image."""
    plain = hypervisor.with_name(f"{hypervisor.name.removesuffix('.gz')}.elf")
    plain.write_bytes(gzip.decompress(hypervisor.read_bytes()))


def _record(tree: Path, packages: Iterable[tuple[str, str]]) -> bytes:
    return json.dumps({"tree": str(tree), "packages": list(packages)}).encode()
