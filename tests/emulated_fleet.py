"""Pools of emulated hosts, whose boot takes the hypervisor that is on their disk."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.site_cases import REBOOT, TOOL, EmulatedHost, Workshop

HYPERVISOR = "/boot/hypervisor"
POOLS = {"one": ("host1", "host2"), "two": ("host3", "host4")}
# The machine is made anew from the image that is on the disk, as firmware would.
BOOT = """\
set -e
rm -rf "$1/machine" "$1/run"
if cmp -s "$1/boot/hypervisor" "$2"; then cp -r "$3" "$1/machine"
else cp -r "$4" "$1/machine"; fi
tr 0-9a-f 1-9a-f0 <"$1/proc/sys/kernel/random/boot_id" >"$1/id"
mv "$1/id" "$1/proc/sys/kernel/random/boot_id"
"""


class EmulatedFleet:
    """Four hosts, and pool.toml that says how they belong together."""

    def __init__(self, workshop: Workshop, directory: Path) -> None:
        self.workshop, self.directory = workshop, directory
        self.hosts = {
            f"host{n}": EmulatedHost(workshop, directory / f"host{n}")
            for n in range(1, 5)
        }
        self.path = directory / "pool.toml"
        (directory / "boot.sh").write_text(BOOT)
        self.configure()

    def configure(
        self,
        settings: Mapping[str, str] | None = None,
        pools: Mapping[str, Sequence[str]] = POOLS,
        signers: Path | None = None,
    ) -> None:
        """`settings` are lines for a pool."""
        images = self.workshop.machines
        words = (self.workshop.fixed_image, images[self.workshop.fixed_image])
        line = " ".join(map(str, (*words, images[self.workshop.image])))
        text = ""
        for pool, names in pools.items():
            text += f"[pools.{pool}]\n{(settings or {}).get(pool, '')}\n"
            text += f"[pools.{pool}.commands]\n"
            text += f'reboot_host = "sh {self.directory}/boot.sh {{root}} {line}"\n'
            text += 'restart_toolstack = "touch {root}/restarted"\n'
            text += f"[pools.{pool}.hosts]\n"
            for name in names:
                root = self.hosts[name].root
                text += (
                    f'{name} = {{address = "local", root = "{root}", '
                    f'signers = "{signers or self.workshop.signers}", '
                    f'components = {{xen = "emulated:{root}/machine"}}}}\n'
                )
        self.path.write_text(text)


def hotfix(workshop: Workshop, source: str = "extra_version", **fields: object) -> Path:
    """A live patch that spares a reboot, and files: the fixed hypervisor among them."""
    files = {TOOL: b"new tool", HYPERVISOR: workshop.fixed_image.read_bytes()}
    wanted = {"source": source, "files": files, "guidance": REBOOT, **fields}
    return workshop.update(**wanted)  # type: ignore[arg-type]
