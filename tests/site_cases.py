"""An emulated host: a tree of files, and a machine that the updates' live patches are
for. A boot makes the machine anew and gives the tree another boot id."""

import secrets
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from lpengine.api import hosts as api
from lpengine.api.builds import build_c
from lpengine.api.machines import call, create_machine
from lpengine.api.targets import status as target_status
from lpengine.elf import open_image
from lpengine.installer.request import HostOutcome, Installation, Request
from lpengine.machine import open_machine
from lpengine.package import content_of, write_bundle
from lpengine.package.model import DiskFile, Level, LivePatch, Update, Version
from lpengine.package.signing import sign_with
from tests.conftest import FIXTURES, build_hv_in

REBOOT = {Level.RECOMMENDED: ("RebootHost",)}
FIRST, SECOND = "LPU-1", "LPU-2"
TOOL, OTHER = "/usr/bin/tool", "/etc/other.conf"
MEMORY_ONLY = Request(disk=False)


def version(release: int) -> Version:
    return Version("4.17.4", str(release))


class Workshop:
    """An image, modules for it, a key and updates, made once for many hosts."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.image = build_hv_in(directory / "hv")
        self.fixed_image = build_hv_in(directory / "fixed", VERSION_EXTRA="+FIXED")
        self.build_id = open_image(self.image).build_id
        self.machines = {
            image: directory / f"machine-{number}"
            for number, image in enumerate((self.image, self.fixed_image))
        }
        for image, machine in self.machines.items():
            create_machine(machine, image)
        self.key = directory / "id_ed25519"
        command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.key]
        subprocess.run(command, check=True)
        public = self.key.with_suffix(".pub").read_text()
        self.signers = directory / "allowed_signers"
        self.signers.write_text(f"security@example.org {public}")

    def module(self, source: str, image: Path) -> Path:
        path = image.parent / f"{source}.livepatch"
        if not path.exists():
            replacements = {"xen_extra_version": "xen_extra_version"}
            code = FIXTURES / "patches" / f"{source}.c"
            path.write_bytes(build_c(code, replacements, image).payload)
        return path

    def update(
        self,
        id: str = FIRST,
        *,
        source: str = "extra_version",
        to: int = 2,
        image: Path | None = None,
        files: Mapping[str, bytes] | None = None,
        archives: Sequence[Path] = (),
        name: str = "",
        **fields: object,
    ) -> Path:
        """A signed bundle, whose live patch is for hosts that run `image`. `source` ""
        is one without a live patch."""
        image = image or self.image
        contents: dict[str, bytes | Path] = {}
        livepatches: tuple[LivePatch, ...] = ()
        if source:
            member = f"modules/{source}.livepatch"
            contents[member] = self.module(source, image)
            content = content_of(member, contents[member])
            base = open_image(image).build_id
            patch = LivePatch(
                "xen", base, version(1), version(to), content, name or source
            )
            livepatches = (patch,)
        contents |= {f"packages/{path.name}": path for path in archives}
        disk = []
        for number, (path, data) in enumerate((files or {}).items()):
            member = f"files/{number}"
            contents[member] = data
            disk.append(DiskFile(path, 0o755, "root", "root", content_of(member, data)))
        update = Update(
            id,
            components=("xen",) if livepatches else (),
            livepatches=livepatches,
            files=tuple(disk),
            guidance=REBOOT if livepatches else {},
        )
        path = self.directory / f"{id}-{secrets.token_hex(4)}.lpu"
        write_bundle(
            replace(update, **fields),  # type: ignore[arg-type]
            contents,
            path,
            lambda manifest: sign_with(self.key, manifest, lambda: ""),
        )
        return path

    @property
    def trust(self) -> api.Trust:
        return api.Trust(self.signers)


class EmulatedHost:
    """`machine` is the target of its component xen."""

    def __init__(self, workshop: Workshop, root: Path) -> None:
        self.workshop = workshop
        self.root = root
        self.machine = root / "machine"
        for directory in ("proc/sys/kernel/random", "usr/bin", "etc/lpengine"):
            (root / directory).mkdir(parents=True)
        (root / TOOL[1:]).write_bytes(b"old tool")
        (root / TOOL[1:]).chmod(0o755)
        self.boot()

    def boot(self, image: Path | None = None) -> None:
        machine = self.workshop.machines[image or self.workshop.image]
        shutil.rmtree(self.machine, ignore_errors=True)
        shutil.copytree(machine, self.machine)
        shutil.rmtree(self.root / "run", ignore_errors=True)
        boot_id = self.root / "proc/sys/kernel/random/boot_id"
        boot_id.write_text(f"{secrets.token_hex(16)}\n")

    @property
    def here(self) -> api.Here:
        target = f"emulated:{self.machine}"
        return api.Here(self.root, components={"xen": target})

    def install(self, *bundles: Path, request: Request | None = None) -> Installation:
        return api.install(
            bundles, self.here, request or Request(), self.workshop.trust
        )

    def uninstall(self, update: str = FIRST, **options: object) -> HostOutcome:
        return api.uninstall(update, self.here, **options)  # type: ignore[arg-type]

    def status(self) -> api.HostStatus:
        return api.status(self.here)

    @property
    def running(self) -> str:
        """What the machine's patched function says."""
        result = call(self.machine, "xen_extra_version", returns="string")
        return str(result.value)

    @property
    def applied(self) -> tuple[str, ...]:
        return target_status(f"emulated:{self.machine}").facts.applied

    @property
    def loaded(self) -> tuple[str, ...]:
        facts = target_status(f"emulated:{self.machine}").facts
        return tuple(one.name for one in facts.loaded)

    def veto(self, answer: int) -> None:
        """What the hook of the module "veto" answers from now on: it refuses to be
        applied or reverted with anything but 0."""
        machine = open_machine(self.machine)
        machine.write(machine.address_of("veto_answer"), answer.to_bytes(4, "little"))

    def show_kernel(self) -> None:
        """A kernel of which nothing is known but its build id."""
        notes = self.root / "sys/kernel/notes"
        notes.parent.mkdir(parents=True)
        notes.write_bytes(
            (4).to_bytes(4, "little")
            + (20).to_bytes(4, "little")
            + (3).to_bytes(4, "little")
            + b"GNU\0"
            + bytes(range(20))
        )

    def read(self, path: str) -> bytes | None:
        file = self.root / path[1:]
        return file.read_bytes() if file.exists() else None
