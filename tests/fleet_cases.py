"""Updates, hosts and pools made by hand, for the tests of what is decided for them."""

from dataclasses import replace
from typing import Any

from lpengine.package.model import (
    Applicability,
    Content,
    DiskFile,
    DiskPackage,
    Inequality,
    Level,
    LivePatch,
    Task,
    Update,
    Version,
)
from lpengine.planner.updates import (
    Guest,
    HostPlan,
    HostState,
    PoolState,
    Role,
    RunningComponent,
)

OLD, BASE, NEW = "0a" * 20, "0b" * 20, "0c" * 20
LICENSED = {"live_patching": True, "intrapool_migrate": True, "updates": True}

REBOOT, TOOLSTACK, EVACUATE = (
    Task.REBOOT_HOST,
    Task.RESTART_TOOLSTACK,
    Task.EVACUATE_HOST,
)
DEVICE_MODEL, RESTART_VM = Task.RESTART_DEVICE_MODEL, Task.RESTART_VM


def version(release: int | str) -> Version:
    return Version("4.17.4", str(release))


def livepatch(to: int, component: str = "xen", base: str = BASE) -> LivePatch:
    return LivePatch(component, base, version(1), version(to))


def update(number: int, *livepatches: LivePatch, **fields: Any) -> Update:
    """Update U<number>; without guidance of its own it recommends a reboot."""
    components = {one.component for one in livepatches}
    fields.setdefault("guidance", {Level.RECOMMENDED: ("reboot_host",)})
    fields.setdefault("components", tuple(sorted(components)))
    return Update(id=f"U{number}", livepatches=livepatches, **fields)


def asking(
    mandatory: str = "", recommended: str = "", full: str = "", livepatch: str = ""
) -> dict[Level, tuple[str, ...]]:
    """Guidance, the words of each level with blanks in between."""
    return {
        Level.MANDATORY: tuple(mandatory.split()),
        Level.RECOMMENDED: tuple(recommended.split()),
        Level.FULL: tuple(full.split()),
        Level.LIVEPATCH: tuple(livepatch.split()),
    }


def condition(
    inequality: str, release: int, name: str = "xen", architecture: str = "x86_64"
) -> Applicability:
    return Applicability(name, architecture, Inequality(inequality), version(release))


def package(
    release: int, name: str = "xen", package_format: str = "rpm"
) -> DiskPackage:
    content = Content(f"{name}-{release}", "", 1000)
    return DiskPackage(package_format, name, "x86_64", version(release), content)


def disk_file(path: str = "/usr/lib/x") -> DiskFile:
    return DiskFile(path, 0o644, "root", "root", Content("x", "", 1000))


def runs(
    component: str = "xen", build_id: str = BASE, to: int | None = None, **fields: Any
) -> RunningComponent:
    reached = None if to is None else version(to)
    return RunningComponent(component, build_id, reached, **fields)


def host(*running: RunningComponent, **fields: Any) -> HostState:
    """A licensed host with a guest, on which nothing but `running` runs."""
    others = {"xen", "kernel"} - {one.component for one in running}
    fields.setdefault("name", "host1")
    fields.setdefault("features", LICENSED)
    fields.setdefault("not_running", frozenset(others))
    fields.setdefault("free_disk", 1 << 30)
    fields.setdefault("guests", (Guest("vm1"),))
    return HostState(running=running, **fields)


def pool(*hosts: HostState, **fields: Any) -> PoolState:
    """The first host is the coordinator."""
    fields.setdefault("name", "pool1")
    roles = [Role.COORDINATOR] + [Role.MEMBER] * len(hosts)
    named = tuple(
        replace(one, role=role, name=f"host{number}")
        for number, (one, role) in enumerate(zip(hosts, roles, strict=False), start=1)
    )
    return PoolState(hosts=named, **fields)


def tasks(plan: HostPlan) -> set[Task]:
    """What remains to be done after the update."""
    return {one.task for one in plan.after}


def causes(plan: HostPlan) -> set[str]:
    """Of everything that was found about the host's updates."""
    found = [one for component in plan.components for one in component.findings]
    return {one.cause for one in (*found, *plan.findings)}
