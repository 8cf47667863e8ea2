"""Starts guests and finds those that run."""

import signal
import time
from dataclasses import replace
from pathlib import Path

import lpengine.hosts.lab.qemu as qemu
import lpengine.hosts.lab.state as state
from lpengine import command
from lpengine.errors import UsageError
from lpengine.hosts.base import HostError
from lpengine.hosts.lab.guest import Guest
from lpengine.hosts.lab.initramfs import INIT_SIGN, Initramfs, make_initramfs
from lpengine.hosts.lab.packages import Stock, stocked
from lpengine.hosts.lab.storage import cache_directory, exclusive, state_directory

# A healthy guest starts its init after 2 to 8 s on an idle machine, and its console is
# never silent for longer than 6 s on a busy one.
SILENCE_SECONDS = 30.0
ANSWER_SECONDS = 180.0
_SERVER_SECONDS = 15.0
_ATTEMPTS = 2


def boot(
    kind: str,
    *,
    name: str = "",
    memory: int = 0,
    cpus: int = qemu.DEFAULT_CPUS,
    share: Path | None = None,
) -> Guest:
    """Start a guest of that kind ("xen" or "linux") and wait until it answers.

    `memory` in MiB (0: the kind's usual). `share` is a directory of the host that the
    guest sees at the same path and may write: what survives it. `NotFoundError`
    where nothing is fetched, `UsageError` where the memory does not suffice or the
    name is taken, `HostError` when it does not come up.
    """
    stock = stocked(kind)
    shape = qemu.Shape(memory or qemu.DEFAULT_MEMORY[kind], cpus)
    shared = share.resolve(strict=True) if share else None
    initramfs = make_initramfs(stock, shared, cache_directory() / "lab")
    for attempt in range(1, _ATTEMPTS + 1):
        guest = _start(stock, name, shape, initramfs, shared)
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


def _start(
    stock: Stock,
    name: str,
    shape: qemu.Shape,
    initramfs: Initramfs,
    share: Path | None,
) -> Guest:
    home = state_directory()
    with exclusive(home / "lock", str(home), 60):
        name = state.check_name(name) if name else state.free_name(stock.kind)
        _clear(name)
        state.check_memory(shape.memory)
        fresh = state.Record(
            name, stock.kind, shape.memory, shape.cpus, str(share or ""), ()
        )
        fresh.directory.mkdir()
        try:
            record = _start_processes(fresh, stock, shape, initramfs, share)
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


def _start_processes(
    record: state.Record,
    stock: Stock,
    shape: qemu.Shape,
    initramfs: Initramfs,
    share: Path | None,
) -> state.Record:
    directory = record.directory
    servers: list[state.Process] = []
    try:
        if initramfs.transport == "virtiofs":
            for tag, argv in qemu.virtiofs_servers(share).items():
                servers.append(_start_virtiofs(directory, tag, argv))
        command.run(qemu.arguments(stock, initramfs, shape, share), cwd=directory)
    except BaseException:
        state.end(replace(record, processes=tuple(servers)), {signal.SIGKILL: 3.0})
        raise
    main = state.process(int((directory / qemu.PID).read_text()))
    return replace(record, processes=(main, *servers))


def _start_virtiofs(directory: Path, tag: str, argv: list[str]) -> state.Process:
    """It ends by itself when QEMU, its only client, does."""
    log = directory / f"{tag}.log"
    server = state.process(command.start(argv, cwd=directory, log=log))
    deadline = time.monotonic() + _SERVER_SECONDS
    while not (directory / qemu.virtiofs_socket(tag)).exists():
        if not server.alive or time.monotonic() > deadline:
            said = log.read_text(errors="replace").strip().splitlines()
            raise HostError(
                f"virtiofsd did not start: {said[-1] if said else 'it says nothing'}",
                hint="it shares the host's files with the guest and needs root",
            )
        time.sleep(0.01)
    return server


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
