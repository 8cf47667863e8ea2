"""The running kernel's symbols, functions that can be redirected, and who is in
them now."""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from lpengine.planner.facts import BusyFact, SymbolFact
from lpengine.targets.linux_tree import Task, Tree

# What the kernel names the record that makes a symbol usable by modules.
EXPORT_PREFIX = "__ksymtab_"
# The function that runs a kernel thread's own one (kernel/kthread.c).
THREAD_START = ("kthread", "ret_from_fork", "ret_from_fork_asm")

_OWNER = rb"(?:\t\[([^\]]*)\])?"

Traced = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Symbols:
    """`found` has the symbols asked for in the order in which the kernel counts
    them, `exporters` the owner of each exported one. `known` is False where the
    kernel does not show its symbols; addresses are 0 where it hides them."""

    found: Mapping[str, tuple[SymbolFact, ...]] = field(default_factory=dict)
    exporters: Mapping[str, str] = field(default_factory=dict)
    known: bool = True


def read_symbols(tree: Tree, names: Collection[str]) -> Symbols:
    """From /proc/kallsyms: "ffffffff81000000 T _text", and "\\t[ext4]" behind the
    symbols of modules. Those of one object stand in the order that counts: by
    address in the kernel, by its symbol table in a module."""
    try:
        data = (tree.proc / "kallsyms").read_bytes()
    except OSError:
        return Symbols(known=False)
    found: dict[str, list[SymbolFact]] = defaultdict(list)
    exporters: dict[str, str] = {}
    init = init_range(data)
    for address, kind, name, owner in matching(data, names):
        if name.startswith(EXPORT_PREFIX):
            exporters[name.removeprefix(EXPORT_PREFIX)] = owner
        if name in names:
            found[name].append(
                SymbolFact(
                    name=name,
                    address=address,
                    size=0,
                    is_function=kind in "tTwW",
                    init=address in init,
                    owner=owner,
                )
            )
    known = bool(data)
    return Symbols({n: tuple(each) for n, each in found.items()}, exporters, known)


def matching(
    data: bytes, names: Collection[str]
) -> Iterator[tuple[int, str, str, str]]:
    """(address, type, name, owner) of the lines about these names, or about their
    being exported."""
    if not names:
        return
    wanted = b"|".join(re.escape(name.encode()) for name in sorted(names))
    prefix = EXPORT_PREFIX.encode()
    line = rb"^([0-9a-f]+) (.) ((?:%b)?(?:%b))%b$" % (prefix, wanted, _OWNER)
    for match in re.finditer(line, data, re.MULTILINE):
        address, kind, name, owner = match.groups(b"")
        yield int(address, 16), kind.decode(), name.decode(), owner.decode()


def init_range(data: bytes) -> range:
    """Addresses of the kernel's code and data that are gone after boot."""
    ends = [
        re.search(rb"^([0-9a-f]+) . %b$" % name, data, re.MULTILINE)
        for name in (b"__init_begin", b"__init_end")
    ]
    start, end = (int(match[1], 16) if match else 0 for match in ends)
    return range(start, end)


def read_traced(tree: Tree, names: Collection[str]) -> Traced | None:
    """(owner, name) -> how many functions of that name begin with a call of the
    tracer. None where tracefs is not mounted or may not be read."""
    try:
        data = (tree.tracing / "available_filter_functions").read_bytes()
    except OSError:
        return None
    return counted(data, names)


def read_hooked(tree: Tree, names: Collection[str]) -> Traced:
    """The same for functions that somebody redirects: "name (1) R I D  tramp: …",
    where I says so. Live patches are among them."""
    try:
        data = (tree.tracing / "enabled_functions").read_bytes()
    except OSError:
        return {}
    lines = (line for line in data.splitlines() if redirecting(line))
    return counted(b"\n".join(line.split(b" (", 1)[0] for line in lines), names)


def redirecting(line: bytes) -> bool:
    flags = line.partition(b")")[2].split(b"tramp:", 1)[0].split(b"->", 1)[0]
    return b"I" in flags.split()


def counted(data: bytes, names: Collection[str]) -> Traced:
    """Lines like "ext4_read [ext4]"."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    wanted = {name.encode() for name in names}
    for line in data.splitlines():
        words = line.split()
        if words and words[0] in wanted:
            owner = words[1].strip(b"[]").decode() if len(words) > 1 else ""
            found[owner, words[0].decode()] += 1
    return dict(found)


def annotated(
    symbols: Symbols, traced: Traced | None, hooked: Traced, ours: Collection[str]
) -> dict[str, tuple[SymbolFact, ...]]:
    """The symbols with what the tracer knows of them. `ours` are the functions that
    live patches redirect: these may be redirected again."""
    return {
        name: tuple(
            replace(
                fact,
                traced=is_traced(fact, facts, traced),
                hooked=(fact.owner, name) in hooked and name not in ours,
            )
            for fact in facts
        )
        for name, facts in symbols.found.items()
    }


def is_traced(
    fact: SymbolFact, facts: Iterable[SymbolFact], traced: Traced | None
) -> bool | None:
    """None where only some of several functions of the name are."""
    if traced is None:
        return None
    count = traced.get((fact.owner, fact.name), 0)
    if count == 0:
        return False
    of_name = sum(one.owner == fact.owner and one.is_function for one in facts)
    return True if count >= of_name else None


def busy_with(tasks: Iterable[Task], names: Collection[str]) -> tuple[BusyFact, ...]:
    """Threads that have one of the functions on their stack now."""
    return tuple(
        BusyFact(
            who=task.who,
            function=name,
            address=0,
            backtrace=task.stack,
            resident=task.kernel and lives_in(task, at),
        )
        for task in tasks
        for at, name in enumerate(frame.rpartition(":")[2] for frame in task.stack)
        if name in names
    )


def lives_in(task: Task, at: int) -> bool:
    """Whether the frame is the one that the thread was started with."""
    return at + 1 == len(task.stack) or task.stack[at + 1] in THREAD_START
