"""Planning a fleet: 100 cumulative updates over up to 10 000 hosts in 200 pools.

Two fleets: "typical" ones, where hosts run a few builds at a few levels, and "unlike"
ones, where no two hosts have the same packages and nothing can be shared.

    python bench/plan.py [--hosts 100 1000 10000] [--updates 100] [--json]
"""

import argparse
import json
import random
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from lpengine.api.collector import uncollected
from lpengine.package.model import (
    Applicability,
    Content,
    DiskPackage,
    Inequality,
    Level,
    LivePatch,
    Update,
    Version,
)
from lpengine.planner.updates import (
    Guest,
    HostState,
    PoolState,
    Role,
    RunningComponent,
    Storage,
    decide,
)

POOLS = 200
BUILDS = {"xen": 12, "kernel": 12}
PACKAGES = ("xen-hypervisor", "kernel", "xapi-core", "qemu", "microcode")
OTHERS = {f"package{one}.x86_64": Version("1", str(one)) for one in range(500)}
LICENSED = {"live_patching": True, "intrapool_migrate": True, "updates": True}


def build_id(component: str, number: int) -> str:
    return f"{component}{number}".encode().hex().ljust(40, "0")


def updates(count: int) -> Iterator[Update]:
    """Each replaces the packages of the one before, and has live patches for the eight
    newest builds of its component."""
    for number in range(1, count + 1):
        component = ("xen", "kernel", "")[number % 3]
        yield Update(
            id=f"U{number:03}",
            issued=f"2026-01-{number % 28 + 1:02}T00:00:00Z",
            components=(component,) if component else (),
            livepatches=tuple(livepatches(component, number)) if component else (),
            packages=tuple(
                package(name, number) for name in PACKAGES[: 1 + number % 5]
            ),
            guidance={
                Level.RECOMMENDED: ("RebootHost",) if component else (),
                Level.LIVEPATCH: ("RestartToolstack",) if number % 25 == 0 else (),
                Level.FULL: ("RebootHost",),
            },
            applicabilities=conditions(number),
            installation_size=1 << 20,
        )


def livepatches(component: str, number: int) -> Iterator[LivePatch]:
    for base in range(4, BUILDS[component]):
        yield LivePatch(
            component=component,
            base_build_id=build_id(component, base),
            base=Version("4.17", str(base)),
            to=Version("4.17", str(100 + number)),
        )


def package(name: str, number: int) -> DiskPackage:
    version = Version("4.17.4", f"{number}.xs8")
    return DiskPackage("rpm", name, "x86_64", version, Content(name, "", 1 << 20))


def conditions(number: int) -> tuple[Applicability, ...]:
    if number % 4:
        return ()
    version = Version("4.17.4", f"{number}.xs8")
    return (Applicability("xen-hypervisor", "x86_64", Inequality.LT, version),)


def pools(hosts: int, unlike: bool) -> Iterator[PoolState]:
    chance = random.Random(1)
    each = max(hosts // POOLS, 1)
    for start in range(0, hosts, each):
        members = tuple(
            host(number, number == start, chance, unlike)
            for number in range(start, min(start + each, hosts))
        )
        yield PoolState(name=f"pool{start // each}", hosts=members)


def host(number: int, first: bool, chance: random.Random, unlike: bool) -> HostState:
    level = chance.randrange(20, 100, 1 if unlike else 10)
    installed: dict[str, Version | None] = {**OTHERS}
    for name in PACKAGES:
        extra = f".{number}" if unlike else ""
        installed[f"{name}.x86_64"] = Version("4.17.4", f"{level}{extra}.xs8")
    return HostState(
        name=f"host{number}",
        role=Role.COORDINATOR if first else Role.MEMBER,
        boot_id=f"{number:032x}",
        running=tuple(
            RunningComponent(
                component,
                build_id(component, chance.randrange(count)),
                Version("4.17", str(100 + level)) if chance.random() < 0.7 else None,
            )
            for component, count in BUILDS.items()
        ),
        installed=installed,
        features=LICENSED,
        free_disk=4 << 30,
        guests=tuple(Guest(f"vm{number}-{one}") for one in range(8)),
        storage=tuple(Storage(f"sr{one}", True, True) for one in range(2)),
    )


def measure(hosts: int, count: int, unlike: bool) -> dict[str, object]:
    """In this process, which is to be a new one: memory is never given back."""
    all_updates, fleet = tuple(updates(count)), tuple(pools(hosts, unlike))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start, cpu = time.perf_counter(), time.process_time()
    with uncollected():
        plan = decide(all_updates, fleet)
    spent, cpu = time.perf_counter() - start, time.process_time() - cpu
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    plans = [one for pool in plan.pools for one in pool.hosts]
    return {
        "fleet": "unlike" if unlike else "typical",
        "hosts": len(plans),
        "pools": len(plan.pools),
        "updates": count,
        "seconds": round(spent, 3),
        "CPU seconds": round(cpu, 3),
        "CPU ms a host": round(cpu / len(plans) * 1e3, 3),
        "peak MiB": peak >> 10,
        "of it the plan": (peak - before) >> 10,
        "no action": sum(one.no_action_required for one in plans),
        "reboot": sum(one.needs_reboot for one in plans),
    }


def in_a_process_of_its_own(hosts: int, count: int, unlike: bool) -> dict[str, object]:
    command = [sys.executable, __file__, "--one", str(hosts), "--updates", str(count)]
    command += ["--unlike"] if unlike else []
    done = subprocess.run(command, check=True, capture_output=True)
    found: dict[str, object] = json.loads(done.stdout)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hosts", type=int, nargs="+", default=[100, 1000, 10000])
    parser.add_argument("--updates", type=int, default=100)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--unlike", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.updates, options.unlike)))
        return
    rows = [
        in_a_process_of_its_own(hosts, options.updates, unlike)
        for unlike in (False, True)
        for hosts in options.hosts
    ]
    if options.json:
        print(json.dumps({"schema": "lpengine/bench-plan/1", "rows": rows}, indent=2))
        return
    print("  ".join(f"{name:>14}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value!s:>14}" for value in row.values()))


if __name__ == "__main__":
    main()
