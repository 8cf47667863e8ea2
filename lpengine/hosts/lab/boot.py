"""Starts guests and finds those that run."""

import signal
import time
from compileall import compile_dir
from dataclasses import dataclass, replace
from pathlib import Path

import lpengine.hosts.lab.qemu as qemu
import lpengine.hosts.lab.state as state
from lpengine import command
from lpengine.errors import UsageError
from lpengine.hosts.base import HostError
from lpengine.hosts.lab.guest import Guest
from lpengine.hosts.lab.hypervisor import (
    find_symbols,
    prepare_hypervisor,
    require_kind,
)
from lpengine.hosts.lab.initramfs import (
    INIT_SIGN,
    SOURCES,
    Initramfs,
    make_initramfs,
)
from lpengine.hosts.lab.packages import Stock, stocked
from lpengine.hosts.lab.storage import cache_directory, exclusive, state_directory

# A healthy guest starts its init after 2 to 8 s on an idle machine, and its console is
# never silent for longer than 6 s on a busy one.
SILENCE_SECONDS = 30.0
ANSWER_SECONDS = 180.0
_SERVER_SECONDS = 15.0
_ATTEMPTS = 2


@dataclass(frozen=True)
class _Recipe:
    """What a guest is made of."""

    stock: Stock
    shape: qemu.Shape
    initramfs: Initramfs
    share: Path | None
    detached: bool


def boot(
    kind: str,
    *,
    name: str = "",
    memory: int = 0,
    cpus: int = qemu.DEFAULT_CPUS,
    share: Path | None = None,
    detached: bool = False,
    hypervisor: Path | None = None,
    symbols: Path | None = None,
) -> Guest:
    """Start a guest of that kind ("xen" or "linux") and wait until it answers.

    `memory` in MiB (0: the kind's usual). `share` is a directory of the host that the
    guest sees at the same path and may write: what survives it. The guest ends with
    this process, however that ends, unless it is `detached`. `hypervisor` is a build's
    xen or xen.gz in the place of the distribution's, and `symbols` its xen-syms, by
    default the one beside it. `NotFoundError` where nothing is fetched, `UsageError`
    where the memory does not suffice or the name is taken, `HostError` when it does
    not come up.
    """
    require_kind(kind, hypervisor)
    stock = stocked(kind)
    if hypervisor is not None:
        symbols = find_symbols(hypervisor, symbols)
        stock = replace(stock, hypervisor=hypervisor, symbols=symbols)
    shape = qemu.Shape(memory or qemu.DEFAULT_MEMORY[kind], cpus)
    shared = share.resolve(strict=True) if share else None
    initramfs = make_initramfs(stock, shared, cache_directory() / "lab")
    # The guest sees our files: what is compiled here need not be compiled in there.
    compile_dir(SOURCES / "lpengine", quiet=2)
    recipe = _Recipe(stock, shape, initramfs, shared, detached)
    for attempt in range(1, _ATTEMPTS + 1):
        guest = _start(recipe, name)
        try:
            return _await(guest)
        except _NoSignOfLife:
            guest.stop()
            if attempt == _ATTEMPTS:
                raise
        except BaseException:
            guest.kill()
            raise
    raise AssertionError


class _NoSignOfLife(HostError):
    """It hung before its init: worth another attempt."""


def find(name: str) -> Guest:
    """A guest that was booted earlier. `NotFoundError` where there is none."""
    return Guest(state.load(name))


def guests() -> tuple[Guest, ...]:
    """All of them, those that died too, until they are stopped."""
    return tuple(Guest(record) for record in state.records())


def _start(recipe: _Recipe, name: str) -> Guest:
    home, kind = state_directory(), recipe.stock.kind
    with exclusive(home / "lock", str(home), 60):
        name = state.check_name(name) if name else state.free_name(kind)
        _clear(name)
        state.check_memory(recipe.shape.memory)
        shape, share = recipe.shape, str(recipe.share or "")
        fresh = state.Record(name, kind, shape.memory, shape.cpus, share, ())
        fresh.directory.mkdir()
        try:
            record = _start_processes(fresh, recipe)
        except BaseException:
            state.remove(fresh)
            raise
        state.save(record)
        return Guest(record)


def _clear(name: str) -> None:
    """Make room for a new guest of that name, where the old one is dead."""
    for record in state.records():
        if record.name == name and record.alive:
            raise UsageError(
                f"a guest named {name} runs already",
                hint=f"lpengine lab stop {name}, or another --name",
            )
        if record.name == name:
            Guest(record).stop()


def _start_processes(record: state.Record, recipe: _Recipe) -> state.Record:
    """QEMU comes first among the processes."""
    directory = record.directory
    helpers: list[state.Process] = []
    try:
        if recipe.initramfs.transport == "virtiofs":
            for tag, argv in qemu.virtiofs_servers(recipe.share).items():
                helpers.append(_start_virtiofs(directory, tag, argv))
        helpers.append(_start_qemu(directory, recipe))
    except BaseException:
        state.end(replace(record, processes=tuple(helpers)), {signal.SIGKILL: 3.0})
        raise
    main = state.process(int((directory / qemu.PID).read_text()))
    return replace(record, processes=(main, *helpers))


def _start_qemu(directory: Path, recipe: _Recipe) -> state.Process:
    """QEMU, or what ends it with us."""
    stock = recipe.stock
    if stock.hypervisor is not None:
        bootable = prepare_hypervisor(stock.hypervisor, directory)
        stock = replace(stock, hypervisor=bootable)
    argv = qemu.arguments(stock, recipe.initramfs, recipe.shape, recipe.share)
    log = directory / qemu.LOG
    tied = not recipe.detached
    started = state.process(command.start(argv, cwd=directory, log=log, tied=tied))
    _await_socket(started, directory / qemu.AGENT, log, "")
    return started


def _start_virtiofs(directory: Path, tag: str, argv: list[str]) -> state.Process:
    """It ends by itself when QEMU, its only client, does."""
    log = directory / f"{tag}.log"
    server = state.process(command.start(argv, cwd=directory, log=log))
    hint = "it shares the host's files with the guest and needs root"
    _await_socket(server, directory / qemu.virtiofs_socket(tag), log, hint)
    return server


def _await_socket(process: state.Process, socket: Path, log: Path, hint: str) -> None:
    deadline = time.monotonic() + _SERVER_SECONDS
    while not socket.exists():
        if not process.alive or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines()
            raise HostError(
                f"{log.stem} did not start: {said[-1] if said else 'it says nothing'}",
                hint=hint,
            )
        time.sleep(0.01)


def _await(guest: Guest) -> Guest:
    begun = heard = time.monotonic()
    said = ""
    while INIT_SIGN not in said:
        guest.check()
        if time.monotonic() - heard > SILENCE_SECONDS:
            raise _NoSignOfLife(f"{guest.name} hung before its init")
        time.sleep(0.1)
        if said != (console := guest.console):
            said, heard = console, time.monotonic()
    guest.wait(ANSWER_SECONDS)
    seconds = round(time.monotonic() - begun, 2)
    record = replace(guest.record, boot_seconds=seconds, booted=True)
    state.save(record)
    return Guest(record)
