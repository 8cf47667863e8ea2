"""Six hosts in two pools, of which one is a dom0 of Debian's Xen and one runs Debian's
Linux, under QEMU: an update with a payload, kernel modules and files is planned, put
on everywhere, looked at, and outlives a boot."""

import gzip
import json
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import lpengine
from lpengine.cli import run as run_here
from lpengine.elf import open_image
from lpengine.elf.kernel import open_kernel
from lpengine.hosts import lab
from lpengine.package import content_of
from lpengine.package.model import DiskFile, Level, LivePatch, Update, Version
from lpengine.patch.linux.build import build_c as build_module
from tests.linux_agreement import SHOW
from tests.pool_bundles import Publisher
from tests.site_cases import EmulatedHost, Workshop

pytestmark = pytest.mark.system

XEN = 'const char *xen_extra_version(void)\n{\n\treturn "+POOL";\n}\n'
# What of a guest's disk outlives it, and a boot of it.
KEPT = ("boot", "etc/lpengine", "opt", "var/lib/lpengine")
SET_UP = """\
for each in {kept}; do
	mkdir -p {share}/$each /$each
	mount --bind {share}/$each /$each
done
"""
HYPERVISOR, TOOL, CONFIGURATION = "/boot/xen", "/opt/fix/tool", "/opt/fix/tool.conf"
NAMES = {kind: f"pool-{kind}-{os.getpid()}" for kind in lab.KINDS}


def inverted(build_id: str) -> str:
    return bytes(byte ^ 0xFF for byte in bytes.fromhex(build_id)).hex()


class Site:
    """The fleet, and what it is updated with."""

    def __init__(self, directory: Path, workshop: Workshop, xen_image: Path) -> None:
        self.directory, self.workshop = directory, workshop
        self.publisher = Publisher(directory / "publisher")
        self.xen_image = xen_image
        self.emulated = {
            f"host{n}": EmulatedHost(workshop, directory / f"host{n}")
            for n in range(1, 5)
        }
        self.share = {kind: directory / kind for kind in lab.KINDS}
        for share in self.share.values():
            settings = share / "etc/lpengine"
            settings.mkdir(parents=True)
            trusted = self.publisher.signers.read_text()
            (settings / "allowed_signers").write_text(trusted)
            kept = SET_UP.format(kept=" ".join(KEPT), share=share)
            (share / "setup").write_text(kept)
        self.configure()

    def configure(self) -> None:
        text = ""
        pools = {"lab": ("xen", "host1", "host2"), "edge": ("linux", "host3", "host4")}
        for pool, (kind, *others) in pools.items():
            text += f"[pools.{pool}.hosts]\n"
            text += f'{kind} = "qemu:{NAMES[kind]}"\n'
            for name in others:
                root = self.emulated[name].root
                text += (
                    f'{name} = {{address = "local", root = "{root}", '
                    f'signers = "{self.publisher.signers}", '
                    f'components = {{xen = "emulated:{root}/machine"}}}}\n'
                )
        (self.directory / "pool.toml").write_text(text)

    def boot(self, kind: str, hypervisor: Path | None = None) -> lab.Guest:
        name, share = NAMES[kind], self.share[kind]
        # A guest would end with the thread that boots it.
        guest = lab.boot(
            kind, name=name, share=share, hypervisor=hypervisor, detached=True
        )
        done = guest.run(["sh", str(share / "setup")])
        assert done.status == 0, done.stderr.decode()
        return guest

    @property
    def xen_build_id(self) -> str:
        return open_image(self.xen_image).build_id

    def fixed_hypervisor(self) -> bytes:
        """The same one with another build id: what a fixed build would be."""
        stock = lab.stocked("xen")
        assert stock.hypervisor
        raw, old = stock.hypervisor.read_bytes(), self.xen_build_id
        if raw.startswith(b"\x1f\x8b"):
            raw = gzip.decompress(raw)
        assert raw.count(bytes.fromhex(old)) == 1
        return raw.replace(bytes.fromhex(old), bytes.fromhex(inverted(old)))

    @property
    def bundle(self) -> Path:
        return self.directory / "LPU-1.lpu"

    def publish(self) -> None:
        """The bundle: live patches for everything that runs, and files."""
        work = self.directory / "sources"
        work.mkdir()
        (work / "xen.c").write_text(XEN)
        (work / "linux.c").write_text(SHOW)
        payload = lpengine.build_c(
            work / "xen.c", {"xen_extra_version": "xen_extra_version"}, self.xen_image
        ).payload
        emulated = self.workshop.module("extra_version", self.workshop.image)
        contents = {
            "modules/xen.livepatch": payload,
            "modules/emulated.livepatch": emulated.read_bytes(),
            "files/tool": b"#!/bin/sh\necho fixed\n",
            "files/tool.conf": b"fixed = true\n",
            "files/xen": self.fixed_hypervisor(),
        }
        xen = self.xen_build_id
        builds = [
            ("xen", xen, "modules/xen.livepatch", "xen"),
            ("xen", self.workshop.build_id, "modules/emulated.livepatch", "emulated"),
        ]
        for kind in lab.KINDS:  # dom0 has a kernel of its own
            kernel, member = open_kernel(lab.stocked(kind).kernel), f"modules/{kind}.ko"
            built = build_module(
                work / "linux.c", {"cmdline_proc_show": ""}, kernel, name="lp_pool"
            )
            contents[member] = built.payload
            builds.append(("kernel", kernel.build_id, member, "lp_pool"))
        patches = tuple(
            LivePatch(
                component,
                build_id,
                Version("1.0", "1"),
                Version("1.0", "2"),
                content_of(member, contents[member]),
                name,
            )
            for component, build_id, member, name in builds
        )
        update = Update(
            "LPU-1",
            components=("xen", "kernel"),
            livepatches=patches,
            files=(
                self.file(TOOL, "files/tool", contents, 0o755),
                self.file(CONFIGURATION, "files/tool.conf", contents, 0o600),
                self.file(HYPERVISOR, "files/xen", contents, 0o644),
            ),
            guidance={Level.RECOMMENDED: ("reboot_host",)},
        )
        self.publisher.publish(update, contents, self.bundle)

    @staticmethod
    def file(path: str, member: str, contents: dict[str, bytes], mode: int) -> DiskFile:
        content = content_of(member, contents[member])
        return DiskFile(path, mode, "root", "root", content)


@pytest.fixture(scope="module")
def site(
    tmp_path_factory: pytest.TempPathFactory, workshop: Workshop, xen_image: Path
) -> Iterator[Site]:
    """With both guests booted."""
    for kind in lab.KINDS:
        lab.fetch(kind)
    directory = tmp_path_factory.mktemp("pool")
    site = Site(directory, workshop, xen_image)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LPENGINE_POOLS", str(directory / "pool.toml"))
        patch.setenv("LPENGINE_STATE_DIR", str(directory / "state"))
        try:
            with ThreadPoolExecutor() as workers:
                booting = [workers.submit(site.boot, kind) for kind in lab.KINDS]
                site.publish()
                for one in booting:
                    one.result()
            yield site
        finally:
            for name in NAMES.values():
                for guest in lab.guests():
                    if guest.record.name == name:
                        guest.stop()


class Cli:
    """`lpengine pool` with this fleet: (exit code, stdout, stderr)."""

    def __init__(self, site: Site, capfd: pytest.CaptureFixture[str]) -> None:
        self.site, self.capfd = site, capfd

    def __call__(self, *words: object) -> tuple[int, str, str]:
        code = run_here(["pool", *map(str, words)])
        output = self.capfd.readouterr()
        return code, output.out, output.err

    def install(self, *words: object) -> tuple[str, list[str]]:
        """The plan as it is shown, and the hosts in the order in which it was carried
        out; all of it is, and nothing remains."""
        trust = ("--signers", self.site.publisher.signers)
        code, out, err = self("install", *words, *trust, "--yes", "--progress", "lines")
        assert code == 0, out + err
        begun = (line for line in err.splitlines() if line.endswith(": install ..."))
        return out, [line.split("/")[1].split(":")[0] for line in begun]


@pytest.fixture
def cli(site: Site, capfd: pytest.CaptureFixture[str]) -> Cli:
    return Cli(site, capfd)


PLAN = """\
Update LPU-1 (signed by xen-security@example.org, 4 modules, disk: 3 files)

Pool lab
SERVER XEN KERNEL DISK TASK AFTERWARDS
xen (coordinator) can apply can apply ok No action required
host1 can apply - ok No action required
host2 can apply - ok No action required

Pool edge
SERVER XEN KERNEL DISK TASK AFTERWARDS
linux (coordinator) - can apply ok No action required
host3 can apply - ok No action required
host4 can apply - ok No action required

6 of 6 servers need no reboot. No action required.
"""


def shape(table: str) -> list[list[str]]:
    """The words of each line, in whatever columns."""
    return [line.split() for line in table.splitlines()]


def shown(guest: str, path: str) -> str:
    return lab.find(guest).read(path).decode().strip()


def test_planned_installed_and_there_on_all_of_them(site: Site, cli: Cli) -> None:
    """To look at a guest takes long: the plan is the one that `install` shows."""
    out, order = cli.install(site.bundle)
    plan = shape(PLAN)
    assert shape(out)[: len(plan)] == plan
    lab_pool, edge = ["xen", "host1", "host2"], ["linux", "host3", "host4"]
    assert [host for host in order if host in lab_pool] == lab_pool
    assert [host for host in order if host in edge] == edge

    assert shown(NAMES["xen"], "/sys/hypervisor/version/extra") == "+POOL"
    for name in NAMES.values():
        assert shown(name, "/proc/cmdline").endswith("patched")
        assert shown(name, CONFIGURATION) == "fixed = true"
    for host in site.emulated.values():
        assert host.running == "+LP1"
        assert host.read(TOOL) == b"#!/bin/sh\necho fixed\n"


def test_after_a_boot_the_disk_half_is_in_effect(site: Site, cli: Cli) -> None:
    """The dom0 boots the hypervisor that the update has put on its disk. Its kernel is
    the old one once more, so that the boot unit patches that again."""
    lab.find(NAMES["xen"]).stop()
    guest = site.boot("xen", site.share["xen"] / HYPERVISOR[1:])
    done = guest.run(["lpengine", "boot"])
    assert done.status == 0, done.stdout + done.stderr
    code, out, err = cli("status", "--json")
    assert code == 0, out + err
    pools = json.loads(out)["pools"]
    assert [host["left"] for pool in pools for host in pool["hosts"]] == [[]] * 6
    host = pools[0]["hosts"][0]
    found = {one["component"]: one for one in host["components"]}
    assert found["xen"]["build_id"] == inverted(site.xen_build_id)
    assert found["xen"]["applied"] == []
    assert found["kernel"]["applied"] == ["lp_pool"]
    assert host["updates"] == ["LPU-1"]
    assert shown(NAMES["xen"], CONFIGURATION) == "fixed = true"
    assert shown(NAMES["xen"], "/proc/cmdline").endswith("patched")
    assert shown(NAMES["xen"], "/sys/hypervisor/version/extra") != "+POOL"
