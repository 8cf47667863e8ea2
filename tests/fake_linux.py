"""A Linux kernel made of files: /sys and /proc in a directory, modules that are JSON,
and the transitions of kernel/livepatch/transition.c, which move on as time passes."""

import errno
import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lpengine.patch.model import Expectation, FunctionPatch, Patch, SystemState
from lpengine.targets.linux import Kernel, LinuxTarget, Loader
from lpengine.targets.linux_answers import KernelLog
from lpengine.targets.linux_transition import Clock
from lpengine.targets.linux_tree import Tree

NEVER = 1 << 30
BUILD_ID = "ab" * 20
RELEASE = "6.1.0-56-cloud-amd64"
SYMBOLS = """\
ffffffff81000000 T _stext
ffffffff81000010 T cmdline_proc_show
ffffffff81000020 t twice
ffffffff81000030 t twice
ffffffff81000040 T kswapd
ffffffff81000050 T do_syscall_64
ffffffff82000000 T __init_begin
ffffffff82000010 t boot_only
ffffffff82001000 T __init_end
ffffffffc0000000 t ext4_read\t[ext4]
ffffffff83000000 r __ksymtab_seq_printf
ffffffff83000010 t orc_sort_cmp
"""
TRACED = "cmdline_proc_show\ntwice\ntwice\nkswapd\next4_read [ext4]\n"


def module(name: str, *functions: str, **more: Any) -> Patch:
    """A patch whose module is JSON. `on` and `off` say how many polls its
    transitions take, `errno` and `log` how the kernel refuses it."""
    content = {"name": name, "functions": functions or ("cmdline_proc_show",), **more}
    return parse(json.dumps(content).encode(), name)


def parse(raw: bytes, name: str) -> Patch:
    content = json.loads(raw)
    return Patch(
        name=name,
        raw=raw,
        sha256=hashlib.sha256(raw).hexdigest(),
        build_id=hashlib.sha1(raw).hexdigest(),
        functions=tuple(
            function(at, each) for at, each in enumerate(content["functions"])
        ),
        format="linux",
        replace=content.get("replace", False),
        states=tuple(SystemState(*each) for each in content.get("states", ())),
    )


def function(index: int, text: str) -> FunctionPatch:
    """ "ext4:ext4_read,2" """
    where, _, rest = text.rpartition(":")
    name, _, occurrence = rest.partition(",")
    nothing = Expectation(False, 0, 0, bytes(31))
    return FunctionPatch(
        index, name, 0, "", 0, "", 1, 0, 16, 0, nothing, where, int(occurrence or 0)
    )


@dataclass
class On:
    """A patch in the kernel. `left` is how many polls its transition still takes."""

    patch: Patch
    enabled: bool = True
    left: int = 0
    content: dict[str, Any] = field(default_factory=dict)


class FakeKernel:
    """`files` names the optional files of sysfs: "patched", "replace",
    "stack_order"."""

    def __init__(self, root: Path, files: Sequence[str] = ("patched",)) -> None:
        self.root, self.files = root, files
        self.tree = Tree(
            root / "sys", root / "proc", root / "boot", root / "lib/modules"
        )
        self.time = 0.0
        self.modules: list[str] = []
        self.on: dict[str, On] = {}
        self.pinned: set[str] = set()
        self.log = root / "kmsg"
        self.inserted = 0
        # What a process dies of that waits for this kernel.
        self.sleep_raises: type[BaseException] | None = None
        self.boot("boot-1")

    def boot(self, boot_id: str) -> None:
        """As after a reboot: nothing is loaded."""
        self.modules, self.on = [], {}
        for name in ("sys", "proc"):
            shutil.rmtree(self.root / name, ignore_errors=True)
        self.put("sys/kernel/livepatch/", "")
        self.put("sys/module/module/parameters/sig_enforce", "N\n")
        self.put("sys/kernel/security/lockdown", "[none] integrity confidentiality\n")
        note = b"\4\0\0\0\x14\0\0\0\3\0\0\0GNU\0" + bytes.fromhex(BUILD_ID)
        self.put("sys/kernel/notes", note)
        self.put("proc/sys/kernel/random/boot_id", boot_id + "\n")
        self.put("proc/sys/kernel/osrelease", RELEASE + "\n")
        self.put("proc/sys/kernel/ftrace_enabled", "1\n")
        self.put("proc/sys/kernel/modules_disabled", "0\n")
        self.put("proc/kallsyms", SYMBOLS)
        self.put("sys/kernel/tracing/available_filter_functions", TRACED)
        self.put("sys/kernel/tracing/enabled_functions", "")
        self.log.touch()
        self.show()

    def target(self, directory: Path) -> LinuxTarget:
        kernel = Kernel(
            self.tree,
            Loader(self.insert, self.remove),
            Clock(lambda: self.time, self.sleep),
            KernelLog(self.log),
        )
        return LinuxTarget(parse, state_directory=directory, kernel=kernel)

    def put(self, path: str, content: str | bytes) -> None:
        place = self.root / path
        if path.endswith("/"):
            place.mkdir(parents=True, exist_ok=True)
            return
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(content.encode() if isinstance(content, str) else content)

    def task(
        self, number: int, name: str, stack: str, state: int = -1, kernel: bool = False
    ) -> None:
        """A thread; `stack` is "inner outer"."""
        flags = 0x200040 if kernel else 0x400000
        frames = "".join(f"[<0>] {each}+0x10/0x20\n" for each in stack.split())
        for folder in (f"proc/{number}", f"proc/{number}/task/{number}"):
            self.put(f"{folder}/stat", f"{number} ({name}) S 1 1 1 0 -1 {flags} 0 0\n")
            self.put(f"{folder}/patch_state", f"{state}\n")
            self.put(f"{folder}/stack", frames)

    # What the kernel does.

    def insert(self, path: Path) -> None:
        self.tick()
        raw = path.read_bytes()
        content = json.loads(raw)
        name = content["name"]
        if "errno" in content:
            with self.log.open("a") as log:
                log.write(f"4,1,1,-;{content.get('log', '')}\n")
            raise OSError(content["errno"], "refused")
        if name in self.modules:
            raise OSError(errno.EEXIST, "there")
        self.inserted += 1
        self.modules.append(name)
        self.on[name] = On(parse(raw, name), True, content.get("on", 0), content)
        self.settle()
        self.show()

    def remove(self, name: str) -> None:
        self.tick()
        if name not in self.modules:
            raise OSError(errno.ENOENT, "not there")
        if name in self.on or name in self.pinned:
            raise OSError(errno.EAGAIN, "in use")
        self.modules.remove(name)
        self.show()

    def sleep(self, seconds: float) -> None:
        if self.sleep_raises is not None:
            raise self.sleep_raises
        self.time += seconds
        self.tick()

    def tick(self) -> None:
        """Take notice of what was written, and let every transition go on."""
        for name, one in self.on.items():
            folder = self.tree.livepatch / name
            wanted = (folder / "enabled").read_text().strip() == "1"
            if wanted != one.enabled:
                turned = one.left > 0
                one.enabled = wanted
                key = "on" if wanted else "off"
                one.left = 1 if turned else one.content.get(key, 0)
            elif one.left and (folder / "force").read_text().strip() == "1":
                one.left = 0
                self.pinned.add(name)
            elif 0 < one.left < NEVER:
                one.left -= 1
        self.settle()
        self.show()

    def settle(self) -> None:
        replacing = [
            n
            for n, one in self.on.items()
            if one.enabled and not one.left and one.patch.replace
        ]
        for name in replacing:
            self.on = {name: self.on[name]}
        self.on = {n: one for n, one in self.on.items() if one.enabled or one.left}

    def show(self) -> None:
        lines = "".join(f"{m} 16384 0 - Live 0x0 (OEK)\n" for m in self.modules[::-1])
        self.put("proc/modules", lines + "ext4 999 1 - Live 0x0\n")
        self.put("sys/module/ext4/taint", "\n")
        for name in self.modules:
            self.put(f"sys/module/{name}/taint", "OEK\n")
        for folder in self.tree.livepatch.iterdir():
            if folder.name not in self.on:
                shutil.rmtree(folder)
        for order, (name, one) in enumerate(self.on.items(), 1):
            self.show_patch(order, name, one)

    def show_patch(self, order: int, name: str, one: On) -> None:
        folder = f"sys/kernel/livepatch/{name}"
        self.put(f"{folder}/enabled", f"{int(one.enabled)}\n")
        self.put(f"{folder}/transition", f"{int(one.left > 0)}\n")
        if one.left == 0 or not (self.root / folder / "force").exists():
            self.put(f"{folder}/force", "")
        if "replace" in self.files:
            self.put(f"{folder}/replace", f"{int(one.patch.replace)}\n")
        if "stack_order" in self.files:
            self.put(f"{folder}/stack_order", f"{order}\n")
        for each in one.patch.functions:
            place = f"{folder}/{each.object or 'vmlinux'}"
            self.put(f"{place}/{each.name},{each.occurrence or 1}/", "")
            if "patched" in self.files:
                self.put(f"{place}/patched", "1\n")
