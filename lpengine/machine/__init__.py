"""Memory and CPUs that the engine itself patches."""

from lpengine.machine.base import Machine, MappedImage, Protection, StoppedCpu
from lpengine.machine.directory import create_machine, open_machine
from lpengine.machine.emulated import EmulatedMachine
from lpengine.machine.processors import PendingCall

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
