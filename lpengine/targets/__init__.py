"""Where a live patch can live, and how each place is named."""

from collections.abc import Callable, Mapping
from pathlib import Path

from lpengine.errors import UsageError
from lpengine.machine import open_machine
from lpengine.targets.base import DEFAULT_TIMEOUT, Target
from lpengine.targets.machine import MachineTarget
from lpengine.targets.xen import XenTarget
from lpengine.targets.xen_open import open_xen

__all__ = ["DEFAULT_TIMEOUT", "MachineTarget", "Target", "XenTarget", "open_target"]


def _open_emulated(directory: str) -> Target:
    path = Path(directory)
    return MachineTarget(open_machine(path), f"emulated:{directory}", path)


_SCHEMES: Mapping[str, Callable[[str], Target]] = {"emulated": _open_emulated}

# What there is one of on a machine.
_HERE: Mapping[str, Callable[[], Target]] = {"xen": open_xen}


def open_target(uri: str) -> Target:
    """ "emulated:DIR" is the emulated machine kept in that directory, "xen" the
    hypervisor that this is the dom0 of. `UsageError` for a scheme that there is not,
    `NotFoundError` for a machine that there is not."""
    if uri in _HERE:
        return _HERE[uri]()
    scheme, colon, rest = uri.partition(":")
    if not colon or not rest or scheme not in _SCHEMES:
        known = ", ".join([*_HERE, *(f"{one}:…" for one in _SCHEMES)])
        raise UsageError(f"{uri}: not a target", hint=f"targets are {known}")
    return _SCHEMES[scheme](rest)
