"""The running kernel's symbols, functions that can be redirected, and who is in
them now."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from lpengine.planner.facts import BusyFact, SymbolFact
from lpengine.targets.linux_tables import Tables
from lpengine.targets.linux_tree import Task, Tree, read_bytes, tasks_in

# What the kernel names the record that makes a symbol usable by modules.
EXPORT_PREFIX = "__ksymtab_"
# The function that runs a kernel thread's own one (kernel/kthread.c).
THREAD_START = ("kthread", "ret_from_fork", "ret_from_fork_asm")


Traced = Mapping[tuple[str, str], int]


@dataclass(frozen=True)
class Symbols:
    """`found` has the symbols asked for in the order in which the kernel counts
    them, `exporters` the owner of each exported one. `known` is False where the
    kernel does not show its symbols; addresses are 0 where it hides them."""

    found: Mapping[str, tuple[SymbolFact, ...]] = field(default_factory=dict)
    exporters: Mapping[str, str] = field(default_factory=dict)
    known: bool = True


class SymbolTables:
    """What the kernel's tables say. `modules` are those that are loaded, without live
    patches: their symbols are of no interest to others."""

    def __init__(self, tree: Tree, tables: Tables) -> None:
        self._tree = tree
        self._tables = tables

    def symbols(self, names: Collection[str], modules: tuple[str, ...]) -> Symbols:
        """From /proc/kallsyms: "ffffffff81000000 T _text", and a tab and "[ext4]"
        behind the symbols of modules. Those of one object stand in the order that
        counts: by address in the kernel, by its symbol table in a module."""
        data = self._tables.read(self._tree.proc / "kallsyms", modules)
        return Symbols(known=False) if not data else find_symbols(data, names)

    def traced(self, names: Collection[str], modules: tuple[str, ...]) -> Traced | None:
        """(owner, name) -> how many functions of that name begin with a call of the
        tracer. None where tracefs is not mounted or may not be read."""
        path = self._tree.tracing / "available_filter_functions"
        data = self._tables.read(path, modules)
        return None if data is None else counted(data, names)


def find_symbols(data: bytes, names: Collection[str]) -> Symbols:
    found: dict[str, tuple[SymbolFact, ...]] = {}
    exporters: dict[str, str] = {}
    init = init_range(data)
    for name in names:
        facts = tuple(
            SymbolFact(
                name=name,
                address=address,
                size=0,
                is_function=kind in "tTwW",
                init=address in init,
                owner=owner,
            )
            for address, kind, owner in lines_about(data, name)
        )
        if facts:
            found[name] = facts
        for _, _, owner in lines_about(data, EXPORT_PREFIX + name):
            exporters[name] = owner
    return Symbols(found, exporters)


def lines_about(data: bytes, name: str) -> Iterator[tuple[int, str, str]]:
    """(address, type, owner) of the lines about a name."""
    text = b" " + name.encode()
    at = data.find(text)
    while at >= 0:
        end = at + len(text)
        if data[end : end + 1] in (b"\n", b"\t", b""):
            start = data.rfind(b"\n", 0, at) + 1
            stop = data.find(b"\n", end)
            address, kind = data[start:at].split()
            owner = data[end : stop if stop >= 0 else None].strip(b"\t[]").decode()
            yield int(address, 16), kind.decode(), owner
        at = data.find(text, end)


def init_range(data: bytes) -> range:
    """Addresses of the kernel's code and data that are gone after boot."""
    ends = [
        next((address for address, _, _ in lines_about(data, name)), 0)
        for name in ("__init_begin", "__init_end")
    ]
    return range(*ends)


def read_hooked(tree: Tree, names: Collection[str]) -> Traced:
    """Functions that somebody redirects: "name (1) R I D  tramp: …", where I says
    so. Live patches are among them."""
    try:
        data = read_bytes(tree.tracing / "enabled_functions")
    except OSError:
        data = b""
    lines = (line for line in data.splitlines() if redirecting(line))
    return counted(b"\n".join(line.split(b" (", 1)[0] for line in lines), names)


def redirecting(line: bytes) -> bool:
    flags = line.partition(b")")[2].split(b"tramp:", 1)[0].split(b"->", 1)[0]
    return b"I" in flags.split()


def counted(data: bytes, names: Collection[str]) -> Traced:
    """Lines like "ext4_read [ext4]"."""
    found: dict[tuple[str, str], int] = defaultdict(int)
    data = b"\n" + data
    for name in names:
        text = b"\n" + name.encode()
        at = data.find(text)
        while at >= 0:
            end = at + len(text)
            stop = data.find(b"\n", end)
            rest = data[end : stop if stop >= 0 else None]
            if not rest or rest[:1] in b" \t":
                found[rest.strip(b" \t[]").decode(), name] += 1
            at = data.find(text, end)
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


def busy_with(tree: Tree, names: Collection[str]) -> tuple[BusyFact, ...]:
    """Threads that have one of the functions on their stack now."""
    return tuple(
        BusyFact(
            who=task.who,
            function=name,
            address=0,
            backtrace=task.stack,
            resident=task.kernel and lives_in(task, at),
        )
        for task in tasks_in(tree, names)
        for at, name in enumerate(frame.rpartition(":")[2] for frame in task.stack)
        if name in names
    )


def lives_in(task: Task, at: int) -> bool:
    """Whether the frame is the one that the thread was started with."""
    return at + 1 == len(task.stack) or task.stack[at + 1] in THREAD_START
