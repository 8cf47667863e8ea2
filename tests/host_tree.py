"""Hosts as directories: what a host shows in files, and programs that print what its
programs print. The same script looks at them that looks at real ones."""

import json
import shlex
import uuid
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path

from lpengine.hosts import DEFAULT_TIMEOUT, Completed, LocalHost
from tests.fake_xe import CLIENT

XEN_BUILD_ID = "0fb0358d1c5c6a3f7a2a1d8cf3ea1c4b0a9e7d11"
KERNEL_BUILD_ID = "11e1b3f2c4d5968778695a4b3c2d1e0f01234567"
HEADING = (
    " ID                                     | status     | metadata\n"
    "----------------------------------------+------------+---------------\n"
)
XL_INFO = """\
host                   : host1
release                : 4.19.0+1
version                : #1 SMP Mon Jan 1 00:00:00 UTC 2024
xen_major              : 4
xen_minor              : 17
xen_extra              : .5-8
xen_version            : 4.17.5-8
build_id               : {build_id}
xend_config_format     : 4
"""


class Outside(LocalHost):
    """This machine, whose own lpengine is not that of the trees on it: they have none,
    or one that answers with `document`."""

    name = "outside"

    def __init__(self, document: Mapping[str, object] | None = None) -> None:
        self.document = document

    def run(
        self,
        argv: Sequence[str],
        *,
        input: bytes = b"",
        timeout: timedelta = DEFAULT_TIMEOUT,
    ) -> Completed:
        if argv[0] != "lpengine":
            return super().run(argv, input=input, timeout=timeout)
        if self.document is None:
            return Completed(127, b"", b"lpengine: not found\n")
        return Completed(0, json.dumps(self.document).encode(), b"")


def engine(**remembered: object) -> dict[str, object]:
    """lpengine/host-status/1, as far as it matters to whoever looks at a host."""
    return {
        "schema": "lpengine/host-status/1",
        "components": [],
        "tasks": [],
        "remembered": {
            "versions": [],
            "installed_updates": [],
            "pending": {},
            "updates_requiring_reboot": [],
            "failed": [],
            "crashed": [],
            "operations": [],
            "held": "",
            "pinned": [],
            "closed_until": "",
            **remembered,
        },
    }


def write(root: Path, path: str, content: str | bytes) -> None:
    file = root / path.lstrip("/")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content.encode() if isinstance(content, str) else content)


def program(root: Path, path: str, script: str) -> None:
    write(root, path, f"#!/bin/sh\n{script}\n")
    (root / path.lstrip("/")).chmod(0o755)


def printing(root: Path, path: str, output: Mapping[str, str], status: int = 0) -> None:
    """A program that prints by its arguments, and fails on others."""
    cases = "".join(
        f"{shlex.quote(arguments)}) printf %s {shlex.quote(text)}; exit {status};;\n"
        for arguments, text in output.items()
    )
    program(root, path, f'case "$*" in\n{cases}esac\nexit 1')


def notes(build_id: str) -> bytes:
    """/sys/kernel/notes: Xen's notes come first on a dom0 kernel."""

    def note(owner: bytes, kind: int, data: bytes) -> bytes:
        head = b"".join(n.to_bytes(4, "little") for n in (len(owner), len(data), kind))
        return (
            head
            + owner.ljust(-len(owner) % 4 + len(owner), b"\0")
            + (data.ljust(-len(data) % 4 + len(data), b"\0"))
        )

    return note(b"Xen\0", 6, b"linux\0") + note(b"GNU\0", 3, bytes.fromhex(build_id))


def linux(root: Path, *, build_id: str = KERNEL_BUILD_ID) -> Path:
    """A plain Linux with a livepatch directory and nothing in it."""
    write(root, "/proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
    write(root, "/proc/sys/kernel/osrelease", "6.1.0-42-amd64\n")
    write(root, "/etc/os-release", 'PRETTY_NAME="Debian GNU/Linux 12"\nID=debian\n')
    write(root, "/sys/kernel/notes", notes(build_id))
    (root / "sys/kernel/livepatch").mkdir(parents=True, exist_ok=True)
    (root / "run").mkdir(exist_ok=True)
    return root


def enable_livepatch(root: Path, name: str, enabled: int, transition: int = 0) -> None:
    write(root, f"/sys/kernel/livepatch/{name}/enabled", f"{enabled}\n")
    write(root, f"/sys/kernel/livepatch/{name}/transition", f"{transition}\n")


def xen(root: Path, *, build_id: str = XEN_BUILD_ID, listing: str = HEADING) -> Path:
    """A dom0 with Xen's tools."""
    linux(root)
    write(root, "/sys/hypervisor/type", "xen\n")
    write(root, "/proc/xen/capabilities", "control_d\n")
    xl_list = "Name                        ID   Mem VCPUs\tState\tTime(s)\n"
    xl_list += "Domain-0                     0  4096     4     r-----     100.0\n"
    answers = {"info": XL_INFO.format(build_id=build_id), "list": xl_list}
    printing(root, "/usr/sbin/xl", {**answers, "list -l": "[]"})
    write(root, "/run/xenstored/socket", "")
    printing(root, "/usr/sbin/xen-livepatch", {"list": listing})
    return root


def xenserver(root: Path, port: int, host: str, **build: str) -> Path:
    """A XenServer dom0; its XAPI is a FakeXapi that serves at `port`."""
    return toolstack(xen(root, **build), port, host)


def toolstack(root: Path, port: int, host: str) -> Path:
    """XAPI on a host that is there already."""
    inventory = f"PRODUCT_BRAND='XenServer'\nINSTALLATION_UUID='{host}'\n"
    write(root, "/etc/xensource-inventory", inventory)
    for name, words in (("xe", ""), ("xe-toolstack-restart", "toolstack-restart")):
        client = CLIENT.format(port=port, words=f"{shlex.quote(str(root))} {words}")
        path = root / "opt/xensource/bin" / name
        write(root, f"/opt/xensource/bin/{name}", client)
        path.chmod(0o755)
    return root
