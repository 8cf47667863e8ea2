"""Where a live patch can live, and how each place is named."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from lpengine.errors import UsageError
from lpengine.targets.base import DEFAULT_TIMEOUT, Target

__all__ = [
    "DEFAULT_TIMEOUT",
    "HOST_TARGETS",
    "Target",
    "open_target",
    "state_directory_of",
]


class _Opener(Protocol):
    """What the module of a kind of target has; `rest` is what follows the colon."""

    def open_target(self, rest: str) -> Target: ...

    def state_directory(self, rest: str) -> Path: ...


@dataclass(frozen=True)
class _Scheme:
    """A kind of target. `names` is what follows the colon, in brackets where it may
    be left out, and "" where there is one such target here. `module` opens it, and is
    imported only then: each kind drags a part of the engine along."""

    module: str
    names: str = ""

    @property
    def opener(self) -> _Opener:
        return cast(_Opener, import_module(f"lpengine.targets.{self.module}"))

    @property
    def needs_no_name(self) -> bool:
        return not self.names or self.names.startswith("[")

    def takes(self, rest: str) -> bool:
        return bool(self.names) if rest else self.needs_no_name


_SCHEMES: Mapping[str, _Scheme] = {
    "emulated": _Scheme("machine_open", "DIR"),
    "linux": _Scheme("linux_open", "[VMLINUZ]"),
    "xen": _Scheme("xen_open"),
}

# What a host is the target of by itself, without a name for it.
HOST_TARGETS = tuple(name for name, each in _SCHEMES.items() if each.needs_no_name)


def open_target(uri: str) -> Target:
    """ "emulated:DIR" is the emulated machine kept in that directory, "xen" the
    hypervisor that this is the dom0 of, "linux" the kernel that runs here, and
    "linux:VMLINUZ" the same with a file of it that is not in /boot. `UsageError` for
    a scheme that there is not, `NotFoundError` for a machine that there is not."""
    scheme, rest = _parse(uri)
    return scheme.opener.open_target(rest)


def state_directory_of(uri: str) -> Path:
    """Where the target's journal and lock are, without looking at the target: what
    is observed before the lock is held may be of the past."""
    scheme, rest = _parse(uri)
    return scheme.opener.state_directory(rest)


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
