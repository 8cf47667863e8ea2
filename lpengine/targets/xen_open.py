"""The running Xen, found on the machine that this is."""

import os
from collections.abc import Callable
from functools import cache
from pathlib import Path

from lpengine.core.hypercall import Hypervisor, Privcmd
from lpengine.targets.xen import Calls, XenTarget
from lpengine.targets.xen_facts import Observer
from lpengine.targets.xen_image import (
    RunningImage,
    find_symbols,
    read_build_id,
    read_compiled,
    read_version,
)
from lpengine.targets.xen_store import Store, read_boot_id
from lpengine.targets.xen_tool import Tool, find_tool

STATE_VARIABLE = "LPENGINE_STATE_DIR"
STATE_DIRECTORY = Path("/var/lib/lpengine")


def state_directory(_: str = "") -> Path:
    return Path(os.environ.get(STATE_VARIABLE) or STATE_DIRECTORY) / "xen"


# Neither changes while a system runs.
running_boot_id = cache(read_boot_id)
running_compiled = cache(read_compiled)


def open_target(_: str = "") -> XenTarget:
    """Opening asks nothing; the first look does."""
    boot = running_boot_id()
    store = Store(state_directory(), boot)
    calls = cache(open_calls)
    observer = Observer(
        "xen",
        boot,
        store,
        build_id=running_build_id,
        version=read_version,
        compiled=running_compiled,
        cpus=lambda: running_cpus(calls),
        find_image=running_image,
    )
    return XenTarget(calls, store, observer)


def open_calls() -> Calls:
    """The device, or else Xen's own program; `OSError` where there is neither."""
    try:
        return Hypervisor(Privcmd())
    except FileNotFoundError:
        tool = find_tool()
        if tool is None:
            raise
        return Tool(tool)


def running_cpus(calls: Callable[[], Calls]) -> int:
    """0 where the hypervisor does not say."""
    try:
        return calls().cpus()
    except OSError:
        return 0


def running_build_id() -> str:
    """From sysfs, else by hypercall; "" where neither says it."""
    known = read_build_id()
    if known:
        return known
    try:
        return Hypervisor(Privcmd()).build_id()
    except OSError:
        return ""


# What has been found stays good: the running image does not change.
_found: dict[str, RunningImage] = {}


def running_image(build_id: str) -> RunningImage | None:
    """None where there are no symbols, yet."""
    if build_id and build_id not in _found:
        image = find_symbols(build_id)
        if image is not None:
            _found[build_id] = RunningImage(image)
    return _found.get(build_id)
