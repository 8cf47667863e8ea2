"""An update that several tests pack."""

from lpengine.package import content_of
from lpengine.package.model import (
    Applicability,
    DiskFile,
    DiskPackage,
    Inequality,
    Level,
    LivePatch,
    Update,
    Version,
)
from tests.deb_cases import tool_deb
from tests.payloads import IMAGE_ID, good_payload

CONTENTS: dict[str, bytes] = {
    "livepatches/xen-fix.livepatch": good_payload(),
    "files/motd": b"welcome\n",
    "files/empty": b"",
    "packages/tool_1.2-3_amd64.deb": tool_deb() + bytes(range(256)) * 700,
}


def an_update(**changes: object) -> Update:
    """An update with something of everything, and its contents in CONTENTS."""
    content = {member: content_of(member, data) for member, data in CONTENTS.items()}
    parts: dict[str, object] = {
        "id": "LPU-2026-0001",
        "title": "Fix the emulation of a rare instruction",
        "issued": "2026-11-25T12:00:00Z",
        "severity": "high",
        "cves": ("CVE-2026-1111", "CVE-2026-22222"),
        "components": ("xen",),
        "livepatches": (
            LivePatch(
                "xen",
                IMAGE_ID,
                Version("4.17.5", "8"),
                Version("4.17.5", "9"),
                content["livepatches/xen-fix.livepatch"],
                "lp_fix",
            ),
        ),
        "files": (
            DiskFile("/etc/motd", 0o644, "root", "root", content["files/motd"]),
            DiskFile("/etc/tool/empty", 0o4755, "root", "adm", content["files/empty"]),
        ),
        "packages": (
            DiskPackage(
                "deb",
                "tool",
                "amd64",
                Version("1.2", "3", 1),
                content["packages/tool_1.2-3_amd64.deb"],
            ),
        ),
        "guidance": {
            Level.RECOMMENDED: ("reboot_host",),
            Level.LIVEPATCH: ("restart_toolstack",),
        },
        "applicabilities": (
            Applicability("tool", "amd64", Inequality.LT, Version("1.2", "3", 1)),
        ),
        "requires": ("LPU-2026-0000",),
        "installation_size": 190_000,
        "homogeneous": True,
    }
    return Update(**{**parts, **changes})  # type: ignore[arg-type]
