"""The source that Debian built the lab's kernel from."""

import subprocess
import tempfile
from pathlib import Path

from lpengine.hosts.lab import Stock
from lpengine.hosts.lab.storage import cache_directory
from tests.debian_sources import APT

_SECONDS = 600
_LEFT_OUT = ("Documentation/*/*", "tools/perf", "tools/testing", "arch/[a-w]*.[chS]")


def fetch_source(stock: Stock) -> Path:
    """The tree, of just the kernel's version, unpacked once. Complete or not there
    at all."""
    (version,) = {v for name, v in stock.packages if name.startswith("linux-image-")}
    major = ".".join(stock.release.split(".")[:2])
    package = f"linux-source-{major}"
    home = cache_directory() / "sources"
    tree = home / f"{package}-{version}"
    if not tree.is_dir():
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home) as scratch:
            _run([*APT, "download", f"{package}={version}"], Path(scratch))
            (archive,) = Path(scratch).glob("*.deb")
            _run(["dpkg", "-x", str(archive), "files"], Path(scratch))
            (packed,) = Path(scratch).glob("files/usr/src/*.tar.xz")
            # Takes no part in a build, and half of the time to unpack.
            options = [f"--exclude={package}/{each}" for each in _LEFT_OUT]
            _run(["tar", "-x", *options, "-f", str(packed)], Path(scratch))
            (Path(scratch) / package).rename(tree)
    return tree


def _run(argv: list[str], directory: Path) -> None:
    subprocess.run(
        argv, cwd=directory, check=True, capture_output=True, timeout=_SECONDS
    )
