"""This host as lpengine is set up on it: where things are, and which targets its
components are."""

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from lpengine.errors import InputError
from lpengine.installer.settings import Part, load
from lpengine.package.model import KERNEL, XEN, Task
from lpengine.targets.disk import Disk
from lpengine.targets.packages import Packages, find_tool

ROOT = Path("/")
STATE_VARIABLE = "LPENGINE_STATE_DIR"
STATE, SETTINGS = "var/lib/lpengine", "etc/lpengine"
CONFIG = "host.toml"

# The targets that a machine's own components are.
OWN_TARGETS: Mapping[str, str] = {XEN: "xen", KERNEL: "linux"}
# Where node_exporter's packages look for text files, if they are installed.
_COLLECTOR = "var/lib/prometheus/node-exporter"


@dataclass(frozen=True)
class Site:
    """`root` is what files are put under; a machine's own is /. `targets` has the
    target of each component that can be patched. `commands` carry tasks out. Hooks and
    commands may take `patience` seconds. `metrics` is where the metrics go, None for
    nowhere."""

    name: str
    root: Path
    state: Path
    settings: Path
    run: Path
    targets: Mapping[str, str] = field(default_factory=dict)
    commands: Mapping[Task, tuple[str, ...]] = field(default_factory=dict)
    patience: float = 300
    metrics: Path | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is this machine itself, and not a tree of files."""
        return self.root == ROOT

    @property
    def foreign(self) -> Mapping[str, str]:
        """The targets that are not what runs on this machine itself."""
        own = OWN_TARGETS if self.is_own else {}
        return {c: uri for c, uri in self.targets.items() if own.get(c) != uri}

    @property
    def hooks(self) -> Path:
        return self.settings / "hooks.d"

    @property
    def policy(self) -> Path:
        return self.settings / "policy.toml"

    @property
    def boot_id(self) -> str:
        """Changes with every boot; "" where nothing says."""
        try:
            path = self.root / "proc/sys/kernel/random/boot_id"
            return path.read_text().strip()
        except OSError:
            return ""

    @property
    def disk(self) -> Disk:
        return Disk(self.root, self.state / "disk")

    @property
    def packages(self) -> Packages:
        return Packages(self.state / "packages", find_tool(self.root))


class HostFile(Part, kw_only=True):
    """host.toml."""

    name: str = ""
    components: dict[str, str] = msgspec.field(default_factory=dict)
    commands: dict[Task, tuple[str, ...]] = msgspec.field(default_factory=dict)
    patience: int = 300
    metrics: str | None = None


def open_site(
    root: Path = ROOT,
    config: Path | None = None,
    components: Mapping[str, str] | None = None,
) -> Site:
    """As host.toml below the root says, or `config`; `components` says more. A tree of
    files has only those targets that it is given: what runs on this machine is not
    its own."""
    root = root.resolve()
    settings = root / SETTINGS
    file = load(config or settings / CONFIG, HostFile)
    own = OWN_TARGETS if root == ROOT else {}
    return Site(
        name=file.name or socket.gethostname(),
        root=root,
        state=state_directory(root),
        settings=config.parent if config else settings,
        run=root / "run",
        targets={**own, **file.components, **(components or {})},
        commands=file.commands,
        patience=file.patience,
        metrics=metrics_of(root, file.metrics),
    )


def state_directory(root: Path) -> Path:
    chosen = os.environ.get(STATE_VARIABLE)
    return Path(chosen) if chosen and root == ROOT else root / STATE


def metrics_of(root: Path, chosen: str | None) -> Path | None:
    if chosen is not None:
        if chosen and not chosen.startswith("/"):
            raise InputError(f"metrics: {chosen!r} is not an absolute path")
        return root / chosen.lstrip("/") if chosen else None
    collector = root / _COLLECTOR
    return collector / "lpengine.prom" if collector.is_dir() else None
