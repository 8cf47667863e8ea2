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
CONSOLE, AGENT, PID, LOG = "console.log", "agent.sock", "pid", "qemu.log"

_VIRTIOFSD = ("/usr/lib/qemu/virtiofsd", "/usr/libexec/virtiofsd")

# Nothing but the working directory can be written, and /run is not everybody's.
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
"""
_PRIVATE = """\
mount --make-rprivate /
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
    argv += ["-serial", f"file:{CONSOLE}", "-pidfile", PID]
    argv += _channel()
    argv += _files(initramfs.transport, shape.memory, share)
    return argv + (_xen if stock.kind == "xen" else _linux)(stock, initramfs, shape)


def _channel() -> list[str]:
    port = f"virtserialport,chardev=agent,name={PORT_NAME}"
    socket = f"socket,id=agent,path={AGENT},server=on,wait=off"
    return ["-chardev", socket, "-device", "virtio-serial-pci", "-device", port]


def _files(transport: str, memory: int, share: Path | None) -> list[str]:
    if transport == "9p":
        shares = [] if share is None else ["-virtfs", _virtfs(share, SHARE_TAG, "off")]
        return ["-virtfs", _virtfs(Path("/"), ROOT_TAG, "on"), *shares]
    pages = f"memory-backend-memfd,id=ram,size={memory}M,share=on"
    argv = ["-object", pages, "-machine", "memory-backend=ram"]
    for tag in (ROOT_TAG, *([] if share is None else [SHARE_TAG])):
        argv += ["-chardev", f"socket,id={tag},path={virtiofs_socket(tag)}"]
        argv += ["-device", f"vhost-user-fs-pci,chardev={tag},tag={tag}"]
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


def virtiofs_socket(tag: str) -> str:
    return f"{tag}.sock"


def virtiofs_servers(share: Path | None) -> dict[str, list[str]]:
    """Tag to command line of each server that a kernel without 9P needs."""
    servers = {ROOT_TAG: virtiofs_arguments(ROOT_TAG, Path("/"), _READ_ONLY)}
    if share is not None:
        servers[SHARE_TAG] = virtiofs_arguments(SHARE_TAG, share, "")
    return servers


def virtiofs_arguments(
    tag: str, source: Path, prepare: str, programs: Sequence[str] = _VIRTIOFSD
) -> list[str]:
    """virtiofsd can serve "/" only without a sandbox of its own, and cannot be told
    not to write: `prepare` sees to that in a mount namespace."""
    for program in programs:
        if Path(program).is_file():
            server = [program, f"--socket-path={virtiofs_socket(tag)}"]
            cache = "always" if tag == ROOT_TAG else "auto"
            server += ["-o", f"sandbox=chroot,cache={cache}", "-o", f"source={source}"]
            return ["unshare", "--mount", "sh", "-c", prepare + _PRIVATE, "sh", *server]
    hint = "apt install qemu-system-common"
    raise NotFoundError("virtiofsd: not installed", hint=hint)
