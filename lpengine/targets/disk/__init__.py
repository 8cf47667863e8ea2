"""The files of updates on a disk, each set of them one transaction."""

from lpengine.targets.disk.changes import Deviation
from lpengine.targets.disk.commit import Settled
from lpengine.targets.disk.disk import Contents, Disk, Taken
from lpengine.targets.disk.record import Change, Installed, Purpose, Transaction
from lpengine.targets.disk.refusals import DiskRefusal
from lpengine.targets.disk.space import Room
from lpengine.targets.disk.states import FileState, Kind, look
from lpengine.targets.disk.system import System

__all__ = [
    "Change",
    "Contents",
    "Deviation",
    "Disk",
    "DiskRefusal",
    "FileState",
    "Installed",
    "Kind",
    "Purpose",
    "Room",
    "Settled",
    "System",
    "Taken",
    "Transaction",
    "look",
]
