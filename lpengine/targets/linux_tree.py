"""What a running Linux kernel shows of itself in /sys and /proc.

Formats: Documentation/ABI/testing/sysfs-kernel-livepatch, proc(5),
Documentation/livepatch/livepatch.rst. Every reader takes kernels that lack a file.
"""

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lpengine.errors import NotPermittedError

# A module without a livepatch in it has no K among its taints, which come last in
# its line: "lp_fix 16384 1 - Live 0xffffffffc0000000 (OEK)".
LIVEPATCH_TAINT = "K"
_CHUNK = 1 << 20
# <linux/sched.h>: PF_KTHREAD
KERNEL_THREAD = 0x00200000


@dataclass(frozen=True)
class Tree:
    """Where the kernel's files are; tests have a tree of their own."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    boot: Path = Path("/boot")
    modules: Path = Path("/lib/modules")

    @cached_property
    def livepatch(self) -> Path:
        return self.sys / "kernel/livepatch"

    @property
    def tracing(self) -> Path:
        """Where tracefs is, wherever it is mounted."""
        places = (self.sys / "kernel/tracing", self.sys / "kernel/debug/tracing")
        return next(
            (p for p in places if (p / "available_filter_functions").exists()),
            places[0],
        )


@dataclass(frozen=True)
class RunningFunction:
    """`occurrence` counts from 1; the kernel shows 1 where the patch says 0."""

    name: str
    occurrence: int


@dataclass(frozen=True)
class RunningObject:
    """`name` is "" for the kernel itself. `patched` is None where the kernel does
    not say (before 6.1): it is when its module is loaded."""

    name: str
    patched: bool | None
    functions: tuple[RunningFunction, ...]


@dataclass(frozen=True)
class RunningPatch:
    """A patch the kernel has: on, or on its way on or off. `replace` and `order`
    (1 is the lowest) are None where the kernel does not say (before 6.11 and
    6.13)."""

    name: str
    enabled: bool
    transition: bool
    replace: bool | None
    order: int | None
    objects: tuple[RunningObject, ...]


@dataclass(frozen=True)
class LoadedModule:
    """A line of /proc/modules. `state` is "Live", "Loading" or "Unloading"; `identity`
    tells one load of a module from another."""

    name: str
    references: int
    state: str
    livepatch: bool
    identity: str


@dataclass(frozen=True)
class Task:
    """A thread. `patch_state` is the kernel's -1 (no transition), 0 (old code) or 1
    (new code), None where it has none. `stack` has function names with their
    module ("ext4:ext4_read"), innermost first; () where it cannot be read."""

    process: int
    thread: int
    name: str
    kernel: bool
    patch_state: int | None
    stack: tuple[str, ...]

    @property
    def who(self) -> str:
        kind = "kernel thread" if self.kernel else "process"
        return f"{kind} {self.thread} ({self.name})"


def text(path: Path) -> str | None:
    """The file's text without its line end; None where there is no such file, or it
    went away while being read, as files of a task do. `NotPermittedError` where it
    may not be read."""
    try:
        return read_bytes(path).decode(errors="replace").rstrip("\n")
    except PermissionError as error:
        raise NotPermittedError(
            f"{path}: permission denied", hint="run it as root"
        ) from error
    except OSError:
        return None


def read_bytes(path: Path | str) -> bytes:
    """A whole file of the kernel's: there are thousands, and the buffers of a file
    object cost more than the reading."""
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        chunks = []
        while chunk := os.read(file, _CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)
    finally:
        os.close(file)


def number(path: Path) -> int | None:
    value = text(path)
    try:
        return int(value) if value is not None else None
    except ValueError:
        return None


def boot_id(tree: Tree) -> str:
    return text(tree.proc / "sys/kernel/random/boot_id") or ""


def release(tree: Tree) -> str:
    return text(tree.proc / "sys/kernel/osrelease") or ""


def compiled(tree: Tree) -> str:
    """What /proc/version says behind the release, in brackets and after: by whom, with
    what, and when."""
    said = text(tree.proc / "version") or ""
    return said.partition(f"{release(tree)} ")[2]


def cpus(tree: Tree) -> int:
    """Of a list like "0-3,8"."""
    online = text(tree.sys / "devices/system/cpu/online") or ""
    ranges = (each.partition("-") for each in online.split(",") if each)
    try:
        return sum(int(last or first) - int(first) + 1 for first, _, last in ranges)
    except ValueError:
        return 0


def is_tracing(tree: Tree) -> bool:
    """Whether the function tracer, which redirects functions, is switched on."""
    return number(tree.proc / "sys/kernel/ftrace_enabled") != 0


def are_modules_disabled(tree: Tree) -> bool:
    """Until the next boot."""
    return bool(number(tree.proc / "sys/kernel/modules_disabled"))


def running_patches(tree: Tree) -> tuple[RunningPatch, ...]:
    """In no particular order. A patch whose directory goes away while it is read
    has been taken off."""
    if not tree.livepatch.is_dir():
        return ()
    found = (running_patch(tree, entry.name) for entry in entries(tree.livepatch))
    return tuple(patch for patch in found if patch is not None)


def switched(tree: Tree, name: str) -> tuple[bool, bool] | None:
    """Whether the patch is enabled, and whether tasks are still being switched; None
    where it is gone."""
    directory = tree.livepatch / name
    enabled = number(directory / "enabled")
    if enabled is None:
        return None
    return bool(enabled), bool(number(directory / "transition"))


def running_patch(tree: Tree, name: str) -> RunningPatch | None:
    directory = tree.livepatch / name
    enabled = number(directory / "enabled")
    if enabled is None:
        return None
    replace = number(directory / "replace")
    return RunningPatch(
        name=name,
        enabled=bool(enabled),
        transition=bool(number(directory / "transition")),
        replace=None if replace is None else bool(replace),
        order=number(directory / "stack_order"),
        objects=tuple(running_object(each) for each in entries(directory)),
    )


def running_object(directory: Path) -> RunningObject:
    patched = number(directory / "patched")
    functions = (each.name.rpartition(",") for each in entries(directory))
    return RunningObject(
        name="" if directory.name == "vmlinux" else directory.name,
        patched=None if patched is None else bool(patched),
        functions=tuple(
            RunningFunction(name, int(position))
            for name, comma, position in functions
            if comma and position.isdecimal()
        ),
    )


def entries(directory: Path) -> list[Path]:
    """The directories in a directory, by name; none where it is gone."""
    try:
        return sorted(each for each in directory.iterdir() if each.is_dir())
    except OSError:
        return []


def loaded_modules(tree: Tree) -> tuple[LoadedModule, ...]:
    """Oldest first; the kernel lists the newest first."""
    lines = (text(tree.proc / "modules") or "").splitlines()
    return tuple(
        loaded_module(fields)
        for fields in reversed([line.split() for line in lines])
        if len(fields) >= 5
    )


def loaded_module(fields: list[str]) -> LoadedModule:
    name, references, state = fields[0], fields[2], fields[4]
    taints = fields[-1] if fields[-1].startswith("(") else ""
    return LoadedModule(
        name=name,
        references=int(references) if references.isdecimal() else 0,
        state=state,
        livepatch=LIVEPATCH_TAINT in taints,
        # Its size and its address.
        identity=" ".join([name, fields[1], *fields[5:6]]),
    )


def module_build_id(tree: Tree, name: str) -> str:
    """Of a loaded module; "" where it has none."""
    return note_build_id(tree.sys / "module" / name / "notes/.note.gnu.build-id")


def note_build_id(path: Path) -> str:
    """The description of the GNU build-id note in a file of notes, as hex."""
    try:
        return build_id_in(read_bytes(path))
    except OSError:
        return ""


def build_id_in(notes: bytes) -> str:
    """The same, in the file's bytes: "" where there is none, or not all of it."""
    at = 0
    while at + 12 <= len(notes):
        name_size, size, kind = (
            int.from_bytes(notes[at + 4 * i : at + 4 * i + 4], "little")
            for i in range(3)
        )
        start = at + 12 + (name_size + 3) // 4 * 4
        if kind == 3 and notes[at + 12 : at + 12 + name_size] == b"GNU\0":
            found = notes[start : start + size]
            return found.hex() if len(found) == size else ""
        at = start + (size + 3) // 4 * 4
    return ""


def image_build_id(tree: Tree) -> str:
    """Of the running kernel (/sys/kernel/notes)."""
    return note_build_id(tree.sys / "kernel/notes")


def tasks(tree: Tree) -> Iterator[Task]:
    """Every thread there is; one that ends meanwhile is left out."""
    for thread in threads(tree):
        task = read_task(thread)
        if task is not None:
            yield task


def tasks_in(tree: Tree, names: Collection[str]) -> Iterator[Task]:
    """The threads that have one of the functions on their stack now. Of the others
    nothing but the stack is read."""
    wanted = [name.encode() for name in names]
    for thread in threads(tree):
        try:
            frames = read_bytes(f"{thread}/stack")
        except OSError:
            continue
        if any(name in frames for name in wanted):
            task = read_task(thread)
            if task is not None:
                yield task


def threads(tree: Tree) -> Iterator[str]:
    """The directory of each."""
    for process in numbered(str(tree.proc)):
        yield from numbered(f"{process}/task")


def numbered(directory: str) -> list[str]:
    try:
        with os.scandir(directory) as found:
            numbers = [int(each.name) for each in found if each.name.isdecimal()]
    except OSError:
        return []
    return [f"{directory}/{each}" for each in sorted(numbers)]


def read_task(directory: str) -> Task | None:
    """The thread whose directory that is: "/proc/PROCESS/task/THREAD"."""
    thread = Path(directory)
    status = text(thread / "stat")
    if status is None:
        return None
    # "PID (NAME) STATE PPID PGRP SESSION TTY TPGID FLAGS ..."; a name may hold ")".
    name, _, rest = status.partition("(")[2].rpartition(")")
    fields = rest.split()
    flags = int(fields[6]) if len(fields) > 6 else 0
    return Task(
        process=int(thread.parent.parent.name),
        thread=int(thread.name),
        name=name,
        kernel=bool(flags & KERNEL_THREAD),
        patch_state=own_number(thread / "patch_state"),
        stack=stack(thread),
    )


def own_number(path: Path) -> int | None:
    """None as well where only root may look."""
    try:
        return number(path)
    except NotPermittedError:
        return None


def stack(thread: Path) -> tuple[str, ...]:
    """Lines like "[<0>] ext4_read+0x1c/0x80 [ext4]"."""
    try:
        lines = (text(thread / "stack") or "").splitlines()
    except NotPermittedError:
        return ()
    return tuple(frame for line in lines if (frame := stack_frame(line)))


def stack_frame(line: str) -> str:
    words = line.split()
    if len(words) < 2:
        return ""
    name = words[1].partition("+")[0]
    return f"{words[2].strip('[]')}:{name}" if len(words) > 2 else name
