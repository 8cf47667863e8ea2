"""The Linux kernel that runs on this machine."""

import os
from functools import lru_cache
from pathlib import Path

from lpengine.patch.model import Patch
from lpengine.targets.linux import STATE_DIRECTORY, LinuxTarget

STATE_VARIABLE = "LPENGINE_STATE_DIR"


def state_directory(_: str = "") -> Path:
    directory = os.environ.get(STATE_VARIABLE)
    return Path(directory) / "linux" if directory else STATE_DIRECTORY


# One process may carry out many command lines about the same modules.
@lru_cache(maxsize=8)
def read(raw: bytes, name: str) -> Patch:
    # Only where there are modules: to read ELF files takes a third of a cold start.
    from lpengine.patch.linux.reader import read_module

    return read_module(raw, name)


def open_target(image: str = "") -> LinuxTarget:
    """`image` is a file of the running kernel where it is not in /boot. Opening asks
    for nothing but the boot; the first look does."""
    return LinuxTarget(
        read,
        image=Path(image) if image else None,
        state_directory=state_directory(),
    )
