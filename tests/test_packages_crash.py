"""A package manager that stops where it is told, and lpengine killed around it: what
no real one does on request."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from lpengine.command import CommandError
from lpengine.errors import TargetError
from lpengine.package.model import DiskPackage
from lpengine.targets.packages import Name, Packages, Present
from tests.disk_cases import Unsynced
from tests.dying import LPENGINE, count_lines, dies
from tests.package_builds import disk_package

UPDATE = "LPU-1"


class Scripted:
    """A package manager in memory that gets through one package at a time, and stops
    after as many as it is told."""

    format = "deb"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.left = 1 << 30

    @property
    def state(self) -> dict[str, str]:
        lines = (self.root / "state").read_text().splitlines()
        return dict(line.split("=") for line in lines)

    def write(self, state: Mapping[str, str]) -> None:
        fresh = self.root / "state.new"
        fresh.write_text("\n".join(f"{k}={v}" for k, v in sorted(state.items())))
        fresh.rename(self.root / "state")

    def present(self, names: Sequence[Name] | None = None) -> Mapping[Name, Present]:
        found = {Name(k, "all"): Present((v,)) for k, v in self.state.items()}
        return {k: v for k, v in found.items() if names is None or k in names}

    def objection(self, archives: Sequence[Path]) -> str:
        return ""

    def spend(self) -> None:
        if self.left == 0:
            raise CommandError(["dpkg"], 1, "failed", b"no more")
        self.left -= 1

    def install(self, archives: Sequence[Path]) -> None:
        for archive in archives:
            self.spend()
            name, version = archive.read_text().split()
            self.write({**self.state, name: version})

    def remove(self, names: Sequence[Name]) -> None:
        for name in names:
            self.spend()
            self.write({k: v for k, v in self.state.items() if k != name.name})

    def settle(self) -> None:
        pass

    def cached(self, name: Name, version: str) -> Path | None:
        path = self.root / f"{name.name}_{version}"
        return path if path.exists() else None


class Script:
    """One package is upgraded and one is new."""

    def __init__(self, root: Path) -> None:
        root.mkdir(exist_ok=True)
        self.root = root
        (root / "one_1").write_text("one 1")
        self.tool = Scripted(root)
        if not (root / "state").exists():
            self.tool.write({"one": "1"})
        self.old, self.new = {"one": "1"}, {"one": "2", "two": "2"}

    def packages(self) -> Packages:
        return Packages(self.root / "lpengine", self.tool, Unsynced())

    def install(self) -> None:
        texts = ["one 2", "two 2"]
        archives = {text: self.root / text.replace(" ", "_") for text in texts}
        for text, path in archives.items():
            path.write_text(text)
        wanted = [disk_package_of(path, text) for text, path in archives.items()]
        by_hash = {w.content.sha256: t for w, t in zip(wanted, texts, strict=True)}
        self.packages().install(
            UPDATE, "d", wanted, lambda content: [by_hash[content.sha256].encode()]
        )

    def recover(self) -> None:
        self.packages().recover()


def disk_package_of(path: Path, text: str) -> DiskPackage:
    deb = path.with_suffix(".deb")
    deb.write_text(text)
    return disk_package(deb, *text.split())


@pytest.mark.parametrize("left", [0, 1])
def test_a_failure_on_the_way_goes_back(tmp_path: Path, left: int) -> None:
    script = Script(tmp_path / "root")
    script.tool.left = left
    install = script.tool.install

    def failing_once(archives: Sequence[Path]) -> None:
        try:
            install(archives)
        finally:
            script.tool.left = 1 << 30

    script.tool.install = failing_once  # type: ignore[method-assign]
    with pytest.raises(TargetError, match="no more"):
        script.install()
    assert script.tool.state == script.old
    assert script.packages().pending() is None
    assert script.packages().installed() == ()


def kill_everywhere(directory: Path, every: int) -> None:
    sources = (LPENGINE / "targets/packages", LPENGINE / "targets/disk/durable.py")
    spared = Script(directory / "spared")
    lines = count_lines(spared.install, sources)
    for line in range(0, lines, every):
        script = Script(directory / str(line))
        assert dies(script.install, sources, line), line
        dies(script.recover, sources, line % 61)
        script.packages().recover()
        assert script.packages().pending() is None
        assert script.tool.state in (script.old, script.new), line
        script.install()
        assert script.tool.state == script.new
        script.packages().uninstall(UPDATE)
        assert script.tool.state == script.old


def test_killed_anywhere(tmp_path: Path) -> None:
    kill_everywhere(tmp_path, 37)


@pytest.mark.slow
def test_killed_at_every_line(tmp_path: Path) -> None:
    kill_everywhere(tmp_path, 1)
