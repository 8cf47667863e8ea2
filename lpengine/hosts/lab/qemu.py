"""QEMU's command line for a guest. Always the emulator, never /dev/kvm."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import NotFoundError
from lpengine.hosts.lab.agent import PORT_NAME
from lpengine.hosts.lab.initramfs import ROOT_TAG, SHARE_TAG, Initramfs
from lpengine.hosts.lab.packages import Stock

QEMU = "qemu-system-x86_64"

# In the guest's directory, where QEMU runs: short names, whatever the path's length.
CONSOLE, AGENT, PID, VIRTIOFS = "console.log", "agent.sock", "pid", "virtiofs.sock"

_VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")

_READ_ONLY = """\
set -e
mount --make-rprivate /
mount --bind . .
cd "$PWD"
for each in $(cut -d ' ' -f 5 /proc/self/mountinfo); do
	case $each in
	/proc* | /sys* | /dev* | "$PWD") ;;
	*) mount -o remount,bind,ro "$each" ;;
	esac
done
mount -t tmpfs run /run
mkdir /run/virtiofsd
exec "$@"
"""


@dataclass(frozen=True)
class Shape:
    """How big a guest is. `memory` in MiB."""

    memory: int
    cpus: int


DEFAULT_MEMORY = {"xen": 2048, "linux": 1024}
DEFAULT_CPUS = 2


def arguments(
    stock: Stock, initramfs: Initramfs, shape: Shape, share: Path | None
) -> list[str]:
    """The whole command line, to be run in the guest's directory."""
    argv = [QEMU, "-accel", "tcg", "-m", str(shape.memory), "-smp", str(shape.cpus)]
    argv += ["-display", "none", "-monitor", "none", "-no-reboot", "-net", "none"]
    argv += ["-serial", f"file:{CONSOLE}", "-daemonize", "-pidfile", PID]
    argv += _channel()
    argv += _files(initramfs.transport, shape.memory, share)
    return argv + (_xen if stock.kind == "xen" else _linux)(stock, initramfs, shape)


def _channel() -> list[str]:
    port = f"virtserialport,chardev=agent,name={PORT_NAME}"
    socket = f"socket,id=agent,path={AGENT},server=on,wait=off"
    return ["-chardev", socket, "-device", "virtio-serial-pci", "-device", port]


def _files(transport: str, memory: int, share: Path | None) -> list[str]:
    argv = []
    if transport == "9p":
        argv += ["-virtfs", _virtfs(Path("/"), ROOT_TAG, "on")]
    else:
        pages = f"memory-backend-memfd,id=ram,size={memory}M,share=on"
        socket = f"socket,id=virtiofs,path={VIRTIOFS}"
        device = f"vhost-user-fs-pci,chardev=virtiofs,tag={ROOT_TAG}"
        argv += ["-object", pages, "-machine", "memory-backend=ram"]
        argv += ["-chardev", socket, "-device", device]
    if share is not None:
        argv += ["-virtfs", _virtfs(share, SHARE_TAG, "off")]
    return argv


def _virtfs(path: Path, tag: str, read_only: str) -> str:
    options = f"security_model=none,readonly={read_only},multidevs=remap"
    return f"local,path={_escaped(path)},mount_tag={tag},{options}"


def _xen(stock: Stock, initramfs: Initramfs, shape: Shape) -> list[str]:
    # -smap: QEMU 7.2 takes a PV guest's iret wrongly under SMAP, and dom0 crashes.
    dom0 = f"{_escaped(stock.kernel)} console=hvc0 quiet panic=-1"
    options = f"dom0_mem={shape.memory // 2}M console=com1 loglvl=all noreboot"
    modules = f"{dom0},{_escaped(initramfs.path)}"
    argv = ["-cpu", "max,-smap", "-kernel", str(stock.hypervisor)]
    return [*argv, "-initrd", modules, "-append", options]


def _linux(stock: Stock, initramfs: Initramfs, shape: Shape) -> list[str]:
    argv = ["-kernel", str(stock.kernel), "-initrd", str(initramfs.path)]
    return [*argv, "-append", "console=ttyS0 quiet panic=-1"]


def _escaped(path: Path) -> str:
    """QEMU separates by commas and takes two for one."""
    return str(path).replace(",", ",,")


def virtiofs_arguments(programs: Sequence[str] = _VIRTIOFSD) -> list[str]:
    """The server of the host's files for kernels without 9P. It can serve "/" only
    without a sandbox of its own, and cannot be told not to write: so it runs where
    everything but its working directory is mounted read-only."""
    for program in programs:
        if Path(program).is_file():
            server = [program, f"--socket-path={VIRTIOFS}"]
            server += ["-o", "sandbox=chroot,cache=always,source=/"]
            return ["unshare", "--mount", "sh", "-c", _READ_ONLY, "sh", *server]
    raise NotFoundError(
        "virtiofsd: not installed", hint="apt install qemu-system-common"
    )
