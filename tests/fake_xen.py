"""A hypervisor in memory, at the level of bytes: it reads requests where the
arguments of the hypercall say, and follows Xen 4.17's livepatch.c in what it answers.
"""

import ctypes
import errno
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from mmap import mmap

from lpengine.patch.xen.reader import read_payload

SYSCTL, VERSION = 35, 17
PHYSINFO = 3
UPLOAD, GET, LIST, ACTION = range(4)
UNLOAD, REVERT, APPLY, REPLACE = range(1, 5)
BUILD_ID = "bb" * 20


@dataclass
class Payload:
    name: str
    raw: bytes
    metadata: bytes
    applied: bool = False
    reverted: bool = False
    result: int = 0
    polls: int = 0


@dataclass
class FakeXen:
    """`script` says what becomes of the next actions: an errno that the hypercall
    answers, or ("status", errno) for one that shows later, or a function to run
    first. `timeouts` has what was asked for. `polls` is how often an action is still
    under way when one looks."""

    interface: int = 0x15
    build_id: str = BUILD_ID
    script: list = field(default_factory=list)
    polls: int = 2
    at_once: int = 1024
    refuse: dict[str, int] = field(default_factory=dict)
    everything: int = 0
    console: bytes = b""
    loaded: list[Payload] = field(default_factory=list)
    stack: list[Payload] = field(default_factory=list)
    timeouts: list[int] = field(default_factory=list)
    actions: list[tuple[str, int, int]] = field(default_factory=list)
    version: int = 1
    on_list: Callable[[], None] | None = None

    # The device

    def buffer(self, size: int) -> mmap:
        return mmap(-1, -(-size // 4096) * 4096)

    def call(self, number: int, arguments: Sequence[int]) -> int:
        if number == VERSION:
            raw = bytes.fromhex(self.build_id)
            ctypes.memmove(arguments[1] + 4, raw, len(raw))
            return len(raw)
        assert number == SYSCTL
        at = arguments[0]
        command, interface = struct.unpack("<II", ctypes.string_at(at, 8))
        if interface != self.interface:
            refused(errno.EACCES)
        if self.everything:
            refused(self.everything)
        if command == PHYSINFO:
            put(at + 8, "<III", 2, 4, 8)
            return 0
        return self.read_console(at) if command == 1 else self.livepatch(at)

    def livepatch(self, at: int) -> int:
        command, pad = struct.unpack("<II", ctypes.string_at(at + 8, 8))
        assert pad == 0
        body = at + 16
        if command == LIST:
            return self.list(body)
        pointer, size, *pads = struct.unpack("<QH3H", ctypes.string_at(body, 16))
        assert pads == [0, 0, 0]
        name = ctypes.string_at(pointer, size)
        assert name.endswith(b"\0")
        text = name[:-1].decode()
        if command == UPLOAD:
            return self.upload(text, *struct.unpack("<QQ", take(body + 16, 16)))
        payload = self.find(text)
        if command == GET:
            return self.get(payload, body + 16)
        return self.act(payload, *struct.unpack("<IIII", take(body + 16, 16)))

    # The sub-operations

    def upload(self, name: str, size: int, pointer: int) -> int:
        raw = ctypes.string_at(pointer, size)
        if name in self.refuse:
            refused(self.refuse[name])
        if any(one.name == name for one in self.loaded):
            refused(errno.EEXIST)
        pairs = read_payload(raw, name).metadata
        text = b"".join(f"{key}={value}\0".encode() for key, value in pairs)
        self.add(Payload(name, raw, text))
        return 0

    def add(self, payload: Payload) -> None:
        self.loaded.append(payload)
        self.version += 1

    def get(self, payload: Payload, at: int) -> int:
        result = payload.result
        if payload.polls:
            payload.polls -= 1
            result = errno.EAGAIN
        put(at, "<Ii", 2 if payload.applied else 1, -result)
        return 0

    def act(
        self, payload: Payload, action: int, timeout: int, flags: int, pad: int
    ) -> int:
        assert pad == 0
        self.timeouts.append(timeout)
        self.actions.append((payload.name, action, flags))
        trouble = self.script.pop(0) if self.script else None
        if callable(trouble):
            trouble()
        elif isinstance(trouble, int):
            refused(trouble)
        elif trouble:
            payload.result, payload.polls = trouble[1], self.polls
            if trouble[1] == errno.EBUSY:
                self.say(f"{payload.name}: Timed out on semaphore in CPU quiesce phase")
            return 0
        self.do(payload, action)
        return 0

    def do(self, payload: Payload, action: int) -> None:
        if action == UNLOAD:
            if payload.applied:
                refused(errno.EINVAL)
            self.loaded.remove(payload)
            self.version += 1
        elif payload.applied is not (action == REVERT):
            return  # success, and nothing done
        elif action == REVERT:
            if self.stack[-1] is not payload:
                self.say(f"{payload.name}: can't unload. Top is {self.stack[-1].name}")
                refused(errno.EBUSY)
            self.end(payload, False)
        elif action == APPLY and self.is_spent(payload):
            payload.result = errno.EINVAL
        else:
            for other in reversed(self.stack if action == REPLACE else ()):
                self.end(other, False)
            self.stack = [one for one in self.stack if one.applied]
            self.end(payload, True)

    def is_spent(self, payload: Payload) -> bool:
        fresh = read_payload(payload.raw, payload.name).safe_to_reapply
        return payload.reverted and not fresh

    def end(self, payload: Payload, applied: bool) -> None:
        payload.applied, payload.result, payload.polls = applied, 0, self.polls
        if applied:
            self.stack.append(payload)
        else:
            payload.reverted = True
            self.stack = [one for one in self.stack if one is not payload]

    def list(self, at: int) -> int:
        if self.on_list:
            self.on_list()
        _, first, count, pad, _, _ = struct.unpack("<6I", take(at, 24))
        states, names, sizes, metadata, more = struct.unpack("<5Q", take(at + 24, 40))
        assert pad == 0
        chosen = self.loaded[first : first + min(count, self.at_once)]
        for index, one in enumerate(chosen):
            name = one.name.encode() + b"\0"
            result = errno.EAGAIN if one.polls else one.result
            one.polls = max(0, one.polls - 1)
            put(states + 8 * index, "<Ii", 2 if one.applied else 1, -result)
            put(sizes + 4 * index, "<I", len(name))
            put(more + 4 * index, "<I", len(one.metadata))
            ctypes.memmove(names, name, len(name))
            ctypes.memmove(metadata, one.metadata, len(one.metadata))
            names, metadata = names + len(name), metadata + len(one.metadata)
        total = sum(len(one.metadata) for one in self.loaded)
        left = len(self.loaded) - first - len(chosen)
        put(at, "<6I", self.version, first, left, 0, 0, total)
        return len(chosen)

    def read_console(self, at: int) -> int:
        index, pointer, count = struct.unpack("<IQI", take(at + 12, 16))
        text = self.console[index : index + count]
        ctypes.memmove(pointer, text, len(text))
        put(at + 12, "<IQI", index + len(text), pointer, len(text))
        return 0

    # For tests

    def say(self, line: str) -> None:
        self.console += f"(XEN) livepatch: {line}\n".encode()

    def find(self, name: str) -> Payload:
        for one in self.loaded:
            if one.name == name:
                return one
        return refused(errno.ENOENT)


def refused(number: int):
    raise OSError(number, "the fake says no")


def take(at: int, size: int) -> bytes:
    return ctypes.string_at(at, size)


def put(at: int, layout: str, *values: int) -> None:
    data = struct.pack(layout, *values)
    ctypes.memmove(at, data, len(data))
