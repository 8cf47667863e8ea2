"""The first root file system of a guest: busybox, modules, and a script that puts
the host's file system under an overlay and starts the agent in it."""

import hashlib
import os
import shlex
import stat
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import lpengine.hosts.lab.agent as agent
from lpengine.hosts.lab.modules import Modules
from lpengine.hosts.lab.packages import Stock
from lpengine.hosts.lab.storage import write_whole

ROOT_TAG = "hostroot"
SHARE_TAG = "share"
INIT_SIGN = "lab: init"
READY_SIGN = "lab: ready"

_BASE = ("virtio_pci", "virtio_console", "overlay")
_9P = ("9p", "9pnet_virtio")
_VIRTIOFS = ("virtiofs",)
_XEN = ("xen-privcmd", "xenfs", "xen-evtchn", "xen-gntdev", "xen-gntalloc")

_NOT_LINKED = ("share",)

# Runs command lines of lpengine in there (a room above: named, not imported).
_STANDBY = "lpengine.cli.standby"

# Where lpengine itself is imported from, inside as outside.
SOURCES = Path(__file__).parents[3]

# cache=loose is what makes Python start in half a second instead of eight: the
# lower layer never changes as far as the guest can tell.
_9P_OPTIONS = "trans=virtio,version=9p2000.L,msize=524288"

_INIT = """\
#!/bin/sh
export PATH=/bin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
echo "{init_sign}" >/dev/console
die() {{
	echo "lab: failed: $*" >/dev/console
	poweroff -f
}}
for module in {modules}; do
	insmod /modules/$module || die "insmod $module"
done
mount {root_options} {root_tag} /lower || die "mount the host's root"
mount -t tmpfs -o size=90% upper /overlay || die "mount tmpfs"
mkdir /overlay/upper /overlay/work
mount -t overlay -o lowerdir=/lower,upperdir=/overlay/upper,workdir=/overlay/work \\
	overlay /new || die "mount the overlay"
for each in proc sys dev; do
	mount --move /$each /new/$each
done
mkdir -p /new/dev/pts /new/dev/shm /new/run /new/usr/local/bin
mount -t devpts devpts /new/dev/pts
mount -t tmpfs shm /new/dev/shm
mount -t tmpfs run /new/run
mkdir -p /new/run/lock
mount -t debugfs debugfs /new/sys/kernel/debug
mount -t tracefs tracefs /new/sys/kernel/tracing 2>/dev/null
[ ! -d /new/proc/xen ] || mount -t xenfs xenfs /new/proc/xen
{share}ifconfig lo 127.0.0.1 up
hostname lab
cp /lpengine /new/usr/local/bin/lpengine
{links}cd /new
export PATH={path} PYTHONPATH={pythonpath} HOME=/root LANG=C.UTF-8 TERM=dumb
export LPENGINE_GUEST=1 {variables}
exec chroot . {python} -I -S {agent} {standby} </dev/null >/dev/console 2>&1
"""

_SHARE = """\
mkdir -p {path}
mount {options} {tag} {path} || die "mount the share"
"""

_COMMAND = """\
#!/bin/sh
exec {python} -m lpengine "$@"
"""


@dataclass(frozen=True)
class Initramfs:
    """Where it is, and how the guest expects the host's root: "9p" or "virtiofs"."""

    path: Path
    transport: str


def transport_of(modules: Modules) -> str:
    """How this kernel can see the host's files. Debian's cloud kernels have no 9P."""
    return "9p" if modules.has("9pnet_virtio") else "virtiofs"


def make_initramfs(stock: Stock, share: Path | None, cache: Path) -> Initramfs:
    """The initramfs for a kernel of the stock, from the cache where its content is
    there already. `share` is a directory of the host that the guest may write."""
    modules = Modules(stock.modules)
    transport = transport_of(modules)
    wanted = (*_BASE, *(_9P if transport == "9p" else _VIRTIOFS))
    inserted = modules.ordered((*wanted, *(_XEN if stock.kind == "xen" else ())))
    names = [name for name, _ in inserted]
    script = init_script(stock, transport, names, share)
    archive = b"".join(_entries(stock, inserted, script))
    digest = hashlib.sha256(archive).hexdigest()[:32]
    path = cache / "initramfs" / f"{stock.release}-{digest}.cpio"
    if not path.is_file():
        write_whole(path, archive)
    return Initramfs(path, transport)


def init_script(
    stock: Stock, transport: str, modules: Sequence[str], share: Path | None
) -> str:
    return _INIT.format(
        init_sign=INIT_SIGN,
        modules=" ".join(modules),
        root_options=_root_options(transport),
        root_tag=ROOT_TAG,
        links="".join(_link_lines(stock.tree, Path("/"))),
        share=_share_lines(transport, share),
        path=shlex.quote(_programs_path()),
        pythonpath=shlex.quote(str(SOURCES)),
        python=shlex.quote(sys.executable),
        agent=shlex.quote(agent.__file__),
        standby=shlex.join([*python_command(), "-m", _STANDBY]),
        variables=_variables(stock),
    )


def _root_options(transport: str) -> str:
    if transport == "9p":
        return f"-t 9p -o ro,cache=loose,{_9P_OPTIONS}"
    return "-t virtiofs -o ro"


def _share_lines(transport: str, share: Path | None) -> str:
    if share is None:
        return ""
    if transport == "9p":
        # mmap: SQLite needs shared mappings; writes go through at once.
        options = f"-t 9p -o cache=mmap,{_9P_OPTIONS}"
    else:
        options = "-t virtiofs"
    return _SHARE.format(
        path=shlex.quote(f"/new{share}"), options=options, tag=SHARE_TAG
    )


def _link_lines(tree: Path, host: Path) -> Iterator[str]:
    """What the packages have and the host has not, linked into the guest's root.
    (As a layer of the overlay they would lie inside the other one.)"""
    missing = []
    for entry in sorted(tree.iterdir()):
        twin = host / entry.name
        if entry.is_dir() and twin.is_dir():
            if entry.name not in _NOT_LINKED:
                yield from _link_lines(entry, twin)
        elif not os.path.lexists(twin):
            missing.append(shlex.quote(str(entry)))
    if missing:
        yield f"ln -s {' '.join(missing)} {shlex.quote(f'/new{host}')}\n"


def python_command() -> list[str]:
    """What starts our Python in a guest, with our modules. Without site: to look for
    what it adds takes a guest seconds."""
    library = Path(sysconfig.get_path("stdlib"))
    own = {library, library / "lib-dynload"}
    places = [SOURCES, *map(Path, sys.path)]
    found = dict.fromkeys(p for p in places if p.is_absolute() and p.is_dir())
    path = ":".join(str(place) for place in found if place not in own)
    return ["env", f"PYTHONPATH={path}", sys.executable, "-S"]


def _programs_path() -> str:
    own = Path(sys.executable).parent
    return f"{own}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def _variables(stock: Stock) -> str:
    """What of the caller's environment has a meaning inside, and where the symbols
    of the hypervisor are."""
    kept = ("LPENGINE_CACHE", "VIRTUAL_ENV")
    found = {name: os.environ[name] for name in kept if name in os.environ}
    if stock.symbols is not None:
        found["LPENGINE_XEN_SYMS"] = str(stock.symbols.absolute())
    return " ".join(f"{name}={shlex.quote(value)}" for name, value in found.items())


def _entries(
    stock: Stock, modules: Sequence[tuple[str, bytes]], script: str
) -> Iterator[bytes]:
    folders = ["bin", "dev", "proc", "sys", "lower", "overlay", "new", "modules"]
    for number, folder in enumerate(folders, 1):
        yield cpio_entry(folder, stat.S_IFDIR | 0o755, b"", number)
    command = _COMMAND.format(python=shlex.join(python_command())).encode()
    files = [
        ("bin/busybox", 0o755, stock.busybox.read_bytes()),
        ("init", 0o755, script.encode()),
        ("lpengine", 0o755, command),
        *((f"modules/{name}", 0o644, content) for name, content in modules),
    ]
    for number, (name, mode, content) in enumerate(files, len(folders) + 1):
        yield cpio_entry(name, stat.S_IFREG | mode, content, number)
    yield cpio_entry("bin/sh", stat.S_IFLNK | 0o777, b"busybox", 1000)
    yield cpio_entry("TRAILER!!!", 0, b"", 0)


def cpio_entry(name: str, mode: int, content: bytes, inode: int) -> bytes:
    """One entry of a "newc" archive (Linux, early-userspace/buffer-format)."""
    path = name.encode() + b"\0"
    fields = (inode, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(path), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields)
    return _padded(header + path) + _padded(content)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
