"""The emulated machine kept in a directory."""

from pathlib import Path

from lpengine.errors import NotFoundError
from lpengine.machine import open_machine
from lpengine.targets.machine import MachineTarget


def state_directory(directory: str) -> Path:
    """NotFoundError where nothing is: a lock there would make a directory."""
    path = Path(directory)
    if not path.is_dir():
        raise NotFoundError(
            f"{directory}: there is no machine", hint="lpengine machine create"
        )
    return path


def open_target(directory: str) -> MachineTarget:
    path = Path(directory)
    return MachineTarget(open_machine(path), f"emulated:{directory}", path)
