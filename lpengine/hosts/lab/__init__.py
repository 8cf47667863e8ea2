"""Machines that run the real thing: Debian's Xen with its dom0, or a Linux kernel,
under QEMU, with the host's file system under an overlay.

    with boot("xen") as guest:
        guest.run(["lpengine", "status", "--target", "xen"])
"""

from lpengine.hosts.lab.boot import boot, find, guests
from lpengine.hosts.lab.guest import Guest
from lpengine.hosts.lab.packages import KINDS, Stock, fetch, stocked
from lpengine.hosts.lab.state import check_name
from lpengine.hosts.lab.trial import Comparison, Trial, TrialStep, try_module

__all__ = [
    "KINDS",
    "Comparison",
    "Guest",
    "Stock",
    "Trial",
    "TrialStep",
    "boot",
    "check_name",
    "fetch",
    "find",
    "guests",
    "stocked",
    "try_module",
]
