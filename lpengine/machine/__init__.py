"""Memory and CPUs that the engine itself patches."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lpengine.machine.base import Machine, MappedImage, Protection, StoppedCpu
    from lpengine.machine.directory import create_machine, open_machine
    from lpengine.machine.emulated import EmulatedMachine
    from lpengine.machine.processors import PendingCall

# Imported when first used: others need what a machine is, and no CPU.
_MODULES = {
    "EmulatedMachine": "emulated",
    "Machine": "base",
    "MappedImage": "base",
    "PendingCall": "processors",
    "Protection": "base",
    "StoppedCpu": "base",
    "create_machine": "directory",
    "open_machine": "directory",
}

__all__ = [
    "EmulatedMachine",
    "Machine",
    "MappedImage",
    "PendingCall",
    "Protection",
    "StoppedCpu",
    "create_machine",
    "open_machine",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
