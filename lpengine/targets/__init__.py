"""Where a live patch can live, and how each place is named."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import NotFoundError, UsageError
from lpengine.machine import open_machine
from lpengine.targets.base import DEFAULT_TIMEOUT, Target
from lpengine.targets.machine import MachineTarget

__all__ = [
    "DEFAULT_TIMEOUT",
    "MachineTarget",
    "Target",
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
    """How targets of one kind are opened, and where their journal and lock are."""

    open: Callable[[str], Target]
    state_directory: Callable[[str], Path]


_SCHEMES: Mapping[str, _Scheme] = {
    "emulated": _Scheme(_open_emulated, _machine_directory)
}


def open_target(uri: str) -> Target:
    """ "emulated:DIR" is the emulated machine kept in that directory. `UsageError`
    for a scheme that there is not, `NotFoundError` for a machine that there is
    not."""
    scheme, rest = _parse(uri)
    return scheme.open(rest)


def state_directory_of(uri: str) -> Path:
    """Where the target's journal and lock are, without looking at the target: what
    is observed before the lock is held may be of the past."""
    scheme, rest = _parse(uri)
    return scheme.state_directory(rest)


def _parse(uri: str) -> tuple[_Scheme, str]:
    scheme, colon, rest = uri.partition(":")
    if not colon or not rest or scheme not in _SCHEMES:
        known = ", ".join(f"{one}:…" for one in _SCHEMES)
        raise UsageError(f"{uri}: not a target", hint=f"targets are {known}")
    return _SCHEMES[scheme], rest
