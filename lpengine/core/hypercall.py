"""Xen's live patching calls, through the control domain's /dev/xen/privcmd."""

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from mmap import mmap
from typing import Any, NoReturn, Protocol

from lpengine.core.library import ffi, lib
from lpengine.errors import UsageError

PAGE = int(lib.LP_XEN_PAGE)
NAME_MAX = int(lib.LP_XEN_NAME_MAX)
NODEPS = int(lib.LP_XEN_NODEPS)
# Xen 4.17 to 4.20 speak 0x15, later ones 0x16; what comes then is tried as well.
FIRST_INTERFACE, LAST_INTERFACE = 0x15, 0x1F
CONSOLE_SIZE = 16 << 10

_LIST_AT_ONCE = 64
_LIST_TRIES = 8
# One payload in a list: its state, two lengths and the longest name.
_ENTRY_SIZE = 8 + 2 * 4 + NAME_MAX + 1
# Room for metadata of payloads that come between two calls.
_SLACK = 64 << 10
_EACCES = 13
_BUILD_ID_MAX = 256


class Action(IntEnum):
    """XEN_SYSCTL_LIVEPATCH_ACTION's commands."""

    UNLOAD = int(lib.LP_XEN_UNLOAD)
    REVERT = int(lib.LP_XEN_REVERT)
    APPLY = int(lib.LP_XEN_APPLY)
    REPLACE = int(lib.LP_XEN_REPLACE)


@dataclass(frozen=True)
class Progress:
    """A payload's state, and how its last action ended: `result` is 0, or an errno
    (EAGAIN while the action is under way)."""

    applied: bool
    result: int


@dataclass(frozen=True)
class Listed:
    """A payload as the hypervisor lists it; `metadata` as in its .modinfo."""

    name: str
    applied: bool
    result: int
    metadata: bytes


class Device(Protocol):
    """What passes requests on to the hypervisor."""

    def buffer(self, size: int) -> mmap:
        """Zeroed memory that the hypervisor reaches, whole pages."""
        ...

    def call(self, number: int, arguments: Sequence[int]) -> int:
        """One hypercall; `OSError` with the hypervisor's errno."""
        ...


class Privcmd:
    """The devices of Linux's xen-privcmd. `OSError` where there are none, or where
    they may not be opened."""

    def __init__(
        self,
        calls: str = "/dev/xen/privcmd",
        buffers: str = "/dev/xen/hypercall",
    ) -> None:
        self._calls = os.open(calls, os.O_RDWR | os.O_CLOEXEC)
        try:
            self._buffers = os.open(buffers, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            os.close(self._calls)
            raise
        self.close = weakref.finalize(self, _close, self._calls, self._buffers)

    def buffer(self, size: int) -> mmap:
        return mmap(self._buffers, -(-size // PAGE) * PAGE)

    def call(self, number: int, arguments: Sequence[int]) -> int:
        answer, error = ffi.new("int64_t *"), ffi.new("struct lp_error *")
        padded = [*arguments, 0, 0, 0, 0, 0][:5]
        if lib.lp_hypercall(self._calls, number, padded, answer, error) != lib.LP_OK:
            raise OSError(error.value, os.strerror(error.value))
        return int(answer[0])


class Hypervisor:
    """The running hypervisor's live patching. Every call raises `OSError` with the
    errno that the hypervisor answers, and `UsageError` for what is no name."""

    def __init__(self, device: Device) -> None:
        self._device = device
        self._interface = 0
        self._small = device.buffer(2 * PAGE)
        self._large = self._small

    @property
    def interface(self) -> int:
        """The version of the sysctl interface, found by trying: the hypervisor
        answers EACCES to all but its own."""
        if not self._interface:
            self._interface = self._probe()
        return self._interface

    def upload(self, name: str, payload: bytes) -> None:
        """Load a payload; it is checked and not applied then."""
        interface = self.interface
        with self._device.buffer(PAGE + len(payload)) as memory:
            view, raw = ffi.from_buffer("uint8_t[]", memory), name.encode()
            status = lib.lp_xen_upload(
                view, len(view), interface, raw, len(raw), payload, len(payload)
            )
            try:
                _check(status, name)
                self._sysctl(view)
            finally:
                ffi.release(view)

    def get(self, name: str) -> Progress:
        with ffi.from_buffer("uint8_t[]", self._small) as view:
            raw, state = name.encode(), ffi.new("uint32_t *")
            status = lib.lp_xen_get(view, len(view), self.interface, raw, len(raw))
            _check(status, name)
            self._sysctl(view)
            result = ffi.new("int32_t *")
            lib.lp_xen_got(view, state, result)
            return Progress(state[0] == lib.LP_XEN_APPLIED, -result[0])

    def act(
        self, name: str, action: Action, timeout_ns: int = 0, flags: int = 0
    ) -> None:
        """Begin an action; `get` says how it ended. A timeout of 0 is the
        hypervisor's own, 30 ms."""
        if not 0 <= timeout_ns < 1 << 32:
            raise UsageError(f"a timeout of {timeout_ns} ns does not fit 32 bits")
        with ffi.from_buffer("uint8_t[]", self._small) as view:
            raw = name.encode()
            status = lib.lp_xen_action(
                view,
                len(view),
                self.interface,
                raw,
                len(raw),
                int(action),
                timeout_ns,
                flags,
            )
            _check(status, name)
            self._sysctl(view)

    def payloads(self) -> tuple[Listed, ...]:
        """Every payload, in load order. `OSError` (EAGAIN) where payloads come and
        go faster than they can be listed."""
        for _ in range(_LIST_TRIES):
            totals = self._totals()
            found = self._list_all(totals)
            if found is not None:
                return found
        raise OSError(11, "the list of payloads keeps changing")

    def console(self, index: int = 0) -> tuple[bytes, int]:
        """What the hypervisor has printed since `index`, as far as it still has it,
        and the index to go on from."""
        with self._device.buffer(PAGE + CONSOLE_SIZE) as memory:
            view = ffi.from_buffer("uint8_t[]", memory)
            try:
                _check(
                    lib.lp_xen_console(view, len(view), self.interface, index),
                    "console",
                )
                self._sysctl(view)
                size, end = ffi.new("uint32_t *"), ffi.new("uint32_t *")
                lib.lp_xen_console_read(view, size, end)
                return bytes(memory[PAGE : PAGE + size[0]]), int(end[0])
            finally:
                ffi.release(view)

    def cpus(self) -> int:
        """How many processors the hypervisor runs on."""
        with ffi.from_buffer("uint8_t[]", self._small) as view:
            _check(lib.lp_xen_physinfo(view, len(view), self.interface), "processors")
            self._sysctl(view)
            return int(lib.lp_xen_physinfo_cpus(view))

    def build_id(self) -> str:
        """The running image's build id as hex; `OSError` (ENODATA) without one."""
        memory = self._small
        memory[:4] = _BUILD_ID_MAX.to_bytes(4, "little")
        with ffi.from_buffer("uint8_t[]", memory) as view:
            size = self._device.call(
                lib.LP_XEN_CALL_VERSION,
                (lib.LP_XEN_VERSION_BUILD_ID, _address(view)),
            )
        return bytes(memory[4 : 4 + size]).hex()

    def _sysctl(self, view: Any) -> int:
        return self._device.call(lib.LP_XEN_CALL_SYSCTL, (_address(view),))

    def _probe(self) -> int:
        refused: OSError | None = None
        for interface in range(FIRST_INTERFACE, LAST_INTERFACE + 1):
            with ffi.from_buffer("uint8_t[]", self._small) as view:
                _check(lib.lp_xen_list(view, len(view), interface, 0, 0), "list")
                try:
                    self._sysctl(view)
                except OSError as error:
                    if error.errno != _EACCES:
                        raise
                    refused = error
                    continue
                return interface
        assert refused is not None
        raise refused

    def _totals(self) -> Any:
        totals = ffi.new("struct lp_xen_totals *")
        with ffi.from_buffer("uint8_t[]", self._small) as view:
            status = lib.lp_xen_list(view, len(view), self.interface, 0, 0)
            _check(status, "list")
            self._sysctl(view)
            lib.lp_xen_listed(view, totals)
        return totals

    def _list_all(self, wanted: Any) -> tuple[Listed, ...] | None:
        """None where the payloads have changed meanwhile. The hypervisor may stop
        earlier than asked when it has something more urgent to do."""
        found: list[Listed] = []
        if not wanted.left:
            return ()
        size = PAGE + _LIST_AT_ONCE * _ENTRY_SIZE + wanted.metadata_size + _SLACK
        totals = ffi.new("struct lp_xen_totals *")
        # Kept: to get pages that the hypervisor reaches takes longer than to ask it.
        if len(self._large) < size:
            self._large = self._device.buffer(size)
        with ffi.from_buffer("uint8_t[]", self._large) as view:
            while True:
                some = self._list_some(view, self._large, len(found))
                lib.lp_xen_listed(view, totals)
                if totals.version != wanted.version:
                    return None
                found += some
                if not totals.left or not some:
                    return tuple(found)

    def _list_some(self, view: Any, memory: mmap, first: int) -> list[Listed]:
        status = lib.lp_xen_list(view, len(view), self.interface, first, _LIST_AT_ONCE)
        _check(status, "list")
        count = self._sysctl(view)
        return [_entry(view, memory, index) for index in range(count)]


def _close(*files: int) -> None:
    for file in files:
        os.close(file)


def _entry(view: Any, memory: mmap, index: int) -> Listed:
    one = ffi.new("struct lp_xen_payload *")
    _check(lib.lp_xen_entry(view, len(view), _LIST_AT_ONCE, index, one), "list")
    name = memory[one.name : one.name + one.name_size]
    return Listed(
        name.decode("utf-8", "backslashreplace"),
        one.state == lib.LP_XEN_APPLIED,
        -one.result,
        bytes(memory[one.metadata : one.metadata + one.metadata_size]),
    )


def _address(view: Any) -> int:
    return int(ffi.cast("uintptr_t", view))


def _check(status: int, what: str) -> None:
    if status == lib.LP_OK:
        return
    _refuse(what)


def _refuse(what: str) -> NoReturn:
    raise UsageError(
        f"{what!r}: not something the hypervisor can be asked",
        hint=f"a name has 1 to {NAME_MAX} bytes",
    )
