"""A pool's state for tests/fake_xe.py: two hosts, a guest each, shared storage."""

import json
from pathlib import Path
from typing import Any

ONE, TWO = (
    "aaaaaaaa-0000-0000-0000-000000000001",
    "aaaaaaaa-0000-0000-0000-000000000002",
)
POOL = "bbbbbbbb-0000-0000-0000-000000000000"
VM_ONE, VM_TWO = (f"cccccccc-0000-0000-0000-00000000000{n}" for n in (1, 2))
SHARED, LOCAL, ISO = (f"dddddddd-0000-0000-0000-00000000000{n}" for n in (1, 2, 3))


def host(name: str, root: Path) -> dict[str, Any]:
    return {
        "name-label": name,
        "name-description": "Default install\nof two: lines",
        "enabled": True,
        "host-metrics-live": True,
        "edition": "premium",
        "software-version": {"product_version": "8.4.0", "build_number": "1"},
        "other-config": {"agent_start_time": "1700000100.", "note": "a; b"},
        "updates": [],
        "updates-requiring-reboot": [],
        "pending-guidances": [],
        "pending-guidances-recommended": [],
        "pending-guidances-full": [],
        "current-operations": [],
        "power-on-mode": "",
        "memory-free-computed": "<expensive field>",
        "licence": {"restrict_live_patching": "false", "restrict_updates": "false"},
        "root": str(root),
    }


def guest(name: str, on: str) -> dict[str, Any]:
    return {
        "name-label": name,
        "power-state": "running",
        "is-control-domain": False,
        "resident-on": on,
        "domain-type": "hvm",
        "HVM-boot-policy": "BIOS order",
        "other-config": {},
        "allowed-operations": ["suspend", "clean_shutdown"],
        "pending-guidances": [],
        "pending-guidances-recommended": [],
        "pending-guidances-full": [],
    }


def drive(vm: str, vdi: str, type: str = "Disk") -> dict[str, Any]:
    return {
        "vm-uuid": vm,
        "vdi-uuid": vdi,
        "type": type,
        "empty": not vdi,
        "currently-attached": True,
    }


def repository(name: str, *, shared: bool, content: str = "user") -> dict[str, Any]:
    return {"name-label": name, "shared": shared, "content-type": content}


def connection(on: str, sr: str) -> dict[str, Any]:
    return {"host-uuid": on, "sr-uuid": sr, "currently-attached": True}


def pool_of_two(roots: dict[str, Path]) -> dict[str, Any]:
    return {
        "pools": {
            POOL: {
                "name-label": "prod",
                "master": ONE,
                "other-config": {},
                "live-patching-disabled": False,
                "ha-enabled": False,
                "ha-statefiles": [],
                "ha-host-failures-to-tolerate": 0,
                "wlb-enabled": False,
                "current-operations": [],
            }
        },
        "hosts": {ONE: host("host1", roots[ONE]), TWO: host("host2", roots[TWO])},
        "vms": {VM_ONE: guest("web", ONE), VM_TWO: guest("db", TWO)},
        "srs": {
            SHARED: repository("nfs", shared=True),
            LOCAL: repository("local", shared=False),
            ISO: repository("isos", shared=False, content="iso"),
        },
        "vdis": {
            "disk-1": {"sr-uuid": SHARED, "is-tools-iso": False},
            "disk-2": {"sr-uuid": SHARED, "is-tools-iso": False},
            "tools": {"sr-uuid": ISO, "is-tools-iso": True},
        },
        "vbds": {
            "drive-1": drive(VM_ONE, "disk-1"),
            "drive-2": drive(VM_TWO, "disk-2"),
            "drive-3": drive(VM_ONE, "", "CD"),
        },
        "pbds": {
            "pbd-1": connection(ONE, SHARED),
            "pbd-2": connection(TWO, SHARED),
            "pbd-3": connection(ONE, LOCAL),
            "pbd-4": connection(ONE, ISO),
        },
        "updates": {},
        "hindered": {},
    }


def save(path: Path, state: dict[str, Any]) -> None:
    path.write_text(json.dumps(state))


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found
