"""The running Xen, found on the machine that this is."""

import os
from functools import lru_cache
from pathlib import Path

from lpengine.core.hypercall import Hypervisor, Privcmd
from lpengine.targets.xen import Calls, XenTarget
from lpengine.targets.xen_facts import Observer
from lpengine.targets.xen_image import (
    RunningImage,
    find_symbols,
    read_build_id,
    read_version,
)
from lpengine.targets.xen_store import Store, read_boot_id
from lpengine.targets.xen_tool import Tool, find_tool

STATE_VARIABLE = "LPENGINE_STATE_DIR"
STATE_DIRECTORY = Path("/var/lib/lpengine")


def state_directory(_: str = "") -> Path:
    return Path(os.environ.get(STATE_VARIABLE) or STATE_DIRECTORY) / "xen"


def open_target(_: str = "") -> XenTarget:
    """Opening asks nothing; the first look does."""
    boot = read_boot_id()
    store = Store(state_directory(), boot)
    observer = Observer(
        "xen",
        boot,
        store,
        build_id=running_build_id,
        version=read_version,
        find_image=running_image,
    )
    return XenTarget(open_calls, store, observer)


def open_calls() -> Calls:
    """The device, or else Xen's own program; `OSError` where there is neither."""
    try:
        return Hypervisor(Privcmd())
    except FileNotFoundError:
        tool = find_tool()
        if tool is None:
            raise
        return Tool(tool)


def running_build_id() -> str:
    """From sysfs, else by hypercall; "" where neither says it."""
    known = read_build_id()
    if known:
        return known
    try:
        return Hypervisor(Privcmd()).build_id()
    except OSError:
        return ""


@lru_cache(maxsize=1)
def running_image(build_id: str) -> RunningImage | None:
    """Read once in the life of a process: the running image does not change."""
    image = find_symbols(build_id) if build_id else None
    return RunningImage(image) if image else None
