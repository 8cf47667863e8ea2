"""Where a live patch can live, and how each place is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import NotFoundError, UsageError
from lpengine.machine import open_machine
from lpengine.targets.base import DEFAULT_TIMEOUT, Target
from lpengine.targets.linux import LinuxTarget
from lpengine.targets.linux_open import open_linux
from lpengine.targets.linux_open import state_directory as linux_directory
from lpengine.targets.machine import MachineTarget
from lpengine.targets.xen import XenTarget
from lpengine.targets.xen_open import open_xen
from lpengine.targets.xen_open import state_directory as xen_directory

__all__ = [
    "DEFAULT_TIMEOUT",
    "HOST_TARGETS",
    "LinuxTarget",
    "MachineTarget",
    "Target",
    "XenTarget",
    "open_target",
    "state_directory_of",
]


def _open_emulated(directory: str) -> Target:
    path = Path(directory)
    return MachineTarget(open_machine(path), f"emulated:{directory}", path)


def _machine_directory(directory: str) -> Path:
    """NotFoundError where nothing is: a lock there would make a directory."""
    path = Path(directory)
    if not path.is_dir():
        raise NotFoundError(
            f"{directory}: there is no machine", hint="lpengine machine create"
        )
    return path


@dataclass(frozen=True)
class _Scheme:
    """How targets of one kind are opened, and where their journal and lock are.
    `names` is what follows the colon, in brackets where it may be left out, and ""
    where there is one such target here."""

    open: Callable[[str], Target]
    state_directory: Callable[[str], Path]
    names: str = ""

    @property
    def needs_no_name(self) -> bool:
        return not self.names or self.names.startswith("[")

    def takes(self, rest: str) -> bool:
        return bool(self.names) if rest else self.needs_no_name


_SCHEMES: Mapping[str, _Scheme] = {
    "emulated": _Scheme(_open_emulated, _machine_directory, "DIR"),
    "linux": _Scheme(open_linux, lambda _: linux_directory(), "[VMLINUZ]"),
    "xen": _Scheme(lambda _: open_xen(), lambda _: xen_directory()),
}


# What a host is the target of by itself, without a name for it.
HOST_TARGETS = tuple(name for name, each in _SCHEMES.items() if each.needs_no_name)


def open_target(uri: str) -> Target:
    """ "emulated:DIR" is the emulated machine kept in that directory, "xen" the
    hypervisor that this is the dom0 of, "linux" the kernel that runs here, and
    "linux:VMLINUZ" the same with a file of it that is not in /boot. `UsageError` for
    a scheme that there is not, `NotFoundError` for a machine that there is not."""
    scheme, rest = _parse(uri)
    return scheme.open(rest)


def state_directory_of(uri: str) -> Path:
    """Where the target's journal and lock are, without looking at the target: what
    is observed before the lock is held may be of the past."""
    scheme, rest = _parse(uri)
    return scheme.state_directory(rest)


def _parse(uri: str) -> tuple[_Scheme, str]:
    name, _, rest = uri.partition(":")
    scheme = _SCHEMES.get(name)
    if scheme is None or not scheme.takes(rest):
        known = ", ".join(
            f"{one}:{each.names}" if each.names else one
            for one, each in _SCHEMES.items()
        )
        raise UsageError(f"{uri}: not a target", hint=f"targets are {known}")
    return scheme, rest
