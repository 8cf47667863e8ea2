"""What a running Linux kernel shows of itself in /sys and /proc.

Formats: Documentation/ABI/testing/sysfs-kernel-livepatch, proc(5),
Documentation/livepatch/livepatch.rst. Every reader takes kernels that lack a file.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from lpengine.errors import NotPermittedError

# A module without a livepatch in it has no K among its taints.
LIVEPATCH_TAINT = "K"
# <linux/sched.h>: PF_KTHREAD
KERNEL_THREAD = 0x00200000


@dataclass(frozen=True)
class Tree:
    """Where the kernel's files are; tests have a tree of their own."""

    sys: Path = Path("/sys")
    proc: Path = Path("/proc")
    boot: Path = Path("/boot")
    modules: Path = Path("/lib/modules")

    @property
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
    """A line of /proc/modules. `state` is "Live", "Loading" or "Unloading"."""

    name: str
    references: int
    state: str
    livepatch: bool


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
        return path.read_text(errors="replace").rstrip("\n")
    except PermissionError as error:
        raise NotPermittedError(
            f"{path}: permission denied", hint="run it as root"
        ) from error
    except OSError:
        return None


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


def is_tracing(tree: Tree) -> bool:
    """Whether the function tracer, which redirects functions, is switched on."""
    return number(tree.proc / "sys/kernel/ftrace_enabled") != 0


def running_patches(tree: Tree) -> tuple[RunningPatch, ...]:
    """In no particular order. A patch whose directory goes away while it is read
    has been taken off."""
    if not tree.livepatch.is_dir():
        return ()
    found = (running_patch(tree, entry.name) for entry in entries(tree.livepatch))
    return tuple(patch for patch in found if patch is not None)


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
        loaded_module(tree, fields)
        for fields in reversed([line.split() for line in lines])
        if len(fields) >= 5
    )


def loaded_module(tree: Tree, fields: list[str]) -> LoadedModule:
    name, references, state = fields[0], fields[2], fields[4]
    taint = text(tree.sys / "module" / name / "taint") or ""
    return LoadedModule(
        name=name,
        references=int(references) if references.isdecimal() else 0,
        state=state,
        livepatch=LIVEPATCH_TAINT in taint,
    )


def module_build_id(tree: Tree, name: str) -> str:
    """Of a loaded module; "" where it has none."""
    return note_build_id(tree.sys / "module" / name / "notes/.note.gnu.build-id")


def note_build_id(path: Path) -> str:
    """The description of the GNU build-id note in a file of notes, as hex."""
    try:
        return build_id_in(path.read_bytes())
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


def tasks(tree: Tree, *, stacks: bool = True) -> Iterator[Task]:
    """Every thread there is; one that ends meanwhile is left out."""
    for process in numbered(tree.proc):
        for thread in numbered(process / "task"):
            task = read_task(process, thread, stacks)
            if task is not None:
                yield task


def numbered(directory: Path) -> list[Path]:
    try:
        found = [each for each in directory.iterdir() if each.name.isdecimal()]
    except OSError:
        return []
    return sorted(found, key=lambda each: int(each.name))


def read_task(process: Path, thread: Path, stacks: bool = True) -> Task | None:
    status = text(thread / "stat")
    if status is None:
        return None
    # "PID (NAME) STATE PPID PGRP SESSION TTY TPGID FLAGS ..."; a name may hold ")".
    name, _, rest = status.partition("(")[2].rpartition(")")
    fields = rest.split()
    flags = int(fields[6]) if len(fields) > 6 else 0
    return Task(
        process=int(process.name),
        thread=int(thread.name),
        name=name,
        kernel=bool(flags & KERNEL_THREAD),
        patch_state=own_number(thread / "patch_state"),
        stack=stack(thread) if stacks else (),
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
